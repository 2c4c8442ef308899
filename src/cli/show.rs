//! `deskbell show`: one event, and all that it takes to understand what became of it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::gateway::GatewayArgument;
use super::reasons::{explain_reason, explain_state};
use super::{Failure, print, print_json, understand};
use crate::explain::harmless;
use crate::store::{Recorded, RecordedDelivery, State};
use crate::units::{now, timestamp};

/// Show one event of the running gateway: where it stands, why, and what helps
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell show msg_2xK…")]
pub struct Show {
    /// The id of the event, as `deskbell events` lists it
    id: String,
    /// The source that it came from, if several have sent this id
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let query: Vec<(&str, &str)> = self.source.iter().map(|source| ("source", source.as_str())).collect();
        let event: Recorded = understand(self.gateway.open()?.get(&["api", "events", &self.id], &query)?)?;
        match self.json {
            true => print_json(&json!(event)),
            false => print(&describe(&event)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn describe(event: &Recorded) -> String {
    let kind = event.kind.as_deref().unwrap_or("an event without a type");
    let mut text = format!("{}: {} from {}\n", harmless(&event.id), harmless(kind), event.source);
    let id = to_paste(&event.id);
    text.push_str(&format!(
        "received {}, first decided by revision {}\n",
        timestamp(event.received_at),
        event.revision
    ));
    if event.erased {
        text.push_str("its body is erased, so it cannot be replayed\n");
    }
    if event.deliveries.is_empty() {
        text.push_str("\nunrouted: no route wanted it\n");
        text.push_str(&format!("  once one does, `deskbell replay {id}` sends it\n"));
    }
    for delivery in &event.deliveries {
        text.push_str(&describe_delivery(id, event, delivery));
    }
    text.push_str(&format!("\n`deskbell explain --id {id}` shows what today's rules make of it\n"));
    text
}

fn describe_delivery(id: &str, event: &Recorded, delivery: &RecordedDelivery) -> String {
    let attempts = match delivery.attempts {
        0 => "not attempted".to_owned(),
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    let mut text = format!("\n{}: {}, {attempts}", delivery.route, delivery.state);
    let waits = matches!(delivery.state, State::New | State::Retrying);
    let is_due = waits && delivery.due_at <= now();
    match (delivery.state, delivery.ended_at) {
        _ if is_due => text.push_str(", due"),
        (State::New | State::Retrying, _) => text.push_str(&format!(", next {}", timestamp(delivery.due_at))),
        (_, Some(at)) => text.push_str(&format!(", ended {}", timestamp(at))),
        _ => {}
    }
    text.push_str(&format!("\n  transaction {}\n", delivery.transaction_id));
    let expiry = delivery.expires_at.filter(|_| delivery.ended_at.is_none());
    let expiry = expiry.map(|at| format!("not sent after {}", timestamp(at)));
    let reason = delivery.reason.as_ref().map(|reason| match explain_reason(reason, delivery.state, id) {
        Some(sentence) => format!("{reason}: {sentence}"),
        None => reason.clone(),
    });
    let answer = delivery.answer.as_ref().map(|answer| format!("Novu said: {}", harmless(answer)));
    let state = explain_state(delivery.state, &delivery.route, &event.source, id).filter(|_| reason.is_none());
    let due = is_due.then(|| "it waits for its turn; `/readyz` of the admin address says what holds it up".to_owned());
    for line in [expiry, reason, answer, state, due].into_iter().flatten() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

/// An id in a command that people paste: one that a shell would read in another way is not put there.
fn to_paste(id: &str) -> &str {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
    if id.chars().all(is_plain) && !id.starts_with('-') { id } else { "ID" }
}
