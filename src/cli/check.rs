//! `deskbell check`: everything that must hold before rules go live.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, NOT_FINE, describe, print, print_json};
use crate::outside::Outside;
use crate::problem::{Problem, Severity};
use crate::rules::{Compiled, Rules};

/// Check a file of rules, without secrets and without a network
#[derive(Args)]
#[command(after_help = "Example:\n  deskbell check routes.yaml --format github")]
pub struct Check {
    /// The file of rules
    #[arg(env = "DESKBELL_ROUTES", default_value = "routes.yaml")]
    file: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Warnings count as errors do
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Json,
    /// Annotations of GitHub Actions
    Github,
}

impl Check {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let file = self.file.display().to_string();
        let bytes = std::fs::read(&self.file)
            .map_err(|error| Failure::not_fine(format!("`{file}` cannot be read: {error}")))?;
        let compiled = Rules::compile(&bytes, Outside::Optional);
        match self.format {
            Format::Json => print_json(&json!({
                "file": file,
                "revision": compiled.revision,
                "problems": compiled.problems,
                "tests": {"passed": 0, "failed": 0},
            })),
            Format::Github => compiled.problems.iter().for_each(|problem| print(&annotation(&file, problem))),
            Format::Text => print_text(&file, &compiled),
        }
        let fine = compiled.rules.is_some() && !(self.strict && compiled.count(Severity::Warning) > 0);
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) })
    }
}

fn print_text(file: &str, compiled: &Compiled) {
    compiled.problems.iter().for_each(|problem| print(&describe(file, problem)));
    let (errors, warnings) = (compiled.count(Severity::Error), compiled.count(Severity::Warning));
    let routes = compiled.rules.as_ref().map_or(0, |rules| rules.routes().len());
    print(&match (errors, warnings) {
        (0, 0) => format!("{file}: fine, {routes} routes, revision {}\n", compiled.revision),
        (0, _) => format!("{file}: runs, {routes} routes, {warnings} warnings, revision {}\n", compiled.revision),
        _ => format!("{file}: does not run, {errors} errors, {warnings} warnings\n"),
    });
}

/// A workflow command of GitHub Actions. What has a meaning there is escaped as its toolkit does.
fn annotation(file: &str, problem: &Problem) -> String {
    let kind = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut message = problem.message.clone();
    for (label, value) in [("expected", &problem.expected), ("hint", &problem.hint)] {
        if let Some(value) = value {
            message.push_str(&format!("\n{label}: {value}"));
        }
    }
    let message = message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let file = file.replace('%', "%25").replace(',', "%2C").replace(':', "%3A");
    format!("::{kind} file={file},line={},col={},title={}::{message}\n", problem.line, problem.column, problem.code)
}
