//! `deskbell show`: one event, and all that it takes to understand what became of it.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::events::harmless;
use super::gateway::GatewayArgument;
use super::reasons::{explain_reason, explain_state};
use super::{Failure, print, print_json, understand};
use crate::store::{Recorded, RecordedDelivery, State};
use crate::units::timestamp;

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
    let id = harmless(&event.id);
    let mut text = format!("{id}: {} from {}\n", harmless(kind), event.source);
    text.push_str(&format!("received {}, decided by revision {}\n", timestamp(event.received_at), event.revision));
    if event.erased {
        text.push_str("its body is erased, so it cannot be replayed\n");
    }
    if event.deliveries.is_empty() {
        text.push_str("\nunrouted: no route wanted it\n");
        text.push_str(&format!("  once one does, `deskbell replay {id}` sends it\n"));
    }
    for delivery in &event.deliveries {
        text.push_str(&describe_delivery(&id, delivery));
    }
    text.push_str(&format!("\n`deskbell explain --id {id}` shows what today's rules make of it\n"));
    text
}

fn describe_delivery(id: &str, delivery: &RecordedDelivery) -> String {
    let attempts = match delivery.attempts {
        0 => "not attempted".to_owned(),
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    let mut text = format!("\n{}: {}, {attempts}", delivery.route, delivery.state);
    match (delivery.state, delivery.ended_at) {
        (State::New | State::Retrying, _) => text.push_str(&format!(", next {}", timestamp(delivery.due_at))),
        (_, Some(at)) => text.push_str(&format!(", ended {}", timestamp(at))),
        _ => {}
    }
    text.push_str(&format!("\n  transaction {}\n", delivery.transaction_id));
    let expiry = delivery.expires_at.filter(|_| delivery.ended_at.is_none());
    let expiry = expiry.map(|at| format!("not sent after {}", timestamp(at)));
    let reason = delivery.reason.as_ref().map(|reason| match explain_reason(reason, id) {
        Some(sentence) => format!("{reason}: {sentence}"),
        None => reason.clone(),
    });
    let answer = delivery.answer.as_ref().map(|answer| format!("Novu said: {}", harmless(answer)));
    let state = explain_state(delivery.state, &delivery.route, id).filter(|_| reason.is_none());
    for line in [expiry, reason, answer, state].into_iter().flatten() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}
