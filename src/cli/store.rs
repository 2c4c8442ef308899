//! `deskbell store`: what is done with a store while no gateway uses it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::serve::runtime;
use super::{Failure, NOT_FINE, WRONG_USAGE, duration, print};
use crate::store::{self, Copied, State};
use crate::units::now;

/// How often a line tells how far it is, where no terminal shows it all the time.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How often a terminal shows it.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// Move a store from a file to PostgreSQL
#[derive(Args)]
#[command(
    after_help = "Example:\n  deskbell store copy sqlite:deskbell.db postgres://deskbell@db.example.com/deskbell"
)]
pub struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Copy(Copy),
}

/// Copy everything in a file to PostgreSQL, for gateways that go on there
///
/// Events, deliveries in every state, identities and pauses. No gateway may use the file meanwhile, and none starts with it
/// afterwards: it would send what waits once more. What is there already is skipped, so a copy that was cut off is
/// asked for again and goes on; and several files can go into one database, one after the other.
#[derive(Args)]
#[command(
    after_help = "Example:\n  deskbell store copy sqlite:deskbell.db postgres://deskbell@db.example.com/deskbell\n\n\
        Exit statuses: 0 everything is there, 1 not all of it, 2 wrong usage"
)]
pub struct Copy {
    /// The store of the gateway that was stopped: sqlite:PATH
    #[arg(value_name = "FROM")]
    from: String,
    /// The database that it moves to: postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(value_name = "TO", env = "DESKBELL_STORE", hide_env_values = true)]
    to: String,
    /// When that is tried again which was being sent as the gateway was killed; `retry.unknown` of the rules
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    unknown: Duration,
}

impl Store {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Copy(copy) => copy.run(),
        }
    }
}

impl Copy {
    fn run(self) -> Result<ExitCode, Failure> {
        let (runtime, started) = (runtime()?, Instant::now());
        let mut progress = Progress::new();
        let unknown = i64::try_from(self.unknown.as_millis()).unwrap_or(i64::MAX);
        let copied =
            store::copy(&self.from, &self.to, runtime.handle(), now(), unknown, &mut |copied| progress.tell(copied));
        progress.end();
        let copied = copied.map_err(|error| Failure {
            status: if error.is_usage { WRONG_USAGE } else { NOT_FINE },
            message: error.message,
            hint: error.hint,
        })?;
        print(&describe(&copied, started.elapsed()));
        Ok(ExitCode::SUCCESS)
    }
}

/// What is told on the way.
struct Progress {
    at_terminal: bool,
    started: Instant,
    told: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { at_terminal: std::io::stderr().is_terminal(), started: Instant::now(), told: None }
    }

    fn tell(&mut self, copied: &Copied) {
        let every = if self.at_terminal { SHOW_EVERY } else { TELL_EVERY };
        let done = copied.events + copied.skipped;
        let is_last = self.at_terminal && done == copied.all;
        let since = self.told.unwrap_or(self.started);
        if !is_last && since.elapsed() < every && (self.told.is_some() || !self.at_terminal) {
            return;
        }
        self.told = Some(Instant::now());
        let line = match done {
            0 => format!("{} identities copied", copied.identities),
            _ => {
                let pace = done as f64 / self.started.elapsed().as_secs_f64().max(0.001);
                format!("{done} of {} events, {pace:.0} a second", copied.all)
            }
        };
        match self.at_terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
    }

    fn end(&self) {
        if self.at_terminal && self.told.is_some() {
            eprintln!();
        }
    }
}

/// What there is none of is not told, but for events.
fn describe(copied: &Copied, took: Duration) -> String {
    let count = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let mut text = format!("{} copied in {:.1} s\n", count(copied.events, "event", "events"), took.as_secs_f64());
    let states = State::ALL.map(|state| (copied.deliveries(state), state));
    let states: Vec<_> = states.into_iter().filter(|(count, _)| *count > 0).collect();
    if !states.is_empty() {
        let sum = states.iter().map(|(count, _)| count).sum();
        let each: Vec<String> = states.iter().map(|(count, state)| format!("{count} {state}")).collect();
        text.push_str(&format!("{}: {}\n", count(sum, "delivery", "deliveries"), each.join(", ")));
    }
    for (number, one, many) in [
        (copied.identities, "remembered identity copied", "remembered identities copied"),
        (copied.pauses, "pause copied", "pauses copied"),
        (copied.skipped, "event skipped: it was there already", "events skipped: they were there already"),
    ] {
        if number > 0 {
            text.push_str(&format!("{}\n", count(number, one, many)));
        }
    }
    text
}
