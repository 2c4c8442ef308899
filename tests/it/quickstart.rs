//! The transcripts of README.md are what the commands print, but for revisions and ids.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::dev::{DEV, Dev};
use crate::events::ask;
use crate::harness::{Place, WELCOME, deskbell, repository, sample};
use crate::novu::{Behaviour, Novu};
use crate::shell::run_command;

/// The blocks of a section, each with its language.
fn blocks<'a>(readme: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let section = readme.split(&format!("\n{heading}\n")).nth(1).and_then(|rest| rest.split("\n## ").next());
    let blocks = section.expect("the section").split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a language and lines")).collect()
}

/// The commands of a transcript, each with what it shows.
fn transcript(block: &str) -> impl Iterator<Item = (&str, &str)> {
    let commands = block.strip_prefix("$ ").expect("a command").split("\n$ ");
    commands.map(|command| command.split_once('\n').expect("what it shows"))
}

fn command(folder: &Path, arguments: &str) -> Command {
    let mut command = deskbell();
    command.arg0("deskbell").args(arguments.split_whitespace()).current_dir(folder);
    command
}

/// Runs a command as it stands in the README, and has it shown the same.
fn run_as_shown(folder: &Path, line: &str, shown: &str) {
    let arguments = line.strip_prefix("deskbell ").or_else(|| line.strip_prefix("cargo run -- "));
    let mut command = command(folder, arguments.expect(line));
    let gateway = line.contains(" send ").then(|| Dev::start(self::command(folder, DEV)));
    if let Some(gateway) = &gateway {
        command.args(["--to", &gateway.webhooks]);
    }
    let ran = run_command(command, b"");
    compare(line, shown, &format!("{}{}", ran.stdout, ran.stderr));
}

fn compare(line: &str, shown: &str, printed: &str) {
    let [of_readme, of_today] = [shown, printed].map(without_ids);
    let [of_readme, of_today] = [&of_readme, &of_today].map(|text| text.trim_end().lines().collect::<Vec<_>>());
    assert!(fits(&of_readme, &of_today), "README.md shows of `{line}`:\n{shown}\nand it is:\n{printed}");
}

fn without_ids(text: &str) -> String {
    let ids =
        Regex::new(r"\b([0-9a-f]{12}|deskbell_[0-9a-f]{32}|msg_\w{27}|20\d\d-[\d-]+T[\d:.]+Z)\b").expect("a pattern");
    ids.replace_all(text, "ID").into_owned()
}

/// Whether a text is as it is shown, where `…` stands for any lines.
fn fits(shown: &[&str], printed: &[&str]) -> bool {
    match shown {
        [] => printed.is_empty(),
        ["…", rest @ ..] => (0..=printed.len()).any(|from| fits(rest, &printed[from..])),
        [line, rest @ ..] => printed.first() == Some(line) && fits(rest, &printed[1..]),
    }
}

/// What someone does in an editor: below a line at the margin goes what stands below the same line here.
fn edit(file: &Path, additions: &str) {
    let mut text = fs::read_to_string(file).expect("the file");
    for part in Regex::new(r"(?m)^(\w+:\n)((?: .*\n)+)").expect("a pattern").captures_iter(additions) {
        let line = format!("\n{}", &part[1]);
        assert_eq!(text.matches(&line).count(), 1, "{line}");
        text = text.replace(&line, &format!("{line}{}", &part[2]));
    }
    fs::write(file, text).expect("the file");
}

#[test]
fn the_quick_start_goes_as_the_readme_shows() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let own = tempfile::tempdir().expect("a folder");
    let mut folder: PathBuf = repository("");
    let mut ran = 0;
    for (language, block) in blocks(&readme, "## Quick start") {
        match language {
            "yaml" => edit(&own.path().join("routes.yaml"), block),
            "console" => {
                for (line, shown) in transcript(block) {
                    if line.starts_with("deskbell init") {
                        folder = own.path().to_owned();
                    }
                    run_as_shown(&folder, line, shown);
                    ran += 1;
                }
            }
            _ => {}
        }
    }
    assert!(ran > 4, "only {ran} commands were found");
}

#[test]
fn when_something_goes_wrong_it_goes_as_the_readme_shows() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let novu = Novu::that(|_, _| Behaviour::Answer(422, "", r#"{"message":"workflow_not_found"}"#));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let first = "msg_mxsRH5GvZoYG5hzKExBBydzk1ze";
    gateway.send(first, &sample("user.created"));
    gateway.drain();
    let mut ran = 0;
    for (line, shown) in
        blocks(&readme, "## When something goes wrong").into_iter().flat_map(|(_, block)| transcript(block))
    {
        match line.split_whitespace().nth(1) {
            Some("replay") => novu.now(|_, _| Behaviour::Process),
            Some("drop") => {
                for id in ["msg_1", "msg_2"] {
                    gateway.send(id, &sample("user.created"));
                }
            }
            _ => {}
        }
        let said = ask(&gateway, line.strip_prefix("deskbell ").expect(line)).fine();
        compare(line, shown, &said.stdout);
        ran += 1;
    }
    assert_eq!(ran, 7);
    gateway.drain();
    assert_eq!(novu.processed().len(), 3);
}

#[test]
fn the_help_is_the_one_in_the_readme() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let (language, block) = blocks(&readme, "## Commands")[0];
    assert_eq!(language, "console");
    for (line, shown) in transcript(block) {
        run_as_shown(&repository(""), line, shown);
    }
}
