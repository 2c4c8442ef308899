//! `deskbell drop`: what waits, or is dead, is not to be sent.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::criteria::{Criteria, filter};
use super::gateway::GatewayArgument;
use super::{Failure, print};

const HINT: &str = "name an event, or say which: `--state dead`, `--route`, `--type`, `--source` or `--all`";

/// Cancel deliveries that wait or are dead; `replay` can still send them
#[derive(Args)]
#[command(after_help = "Examples:\n  deskbell drop msg_2xK…\n  deskbell drop --route welcome")]
pub struct Drop {
    /// One event, with all that did not succeed of it
    id: Option<String>,
    /// Only deliveries in this state [default: all that wait, and no dead ones]
    #[arg(long, value_parser = ["new", "retrying", "paused", "dead"])]
    state: Option<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// All that waits
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    gateway: GatewayArgument,
}

impl Drop {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let filter = filter(&self.criteria.pairs(self.id.as_deref(), self.state.as_deref()), self.all, HINT)?;
        let answer = self.gateway.open()?.post("/api/drop", json!(filter).to_string())?;
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        print(&match count("dropped") {
            1 => "1 delivery is cancelled\n".to_owned(),
            dropped => format!("{dropped} deliveries are cancelled\n"),
        });
        match count("sending") {
            0 => {}
            sending => eprintln!("{sending} cannot be stopped, because their attempts are under way"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
