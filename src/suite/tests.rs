use crate::compiled::Compiled;
use crate::outside::Outside;

const ROUTES: &str = "routes:
  - event: user.created
    workflow: welcome
    payload: { name: \"{{data.first_name}}\", plan: { seats: 3, tags: [a, b] } }
  - { name: each, event: user.created, each: '$.data.email_addresses[*]', workflow: address, topic: \"t-{{item.id}}\" }
  - { name: banned, event: user.created, filter: $.data.banned == true, workflow: banned }
tests:
";

/// Runs one test of a file, and compares what is wrong: the path, the message, what is said besides.
#[track_caller]
fn check(test: &str, unmet: &[(&str, &str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("event.json"), r#"{"type":"user.created","data":{"id":"u"}}"#).expect("a file");
    let compiled = Compiled::of(format!("{ROUTES}  - {test}\n").as_bytes(), Outside::Optional);
    assert!(compiled.problems.is_empty(), "{:?}", compiled.problems);
    let report = compiled.run_tests(folder.path());
    let found: Vec<(&str, &str, String)> = report
        .problems
        .iter()
        .map(|problem| {
            let said = [problem.expected.as_deref(), problem.hint.as_deref()].into_iter().flatten();
            (problem.path.as_str(), problem.message.as_str(), said.collect::<Vec<_>>().join("; "))
        })
        .collect();
    let unmet: Vec<(&str, &str, String)> =
        unmet.iter().map(|(path, message, said)| (*path, *message, (*said).to_owned())).collect();
    assert_eq!(found, unmet, "{test}");
    assert_eq!((report.passed, report.failed), if unmet.is_empty() { (1, 0) } else { (0, 1) });
}

const BOTH: &str = "{ route: each, topic: t-idn_3JV53yVLSSGRMZtoMl1A3hKEoOr }, { route: each }";

#[test]
fn what_is_named_has_to_match_and_the_list_is_complete() {
    check(&format!("{{ event: user.created, expect: [{{ route: welcome }}, {BOTH}] }}"), &[]);
    check(
        &format!(
            "{{ event: user.created, expect: [{BOTH}, {{ route: welcome, workflow: welcome, payload: {{ plan: {{ tags: [a, b] }} }} }}] }}"
        ),
        &[],
    );
    // In whatever order: what is open to any delivery leaves those that others name.
    let turned = "{ route: each }, { topic: t-idn_3JV53yVLSSGRMZtoMl1A3hKEoOr }, { workflow: welcome }";
    check(&format!("{{ event: user.created, expect: [{turned}] }}"), &[]);
    check(
        &format!("{{ name: x, event: user.created, expect: [{BOTH}] }}"),
        &[("tests[0]", "test `x`: `welcome` is sent, and the test does not expect it", "")],
    );
    check(
        "{ event: user.created, expect: [{ route: welcome }, { route: each }, { route: each }, { route: each }] }",
        &[("tests[0].expect[3]", "test `#1`: `each` is not sent", "it is sent fewer times than the test expects")],
    );
}

#[test]
fn every_leaf_that_differs_is_told() {
    let payload = "payload: { name: Bob, plan: { seats: 4, tags: [a], more: 1 } }";
    check(
        &format!("{{ event: user.created, expect: [{{ route: welcome, {payload} }}, {BOTH}] }}"),
        &[
            (
                "tests[0].expect[0].payload.name",
                "test `#1`: `payload.name` is not what is expected",
                "`\"Bob\"`; it is `\"Ada\"`",
            ),
            (
                "tests[0].expect[0].payload.plan.seats",
                "test `#1`: `payload.plan.seats` is not what is expected",
                "`4`; it is `3`",
            ),
            (
                "tests[0].expect[0].payload.plan.tags",
                "test `#1`: `payload.plan.tags` is not what is expected",
                "`[\"a\"]`; it is `[\"a\",\"b\"]`",
            ),
            (
                "tests[0].expect[0].payload.plan.more",
                "test `#1`: `payload.plan.more` is not what is expected",
                "`1`; it is missing",
            ),
        ],
    );
}

#[test]
fn events_come_from_samples_files_and_the_test_itself() {
    let none = "expect: [{ route: welcome, subscriber: { subscriberId: u } }]";
    check(&format!("{{ file: event.json, {none} }}"), &[]);
    check(&format!("{{ event: {{ type: user.created, data: {{ id: u }} }}, {none} }}"), &[]);
    check(&format!("{{ event: user.created, set: {{ data.id: u }}, unset: data.email_addresses, {none} }}"), &[]);
    check("{ event: user.deleted, expect: [] }", &[]);
    let unreadable = "test `#1`: `nowhere.json` cannot be read: No such file or directory (os error 2)";
    check("{ file: nowhere.json, expect: [] }", &[("tests[0].file", unreadable, "")]);
}

#[test]
fn a_route_that_is_not_taken_says_why() {
    check(
        &format!(
            "{{ event: user.created, expect: [{{ route: welcome }}, {BOTH}, {{ route: banned }}, {{ route: welcom }}] }}"
        ),
        &[
            (
                "tests[0].expect[3]",
                "test `#1`: `banned` is not sent",
                "the filter `$.data.banned == true` does not hold: `$.data.banned` is `false` (boolean)",
            ),
            (
                "tests[0].expect[4]",
                "test `#1`: `welcom` is not sent",
                "there is no such route, did you mean `welcome`?",
            ),
        ],
    );
}

#[test]
fn tests_that_take_too_long_together_are_not_all_run() {
    let rounds = "{{#each vars.list}}{{#each @root.vars.list}}{{/each}}{{/each}}";
    let list = vec!["1"; 2_000].join(",");
    let tests = "  - { event: user.created, expect: [] }\n".repeat(1_000);
    let rules = format!(
        "vars: {{ list: [{list}] }}\nroutes:\n  - {{ event: user.created, workflow: w, payload: {{ a: \"{rounds}\" }} }}\ntests:\n{tests}"
    );
    let compiled = Compiled::of(rules.as_bytes(), Outside::Optional);
    let report = compiled.run_tests(std::path::Path::new(""));
    let last = report.problems.last().expect("a problem");
    assert!(last.message.ends_with(": all tests together take too long"), "{}", last.message);
    assert_eq!(report.failed, 1_000);
    assert!(report.problems.len() < 1_000);
}
