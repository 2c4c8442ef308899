//! Files that were made to cost far more than they say: `check` tells what is wrong with them, in little time and memory.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::deskbell;
use crate::shell::{Ran, run_command};

/// Addresses, not memory: a process takes more of these than it uses.
const MOST_KIBIBYTES: usize = 400_000;
/// Of processor time. Without optimization, everything takes many times as long.
const MOST_SECONDS: u64 = if cfg!(debug_assertions) { 25 } else { 2 };

#[track_caller]
fn check(text: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    fs::write(&file, text).expect("a file");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MOST_KIBIBYTES}; ulimit -t {MOST_SECONDS}; exec \"$0\" check \"$1\"")]);
    command.arg(deskbell().get_program()).arg(Path::new(&file));
    let ran = run_command(command, b"");
    assert!(ran.stdout.len() < 2 << 20, "it says {} bytes", ran.stdout.len());
    ran
}

#[track_caller]
fn is_refused(text: &str, saying: &str) {
    let ran = check(text);
    let start: String = ran.stdout.chars().take(2_000).collect();
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""), "{start}");
    assert!(ran.stdout.contains(saying), "{saying:?} is not in {start}");
}

fn many(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = text.write_str(&item(number));
        text
    })
}

const ROUTE: &str = "routes: [{ event: user.created, workflow: w }]\n";

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    is_refused(&"#".repeat(10 << 20), "the file is too large to be read");
    let ran = run_command(
        {
            let mut command = deskbell();
            command.args(["check", "/dev/zero"]);
            command
        },
        b"",
    );
    assert!(ran.stdout.contains("the file is too large to be read"), "{ran:?}");
}

#[test]
fn aliases_that_stand_for_more_and_more_are_refused() {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let bomb = letters.windows(2).fold("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, pair| {
        let aliases = vec![format!("*{}", pair[0]); 9].join(", ");
        format!("{text}{}: &{} [{aliases}]\n", pair[1], pair[1])
    });
    is_refused(&bomb, "more is in the file");
    let large = format!("vars: {{ m: &m {} }}\nroutes: [{}]\n", "x".repeat(1 << 20), "*m,".repeat(50_000));
    is_refused(&large, "more is in the file");
    let templates = format!("vars: {{ m: &m '{}' }}\n", long_template());
    is_refused(
        &format!(
            "{templates}routes: [{{ event: user.created, workflow: w, payload: {{ a: [{}] }} }}]\n",
            "*m,".repeat(50)
        ),
        "more filters and templates than",
    );
}

#[test]
fn very_many_mistakes_are_told_in_part() {
    is_refused(&format!("routes: [{}]\n", "~,".repeat(60_000)), "there are more errors than the 1000 that are told");
    is_refused(&format!("{ROUTE}vars: [{}]\n", "!x 1,".repeat(60_000)), "there are more errors than the 1000");
    let unknown = many(40_000, |number| format!("    filte{number}: x\n"));
    is_refused(&format!("routes:\n  - event: user.created\n    workflow: w\n{unknown}"), "unknown key `filte0`");
    let same = "  - { event: user.created, workflow: w }\n".repeat(50_000);
    is_refused(&format!("routes:\n{same}"), "two routes are named `w`");
    // A long path above each of them.
    let long = format!("{ROUTE}vars:\n  ? {}\n  : [{}]\n", "k".repeat(1 << 20), "~,".repeat(60_000));
    is_refused(&long, "…[0]");
}

/// One expression of sixty kilobytes.
fn long_template() -> String {
    format!("{{{{default{}}}}}", " a".repeat(30_000))
}

#[test]
fn more_filters_and_templates_than_any_file_needs_are_refused() {
    let filters = "\"$.a[\",".repeat(100_000);
    let route = format!("routes: [{{ event: user.created, workflow: w, filter: [{filters}] }}]\n");
    is_refused(&route, "there are more errors than the 1000");
    let templates = format!("'{}',", long_template()).repeat(100);
    let route = format!("routes: [{{ event: user.created, workflow: w, payload: {{ a: [{templates}] }} }}]\n");
    is_refused(&route, "more filters and templates than any file of rules needs");
}

/// A route that makes this of an event, and a test of it.
fn rendering(template: &str) -> String {
    format!(
        "routes: [{{ event: user.created, workflow: w, payload: {{ a: '{template}' }} }}]\n\
         tests: [{{ event: user.created, expect: [{{ payload: {{}} }}] }}]\n"
    )
}

#[test]
fn templates_that_would_make_far_too_much_fail() {
    // Without optimization, the time of the tests may be over before.
    let saying = "error[test_failed]";
    let loops = 12;
    is_refused(&rendering(&format!("{}{}", "{{#each @root.data}}".repeat(loops), "{{/each}}".repeat(loops))), saying);
    let long = "a".repeat(10_000);
    let grown = (0..4).fold("\"a\"".to_owned(), |text, _| format!("(replace {text} \"a\" \"{long}\")"));
    is_refused(&rendering(&format!("{{{{upper {grown}}}}}")), saying);
    let items = (0..1000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    // No template is in what is filled in.
    let event =
        format!("{{ type: user.created, data: {{ id: u, first_name: {}, l: [{items}] }} }}", "x".repeat(1 << 20));
    let filled_in = "routes: [{ event: user.created, workflow: w, each: '$.data.l[*]' }]";
    is_refused(&format!("{filled_in}\ntests: [{{ event: {event}, expect: [] }}]\n"), saying);
    is_refused(
        &format!(
            "vars: {{ m: &m {} }}\nroutes: [{{ event: a.b, workflow: w, each: '$.data[*]', \
             subscriber: {{ subscriberId: x }}, payload: {{ a: *m }} }}]\n\
             tests: [{{ event: {{ type: a.b, data: [{items}] }}, expect: [{}] }}]\n",
            "x".repeat(1 << 20),
            "{ payload: {} },".repeat(1000)
        ),
        saying,
    );
}

#[test]
fn tests_that_would_take_very_long_fail() {
    let filters = "  - { event: user.created, workflow: wN, filter: \"$..[?@.a == 1]\" }\n";
    let filters = many(2_000, |number| filters.replace('N', &number.to_string()));
    let event = format!("{{ type: user.created, data: {{ l: [{}] }} }}", "{ a: 2 },".repeat(20_000));
    is_refused(
        &format!("routes:\n{filters}tests: [{{ event: {event}, expect: [] }}]\n"),
        "all tests together take too long",
    );
    let routes = many(20_000, |number| format!("  - {{ event: user.created, workflow: w{number} }}\n"));
    let expected = many(20_000, |number| format!("{{ route: w{} }},", 19_999 - number));
    is_refused(&format!("routes:\n{routes}tests: [{{ event: user.created, expect: [{expected}] }}]\n"), "");
    let set = many(20_000, |number| format!("'data.l[{number}]': 1, "));
    assert_eq!(check(&format!("{ROUTE}tests: [{{ event: role.created, set: {{ {set} }}, expect: [] }}]\n")).status, 0);
}

#[test]
fn names_of_events_that_nobody_knows_do_not_add_up() {
    let types = many(50_000, |number| format!("t{number},"));
    let globs = many(20_000, |number| format!("  - {{ event: '*', workflow: w{number}, topic: t }}\n"));
    let ran =
        check(&format!("routes:\n  - {{ workflow: w, subscriber: {{ subscriberId: x }}, event: [{types}] }}\n{globs}"));
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("there are more warnings than the 1000 that are told"));
}

#[test]
fn what_has_no_end_is_not_read_as_a_secret_or_an_event() {
    is_refused(
        &format!("{ROUTE}tests: [{{ file: /dev/zero, expect: [] }}]\n"),
        "`/dev/zero` cannot be read: it is not a file",
    );
    let ran = check(&format!("{ROUTE}vars: {{ a: '${{file:/dev/zero}}' }}\n"));
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("`${file:/dev/zero}` cannot be read: it is not a file"), "{}", ran.stdout);
}

#[test]
fn routes_that_are_costly_to_hold_against_each_other_are_told_of_in_part() {
    let filter = "  - { name: rN, event: \"*\", workflow: w, topic: t, filter: \"$..[?count($..*) > 900]\" }\n";
    let costly = check(&format!("routes:\n{}", many(3_000, |number| filter.replace('N', &number.to_string()))));
    assert_eq!(costly.status, 0, "{}", costly.stdout);
    let unknown = |number| format!("  - {{ name: r{number}, event: x.y{number}, workflow: w, topic: t }}\n");
    assert_eq!(check(&format!("routes:\n{}", many(20_000, unknown))).status, 0);
}
