//! What do we send? Compiled templates and an event make the exact Novu requests; pure.

mod recipient;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::{Fields, Kind, Node};
use crate::jsonpath::Query;
use crate::keys::{MAX_CONTEXT, MAX_EACH};
use crate::problem::Problems;
use crate::route::{self, Choice, Pattern, Unwanted};
use crate::template::{LeftOut, Tree, View};
use crate::units::{Millis, hex};
use crate::verify::Event;
use recipient::Recipient;

/// One Novu call to be made, finished: a later edit of the rules does not change it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub route: Arc<str>,
    /// The same for the same event, route and item, whenever and wherever it is rendered.
    pub transaction_id: String,
    pub priority: Priority,
    /// When it is too late to send it.
    pub expires_at: Option<Millis>,
    /// Erase request and body as soon as the delivery has succeeded.
    pub sensitive: bool,
    /// The body for `POST /v1/events/trigger`, or why there is none.
    pub request: Result<Value, Unsendable>,
    /// What has nothing to say for this event. Only looked for where the rules explain themselves.
    pub left_out: Vec<LeftOut>,
}

impl Delivery {
    /// The same once more, as a transaction of its own.
    pub fn rename(&mut self, number: usize) {
        self.transaction_id.push_str(&format!("_{number}"));
        self.stamp();
    }

    /// Writes its transaction id into the request.
    pub fn stamp(&mut self) {
        if let Ok(Value::Object(body)) = &mut self.request {
            body.insert("transactionId".to_owned(), Value::String(self.transaction_id.clone()));
        }
    }
}

/// Who goes first when there is a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Low,
    Normal,
    High,
}

/// What Novu cannot do without is not there. The delivery is kept, and can be replayed once
/// the file is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    NoSubscriberId,
    NoTopicKey,
    NoWorkflow,
    TooManyItems(usize),
    /// A helper could not work with what it was given.
    Template(String),
}

impl Unsendable {
    /// A stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Unsendable::NoSubscriberId => "no_subscriber_id",
            Unsendable::NoTopicKey => "no_topic_key",
            Unsendable::NoWorkflow => "no_workflow",
            Unsendable::TooManyItems(_) => "too_many_items",
            Unsendable::Template(_) => "template_failed",
        }
    }

    /// Where the route says what is missing.
    pub fn path(&self) -> Option<&'static str> {
        match self {
            Unsendable::NoSubscriberId => Some("subscriber.subscriberId"),
            Unsendable::NoTopicKey => Some("topic"),
            Unsendable::NoWorkflow => Some("workflow"),
            Unsendable::TooManyItems(_) | Unsendable::Template(_) => None,
        }
    }
}

impl fmt::Display for Unsendable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsendable::NoSubscriberId => formatter.write_str("the subscriber has no `subscriberId`"),
            Unsendable::NoTopicKey => formatter.write_str("the topic has no key"),
            Unsendable::NoWorkflow => formatter.write_str("the workflow has no id"),
            Unsendable::TooManyItems(count) => {
                write!(formatter, "`each` selects {count} items, and at most {MAX_EACH} are sent")
            }
            Unsendable::Template(message) => write!(formatter, "a template failed: {message}"),
        }
    }
}

/// The part of a route that says what is sent.
#[derive(Debug)]
pub struct Message {
    to: Recipient,
    each: Option<Query>,
    /// Parts that Novu gets as they are, by their name in the request.
    parts: Vec<(&'static str, Tree)>,
    max_age: Option<Millis>,
    priority: Priority,
    sensitive: bool,
}

/// What templates see of one event, built once for all its routes.
pub struct Scope<'a> {
    event: &'a Event,
    view: View<'a>,
    /// Whether deliveries say what was left out of them.
    explains: bool,
}

impl<'a> Scope<'a> {
    pub fn new(event: &'a Event, vars: &'a Value) -> Self {
        let beside = vec![
            ("vars", Cow::Borrowed(vars)),
            ("source", Cow::Owned(Value::from(&*event.source))),
            ("webhook", Cow::Owned(json!({"id": event.id}))),
        ];
        Self { event, view: View::new(&event.json, beside), explains: false }
    }

    /// For looking only: deliveries say what was left out of them.
    pub fn explaining(event: &'a Event, vars: &'a Value) -> Self {
        Self { explains: true, ..Self::new(event, vars) }
    }
}

impl Message {
    /// All deliveries that the route makes of the event.
    ///
    /// # Errors
    /// `each` selects nothing: the route has nothing to send.
    pub fn render<'a>(
        &'a self,
        route: &Arc<str>,
        workflow: &Choice,
        scope: &mut Scope<'a>,
    ) -> Result<Vec<Delivery>, Unwanted<'a>> {
        let event = scope.event;
        let Some(each) = &self.each else {
            return Ok(vec![self.deliver(route, workflow, scope, None)]);
        };
        let items = each.select(&event.json);
        if items.is_empty() {
            return Err(Unwanted::NothingSelected { each });
        }
        if items.len() as u64 > MAX_EACH {
            let request = Err(Unsendable::TooManyItems(items.len()));
            return Ok(vec![self.finish(route, event, None, request)]);
        }
        let mut deliveries: Vec<Delivery> = Vec::with_capacity(items.len());
        for item in items {
            let delivery = self.deliver(route, workflow, scope, Some(item));
            // The same item twice is the same delivery.
            if !deliveries.iter().any(|known| known.transaction_id == delivery.transaction_id) {
                deliveries.push(delivery);
            }
        }
        scope.view.set_item(None);
        Ok(deliveries)
    }

    fn deliver<'a>(
        &self,
        route: &Arc<str>,
        workflow: &Choice,
        scope: &mut Scope<'a>,
        item: Option<&'a Value>,
    ) -> Delivery {
        if item.is_some() {
            scope.view.set_item(item);
        }
        let request = self.request(workflow, scope);
        let delivery = self.finish(route, scope.event, item, request);
        match scope.explains {
            true => Delivery { left_out: scope.view.aside(|| self.left_out(workflow, scope)), ..delivery },
            false => delivery,
        }
    }

    fn finish(
        &self,
        route: &Arc<str>,
        event: &Event,
        item: Option<&Value>,
        request: Result<Value, Unsendable>,
    ) -> Delivery {
        let mut delivery = Delivery {
            route: route.clone(),
            transaction_id: transaction_id(event, route, item),
            priority: self.priority,
            expires_at: self.max_age.map(|age| event.occurred_at().saturating_add(age)),
            sensitive: self.sensitive,
            request,
            left_out: Vec::new(),
        };
        delivery.stamp();
        delivery
    }

    fn request(&self, workflow: &Choice, scope: &Scope<'_>) -> Result<Value, Unsendable> {
        let mut body = Map::new();
        let name = match workflow {
            Choice::Id(id) => Value::String(id.to_string()),
            Choice::Template(template) => {
                template.render(&scope.view).map_err(Unsendable::Template)?.ok_or(Unsendable::NoWorkflow)?
            }
        };
        body.insert("name".to_owned(), name);
        body.insert("to".to_owned(), self.to.render(scope)?);
        for (key, tree) in &self.parts {
            let value = tree.render(&scope.view).map_err(Unsendable::Template)?;
            body.extend(value.map(|value| ((*key).to_owned(), value)));
        }
        Ok(Value::Object(body))
    }

    fn left_out(&self, workflow: &Choice, scope: &Scope<'_>) -> Vec<LeftOut> {
        let mut found = self.to.left_out(scope);
        if let Choice::Template(template) = workflow {
            found.extend(template.nothing(&scope.view).map(|reason| LeftOut::new("workflow", reason)));
        }
        for (key, tree) in &self.parts {
            tree.left_out(key, &scope.view, &mut found);
        }
        found
    }

    /// What the route writes out, by its keys.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, &Tree)> {
        self.to.written().into_iter().chain(self.parts.iter().map(|(key, tree)| (*key, tree)))
    }

    pub fn each(&self) -> Option<&Query> {
        self.each.as_ref()
    }

    pub fn has_max_age(&self) -> bool {
        self.max_age.is_some()
    }

    /// Reads everything in a route that shapes the request.
    pub fn compile(fields: Fields<'_>, events: Option<&[Pattern]>, problems: &mut Problems) -> Option<Self> {
        let to = Recipient::compile(fields, events, problems);
        let each = fields.get("each").map(|node| route::compile_query(node, problems));
        let mut parts = Vec::new();
        for key in ["payload", "overrides", "actor", "tenant", "context"] {
            let Some(node) = fields.get(key) else { continue };
            if !fits(key, node) {
                parts.push(node.wrong(&shape_of(key), problems));
                continue;
            }
            parts.push(Tree::compile(node, problems).map(|tree| (key, tree)));
        }
        let max_age = fields.duration("max_age", problems);
        let priority = match fields.word("priority", problems)? {
            "high" => Priority::High,
            "low" => Priority::Low,
            _ => Priority::Normal,
        };
        let sensitive = fields.boolean("sensitive", problems);
        Some(Self {
            to: to?,
            each: optional(each)?,
            parts: parts.into_iter().collect::<Option<_>>()?,
            max_age,
            priority,
            sensitive: sensitive?,
        })
    }
}

/// What was given and failed is a failure; what was not given is not.
fn optional<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| value.map(Some))
}

fn fits(key: &str, node: &Node) -> bool {
    match (&node.kind, key) {
        (Kind::Object(entries), "context") => entries.len() as u64 <= MAX_CONTEXT,
        (Kind::Object(_), _) => true,
        (Kind::Text(_), "actor" | "tenant") => true,
        _ => false,
    }
}

fn shape_of(key: &str) -> String {
    match key {
        "context" => format!("an object of at most {MAX_CONTEXT} entries (Novu's limit)"),
        "actor" => "a subscriber id or a subscriber object".to_owned(),
        "tenant" => "a tenant's identifier or a tenant object".to_owned(),
        _ => "an object of keys and values".to_owned(),
    }
}

/// The id under which Novu knows the delivery: from event, route and item, so that the same
/// delivery has the same id on every attempt, replay and machine.
fn transaction_id(event: &Event, route: &str, item: Option<&Value>) -> String {
    let mut hash = Sha256::new();
    for part in [event.source.as_bytes(), event.id.as_bytes(), route.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    if let Some(item) = item {
        hash.update(item.to_string());
    }
    format!("deskbell_{}", hex(&hash.finalize()[..16]))
}
