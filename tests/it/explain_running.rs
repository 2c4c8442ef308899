//! `POST /api/explain`, and `explain --id`, which asks it.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Gateway, PATIENCE, Place, SECRET, Signed, WELCOME, connect, deskbell, eventually, rules, sample, sample_with,
};
use crate::novu::Novu;
use crate::shell::{Ran, run_command};

const EXPLAIN: &str = "/api/explain";
const KEY: &str = "key-of-the-tests";
/// Two routes, of which one says something and leaves something out.
const ROUTES: &str = "  - { event: user.created, workflow: welcome, payload: { name: \"{{data.first_name}}\", plan: \"{{data.plan}}\", as: \"{{webhook.id}}\" } }\n  \
                      - { event: user.*, workflow: vip, filter: $.data.plan == 'pro', topic: vips }\n";

fn running(routes: &str) -> (Novu, Place, Gateway) {
    let novu = Novu::start();
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    (novu, place, gateway)
}

#[track_caller]
fn explained(gateway: &Gateway, question: &Value) -> Value {
    let answer = gateway.ask(EXPLAIN, &question.to_string());
    assert_eq!((answer.status, &*answer.headers["content-type"]), (200, "application/json"), "{}", answer.body);
    assert!(!answer.body.contains(KEY) && !answer.body.contains(SECRET), "{}", answer.body);
    answer.json()
}

/// `deskbell explain`, which knows where the gateway is.
fn command(admin: SocketAddr, place: &Place, arguments: &[&str]) -> Command {
    let mut command = deskbell();
    command.current_dir(place.folder.path()).arg("explain").args(arguments);
    command.env("DESKBELL_GATEWAY", format!("http://{admin}/"));
    command
}

fn explain(gateway: &Gateway, place: &Place, arguments: &[&str]) -> Ran {
    run_command(command(gateway.admin, place, arguments), b"")
}

#[test]
fn the_gateway_explains_as_the_command_does() {
    let (_novu, place, gateway) = running(ROUTES);
    let event = sample_with("user.created", &[("data.plan", json!("pro"))]);
    fs::write(place.path("event.json"), &event).expect("an event");
    for (arguments, question) in [
        (vec!["--sample", "user.created"], json!({"sample": "user.created"})),
        (vec!["event.json"], json!({"event": serde_json::from_str::<Value>(&event).expect("JSON")})),
        (
            vec![
                "--sample",
                "user.created",
                "--set",
                "data.plan=pro",
                "--unset",
                "data.first_name",
                "--source",
                "clerk",
            ],
            json!({"sample": "user.created", "set": {"data.plan": "pro"}, "unset": ["data.first_name"], "source": "clerk"}),
        ),
    ] {
        let said = explain(&gateway, &place, &[&arguments[..], &["--json"]].concat()).fine().json();
        assert_eq!(explained(&gateway, &question), said, "{question}");
    }
    let set =
        r#"{"sample": "user.created", "set": {"data.list": [], "data.list[0]": 1, "data.a": {}, "data.list[1]": 2}}"#;
    assert_eq!(gateway.ask(EXPLAIN, set).status, 200, "changes are made in the order in which they are written");
}

#[test]
fn an_event_that_came_in_is_explained_as_it_was_sent() {
    let (novu, place, gateway) = running(ROUTES);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    gateway.drain();
    let [sent] = novu.requests().try_into().expect("one request");
    let check = |gateway: &Gateway| {
        let by_id = explained(gateway, &json!({"id": "msg_1"}));
        let expected = json!({"id": "msg_1", "source": "clerk", "type": "user.created"});
        assert_eq!((&by_id["event"], &by_id["revision"]), (&expected, &gateway.get("/api/rules").json()["revision"]));
        let request = &by_id["routes"][0]["requests"][0];
        assert_eq!(
            (&request["body"], &request["url"]),
            (&sent.body, &json!(format!("http://{}/v1/events/trigger", novu.address)))
        );
        assert_eq!(request["left_out"], json!([{"path": "payload.plan", "reason": "`data.plan` is missing"}]));
        assert_eq!(by_id["routes"][1]["taken"], false);

        assert_eq!(explain(gateway, &place, &["--id", "msg_1", "--json"]).fine().json(), by_id);
        let text = explain(gateway, &place, &["--id", "msg_1", "--source", "clerk"]).fine().stdout;
        for part in [
            "user.created from clerk, decided by revision ",
            "\ntaken: welcome\n  workflow: welcome\n  POST ",
            "\n  left out: payload.plan (`data.plan` is missing)\n",
            "\nnot taken: vip\n  the filter `$.data.plan == 'pro'` does not hold: `$.data.plan` is missing\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    };
    check(&gateway);
    assert_eq!(gateway.stop(), Some(0));
    check(&place.start());
}

#[test]
fn an_event_is_tried_with_changes_and_with_a_draft() {
    let (novu, place, gateway) = running(ROUTES);
    gateway.send("msg_1", &sample("user.created"));
    let changes = [
        "--id",
        "msg_1",
        "--json",
        "--set",
        "data.list=[]",
        "--set",
        "data.list[0]=1",
        "--set",
        "data.plan=pro",
        "--unset",
        "data.first_name",
    ];
    let changed = explain(&gateway, &place, &changes).fine().json();
    assert_eq!(changed["routes"][1]["taken"], true);
    assert_eq!(changed["routes"][0]["requests"][0]["body"]["payload"], json!({"plan": "pro", "as": "msg_1"}));

    let draft =
        "novu: { api_url: \"https://draft.example/novu/\" }\nroutes: [{ event: user.created, workflow: drafted }]\n";
    fs::write(place.path("draft.yaml"), draft).expect("a draft");
    let flag = explain(&gateway, &place, &["--id", "msg_1", "--json", "--routes", "draft.yaml"]).fine().json();
    let mut by_environment = command(gateway.admin, &place, &["--id", "msg_1", "--json"]);
    by_environment.env("DESKBELL_ROUTES", "draft.yaml");
    assert_eq!(run_command(by_environment, b"").fine().json(), flag);
    assert_eq!(explained(&gateway, &json!({"id": "msg_1", "routes": draft})), flag);
    let [route] = flag["routes"].as_array().expect("routes").as_slice() else { panic!("{flag:#}") };
    assert_eq!(
        (&route["route"], &route["requests"][0]["url"]),
        (&json!("drafted"), &json!("https://draft.example/novu/v1/events/trigger"))
    );
    assert_ne!(flag["revision"], changed["revision"]);
    gateway.drain();
    assert_eq!(novu.requests().len(), 1, "nothing is sent by looking");
    assert_eq!(gateway.get("/api/rules").json()["revision"], changed["revision"], "and the rules stay");
}

#[test]
fn nothing_outside_a_draft_is_looked_at() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let secret = "a-secret-of-the-machine";
    fs::write(place.path("secret"), secret).expect("a secret");
    // Who opens one waits for ever.
    let pipe = place.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let gateway = place.start_with(|command| {
        command.env("NOVU_API_URL", format!("https://{secret}.example")).env("MACHINE_SECRET", secret);
    });
    gateway.send("msg_1", &sample("user.created"));
    let folder = place.folder.path().display().to_string();
    let draft = format!(
        "sources: {{ clerk: {{ signing_secrets: [\"${{MACHINE_SECRET}}\", \"${{file:{folder}/pipe}}\"] }} }}\n\
         novu: {{ secret_key: \"${{file:{folder}/secret}}\" }}\n\
         vars: {{ variable: \"${{MACHINE_SECRET}}\", file: \"${{file:{folder}/secret}}\", pipe: \"${{file:{folder}/pipe}}\", gone: \"${{file:/gone}}\" }}\n\
         routes: [{{ event: user.created, workflow: w, topic: t, payload: {{ vars: \"{{{{vars}}}}\" }} }}]\n\
         tests: [{{ file: {folder}/pipe, expect: [] }}, {{ file: /gone, expect: [] }}]\n"
    );
    let said = explained(&gateway, &json!({"sample": "user.created", "routes": draft}));
    assert!(!said.to_string().contains(secret), "{said:#}");
    let request = &said["routes"][0]["requests"][0];
    assert_eq!(request["url"], "https://api.novu.co/v1/events/trigger");
    assert_eq!(
        request["body"]["payload"]["vars"],
        json!({
            "variable": "${MACHINE_SECRET}",
            "file": format!("${{file:{folder}/secret}}"),
            "pipe": format!("${{file:{folder}/pipe}}"),
            "gone": "${file:/gone}",
        })
    );
    let default = "routes: [{ event: user.created, workflow: w }]";
    let said = explained(&gateway, &json!({"sample": "user.created", "routes": default}));
    assert_eq!(said["routes"][0]["requests"][0]["url"], "https://api.novu.co/v1/events/trigger");

    // Nor here, where the draft is only read to be sent.
    fs::write(place.path("draft.yaml"), draft).expect("a draft");
    let mut by_id = command(gateway.admin, &place, &["--id", "msg_1", "--routes", "draft.yaml"]);
    by_id.env("MACHINE_SECRET", secret);
    let text = run_command(by_id, b"").fine().stdout;
    assert!(text.contains("${MACHINE_SECRET}") && !text.contains(secret), "{text}");
}

#[test]
fn a_draft_with_errors_is_answered_with_all_of_them() {
    let (_novu, place, gateway) = running(WELCOME);
    let draft = "routes:\n  - { event: user.created, workflow: w, filer: x }\n  - { event: user.create }\n";
    let answer = gateway.ask(EXPLAIN, &json!({"sample": "user.created", "routes": draft}).to_string());
    assert_eq!((answer.status, answer.code().as_str()), (422, "bad_rules"), "{}", answer.body);
    let problems = answer.json()["problems"].clone();
    let codes: Vec<_> = problems.as_array().expect("problems").iter().map(|problem| problem["code"].clone()).collect();
    assert_eq!(codes, ["unknown_key", "missing_key", "unknown_event_type"], "{problems:#}");
    assert_eq!((&problems[0]["line"], &problems[0]["hint"]), (&json!(2), &json!("did you mean `filter`?")));

    fs::write(place.path("draft.yaml"), draft).expect("a draft");
    explain(&gateway, &place, &["--id", "msg_1", "--routes", "draft.yaml"])
        .failed(1)
        .says(&["draft.yaml:2:41: error[unknown_key]: unknown key `filer`", "deskbell: `draft.yaml` has errors"]);
    let huge = format!("routes: []\n# {}", "x".repeat(8 << 20));
    let answer = gateway.ask(EXPLAIN, &json!({"sample": "user.created", "routes": huge}).to_string());
    assert_eq!((answer.status, &answer.json()["problems"][0]["code"]), (422, &json!("too_large")));
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let (_novu, _place, gateway) = running(WELCOME);
    gateway.send("msg_1", &sample("user.created"));
    let many: serde_json::Map<_, _> = (0..1001).map(|number| (format!("data.x{number}"), json!(1))).collect();
    for (question, status, code, message) in [
        (json!({}), 400, "bad_request", "name one of `event`, `sample` and `id`"),
        (json!({"id": "msg_1", "sample": "user.created"}), 400, "bad_request", "name one of"),
        (json!({"event": null}), 400, "bad_request", "name one of"),
        (json!([1]), 400, "bad_request", "the body is no JSON object"),
        (
            json!({"sampel": "user.created"}),
            400,
            "bad_request",
            "unknown field `sampel`, expected one of `event`, `sample`",
        ),
        (json!({"sample": 1}), 400, "bad_request", "expected a string"),
        (json!({"sample": "user.created", "set": ["x"]}), 400, "bad_request", "expected an object of paths and values"),
        (
            json!({"sample": "user.create"}),
            400,
            "bad_request",
            "there is no sample `user.create`; did you mean `user.created`?",
        ),
        (json!({"sample": "user.created", "source": "nobody"}), 400, "bad_request", "there is no source `nobody`"),
        (
            json!({"sample": "user.created", "set": {"data.id.x": 1}}),
            400,
            "bad_request",
            "`x` needs an object, found a string",
        ),
        (json!({"sample": "user.created", "unset": ["a..b"]}), 400, "bad_request", "`a..b` is not a path"),
        (
            json!({"sample": "user.created", "set": many}),
            400,
            "bad_request",
            "an event is changed in 1000 places at most",
        ),
        (json!({"id": "msg_2"}), 404, "unknown_event", "the gateway holds no event `msg_2`"),
        (json!({"id": "msg_1", "source": "staging"}), 404, "unknown_event", "the gateway holds no event `msg_1`"),
        (json!({"id": ""}), 404, "unknown_event", "the gateway holds no event"),
        (
            json!({"id": "msg_1", "routes": "sources: { other: { signing_secrets: \"${X}\" } }\nroutes: []"}),
            400,
            "bad_request",
            "`msg_1` came from `clerk`, and the rules have no such source",
        ),
    ] {
        let answer = gateway.ask(EXPLAIN, &question.to_string());
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{question}: {}", answer.body);
        let said = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(said.contains(message), "{question}: {said}");
    }
    for not_json in ["", "{", "\u{1}"] {
        assert_eq!(gateway.ask(EXPLAIN, not_json).code(), "bad_request", "{not_json:?}");
    }
    let answer = gateway.ask(EXPLAIN, &json!({"event": "x".repeat(9 << 20)}).to_string());
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"), "{}", answer.body);
    assert_eq!(gateway.send("msg_2", &sample("user.created")).status, 200);
}

#[test]
fn an_event_of_two_sources_is_asked_for_with_its_source() {
    let novu = Novu::start();
    let place = Place::new(novu.address, "");
    let two = rules(novu.address, ROUTES).replace(
        "sources:\n",
        &format!("sources:\n  staging: {{ signing_secrets: [{SECRET}], novu: {{ secret_key: other }} }}\n"),
    );
    place.write_rules(&two);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    let other = Signed { source: "staging".to_owned(), ..Signed::new("msg_1", sample("user.deleted").as_bytes()) };
    assert_eq!(gateway.request(&other.request()).status, 200);
    let answer = gateway.ask(EXPLAIN, r#"{"id":"msg_1"}"#);
    let message = "`msg_1` came from `clerk` and from `staging`; name the `source`";
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (400, &json!(message)));
    for (source, kind) in [("clerk", "user.created"), ("staging", "user.deleted")] {
        let said = explained(&gateway, &json!({"id": "msg_1", "source": source}));
        assert_eq!(said["event"], json!({"id": "msg_1", "source": source, "type": kind}));
    }
    explain(&gateway, &place, &["--id", "msg_1"]).failed(2).says(&[message]);
    explain(&gateway, &place, &["--id", "msg_1", "--source", "staging"]).fine();
}

#[test]
fn what_was_erased_is_not_explained() {
    let (_novu, place, gateway) = running("  - { event: user.created, workflow: w, sensitive: true }\n");
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    let answer = gateway.ask(EXPLAIN, r#"{"id":"msg_1"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (410, "erased"), "{}", answer.body);
    let message = "the body of `msg_1` was erased: `retention` is over, or a route that took it is `sensitive`";
    explain(&gateway, &place, &["--id", "msg_1"]).failed(1).says(&[message]);
}

#[test]
fn the_command_says_what_keeps_it_from_asking() {
    let (_novu, place, gateway) = running(WELCOME);
    explain(&gateway, &place, &["--id", "msg_9"]).failed(1).says(&["the gateway holds no event `msg_9`"]);
    explain(&gateway, &place, &["--id", "msg_1", "--routes", "gone.yaml"])
        .failed(1)
        .says(&["`gone.yaml` cannot be read"]);
    explain(&gateway, &place, &["--id", "msg_1", "--sample", "user.created"]).failed(2).says(&["cannot be used with"]);
    explain(&gateway, &place, &["--id", "msg_1", "--set", "data"])
        .failed(2)
        .says(&["has no value, expected PATH=VALUE"]);
    let no_gateway = crate::novu::Closed::new().address;
    for (url, status, said, hint) in [
        (format!("http://{no_gateway}"), 1, format!("no gateway answers at http://{no_gateway}"), "`--gateway URL`"),
        (format!("http://{}", gateway.webhooks), 1, "answers 404, as no gateway does".to_owned(), "the admin address"),
        ("127.0.0.1:9464".to_owned(), 2, "`127.0.0.1:9464` cannot be asked".to_owned(), "`http://127.0.0.1:9464`"),
    ] {
        let ran = explain(&gateway, &place, &["--id", "msg_1", "--gateway", &url]).failed(status);
        ran.says(&[said.as_str(), hint]);
    }
}

#[test]
fn the_command_needs_the_token_of_the_gateway() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start_with(|command| {
        command.env("DESKBELL_ADMIN_TOKEN", "the-token");
    });
    gateway.send("msg_1", &sample("user.created"));
    let with_token = |token: &str| {
        let mut command = command(gateway.admin, &place, &["--id", "msg_1"]);
        command.env("DESKBELL_ADMIN_TOKEN", token);
        run_command(command, b"")
    };
    for wrong in ["", "another"] {
        with_token(wrong).failed(1).says(&["does not take this token, or none", "set `DESKBELL_ADMIN_TOKEN`"]);
    }
    with_token("the-token").fine();
    assert_eq!(gateway.ask(EXPLAIN, r#"{"id":"msg_1"}"#).code(), "unauthorized");
}

#[test]
fn what_is_on_this_machine_is_no_matter_of_a_proxy() {
    let (_novu, place, gateway) = running(WELCOME);
    let proxied = |mut command: Command| {
        for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
            command.env(name, format!("http://{}", crate::novu::Closed::new().address));
        }
        run_command(command, b"").fine();
    };
    let mut send = deskbell();
    send.args(["send", "user.created", "--id", "msg_1", "--secret", SECRET]);
    send.arg(format!("--to=http://{}/webhooks/clerk", gateway.webhooks));
    proxied(send);
    proxied(command(gateway.admin, &place, &["--id", "msg_1"]));
    let by_name = format!("http://localhost:{}", gateway.admin.port());
    proxied(command(gateway.admin, &place, &["--id", "msg_1", "--gateway", &by_name]));
}

/// Whether the gateway makes an explanation just now.
fn is_explaining(gateway: &Gateway) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", gateway.id())).expect("the threads");
    threads.flatten().any(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name == "explain\n"))
}

#[test]
fn neither_webhooks_nor_the_end_wait_for_an_explanation() {
    let (_novu, _place, gateway) = running(WELCOME);
    // Each of these filters takes all the steps that a filter may take.
    let route = |number| {
        format!("- {{ name: w{number}, event: '*', workflow: w, topic: t, filter: '$..[?count($..*) > 9000]' }}\n")
    };
    let draft = format!("routes:\n{}", (0..5_000).map(route).collect::<String>());
    let event = json!({"type": "x", "data": {"list": (0..1_000).collect::<Vec<_>>()}});
    let question = json!({"event": event, "routes": draft}).to_string();
    let mut asking = connect(gateway.admin);
    let head = format!("POST {EXPLAIN} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", question.len());
    asking.write_all(format!("{head}{question}").as_bytes()).expect("the question is asked");
    eventually("it is being explained", || is_explaining(&gateway).then_some(()));
    for number in 0..20 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
    gateway.drain();
    let answer = gateway.ask(EXPLAIN, r#"{"sample":"user.created"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "one explanation at a time");
    assert!(is_explaining(&gateway), "it takes longer than all of that");
    let before = std::time::Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(before.elapsed() < PATIENCE / 2, "it ends as if nobody had asked");
}
