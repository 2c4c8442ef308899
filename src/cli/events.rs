//! `deskbell events`: what the running gateway holds.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::criteria::Criteria;
use super::gateway::GatewayArgument;
use super::{Failure, print, print_json, understand};
use crate::explain::harmless;
use crate::store::{Found, Recorded, RecordedDelivery};
use crate::units::timestamp;

/// The most that the gateway gives at once.
const PAGE: usize = 500;

/// The widest column: what is longer leaves the other lines where they are.
const WIDEST: usize = 40;

/// List what the running gateway holds, and what becomes of it
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell events --state dead --route welcome")]
pub struct Events {
    /// Only events with a delivery in this state, or that no route wanted
    #[arg(long, value_parser = ["new", "retrying", "sending", "paused", "delivered", "dead", "expired", "cancelled", "unrouted"])]
    state: Option<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// How many, at most
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    gateway: GatewayArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Events {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let found = self.find()?;
        if self.json {
            print_json(&json!(found));
        } else if !found.events.is_empty() {
            print(&table(&found.events));
            if found.next.is_some() {
                eprintln!("there may be more; raise `--limit`");
            }
        }
        if found.events.is_empty() {
            eprintln!("the gateway holds no such event");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Page by page.
    fn find(&self) -> Result<Found, Failure> {
        let gateway = self.gateway.open()?;
        let limit = self.limit as usize;
        let mut all = Found::default();
        loop {
            let wanted = (limit - all.events.len()).min(PAGE).to_string();
            let before = all.next.map(|next| next.to_string());
            let mut query = self.criteria.pairs(None, self.state.as_deref());
            query.push(("limit", &wanted));
            query.extend(before.as_deref().map(|before| ("before", before)));
            let page: Found = understand(gateway.get(&["api", "events"], &query)?)?;
            all.events.extend(page.events);
            all.next = page.next;
            if all.next.is_none() || all.events.len() >= limit {
                return Ok(all);
            }
        }
    }
}

/// A line for each event, and one more for each further delivery.
fn table(events: &[Recorded]) -> String {
    let head = ["RECEIVED", "EVENT", "TYPE", "SOURCE", "DELIVERIES"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [head].into_iter().chain(events.iter().flat_map(rows)).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count().min(WIDEST)).max().unwrap_or_default();
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |[received, id, kind, source, delivery]: &[String; 5]| {
        let [a, b, c, d] = widths;
        format!("{received:a$}  {id:b$}  {kind:c$}  {source:d$}  {delivery}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn rows(event: &Recorded) -> Vec<[String; 5]> {
    let mut deliveries = counted(&event.deliveries).into_iter();
    let first = deliveries.next().unwrap_or_else(|| "unrouted".to_owned());
    let kind = event.kind.as_deref().unwrap_or("-");
    let head = [&timestamp(event.received_at), &event.id, kind, &event.source, &first].map(harmless);
    let more = deliveries.map(|delivery| ["", "", "", "", &delivery].map(harmless));
    [head].into_iter().chain(more).collect()
}

/// Route, state and reason; those that are alike together.
fn counted(deliveries: &[RecordedDelivery]) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for delivery in deliveries {
        let reason = delivery.reason.as_ref().map_or(String::new(), |reason| format!(" {reason}"));
        let text = format!("{} {}{reason}", delivery.route, delivery.state);
        match counted.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => counted.push((text, 1)),
        }
    }
    let count = |(text, count): (String, usize)| if count > 1 { format!("{text} ({count} times)") } else { text };
    counted.into_iter().map(count).collect()
}
