//! What the rules make of one event, and why. Nothing is sent: `deskbell explain` and
//! `POST /api/explain` are this code.

mod question;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::render::Delivery;
use crate::route::Choice;
use crate::rules::{Rules, Verdict};
use crate::template::LeftOut;
use crate::verify::Event;
pub use question::{Pairs, Question, change, event};

/// What becomes of one event. Its JSON is what scripts rely on: it may grow, never change.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    event: Subject,
    revision: String,
    /// Every route of the file, in its order.
    routes: Vec<Explained>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Subject {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Explained {
    route: String,
    taken: bool,
    /// Why the route is not taken, or what it cannot send.
    reason: Option<String>,
    /// The one that it starts.
    workflow: Option<String>,
    requests: Vec<Request>,
}

/// A call to Novu, as it would be made.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Request {
    method: String,
    url: String,
    body: Value,
    left_out: Vec<LeftOut>,
}

impl Explanation {
    /// Takes the event through all routes.
    pub fn of(rules: &Rules, event: &Event) -> Self {
        let url = rules.settings.accounts.get(&event.source).map_or("", |account| account.trigger_url());
        let routes = rules.explain(event).map(|verdict| Explained::of(verdict, url)).collect();
        let kind = event.kind().map(str::to_owned);
        let subject = Subject { id: event.id.clone(), source: event.source.to_string(), kind };
        Self { event: subject, revision: rules.revision.clone(), routes }
    }
}

impl Explained {
    fn of(verdict: Verdict<'_>, url: &str) -> Self {
        let route = verdict.route.name.to_string();
        let deliveries = match verdict.deliveries {
            Ok(deliveries) => deliveries,
            Err(unwanted) => {
                let reason = Some(unwanted.to_string());
                return Self { route, taken: false, reason, workflow: None, requests: Vec::new() };
            }
        };
        let reason = deliveries.iter().find_map(unsendable);
        let requests: Vec<Request> = deliveries.into_iter().filter_map(|delivery| Request::of(delivery, url)).collect();
        let rendered = requests.first().and_then(|request| request.body["name"].as_str());
        let workflow = verdict.workflow.and_then(Choice::id).or(rendered).map(str::to_owned);
        Self { route, taken: true, reason, workflow, requests }
    }
}

impl Request {
    fn of(delivery: Delivery, url: &str) -> Option<Self> {
        let body = delivery.request.ok()?;
        Some(Self { method: "POST".to_owned(), url: url.to_owned(), body, left_out: delivery.left_out })
    }
}

/// Why a delivery of a route that is taken would end dead at once.
fn unsendable(delivery: &Delivery) -> Option<String> {
    let unsendable = delivery.request.as_ref().err()?;
    let missing = delivery.left_out.iter().find(|left_out| Some(left_out.path.as_str()) == unsendable.path());
    let because = missing.map_or(String::new(), |left_out| format!(": {}", left_out.reason));
    Some(format!("it would end dead: {unsendable}{because}"))
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = harmless(self.event.kind.as_deref().unwrap_or("an event without a type"));
        writeln!(formatter, "{kind} from {}, decided by revision {}", self.event.source, self.revision)?;
        self.routes.iter().try_for_each(|route| write!(formatter, "\n{route}"))
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {}", if self.taken { "taken" } else { "not taken" }, self.route)?;
        if let Some(workflow) = &self.workflow {
            writeln!(formatter, "  workflow: {}", harmless(workflow))?;
        }
        if let Some(reason) = &self.reason {
            writeln!(formatter, "  {}", harmless(reason))?;
        }
        self.requests.iter().try_for_each(|request| write!(formatter, "{request}"))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = pretty(&self.body).replace('\n', "\n  ");
        writeln!(formatter, "  {} {}\n  {body}", self.method, self.url)?;
        for LeftOut { path, reason } in &self.left_out {
            writeln!(formatter, "  left out: {path} ({})", harmless(reason))?;
        }
        Ok(())
    }
}

/// A terminal is not to be told what to do by an event.
pub fn harmless(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// JSON in lines. What a terminal would act on is escaped, and stays the same to whoever reads JSON.
pub fn pretty(json: &Value) -> String {
    let escaped = |char: char| match char.is_control() && char != '\n' {
        true => format!("\\u{:04x}", u32::from(char)),
        false => char.to_string(),
    };
    format!("{json:#}").chars().map(escaped).collect()
}
