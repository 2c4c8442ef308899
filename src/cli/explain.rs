//! `deskbell explain`: one event through the rules, nothing sent.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Changes, Failure, NOT_FINE, RoutesArgument, describe, print, print_json, sample};
use crate::clerk;
use crate::compiled::Compiled;
use crate::outside::Outside;
use crate::problem::Severity;
use crate::render::Delivery;
use crate::rules::{DEFAULT_SOURCE, Rules};
use crate::units::now;
use crate::verify::Event;

/// Show what the rules make of one event: the exact Novu requests, or why there are none
#[derive(Args)]
#[command(
    after_help = "Examples:\n  deskbell explain --sample user.created --set data.first_name=Ada\n  deskbell explain event.json --json"
)]
pub struct Explain {
    /// A sample event, as `deskbell samples` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "file", required_unless_present = "file")]
    sample: Option<String>,
    /// A file with the body of a webhook, or - for standard input
    file: Option<String>,
    #[command(flatten)]
    routes: RoutesArgument,
    #[command(flatten)]
    changes: Changes,
    /// The source that the event comes from [default: the first of the file]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let rules = compile(&self.routes.routes)?;
        let mut json = match (&self.sample, &self.file) {
            (Some(name), _) => sample(name)?,
            (None, Some(file)) => read_event(file)?,
            (None, None) => return Err(Failure::usage("name a sample with `--sample`, or a file")),
        };
        self.changes.apply(&mut json)?;
        let source = self.source(&rules)?;
        // An event is judged at its own time, so a sample is never too old.
        let at = clerk::occurred_at(&json).unwrap_or_else(now);
        let event = Event::unsigned(&source, "msg_sample", json, at);
        match self.json {
            true => print_json(&as_json(&rules, &event)),
            false => print(&as_text(&rules, &event)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn source(&self, rules: &Rules) -> Result<String, Failure> {
        let known: Vec<&str> = rules.source_names().map(|name| &**name).collect();
        match &self.source {
            Some(name) if known.contains(&name.as_str()) => Ok(name.clone()),
            Some(name) => Err(Failure::usage(format!("there is no source `{name}`"))),
            None => Ok(known.first().copied().unwrap_or(DEFAULT_SOURCE).to_owned()),
        }
    }
}

fn compile(path: &Path) -> Result<Rules, Failure> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| Failure::not_fine(format!("`{file}` cannot be read: {error}")))?;
    let compiled = Compiled::of(&bytes, Outside::Optional);
    for problem in compiled.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        eprint!("{}", describe(&file, None, problem));
    }
    compiled.rules.ok_or_else(|| Failure::new(NOT_FINE, format!("`{file}` has errors")))
}

fn read_event(file: &str) -> Result<Value, Failure> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => std::io::stdin().read_to_end(&mut bytes).map(drop),
        path => std::fs::read(path).map(|content| bytes = content),
    };
    read.map_err(|error| Failure::not_fine(format!("`{file}` cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::not_fine(format!("`{file}` is not JSON: {error}")))
}

fn as_json(rules: &Rules, event: &Event) -> Value {
    let routes: Vec<Value> = rules
        .explain(event)
        .into_iter()
        .map(|(route, verdict)| match verdict {
            Ok(deliveries) => json!({
                "route": &*route.name,
                "taken": true,
                "reason": unsendable(&deliveries),
                "requests": requests(rules, event, &deliveries),
            }),
            Err(unwanted) => json!({
                "route": &*route.name,
                "taken": false,
                "reason": unwanted.to_string(),
                "requests": [],
            }),
        })
        .collect();
    json!({"event": {"id": event.id, "type": event.kind()}, "revision": rules.revision, "routes": routes})
}

fn requests(rules: &Rules, event: &Event, deliveries: &[Delivery]) -> Vec<Value> {
    let url = rules.settings.accounts.get(&event.source).map_or("", |account| account.trigger_url());
    let bodies = deliveries.iter().filter_map(|delivery| delivery.request.as_ref().ok());
    bodies.map(|body| json!({"method": "POST", "url": url, "body": body})).collect()
}

/// Why a delivery of a route that is taken would end dead at once.
fn unsendable(deliveries: &[Delivery]) -> Option<String> {
    let unsendable = deliveries.iter().find_map(|delivery| delivery.request.as_ref().err())?;
    Some(format!("it would end dead: {unsendable}"))
}

fn as_text(rules: &Rules, event: &Event) -> String {
    let kind = event.kind().unwrap_or("an event without a type");
    let mut text = format!("{kind} from {}, decided by revision {}\n", event.source, rules.revision);
    for (route, verdict) in rules.explain(event) {
        match verdict {
            Ok(deliveries) => {
                text.push_str(&format!("\ntaken: {}\n", route.name));
                if let Some(reason) = unsendable(&deliveries) {
                    text.push_str(&format!("  {reason}\n"));
                }
                for request in requests(rules, event, &deliveries) {
                    let url = request["url"].as_str().unwrap_or_default();
                    let body = format!("{:#}", request["body"]).replace('\n', "\n  ");
                    text.push_str(&format!("  POST {url}\n  {body}\n"));
                }
            }
            Err(unwanted) => text.push_str(&format!("\nnot taken: {}\n  {unwanted}\n", route.name)),
        }
    }
    text
}
