//! The commands, one file each. `check` and `explain` call the server's own functions.

mod check;
mod criteria;
mod dev;
mod drop;
mod events;
mod excerpt;
mod explain;
mod gateway;
mod init;
mod log;
mod pause;
mod reasons;
mod replay;
mod samples;
mod schema;
mod send;
mod serve;
mod show;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clerk;
use crate::explain::{Pairs, change, pretty};
use crate::problem::Problem;
use crate::units::{parse_duration, parse_rate};
use log::LogFormat;

/// The thing asked about is not fine.
const NOT_FINE: u8 = 1;
/// The command was used wrongly.
const WRONG_USAGE: u8 = 2;
/// `serve` cannot start because of its configuration (`EX_CONFIG` of sysexits).
const BAD_CONFIGURATION: u8 = 78;

/// A gateway between Clerk and Novu: signed webhooks in, notifications out, rules in one file.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Dev(dev::Dev),
    Check(check::Check),
    Explain(explain::Explain),
    Send(send::Send),
    Samples(samples::Samples),
    Schema(schema::Schema),
    Events(events::Events),
    Show(show::Show),
    Replay(replay::Replay),
    Drop(drop::Drop),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Store(store::Store),
}

/// Where a gateway listens and what it keeps.
#[derive(Args)]
struct Addresses {
    /// Where webhooks come in [default: 0.0.0.0:8080; of `dev`: 127.0.0.1:8080]
    #[arg(long, env = "DESKBELL_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Metrics, health and API
    #[arg(long, env = "DESKBELL_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:9464")]
    admin: String,
    /// Metrics and health alone, on one more address
    #[arg(long, env = "DESKBELL_METRICS", value_name = "ADDR")]
    metrics: Option<String>,
    /// How log lines look [default: text on a terminal, else json]
    #[arg(long, env = "DESKBELL_LOG_FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// How long webhooks are still taken after a signal to stop [default: 5s; of `dev`: 0]
    #[arg(long, env = "DESKBELL_DRAIN_DELAY", value_name = "TIME", value_parser = duration)]
    drain_delay: Option<Duration>,
    /// How long running attempts get to end, and how long to wait for a store in use
    #[arg(long, env = "DESKBELL_SHUTDOWN_GRACE", value_name = "TIME", value_parser = duration, default_value = "25s")]
    shutdown_grace: Duration,
}

#[derive(Args)]
struct RoutesArgument {
    /// The file of rules
    #[arg(long, env = "DESKBELL_ROUTES", value_name = "PATH", default_value = "routes.yaml")]
    routes: PathBuf,
}

/// Changes to an event before it is used.
#[derive(Args)]
struct Changes {
    /// Set a value inside the event, such as data.first_name=Ada (JSON if it parses, else text)
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Remove a value from the event
    #[arg(long, value_name = "PATH")]
    unset: Vec<String>,
}

impl Changes {
    fn apply(&self, event: &mut Value) -> Result<(), Failure> {
        change(event, &self.pairs()?, &self.unset).map_err(Failure::usage)
    }

    /// What is to be set, path by path.
    fn pairs(&self) -> Result<Pairs, Failure> {
        let pair = |change: &String| {
            let (path, value) = change
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("`--set {change}` has no value, expected PATH=VALUE")))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            Ok((path.to_owned(), value))
        };
        self.set.iter().map(pair).collect::<Result<_, _>>().map(Pairs)
    }
}

/// A sample by its name, or a failure that names the nearest.
fn sample(name: &str) -> Result<Value, Failure> {
    clerk::sample(name).ok_or_else(|| Failure {
        hint: Some(clerk::hint_for_sample(name)),
        ..Failure::usage(format!("there is no sample `{name}`"))
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let millis = if text == "0" { Some(0) } else { parse_duration(text) };
    millis
        .map(|millis| Duration::from_millis(millis.unsigned_abs()))
        .ok_or_else(|| "expected a duration such as `500ms`, `10s` or `5m`".to_owned())
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = parse_rate(text).or_else(|| text.parse().ok()).and_then(|rate| rate.try_into().ok());
    rate.filter(|rate| *rate > 0).ok_or_else(|| "expected a rate such as `100/s`".to_owned())
}

/// Why a command has not done what it was asked for.
struct Failure {
    status: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(status: u8, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(WRONG_USAGE, message)
    }

    fn not_fine(message: impl Into<String>) -> Self {
        Self::new(NOT_FINE, message)
    }
}

/// Parses the arguments, runs the one command, and says how it went.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { WRONG_USAGE } else { 0 });
        }
    };
    let ended = match arguments.command {
        Command::Init(init) => init.run(),
        Command::Serve(serve) => serve.run(),
        Command::Dev(dev) => dev.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Send(send) => send.run(),
        Command::Samples(samples) => samples.run(),
        Command::Schema(schema) => schema.run(),
        Command::Events(events) => events.run(),
        Command::Show(show) => show.run(),
        Command::Replay(replay) => replay.run(),
        Command::Drop(drop) => drop.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        Command::Store(store) => store.run(),
    };
    log::flush();
    match ended {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("deskbell: {}", failure.message);
            if let Some(hint) = failure.hint {
                eprintln!("  hint: {hint}");
            }
            ExitCode::from(failure.status)
        }
    }
}

/// How this program was called, for commands to paste.
fn own_name() -> String {
    std::env::args().next().unwrap_or_else(|| "deskbell".to_owned())
}

/// Writes to stdout; a reader that has gone is no failure.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// What the gateway has answered, as this version knows it.
fn understand<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::not_fine(format!("the gateway answers in another way: {error}")))
}

fn print_json(value: &Value) {
    print(&format!("{}\n", pretty(value)));
}

/// A problem as compilers write it: where, what, expected, hint; and the line itself if the source is given.
fn describe(file: &str, source: Option<&str>, problem: &Problem) -> String {
    let severity = match problem.severity {
        crate::problem::Severity::Error => "error",
        crate::problem::Severity::Warning => "warning",
        crate::problem::Severity::Note => "note",
    };
    let mut text =
        format!("{file}:{}:{}: {severity}[{}]: {}\n", problem.line, problem.column, problem.code, problem.message);
    text.push_str(&source.and_then(|source| excerpt::excerpt(source, problem)).unwrap_or_default());
    let path = Some(&problem.path).filter(|path| !path.is_empty());
    for (label, value) in [("in", path), ("expected", problem.expected.as_ref()), ("hint", problem.hint.as_ref())] {
        if let Some(value) = value {
            text.push_str(&format!("  {label}: {value}\n"));
        }
    }
    text
}
