//! `samples`, `check` and `send`, and what holds for every command.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::harness::{Place, SECRET, WELCOME, deskbell};
use crate::novu::Novu;
use crate::shell::{Ran, run, run_command, run_with};

/// A folder with one file in it, and the binary run there.
struct Folder(TempDir);

impl Folder {
    fn with(file: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(file), text).expect("a file");
        Self(folder)
    }

    fn run(&self, arguments: &str) -> Ran {
        run_with(arguments, |command| {
            command.current_dir(self.0.path());
        })
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

const FINE: &str = "routes:\n  - { event: user.created, workflow: welcome }\n";
const WARNED: &str = "routes:\n  - { event: user.create, workflow: welcome }\n";
const BROKEN: &str = "routes:\n  - event: user.created\n    workflow: welcome\n    filer: $.data.banned\n";

#[test]
fn every_command_has_help_with_an_example() {
    let help = run("help").fine().stdout;
    let list = help.split("Commands:\n").nth(1).and_then(|text| text.split("\n\n").next()).expect("a list of commands");
    let commands: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for expected in [
        "init", "serve", "dev", "check", "explain", "send", "samples", "schema", "events", "show", "replay", "drop",
        "pause", "resume", "store",
    ] {
        assert!(commands.contains(&expected), "{expected} is not in {commands:?}");
    }
    for command in commands.into_iter().filter(|command| *command != "help") {
        let help = run(&format!("{command} --help")).fine().stdout;
        let example = help.split("\nExample").nth(1).unwrap_or_else(|| panic!("{command} has no example"));
        assert!(example.contains(&format!("deskbell {command}")), "{example}");
    }
    for default in ["0.0.0.0:8080; of `dev`: 127.0.0.1:8080", "5s; of `dev`: 0"] {
        let help = run("serve --help").stdout;
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("[default: {default}]")), "{default}: {help}");
    }
    assert!(run("--version").fine().stdout.starts_with("deskbell "));
}

#[test]
fn help_names_the_variable_of_the_store_and_not_the_password_in_it() {
    for command in ["serve", "store copy"] {
        let ran = run_with(&format!("{command} --help"), |command| {
            command.env("DESKBELL_STORE", "postgres://deskbell:s3cret@db/deskbell");
        });
        let help = ran.fine().stdout;
        assert!(help.contains("[env: DESKBELL_STORE]") && !help.contains("s3cret"), "{help}");
    }
}

#[test]
fn wrong_usage_is_told_on_stderr_with_status_2() {
    for (arguments, said) in [
        ("", "Usage: deskbell <COMMAND>"),
        ("nonsense", "unrecognized subcommand 'nonsense'"),
        ("check --nonsense", "unexpected argument '--nonsense'"),
        ("check --format xml", "[possible values: text, json, github]"),
        ("check a b", "unexpected argument 'b'"),
        ("explain", "required"),
        ("explain --sample user.created event.json", "cannot be used with"),
        ("send", "<NAME>"),
        ("send user.created --rate 0", "--rate"),
        ("send user.created --count many", "--count"),
        ("serve --drain-delay soon", "expected a duration such as `500ms`, `10s` or `5m`"),
        (
            "events --state ded",
            "[possible values: new, retrying, sending, paused, delivered, dead, expired, cancelled, unrouted]",
        ),
        ("events --limit 0", "--limit"),
        ("show", "<ID>"),
        ("replay", "hint: name an event, or say which: `--state dead`, `--route`"),
        ("replay --again", "hint: name an event, or say which: `--state dead`, `--route`"),
        ("replay msg_1 --state new", "[possible values: dead, expired, cancelled, unrouted, delivered]"),
        ("replay msg_1 --rate 0/s", "expected a rate such as `100/s`"),
        ("replay msg_1 --rate 4294967296/s", "expected a rate such as `100/s`"),
        ("drop", "hint: name an event, or say which: `--state dead`, `--route`"),
        ("drop --state delivered", "[possible values: new, retrying, paused, dead]"),
        ("pause", "hint: say which: `--route`, `--source` or `--all`"),
        ("resume", "hint: say which: `--route`, `--source` or `--all`"),
        ("serve --log-format xml", "[possible values: text, json]"),
    ] {
        run(arguments).failed(2).says(&[said]);
    }
}

#[test]
fn samples_lists_every_event_type_and_variant_and_prints_each() {
    let list = run("samples").fine().stdout;
    let names: Vec<&str> = list.lines().collect();
    assert_eq!(names.iter().filter(|name| !name.contains('/')).count(), 46);
    assert!(names.iter().filter(|name| name.starts_with("email.created/")).count() >= 17, "{names:?}");
    assert!(names.contains(&"sms.created/reset_password"));
    for name in names.into_iter().chain(["email.created/verification_code"]) {
        let sample = run(&format!("samples {name}")).fine().json();
        assert_eq!(sample["type"], name.split('/').next().expect("a type"), "{name}");
    }
    let sample = run("samples email.created/magic_link_sign_in").fine().json();
    assert_eq!((&sample["type"], &sample["data"]["slug"]), (&json!("email.created"), &json!("magic_link_sign_in")));
}

#[test]
fn an_unknown_sample_is_told_with_the_nearest() {
    for command in ["samples", "explain --sample", "send"] {
        let folder = Folder::with("routes.yaml", FINE);
        let ran = folder.run(&format!("{command} user.create"));
        ran.failed(2).says(&["there is no sample `user.create`", "hint: did you mean `user.created`?"]);
        folder
            .run(&format!("{command} x"))
            .failed(2)
            .says(&["there is no sample `x`", "`deskbell samples` lists them"]);
    }
}

#[test]
fn check_says_how_it_is_with_its_exit_status() {
    for (text, strict, status, said) in [
        (FINE, "", 0, "routes.yaml: 1 route, 0 warnings, 0 tests passed, 0 failed, revision "),
        (FINE, "--strict", 0, "1 route"),
        (WARNED, "", 0, "routes.yaml:2:14: warning[unknown_event_type]: Clerk sends no event `user.create`"),
        (WARNED, "--strict", 1, "hint: did you mean `user.created`?"),
        (
            BROKEN,
            "",
            1,
            "routes.yaml:4:5: error[unknown_key]: unknown key `filer`\n  in: routes[0].filer\n  expected: one of",
        ),
        (BROKEN, "", 1, "routes.yaml: does not run, 1 error, 0 warnings"),
    ] {
        let folder = Folder::with("routes.yaml", text);
        let ran = folder.run(&format!("check {strict}"));
        assert_eq!((ran.status, ran.stderr.as_str()), (status, ""), "{text}");
        assert!(ran.stdout.contains(said), "{}", ran.stdout);
        let named = folder.run(&format!("check {strict} routes.yaml"));
        let by_variable = run_with(&format!("check {strict}"), |command| {
            command.env("DESKBELL_ROUTES", "routes.yaml").current_dir(folder.0.path());
        });
        assert_eq!([&named.stdout, &by_variable.stdout], [&ran.stdout; 2]);
    }
    let folder = Folder::with("other.yaml", FINE);
    folder.run("check").failed(1).says(&["`routes.yaml` cannot be read"]);
    folder.run("check --format json nowhere.yaml").failed(1).says(&["`nowhere.yaml` cannot be read"]);
}

#[test]
fn check_runs_the_tests_of_the_file() {
    let failing = format!(
        "{FINE}tests:\n  - {{ event: user.created, expect: [{{ route: welcome }}] }}\n  - {{ name: none, event: user.created, expect: [] }}\n  - {{ event: user.created, source: nowhere, expect: [] }}\n"
    );
    let ran = Folder::with("routes.yaml", &failing).run("check --format json");
    let report = ran.json();
    assert_eq!((ran.status, &report["tests"]), (1, &json!({"passed": 1, "failed": 2})));
    let [first, second] = report["problems"].as_array().expect("a list").as_slice() else { panic!("{report:#}") };
    assert_eq!((&first["code"], &first["line"]), (&json!("test_failed"), &json!(5)), "{first:#}");
    assert_eq!(first["message"], "test `none`: `welcome` is sent, and the test does not expect it");
    assert_eq!(second["message"], "test `#3`: there is no source `nowhere`");
}

#[test]
fn the_json_of_check_has_the_shape_that_scripts_rely_on() {
    let folder = Folder::with("routes.yaml", BROKEN);
    let ran = folder.run("check --format json");
    let report = ran.json();
    assert_eq!(ran.status, 1);
    assert_eq!(keys(&report), ["file", "problems", "revision", "tests"]);
    assert_eq!(report["file"], "routes.yaml");
    let hash: String = Sha256::digest(BROKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(report["revision"], hash[..12]);
    assert_eq!(report["tests"], json!({"passed": 0, "failed": 0}));
    let [problem] = report["problems"].as_array().expect("a list").as_slice() else { panic!("{report:#}") };
    assert!(problem["expected"].as_str().expect("a text").starts_with("one of `event`, `source`"));
    let mut problem = problem.clone();
    problem["expected"] = json!("…");
    assert_eq!(
        problem,
        json!({
            "severity": "error", "code": "unknown_key", "line": 4, "column": 5, "path": "routes[0].filer",
            "message": "unknown key `filer`", "expected": "…", "hint": "did you mean `filter`?",
        })
    );
    let warned = Folder::with("routes.yaml", WARNED).run("check --format json").fine().json();
    assert_eq!(warned["problems"][0]["expected"], Value::Null, "every problem has every key");
}

#[test]
fn check_annotates_for_github() {
    let text = "vars: { a: \"${NOVU_GONE}\" }\nroutes:\n  - { event: user.create, workflow: 100%, name: a }\n  - { name: a, event: user.created, workflow: w }\n";
    let folder = Folder::with("a,b:c%.yaml", text);
    let ran = folder.run("check --format github a,b:c%.yaml");
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    let file = "file=a%2Cb%3Ac%25.yaml";
    assert_eq!(
        ran.stdout.lines().collect::<Vec<_>>(),
        [
            format!("::notice {file},line=1,col=12,title=unset_variable::`${{NOVU_GONE}}` is not set"),
            format!(
                "::warning {file},line=3,col=14,title=unknown_event_type::Clerk sends no event `user.create` that is known here%0Ahint: did you mean `user.created`?"
            ),
            format!(
                "::error {file},line=4,col=13,title=duplicate_name::two routes are named `a`%0Ahint: the other is in line 3"
            ),
        ]
    );
}

/// `deskbell send` to a gateway, with the secret that the gateway has.
fn send(arguments: &str, address: &str, secret: &str) -> Ran {
    let mut command: Command = deskbell();
    command.arg("send").args(arguments.split_whitespace()).arg("--to").arg(address);
    command.env("CLERK_WEBHOOK_SIGNING_SECRET", secret);
    run_command(command, b"")
}

#[test]
fn a_log_level_that_there_is_none_of_is_refused() {
    let place = Place::new(Novu::start().address, WELCOME);
    let (status, said) = place.refuses_to_start(|command| {
        command.env("DESKBELL_LOG", "loud");
    });
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("expected `off`, `error`, `warn`, `info` or `debug`"), "{said}");
    // Compose files set what is not set to nothing.
    drop(place.start_with(|command| {
        command.env("DESKBELL_LOG", "");
    }));
}

#[test]
fn send_posts_a_signed_sample_and_prints_the_answer() {
    let novu = Novu::start();
    let routes = "  - { event: user.created, workflow: welcome, payload: { name: \"{{data.first_name}}\", at: \"{{timestamp}}\", last: \"{{data.last_name}}\" } }\n";
    let gateway = Place::new(novu.address, routes).start();
    let address = format!("http://{}/webhooks/clerk", gateway.webhooks);
    let before = deskbell::units::now();
    let answers = |arguments: &str| -> Vec<Value> {
        let ran = send(arguments, &address, SECRET).fine();
        let answer = |line: &str| serde_json::from_str(line.strip_prefix("200 ").expect("status 200")).expect("JSON");
        ran.stdout.lines().map(answer).collect()
    };
    let outcomes = |answers: &[Value]| answers.iter().map(|answer| answer["outcome"].clone()).collect::<Vec<_>>();

    let first = answers("user.created --set data.first_name=Grace --unset data.last_name");
    assert_eq!(outcomes(&first), ["accepted"]);
    assert_eq!(
        (&first[0]["routes"], keys(&first[0])),
        (&json!(["welcome"]), vec!["event", "outcome", "revision", "routes"])
    );
    let request = novu.wait_for(1).remove(0);
    assert_eq!(request.body["payload"]["name"], "Grace");
    assert_eq!(request.body["payload"]["last"], Value::Null);
    assert!(request.body["payload"]["at"].as_i64() >= Some(before), "it is stamped now");

    let several = answers("user.created --count 3 --rate 1000/s");
    assert_eq!(outcomes(&several), ["accepted"; 3]);
    let ids: BTreeSet<String> = several.iter().map(|answer| answer["event"].to_string()).collect();
    assert_eq!(ids.len(), 3, "each is an event of its own: {ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("\"msg_") && id.len() == 33), "{ids:?}");

    let same = answers("user.created --id msg_mine --count 2");
    assert_eq!(outcomes(&same), ["accepted", "duplicate"]);
    assert_eq!(same[0]["event"], "msg_mine");

    let unrouted = send("user.deleted", &address, SECRET).says(&["`deskbell explain --sample user.deleted` says why"]);
    assert_eq!((unrouted.status, unrouted.stdout.contains("\"unrouted\"")), (0, true), "{}", unrouted.stdout);
    gateway.drain();
    assert_eq!(novu.requests().len(), 5);
}

#[test]
fn send_fails_when_the_gateway_refuses_or_is_not_there() {
    let novu = Novu::start();
    let gateway = Place::new(novu.address, WELCOME).start();
    let address = format!("http://{}/webhooks", gateway.webhooks);
    let ran = send("user.created", &format!("{address}/clerk"), "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.starts_with("400 {") && ran.stdout.contains("invalid_signature"), "{}", ran.stdout);
    ran.says(&["hint: the gateway has another secret; name it with `--secret`"]);
    let ran = send("user.created", &format!("{address}/nobody"), SECRET);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.starts_with("404 {") && ran.stdout.contains("unknown_source"), "{}", ran.stdout);
    // A gateway that `serve` runs does not know the secret that `send` has without another.
    assert_eq!(send("user.created", &format!("{address}/clerk"), "").status, 1);
    gateway.drain();
    assert!(novu.requests().is_empty());

    // Bound, so that nobody else has it, and not listening.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let free = socket.local_addr().expect("an address");
    send("user.created", &format!("http://{free}/webhooks/clerk"), SECRET)
        .failed(1)
        .says(&[&format!("no gateway answers at http://{free}/webhooks/clerk"), "hint: start one with `deskbell dev`"]);
    send("user.created", "nonsense", SECRET).failed(2).says(&["`nonsense` cannot be asked"]);
    send("user.created", &address, "hunter2!").failed(2).says(&["the signing secret is not base64"]);
    send("user.created --set data.id.x=1", &address, SECRET).failed(2).says(&["cannot set `data.id.x`"]);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (misplaced, path) in [
        (format!("sources: {secret}"), "sources"),
        (format!("sources: {{ clerk: {secret} }}"), "sources.clerk"),
        (
            format!("sources: {{ clerk: {{ signing_secrets: [{{ x: {secret} }}] }} }}"),
            "sources.clerk.signing_secrets[0]",
        ),
        (format!("novu: {secret}"), "novu"),
        (format!("novu: {{ api_url: {secret} }}"), "novu.api_url"),
    ] {
        let ran = Folder::with("routes.yaml", &format!("{}\nroutes: []\n", misplaced)).run("check");
        assert!(ran.stdout.contains(path) && ran.stdout.contains("does not belong here"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("MfKQ9r8"), "{}", ran.stdout);
    }
}
