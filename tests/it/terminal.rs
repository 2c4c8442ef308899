//! What people see at a terminal, and pipes do not.

use std::fs;
use std::io::Read;
use std::path::Path;

use pty_process::blocking::{Command, open};

use crate::harness::{Place, WELCOME, sample};
use crate::novu::{Behaviour, Novu};

/// Checks a file at a terminal, and gives what is shown there.
fn check_at_a_terminal(rules: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("routes.yaml"), rules).expect("a file");
    at_a_terminal(folder.path(), &["check"])
}

pub fn at_a_terminal(folder: &Path, arguments: &[&str]) -> String {
    let (mut terminal, process_side) = open().expect("a terminal");
    let command = Command::new(env!("CARGO_BIN_EXE_deskbell")).current_dir(folder).args(arguments);
    let mut child = command.spawn(process_side).expect("it starts");
    let mut shown = Vec::new();
    // Linux ends reading with an error once the last process of the terminal has gone.
    let _ = terminal.read_to_end(&mut shown);
    child.wait().expect("it ends");
    String::from_utf8(shown).expect("text").replace('\r', "")
}

#[test]
fn a_problem_is_shown_in_its_line_with_a_caret() {
    let long = "x".repeat(300);
    let shown = check_at_a_terminal(&format!(
        "routes:\n  - event: user.created\n    filter: $.data.slug in ['a']\n    workflow: a\n    payload: {{ a: {long},\tb: \"{{{{shout x}}}}\" }}\n"
    ));
    let filter = "routes.yaml:3:25: error[bad_jsonpath]: `in` is not JSONPath, at character 13
    |
  3 |     filter: $.data.slug in ['a']
    |                         ^
  in: routes[0].filter
  hint: write `$.data.slug == 'a'`
";
    assert!(shown.starts_with(filter), "{shown}");
    let template = format!("\n  5 | {}, b: \"{{{{shout x}}}}\" }}\n    | {}^\n", "x".repeat(44), " ".repeat(50));
    assert!(shown.contains(&template), "{shown}");
}

#[test]
fn a_line_that_may_hold_a_secret_is_not_shown() {
    for rules in [
        "sources: { clerk: { signing_secrets: [whsec_YWJj] } }\nroutes: []\n",
        "novu:\n  secret_key: 3\n  other: sk_live\nroutes: []\n",
        "novu:\n  secret_key: [sk_live\n",
        "\"novu\": {secret_key: [sk_live\n",
        "{ novu: { secret_key: [sk_live\n",
    ] {
        let shown = check_at_a_terminal(rules);
        assert!(shown.contains("error["), "{shown}");
        for secret in ["whsec_YWJj", "sk_live", "|"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn a_replay_shows_how_far_it_is() {
    let novu = Novu::that(|_, _| Behaviour::Answer(400, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for id in ["msg_1", "msg_2"] {
        gateway.send(id, &sample("user.created"));
    }
    gateway.drain();
    let address = format!("--gateway=http://{}", gateway.admin);
    let shown = at_a_terminal(place.folder.path(), &["replay", "--state=dead", "--rate=1/s", &address]);
    for step in 1..=2 {
        assert!(shown.contains(&format!("{step} events, {step} deliveries on their way")), "{shown}");
    }
    assert!(shown.ends_with("\n2 events: 2 on the way again\n"), "{shown}");
}
