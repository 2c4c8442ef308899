//! `deskbell replay`: what failed goes through today's rules again.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value, json};

use super::criteria::{Criteria, filter};
use super::gateway::{Gateway, GatewayArgument};
use super::{Failure, NOT_FINE, print, rate, understand};
use crate::replay::Totals;

const HINT: &str = "name an event, or say which: `--state dead`, `--route`, `--type` or `--source`";
/// The most events that are asked for at once: short steps, so that the pace is even.
const MOST_AT_ONCE: u32 = 100;

/// Send what failed once more, by today's rules; what was delivered is not sent again
#[derive(Args)]
#[command(after_help = "Examples:\n  deskbell replay msg_2xK…\n  deskbell replay --state dead --route welcome")]
pub struct Replay {
    /// One event, with all that did not succeed of it
    id: Option<String>,
    /// Events with a delivery in this state, or that no route wanted [default: dead]
    #[arg(long, value_parser = ["dead", "expired", "cancelled", "unrouted", "delivered"])]
    state: Option<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// Send everything of these events, delivered or not, as new transactions: people may get it twice
    #[arg(long)]
    again: bool,
    /// How many events a second, at most
    #[arg(long, default_value = "100/s", value_parser = rate)]
    rate: u32,
    #[command(flatten)]
    gateway: GatewayArgument,
}

impl Replay {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let mut filter = filter(&self.criteria.pairs(self.id.as_deref(), self.state.as_deref()), false, HINT)?;
        if self.again {
            filter.insert("again".to_owned(), Value::Bool(true));
        }
        let mut totals = Totals::default();
        let ended = self.replay_pages(&self.gateway.open()?, filter, &mut totals);
        // What was done is told, even if not all of it was.
        if ended.is_ok() || totals.events > 0 {
            print(&format!("{}\n", describe(&totals)));
        }
        ended?;
        Ok(self.judge(&totals))
    }

    fn replay_pages(
        &self,
        gateway: &Gateway<'_>,
        mut filter: Map<String, Value>,
        totals: &mut Totals,
    ) -> Result<(), Failure> {
        let shows_progress = std::io::stderr().is_terminal();
        // A fifth of a second's worth.
        let step = (self.rate / 5).clamp(1, MOST_AT_ONCE);
        filter.insert("limit".to_owned(), Value::from(step));
        loop {
            let started = Instant::now();
            let answer = gateway.post("/api/replay", json!(filter).to_string());
            let page: Totals = answer.and_then(understand).inspect_err(|_| end_line(shows_progress, totals))?;
            let (next, pause) = (page.next, Duration::from_secs(1) * page.events as u32 / self.rate);
            add(totals, page);
            if shows_progress {
                eprint!("\r{} events, {} deliveries on their way", totals.events, totals.sent);
            }
            let Some(next) = next else { break };
            filter.insert("before".to_owned(), Value::from(next));
            std::thread::sleep(pause.saturating_sub(started.elapsed()));
        }
        end_line(shows_progress, totals);
        Ok(())
    }

    /// Whether everything could be sent; and what to do if not.
    fn judge(&self, totals: &Totals) -> ExitCode {
        let Totals { events, sent, delivered, waiting, expired, dead, left, unrouted, erased, .. } = *totals;
        let id = self.id.as_deref().unwrap_or("ID");
        if self.id.is_some() && events == 0 {
            eprintln!("deskbell: the gateway holds no event `{id}` in this state");
        }
        if dead > 0 || left > 0 || (unrouted > 0 && self.id.is_some()) {
            eprintln!("  hint: `deskbell explain --id {id}` says why; `deskbell drop` ends what is not to be sent");
        }
        let nothing = self.id.is_some() && sent + delivered + waiting == 0;
        match nothing || expired + dead + left + erased > 0 {
            true => ExitCode::from(NOT_FINE),
            false => ExitCode::SUCCESS,
        }
    }
}

fn end_line(shows_progress: bool, totals: &Totals) {
    if shows_progress && totals.events > 0 {
        eprintln!();
    }
}

fn add(totals: &mut Totals, page: Totals) {
    totals.events += page.events;
    totals.sent += page.sent;
    totals.delivered += page.delivered;
    totals.waiting += page.waiting;
    totals.expired += page.expired;
    totals.dead += page.dead;
    totals.left += page.left;
    totals.unrouted += page.unrouted;
    totals.erased += page.erased;
}

/// What there is none of is not told.
fn describe(totals: &Totals) -> String {
    let events = if totals.events == 1 { "1 event".to_owned() } else { format!("{} events", totals.events) };
    let parts: Vec<String> = [
        (totals.sent, "on the way again"),
        (totals.delivered, "delivered before"),
        (totals.waiting, "on the way already"),
        (totals.expired, "too old to be sent"),
        (totals.dead, "dead again"),
        (totals.left, "dead, and no route makes it any more"),
        (totals.unrouted, "that no route wants"),
        (totals.erased, "of which the body is erased"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    match parts.is_empty() {
        true => format!("{events}: nothing to send"),
        false => format!("{events}: {}", parts.join(", ")),
    }
}
