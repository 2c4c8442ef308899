//! `deskbell pause` and `deskbell resume`: deliveries wait, and go on.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::criteria::filter;
use super::gateway::GatewayArgument;
use super::{Failure, NOT_FINE, print, understand};
use crate::store;

const HINT: &str = "say which: `--route`, `--source` or `--all`";

/// Keep deliveries back, also over restarts; webhooks are taken as ever
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell pause --route welcome")]
pub struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Let deliveries go on that were kept back
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell resume --route welcome")]
pub struct Resume {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// What this route makes
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// What comes of events of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    gateway: GatewayArgument,
}

/// What the gateway answers.
#[derive(Deserialize)]
struct Answer {
    /// How many pauses have ended.
    #[serde(default)]
    resumed: u64,
    /// All that there are now.
    paused: Vec<store::Pause>,
}

impl Pause {
    pub fn run(self) -> Result<ExitCode, Failure> {
        tell(&self.which.ask("/api/pause")?);
        Ok(ExitCode::SUCCESS)
    }
}

impl Resume {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let answer = self.which.ask("/api/resume")?;
        tell(&answer);
        match answer.resumed {
            0 => {
                eprintln!("deskbell: there was no such pause");
                Ok(ExitCode::from(NOT_FINE))
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}

impl Which {
    fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let named = [("route", self.route.as_deref()), ("source", self.source.as_deref())];
        let pairs: Vec<(&str, &str)> = named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let filter = Value::Object(filter(&pairs, self.all, HINT)?);
        understand(self.gateway.open()?.post(path, json!(filter).to_string())?)
    }
}

fn tell(answer: &Answer) {
    match answer.paused.as_slice() {
        [] => print("nothing is paused\n"),
        paused => paused.iter().for_each(|pause| print(&format!("paused: {pause}\n"))),
    }
}
