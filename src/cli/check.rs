//! `deskbell check`: everything that must hold before rules go live.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Failure, NOT_FINE, describe, print, print_json};
use crate::compiled::{self, Compiled};
use crate::outside::Outside;
use crate::problem::{Problem, Severity};
use crate::watcher::folder_of;

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
        let bytes = compiled::read(&self.file)
            .map_err(|error| Failure::not_fine(format!("`{file}` cannot be read: {error}")))?;
        let mut compiled = Compiled::of(&bytes, Outside::Optional);
        let report = compiled.run_tests(&folder_of(&self.file));
        compiled.problems.extend(report.problems);
        compiled.problems.sort_by_key(|problem| (problem.line, problem.column));
        match self.format {
            Format::Json => print_json(&json!({
                "file": file,
                "revision": compiled.revision,
                "problems": compiled.problems,
                "tests": {"passed": report.passed, "failed": report.failed},
            })),
            Format::Github => compiled.problems.iter().for_each(|problem| print(&annotation(&file, problem))),
            Format::Text => {
                print_text(&file, &bytes, &compiled, (report.passed, report.failed));
                if self.strict && compiled.count(Severity::Warning) > 0 {
                    print("warnings count as errors: --strict\n");
                }
            }
        }
        let fine = compiled.count(Severity::Error) == 0 && !(self.strict && compiled.count(Severity::Warning) > 0);
        Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) })
    }
}

fn print_text(file: &str, bytes: &[u8], compiled: &Compiled, (passed, failed): (usize, usize)) {
    let source = String::from_utf8_lossy(bytes);
    let source = std::io::stdout().is_terminal().then_some(&*source);
    compiled.problems.iter().for_each(|problem| print(&describe(file, source, problem)));
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let errors = count(compiled.count(Severity::Error), "error");
    let warnings = count(compiled.count(Severity::Warning), "warning");
    let tests = format!("{} passed, {failed} failed", count(passed, "test"));
    print(&match &compiled.rules {
        Some(rules) => {
            let routes = count(rules.routes().len(), "route");
            format!("{file}: {routes}, {warnings}, {tests}, revision {}\n", compiled.revision)
        }
        None => format!("{file}: does not run, {errors}, {warnings}\n"),
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
