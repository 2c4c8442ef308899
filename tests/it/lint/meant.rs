//! What only looks like a mistake, in whole files as people write them.

use std::fs;

use crate::harness::repository;
use crate::shell::run_with;

#[test]
fn nothing_is_warned_of_in_files_that_mean_what_they_say() {
    let entries = fs::read_dir(repository("tests/it/lint")).expect("the files");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    assert!(files.len() >= 13, "only {files:?}");
    for file in files {
        let ran = run_with("check --format json --strict", |command| {
            command.arg(&file);
        });
        let report = ran.json();
        let problems = report["problems"].as_array().expect("a list");
        let worse: Vec<_> = problems.iter().filter(|problem| problem["severity"] != "note").collect();
        assert!(worse.is_empty(), "{}: {worse:#?}", file.display());
        assert_eq!(ran.status, 0, "{}", file.display());
    }
}
