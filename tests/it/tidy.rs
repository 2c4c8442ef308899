//! The order of the house: who may know whom, how long a file may be, and a README that is true.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::harness::repository;
use crate::shell::run_with;

/// Who may import whom. A room is a file of `src/` with the folder of its name.
const MAY_IMPORT: &[(&str, &str)] = &[
    // What everybody may know.
    ("units", ""),
    ("jsonpath", ""),
    ("clerk", "jsonpath"),
    ("problem", ""),
    ("keys", ""),
    ("mount", ""),
    ("config", "clerk keys problem units"),
    ("outside", "config problem"),
    ("template", "clerk config jsonpath problem units"),
    // The steps, in their order. Each knows those before it.
    ("verify", "clerk units"),
    ("route", "clerk config jsonpath keys problem template verify"),
    ("render", "clerk config jsonpath keys problem route template units verify"),
    ("store", "render rules units verify"),
    ("deliver", "novu observe settings store units"),
    ("direct", "deliver novu render rules settings store units verify"),
    // What steers them.
    ("novu", "units"),
    ("observe", "clerk store units"),
    ("settings", "config keys novu outside problem units"),
    ("lint", "clerk config jsonpath keys problem render route template"),
    ("rules", "clerk config keys lint novu outside problem render route settings verify"),
    ("suite", "clerk config keys outside problem render rules units verify"),
    ("schema", "clerk keys units"),
    ("compiled", "config outside problem rules suite units"),
    ("watcher", "compiled novu observe outside problem rules units verify"),
    ("receive", "direct observe render rules store units verify"),
    ("explain", "clerk render route rules template units verify"),
    // What runs them.
    ("http", ""),
    ("upkeep", "deliver observe rules settings store units"),
    ("replay", "observe rules store units verify"),
    ("webhooks", "http observe receive rules units verify"),
    (
        "admin",
        "clerk compiled config deliver explain http novu observe outside problem replay rules store units verify watcher",
    ),
    (
        "server",
        "admin deliver direct http mount novu observe problem receive rules settings store units upkeep watcher webhooks",
    ),
    (
        "cli",
        "clerk compiled explain http novu outside problem replay rules schema server settings store units verify watcher",
    ),
    ("main", "cli"),
    ("lib", ""),
];

const STEPS: [&str; 5] = ["verify", "route", "render", "store", "deliver"];
/// What decides about an event: no IO, no clock, the same answer every time.
const PURE: [&str; 6] = ["verify", "route", "render", "template", "jsonpath", "clerk"];

/// Which package is for whom. What the whole house speaks stands in `LANGUAGE`.
const PACKAGES: &[(&str, &[&str])] = &[
    ("base64", &["verify"]),
    ("clap", &["cli"]),
    ("form_urlencoded", &["admin", "store"]),
    ("granit_parser", &["config"]),
    ("handlebars", &["template"]),
    ("hmac", &["verify"]),
    ("http_body_util", &["http"]),
    ("hyper", &["http", "webhooks", "admin", "verify", "cli"]),
    ("hyper_util", &["http"]),
    ("jiff", &["template", "units"]),
    ("jsonpath_rust", &["jsonpath"]),
    ("lz4_flex", &["store"]),
    ("mimalloc", &["main"]),
    ("notify", &["watcher"]),
    ("percent_encoding", &["admin"]),
    ("prometheus", &["observe"]),
    ("regex", &["jsonpath"]),
    ("reqwest", &["novu", "cli/gateway", "cli/send"]),
    ("rusqlite", &["store"]),
    ("rustix", &["store"]),
    ("rustls", &["novu", "store"]),
    ("rustls_native_certs", &["store"]),
    ("serde_saphyr", &["config"]),
    ("sha2", &["verify", "deliver", "compiled", "novu", "render", "template", "watcher", "admin", "cli/send"]),
    ("strsim", &["clerk"]),
    ("tempfile", &["cli/dev"]),
    ("tokio_postgres", &["store"]),
    ("tokio_postgres_rustls", &["store"]),
    ("tracing_subscriber", &["cli"]),
];
const LANGUAGE: [&str; 4] = ["serde", "serde_json", "tokio", "tracing"];

const MOST_LINES: usize = 400;
/// Files that may be longer, each with its reason.
const LONGER: &[(&str, &str)] = &[("jsonpath/tests", "a table of filters, what each selects and what each is told")];

/// A file of `src/` without its tests, comments and documentation.
struct Source {
    /// Such as `jsonpath/scan`.
    path: String,
    room: String,
    lines: usize,
    code: String,
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&repository("src"), "", &mut sources);
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    sources
}

fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), sources);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file");
        let path = format!("{prefix}{name}");
        let room = path.split('/').next().expect("a room").to_owned();
        let is_test = ["tests", "properties"].contains(&&*name);
        let code = if is_test { String::new() } else { code(&text) };
        sources.push(Source { path, room, lines: text.lines().count(), code });
    }
}

/// What runs: no comments, and nothing that is compiled for tests alone.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // A line, or up to the brace that rustfmt has put at the margin.
            let head = lines.find(|line| line.ends_with(['{', ';']));
            if head.is_some_and(|head| head.ends_with('{')) {
                lines.find(|line| *line == "}");
            }
        } else if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The names that follow a word such as `crate::`, where that is no part of a longer one.
fn names_after<'a>(code: &'a str, word: &str) -> Vec<&'a str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    code.match_indices(word)
        .filter(|(at, _)| !code[..*at].ends_with(|before| is_name(before) || before == ':'))
        .map(|(at, _)| code[at + word.len()..].split(|char| !is_name(char)).next().unwrap_or_default())
        .collect()
}

fn allowed(room: &str) -> Vec<&'static str> {
    let line = MAY_IMPORT.iter().find(|(name, _)| *name == room);
    line.unwrap_or_else(|| panic!("`{room}` has no line in the table of who may import whom")).1.split(' ').collect()
}

#[test]
fn every_room_imports_only_whom_it_may_know() {
    let sources = sources();
    for source in &sources {
        let mut imported = names_after(&source.code, "crate::");
        imported.extend(names_after(&source.code, "deskbell::"));
        if source.path == source.room {
            imported.extend(names_after(&source.code, "super::"));
        }
        for room in imported.into_iter().filter(|room| *room != source.room) {
            assert!(allowed(&source.room).contains(&room), "src/{}.rs must not import `{room}`", source.path);
        }
    }
    for (room, _) in MAY_IMPORT {
        assert!(sources.iter().any(|source| source.room == *room), "`{room}` is in the table and nowhere else");
    }
}

#[test]
fn a_step_never_knows_its_successor_and_delivery_never_the_rules() {
    for (position, step) in STEPS.iter().enumerate() {
        for later in &STEPS[position + 1..] {
            assert!(!allowed(step).contains(later), "{step} must not know {later}");
        }
    }
    for room in ["rules", "route", "render", "config", "template", "jsonpath"] {
        assert!(!allowed("deliver").contains(&room), "delivering knows nothing of {room}");
    }
}

#[test]
fn the_middle_is_pure() {
    let mut reached: Vec<&str> = PURE.into();
    let mut next = 0;
    while let Some(room) = reached.get(next) {
        let more = allowed(room).into_iter().filter(|room| !room.is_empty() && !reached.contains(room));
        reached.extend(more.collect::<Vec<_>>());
        next += 1;
    }
    for room in ["store", "server", "http", "deliver", "observe", "novu", "outside", "watcher", "rules", "settings"] {
        assert!(!reached.contains(&room), "the middle reaches {room}");
    }
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str())) {
        for impure in ["tokio::", "std::fs", "std::net", "std::env", "SystemTime", "Instant", "units::now", "now()"] {
            assert!(!source.code.contains(impure), "src/{}.rs has `{impure}`", source.path);
        }
    }
}

#[test]
fn every_package_is_used_in_one_place() {
    let manifest = fs::read_to_string(repository("Cargo.toml")).expect("the manifest");
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let packages: BTreeMap<&str, &[&str]> = PACKAGES.iter().copied().collect();
    let mut known = 0;
    for line in dependencies.expect("dependencies").lines().filter(|line| line.contains('=')) {
        let name = line.split(['=', '.']).next().expect("a name").trim().replace('-', "_");
        let is_known = packages.contains_key(&*name) || LANGUAGE.contains(&&*name);
        assert!(is_known, "the package {name} has no place in the table");
        known += 1;
    }
    assert_eq!(known, PACKAGES.len() + LANGUAGE.len(), "the table names packages that are no dependency");

    let sources = sources();
    for (package, places) in PACKAGES {
        let uses = |source: &&Source| !names_after(&source.code, &format!("{package}::")).is_empty();
        let users: Vec<&Source> = sources.iter().filter(uses).collect();
        for source in &users {
            let fits = places.iter().any(|place| *place == source.room || *place == source.path);
            assert!(fits, "src/{}.rs uses {package}, which is for {places:?}", source.path);
        }
        assert!(!users.is_empty(), "nobody uses {package}");
    }
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    for source in sources() {
        let exception = LONGER.iter().find(|(path, _)| *path == source.path);
        match exception {
            None => assert!(source.lines <= MOST_LINES, "src/{}.rs has {} lines", source.path, source.lines),
            Some((path, reason)) => {
                assert!(source.lines > MOST_LINES, "src/{path}.rs needs no exception");
                assert!(!reason.is_empty(), "src/{path}.rs is an exception without a reason");
            }
        }
    }
}

#[test]
fn nothing_panics_on_purpose_and_nothing_is_unsafe() {
    let library = fs::read_to_string(repository("src/lib.rs")).expect("lib.rs");
    assert!(library.lines().any(|line| line == "#![forbid(unsafe_code)]"));
    let panics = [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!(", "dbg!("];
    for source in sources() {
        for panic in panics {
            assert!(!source.code.contains(panic), "src/{}.rs has `{panic}`", source.path);
        }
        let prints = ["print!(", "println!(", "stdout()", "stderr()", "process::exit"];
        for print in prints.into_iter().filter(|_| source.room != "cli") {
            assert!(!source.code.contains(print), "src/{}.rs has `{print}`, which is for commands", source.path);
        }
    }
}

/// The YAML of the README that is a whole file.
pub fn rules_in_the_readme() -> Vec<String> {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let blocks = readme.split("\n```yaml\n").skip(1).filter_map(|block| block.split("\n```").next());
    let rules: Vec<String> =
        blocks.filter(|block| block.contains("routes:")).map(|block| format!("{block}\n")).collect();
    assert!(!rules.is_empty(), "README.md shows no rules");
    rules
}

#[test]
fn every_file_of_rules_in_the_readme_checks_without_error_or_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    for rules in rules_in_the_readme() {
        fs::write(&file, &rules).expect("a file");
        let ran = run_with("check --strict", |command| {
            command.arg(&file);
        });
        assert_eq!(ran.status, 0, "{rules}\n{}", ran.stdout);
    }
}

#[test]
fn the_readme_lists_every_warning() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let section = readme.split("\n### Warnings\n").nth(1).and_then(|rest| rest.split("\n### ").next());
    let rows = section.expect("a section").lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let names = deskbell::keys::WARNINGS.map(|warning| warning.name);
    assert_eq!(rows.collect::<Vec<_>>(), names);
}
