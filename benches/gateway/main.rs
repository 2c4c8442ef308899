//! What the gateway does on this machine, against what the machine allows. `make bench` runs it.
//!
//! Figures of one machine say little about another. So each is a ratio: against a limit program (`limits.rs`) of the same
//! round, or against the gateway itself under plain circumstances. The server that is measured has a core for itself; who
//! sends the webhooks, and Novu, have the others.

mod bench;
mod harness;
mod limits;
mod lines;
mod load;
mod machine;
mod measurements;
mod novu;
mod program;
mod quiet;
mod report;
mod rules;
#[allow(dead_code)]
#[path = "../../tests/postgres/server.rs"]
mod server;
mod store;
mod together;
mod webhook;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use bench::Bench;
use lines::{LINES, Line};
use machine::Cores;
use measurements::MEASUREMENTS;
use report::{Rounds, number};

/// What comes before the role in which this program starts itself.
const ROLE: &str = "--role";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, name, webhooks, novu, folder] if role == ROLE => {
            let (_, run) = limits::PROGRAMS.into_iter().find(|(known, _)| known == name).expect("a role");
            run(limits::Start {
                webhooks: webhooks.parse().expect("an address"),
                novu: novu.parse().expect("an address"),
                folder: folder.into(),
            });
        }
        _ => measure(),
    }
}

fn measure() {
    let Some(cores) = Cores::divide() else {
        println!("the gateway is measured on Linux, with a core for itself and another one for those who use it");
        return;
    };
    cores.leave_the_server_alone();
    let lines = selected();
    let (rounds, seconds) = (setting("BENCH_ROUNDS", 5_usize), setting("BENCH_SECONDS", 3.5_f64));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    let bench = match Bench::new(cores, &folder, Duration::from_secs_f64(seconds)) {
        Ok(bench) => bench,
        Err(why) => return println!("the gateway is not measured: {why}"),
    };
    let results = run(&bench, &lines, rounds);
    let title = format!(
        "{} cores of {}; medians of {rounds} rounds, {seconds} s each; deskbell {}",
        bench.cores.count(),
        machine::processor(),
        env!("CARGO_PKG_VERSION")
    );
    let (markdown, json) = report::report(&title, &lines, &results);
    println!("\n{markdown}");
    for (name, text) in [("gateway.md", markdown), ("gateway.json", format!("{json:#}\n"))] {
        let path = folder.join(name);
        fs::write(&path, text).expect("the report");
        println!("{}", path.display());
    }
}

/// The lines of the parts that `BENCH_ONLY` names; all of them without it.
fn selected() -> Vec<&'static Line> {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let parts: BTreeSet<&str> = LINES.iter().map(|line| line.part).collect();
    if let Some(unknown) = only.iter().find(|part| !parts.contains(*part)) {
        let parts: Vec<&str> = parts.into_iter().collect();
        eprintln!("there is no part `{unknown}`; there are {}", parts.join(", "));
        std::process::exit(2);
    }
    LINES.iter().filter(|line| only.is_empty() || only.contains(&line.part)).collect()
}

/// A number of the environment.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |value| value.parse().ok().unwrap_or_else(|| panic!("{name} is not a number")))
}

/// Every measurement that a line needs, one after another, so many times.
fn run(bench: &Bench, lines: &[&Line], rounds: usize) -> Rounds {
    let needed: BTreeSet<&str> =
        lines.iter().flat_map(|line| [Some(line.figure), line.against]).flatten().map(|(name, _)| name).collect();
    let patience = Duration::from_secs(setting("BENCH_PATIENCE", 0));
    let mut results = Rounds::default();
    for round in 1..=rounds {
        let mut figures = BTreeMap::new();
        for measurement in MEASUREMENTS.iter().filter(|measurement| needed.contains(measurement.name)) {
            let (name, measured) = (measurement.name, quiet::measure(bench, measurement, patience));
            let said: Vec<String> =
                measured.iter().map(|(figure, value)| format!("{} {figure}", number(*value))).collect();
            eprintln!("round {round} of {rounds}, {name}: {}", said.join(", "));
            figures.extend(measured.into_iter().map(|(figure, value)| ((name, figure), value)));
        }
        results.push(figures);
    }
    results
}
