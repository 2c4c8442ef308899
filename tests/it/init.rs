//! `init`: a first file of rules, and the presets that are the folders of `examples/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{deskbell, repository};
use crate::shell::{Ran, run, run_command, run_with};

fn empty_folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn run_in(folder: &Path, arguments: &str) -> Ran {
    run_with(arguments, |command| {
        command.current_dir(folder);
    })
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
}

/// The presets, each with its line in the list.
fn presets() -> Vec<(String, String)> {
    let list = run("init --list").fine().stdout;
    let lines = list.lines().map(|line| line.split_once("  ").expect("a name and a sentence"));
    lines.map(|(name, sentence)| (name.to_owned(), sentence.trim().to_owned())).collect()
}

#[test]
fn every_folder_of_examples_is_a_preset_and_every_preset_a_folder() {
    let names: BTreeSet<String> = presets().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, names_in(&repository("examples")));
    for (name, sentence) in presets() {
        let text = fs::read_to_string(repository("examples").join(&name).join("routes.yaml")).expect("rules");
        assert_eq!(text.lines().next(), Some(&*format!("# {sentence}")));
    }
}

#[test]
fn every_preset_stands_by_itself_and_what_it_suggests_works() {
    let presets = presets().into_iter().map(|(name, _)| (format!("examples/{name}/routes.yaml"), name));
    for (original, name) in presets.chain([("routes.yaml".to_owned(), String::new())]) {
        let folder = empty_folder();
        let ran = run_in(folder.path(), &format!("init {name}"));
        assert_eq!((ran.status, &*ran.stdout), (0, ""), "{}", ran.stderr);
        let written = ["routes.yaml", "routes.schema.json"].map(str::to_owned);
        assert_eq!(names_in(folder.path()), BTreeSet::from(written));
        let schema = fs::read_to_string(folder.path().join("routes.schema.json")).expect("the schema");
        assert_eq!(schema, run("schema").fine().stdout);
        let text = fs::read_to_string(folder.path().join("routes.yaml")).expect("what was written");
        let original = fs::read_to_string(repository(&original)).expect("the original");
        assert_eq!(text, format!("# yaml-language-server: $schema=routes.schema.json\n{original}"));

        let report = run_in(folder.path(), "check --strict --format json").fine().json();
        let problems = report["problems"].as_array().expect("a list");
        assert!(problems.iter().all(|problem| problem["severity"] == "note"), "{problems:#?}");
        assert!(report["tests"]["passed"].as_u64() > Some(0), "{name} has no tests");

        for command in ["check", "explain", "dev"] {
            let suggested = suggestion(&ran.stderr, command);
            match command {
                "dev" => assert_eq!(suggested, "dev"),
                _ => {
                    let said = run_in(folder.path(), &suggested).fine().stdout;
                    let expected = if command == "check" { " 0 failed" } else { "\ntaken: " };
                    assert!(said.contains(expected), "{suggested}: {said}");
                    assert!(!said.contains("would end dead"), "{suggested}: {said}");
                }
            }
        }
    }
}

/// The arguments of a command that `init` suggests.
fn suggestion(said: &str, command: &str) -> String {
    let mut lines = said.lines().filter_map(|line| line.split_once("  # "));
    let start = format!("deskbell {command}");
    lines.find_map(|(line, _)| Some(line[line.find(&start)? + "deskbell ".len()..].trim().to_owned())).expect(said)
}

#[test]
fn init_never_writes_over_what_is_there() {
    let folder = empty_folder();
    fs::write(folder.path().join("routes.yaml"), "mine").expect("a file");
    fs::create_dir(folder.path().join("folder.yaml")).expect("a folder");
    std::os::unix::fs::symlink(folder.path().join("gone"), folder.path().join("link.yaml")).expect("a link");
    fs::write(folder.path().join("routes.schema.json"), "mine").expect("a file");
    run_in(folder.path(), "init welcome --routes other.yaml");
    let before = names_in(folder.path());
    for file in ["routes.yaml", "folder.yaml", "link.yaml"] {
        run_in(folder.path(), &format!("init welcome --routes {file}"))
            .failed(1)
            .says(&[&format!("`{file}` exists, and stays as it is\n"), "hint: name another file with `--routes PATH`"]);
    }
    for file in ["routes.yaml", "routes.schema.json"] {
        assert_eq!(fs::read_to_string(folder.path().join(file)).expect("the file"), "mine");
    }
    assert_eq!(names_in(folder.path()), before, "nothing is written through a link to nowhere");
}

#[test]
fn a_file_that_cannot_be_written_whole_is_not_left_behind() {
    let folder = empty_folder();
    run_in(folder.path(), "init --routes gone/routes.yaml").failed(1).says(&["`gone/routes.yaml` cannot be written: "]);

    // No file may grow beyond 512 bytes, and the signal that tells of it is ignored.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" init --routes routes.yaml";
    let mut limited = Command::new("sh");
    limited.args(["-c", script]).arg(deskbell().get_program()).current_dir(folder.path());
    run_command(limited, b"").failed(1).says(&["`routes.yaml` cannot be written: "]);
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn the_file_may_have_another_name_and_what_is_suggested_has_it_too() {
    let folder = empty_folder();
    let by_flag = run_in(folder.path(), "init sms --routes own.yaml");
    assert_eq!(suggestion(&by_flag.stderr, "check"), "check own.yaml");
    assert_eq!(suggestion(&by_flag.stderr, "dev"), "dev --routes own.yaml");
    run_in(folder.path(), &suggestion(&by_flag.stderr, "explain")).fine();

    let by_variable = run_with("init", |command| {
        command.current_dir(folder.path()).env("DESKBELL_ROUTES", "Ada's rules.yaml");
    });
    assert_eq!(suggestion(&by_variable.stderr, "check"), r"check 'Ada'\''s rules.yaml'");
    let names = ["own.yaml", "Ada's rules.yaml", "routes.schema.json"].map(str::to_owned);
    assert_eq!(names_in(folder.path()), BTreeSet::from(names));
}

#[test]
fn an_unknown_preset_is_told_with_the_nearest_and_all_of_them() {
    let folder = empty_folder();
    let all: Vec<String> = presets().into_iter().map(|(name, _)| format!("`{name}`")).collect();
    let all = format!("there are {}\n", all.join(", "));
    run_in(folder.path(), "init welcom").failed(2).says(&[
        "there is no preset `welcom`",
        "did you mean `welcome`? ",
        &all,
    ]);
    run_in(folder.path(), "init x").failed(2).says(&["there is no preset `x`", &format!("hint: {all}")]);
    run_in(folder.path(), "init ../welcome").failed(2);
    run_in(folder.path(), "init welcome --list").failed(2).says(&["cannot be used with"]);
    assert!(names_in(folder.path()).is_empty());
}
