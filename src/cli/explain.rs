//! `deskbell explain`: one event through the rules, nothing sent.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::gateway::GatewayArgument;
use super::{Changes, Failure, NOT_FINE, describe, print, print_json, sample};
use crate::compiled::Compiled;
use crate::explain::{self, Explanation, Question};
use crate::outside::Outside;
use crate::problem::Severity;
use crate::rules::Rules;

const DEFAULT_ROUTES: &str = "routes.yaml";

/// Show what the rules make of one event: the exact Novu requests, or why there are none
#[derive(Args)]
#[command(
    after_help = "Examples:\n  deskbell explain --sample user.created --set data.first_name=Ada\n  deskbell explain event.json --json\n  deskbell explain --id msg_2xK…   # an event that the running gateway holds"
)]
#[group(id = "asked", required = true, multiple = false, args = ["sample", "id", "file"])]
pub struct Explain {
    /// A sample event, as `deskbell samples` lists them
    #[arg(long, value_name = "NAME")]
    sample: Option<String>,
    /// An event that the running gateway holds
    #[arg(long)]
    id: Option<String>,
    /// A file with the body of a webhook, or - for standard input
    file: Option<String>,
    /// The file of rules [default: routes.yaml; with `--id`, the rules that run]
    #[arg(long, env = "DESKBELL_ROUTES", value_name = "PATH")]
    routes: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// The source that the event comes from [default: the first of the file]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    gateway: GatewayArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let explanation = match &self.id {
            Some(id) => self.ask(id)?,
            None => self.explain()?,
        };
        if self.json {
            print_json(&explanation);
            return Ok(ExitCode::SUCCESS);
        }
        let explanation: Explanation = serde_json::from_value(explanation)
            .map_err(|error| Failure::not_fine(format!("the gateway explains it in another way: {error}")))?;
        print(&explanation.to_string());
        Ok(ExitCode::SUCCESS)
    }

    /// An event from here through rules from here.
    fn explain(&self) -> Result<Value, Failure> {
        let file = self.routes.as_deref().unwrap_or(Path::new(DEFAULT_ROUTES));
        let rules = compile(file, &read_routes(file)?, Outside::Optional)?;
        let mut json = match (&self.sample, self.file.as_deref().unwrap_or("-")) {
            (Some(name), _) => sample(name)?,
            (None, file) => read_event(file)?,
        };
        self.changes.apply(&mut json)?;
        let event = explain::event(&rules, self.source.as_deref(), json).map_err(Failure::usage)?;
        Ok(json!(Explanation::of(&rules, &event)))
    }

    /// An event that the gateway holds, through the rules that run or through those named.
    fn ask(&self, id: &str) -> Result<Value, Failure> {
        let routes = self.routes.as_deref().map(|file| {
            let bytes = read_routes(file)?;
            // The gateway will look at nothing outside of it; and here its problems can be told as ever.
            compile(file, &bytes, Outside::Sealed)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        });
        let question = Question {
            id: Some(id.to_owned()),
            source: self.source.clone(),
            set: self.changes.pairs()?,
            unset: self.changes.unset.clone(),
            routes: routes.transpose()?,
            ..Question::default()
        };
        // Not through a `Value`, which would forget the order of the changes.
        let body = serde_json::to_string(&question).map_err(|error| Failure::not_fine(error.to_string()))?;
        self.gateway.open()?.post("/api/explain", body)
    }
}

fn read_routes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::not_fine(format!("`{}` cannot be read: {error}", path.display())))
}

fn compile(path: &Path, bytes: &[u8], outside: Outside) -> Result<Rules, Failure> {
    let file = path.display().to_string();
    let compiled = Compiled::of(bytes, outside);
    let source = String::from_utf8_lossy(bytes);
    let source = std::io::stderr().is_terminal().then_some(&*source);
    for problem in compiled.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        eprint!("{}", describe(&file, source, problem));
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
