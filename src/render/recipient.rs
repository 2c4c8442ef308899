//! To whom? A subscriber that the event names or the route writes out, or a topic.

use serde_json::{Map, Value, json};

use super::{Scope, Unsendable};
use crate::clerk::{self, Person};
use crate::config::{Fields, Kind, Node, quoted};
use crate::keys;
use crate::problem::{Problem, Problems};
use crate::route::Pattern;
use crate::template::{self, LeftOut, Tree};

/// Whom a route sends to.
#[derive(Debug)]
pub enum Recipient {
    /// The subscriber that the event names.
    FilledIn,
    Subscriber(Tree),
    /// The key of a topic.
    Topic(Tree),
}

impl Recipient {
    pub fn compile(fields: Fields<'_>, events: Option<&[Pattern]>, problems: &mut Problems) -> Option<Self> {
        match (fields.get("subscriber"), fields.get("topic")) {
            (Some(_), Some(topic)) => {
                problems.push(
                    Problem::error(
                        "bad_value",
                        topic,
                        "a route has a `subscriber` or a `topic`, and this one has both",
                    )
                    .hint("write two routes to send to both"),
                );
                None
            }
            (Some(subscriber), None) => Self::compile_subscriber(subscriber, problems),
            (None, Some(topic)) => match topic.text(problems)? {
                text if text.contains("{{") => {
                    Some(Recipient::Topic(Tree::Leaf(template::compile_at(topic, text, problems)?.whole())))
                }
                text if text.trim().is_empty() => topic.wrong("the key of a Novu topic", problems),
                text => Some(Recipient::Topic(Tree::Literal(text.into()))),
            },
            (None, None) => {
                if fields.lacks("subscriber") && fields.lacks("topic") {
                    report_nobody(fields, events?, problems)?;
                }
                Some(Recipient::FilledIn)
            }
        }
    }

    fn compile_subscriber(node: &Node, problems: &mut Problems) -> Option<Self> {
        node.fields(&keys::SUBSCRIBER, problems)?;
        Some(Recipient::Subscriber(Tree::compile(node, problems)?.with_id("subscriberId")))
    }

    /// What the route writes out, and under which key.
    pub fn written(&self) -> Option<(&'static str, &Tree)> {
        match self {
            Recipient::FilledIn => None,
            Recipient::Subscriber(tree) => Some(("subscriber", tree)),
            Recipient::Topic(key) => Some(("topic", key)),
        }
    }

    /// The `to` of the request.
    ///
    /// # Errors
    /// What Novu cannot do without is missing.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Value, Unsendable> {
        match self {
            Recipient::FilledIn => {
                let subscriber = clerk::subscriber(&scope.event.json).ok_or(Unsendable::NoSubscriberId)?;
                let bytes = subscriber.values().filter_map(Value::as_str).map(str::len).sum();
                scope.view.spend(bytes).map_err(Unsendable::Template)?;
                Ok(Value::Object(subscriber))
            }
            Recipient::Subscriber(tree) => {
                let subscriber = tree.render(&scope.view).map_err(Unsendable::Template)?;
                with_text_ids(subscriber.unwrap_or_default())
            }
            Recipient::Topic(key) => {
                let key = key.render(&scope.view).map_err(Unsendable::Template)?;
                key.as_ref().and_then(as_text).map(|key| topic(&key)).ok_or(Unsendable::NoTopicKey)
            }
        }
    }

    /// What the `to` of the request is without for this event, and why.
    pub fn left_out(&self, scope: &Scope<'_>) -> Vec<LeftOut> {
        let mut found = Vec::new();
        let event = &scope.event.json;
        match self {
            Recipient::FilledIn if clerk::subscriber(event).is_none() => {
                found.push(LeftOut::new("subscriber.subscriberId", "the event names nobody"));
            }
            Recipient::FilledIn => {
                let facts = clerk::absent_facts(event).into_iter();
                found.extend(facts.map(|fact| LeftOut::new(format!("subscriber.{fact}"), why_absent(fact))));
            }
            Recipient::Subscriber(tree) => {
                tree.left_out("subscriber", &scope.view, &mut found);
                let rendered = tree.render(&scope.view).ok().flatten();
                let members = rendered.iter().filter_map(Value::as_object).flatten();
                let refused = members.filter(|(key, value)| taken(key, (*value).clone()).is_none());
                found.extend(refused.map(|(key, _)| LeftOut::new(format!("subscriber.{key}"), NO_TEXT)));
            }
            Recipient::Topic(key) => {
                key.left_out("topic", &scope.view, &mut found);
                let rendered = key.render(&scope.view).ok().flatten();
                let refused = rendered.filter(|key| as_text(key).is_none());
                found.extend(refused.map(|_| LeftOut::new("topic", NO_TEXT)));
            }
        }
        found
    }
}

const NO_TEXT: &str = "it is blank, or neither a text nor a number";

/// Why the subscriber that an event names is without a fact.
fn why_absent(fact: &str) -> &'static str {
    match fact {
        "email" => "the event names no primary e-mail address",
        "phone" => "the event names no primary phone number",
        "firstName" => "the event has no first name",
        "lastName" => "the event has no last name",
        "avatar" => "the event has no picture",
        _ => "the event has no locale",
    }
}

fn topic(key: &str) -> Value {
    json!({"type": "Topic", "topicKey": key})
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Novu takes texts for everything but `data` and `channels`.
fn taken(key: &str, value: Value) -> Option<Value> {
    match key {
        "data" | "channels" => Some(value),
        _ => as_text(&value).map(Value::String),
    }
}

fn with_text_ids(subscriber: Value) -> Result<Value, Unsendable> {
    let Value::Object(members) = subscriber else { return Err(Unsendable::NoSubscriberId) };
    let members = members.into_iter();
    let subscriber: Map<String, Value> =
        members.filter_map(|(key, value)| taken(&key, value).map(|value| (key, value))).collect();
    match subscriber.contains_key("subscriberId") {
        true => Ok(Value::Object(subscriber)),
        false => Err(Unsendable::NoSubscriberId),
    }
}

/// Without `subscriber` and `topic`, the event has to name a person.
fn report_nobody(route: Fields<'_>, events: &[Pattern], problems: &mut Problems) -> Option<()> {
    let named = |person: Person| -> Vec<&'static str> {
        clerk::event_types()
            .filter(|kind| events.iter().any(|pattern| pattern.matches(kind)))
            .filter(|kind| clerk::names_a_person(kind) == person)
            .collect()
    };
    let nobody = named(Person::Never);
    if !nobody.is_empty() {
        problems.push(
            Problem::error(
                "no_subscriber",
                route.node,
                format!("nobody to send to: {} names no person", quoted(&nobody)),
            )
            .expected("a `subscriber` or a `topic`")
            .hint("such as `topic: \"org-{{data.id}}\"`, or `subscriber: { subscriberId: … }`"),
        );
        return None;
    }
    let bills = named(Person::NotOnOrganizationBills);
    let filters = route.get("filter").map_or(&[][..], Node::one_or_list);
    let asks_for_payer = |filter: &Node| matches!(&filter.kind, Kind::Text(text) if text.contains("payer.user_id"));
    if !bills.is_empty() && !filters.iter().any(asks_for_payer) {
        problems.push(
            Problem::error(
                "no_subscriber",
                route.node,
                "a bill that an organization pays names no person, and its delivery would end dead",
            )
            .note()
            .hint("filter for `length($.data.payer.user_id) > 0`, or write `subscriber` or `topic` out"),
        );
    }
    Some(())
}
