//! What the gateway holds: `GET /api/events`, `events` and `show`.

use serde_json::{Value, json};

use crate::harness::{Gateway, Place, SECRET, Signed, WELCOME, deskbell, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu};
use crate::shell::{Ran, run_command};

/// Runs a command that asks the gateway. What it prints holds no address, and nothing that was signed with or sent with.
pub fn ask(gateway: &Gateway, arguments: &str) -> Ran {
    let mut command = deskbell();
    command.args(arguments.split_whitespace()).env("DESKBELL_GATEWAY", format!("http://{}", gateway.admin));
    let ran = run_command(command, b"");
    for secret in ["@", "402913", SECRET, "key-of-the-tests"] {
        assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{secret} in {ran:?}");
    }
    ran
}

/// An event as the gateway shows it.
pub fn show(gateway: &Gateway, id: &str) -> Value {
    let answer = gateway.get(&format!("/api/events/{id}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Where the deliveries of an event stand, by route.
pub fn states(gateway: &Gateway, id: &str) -> Vec<(String, String)> {
    let event = show(gateway, id);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let deliveries = event["deliveries"].as_array().expect("deliveries").iter();
    deliveries.map(|delivery| (text(&delivery["route"]), text(&delivery["state"]))).collect()
}

/// The ids of the events that a query finds, and what is next.
#[track_caller]
fn find(gateway: &Gateway, query: &str) -> (Vec<String>, Value) {
    let answer = gateway.get(&format!("/api/events{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.body);
    let json = answer.json();
    let ids = json["events"].as_array().expect("events").iter();
    (ids.map(|event| event["id"].as_str().expect("an id").to_owned()).collect(), json["next"].clone())
}

#[test]
fn an_event_is_shown_with_all_that_becomes_of_it_and_nothing_that_is_in_it() {
    let novu = Novu::that(|_, _| Behaviour::Answer(400, "", r#"{"type":"PAYLOAD_VALIDATION_ERROR","value":"402913"}"#));
    let place = Place::new(
        novu.address,
        "  - { event: email.created, workflow: code, max_age: 9999d, payload: { code: \"{{data.data.otp_code}}\" } }\n",
    );
    let gateway = place.start();
    gateway.send("msg_1", &sample("email.created"));
    gateway.drain();
    let event = show(&gateway, "msg_1");
    let delivery = &event["deliveries"][0];
    let revision = &gateway.get("/api/rules").json()["revision"];
    let (received_at, expires_at) = (&event["received_at"], &delivery["expires_at"]);
    assert_eq!(
        event,
        json!({
            "id": "msg_1", "source": "clerk", "type": "email.created", "received_at": received_at,
            "revision": revision, "erased": false, "deliveries": [{
                "route": "code", "state": "dead", "attempts": 1, "reason": "status_400_payload_validation_error",
                "answer": delivery["answer"], "transaction_id": novu.requests()[0].transaction_id(),
                "due_at": delivery["due_at"], "expires_at": expires_at, "ended_at": delivery["ended_at"],
            }],
        })
    );
    for moment in [received_at, expires_at, &delivery["due_at"], &delivery["ended_at"]] {
        let moment = moment.as_str().expect("a moment");
        assert!(moment.starts_with("20") && moment.ends_with('Z') && moment.contains('T'), "{moment}");
    }
    assert_eq!(gateway.get("/api/events").json()["events"][0], event);
    assert_eq!(ask(&gateway, "show msg_1 --json").fine().json(), event);
    assert_eq!(ask(&gateway, "events --json").fine().json()["events"][0], event);
    let text = gateway.get("/api/events").body;
    assert!(!text.contains('@') && !text.contains("402913"), "{text}");
}

#[test]
fn events_are_found_by_what_they_are_and_page_by_page() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "welcome" => Behaviour::Process,
        _ => Behaviour::Answer(400, "", "{}"),
    });
    let routes = format!("{WELCOME}  - {{ event: user.updated, workflow: changed }}\n");
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    for (number, kind) in ["user.created", "user.updated", "user.deleted", "user.created"].into_iter().enumerate() {
        gateway.send(&format!("msg_{number}"), &sample(kind));
    }
    gateway.send("msg_4", r#"{"success":true}"#);
    gateway.drain();
    for (query, expected) in [
        ("", "43210"),
        ("?state=&type=&route=&source=&before=&limit=", "43210"),
        ("?state=delivered", "30"),
        ("?state=dead", "1"),
        ("?state=unrouted", "42"),
        ("?state=new", ""),
        ("?state=cancelled", ""),
        ("?type=user.created", "30"),
        ("?type=user%2Ecreated&state=dead", ""),
        ("?route=changed", "1"),
        ("?route=changed&state=delivered", ""),
        ("?source=clerk&limit=500", "43210"),
        ("?source=other", ""),
        ("?id=msg_2", "2"),
    ] {
        let (found, next) = find(&gateway, query);
        let numbers: String = found.iter().map(|id| id.trim_start_matches("msg_")).collect();
        assert_eq!((numbers.as_str(), next), (expected, Value::Null), "{query}");
    }
    let (mut pages, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (page, next) = find(&gateway, &query);
        pages.push(page);
        let Some(next) = next.as_i64() else { break };
        query = format!("?limit=2&before={next}");
    }
    assert_eq!(pages, [vec!["msg_4", "msg_3"], vec!["msg_2", "msg_1"], vec!["msg_0"]]);

    let table = ask(&gateway, "events --state delivered").fine().stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["RECEIVED", "EVENT", "TYPE", "SOURCE", "DELIVERIES"]);
    assert_eq!(lines[1][1..], ["msg_3", "user.created", "clerk", "welcome", "delivered"]);
    assert_eq!(lines.len(), 3);
    assert!(ask(&gateway, "events --limit 1").says(&["there may be more"]).stdout.contains("unrouted"));
    let none = ask(&gateway, "events --route nobody").says(&["the gateway holds no such event"]);
    assert_eq!((none.status, none.stdout.as_str()), (0, ""));
    assert_eq!(ask(&gateway, "events --route nobody --json").json(), json!({"events": [], "next": null}));
}

#[test]
fn what_is_not_understood_is_told_with_what_is_expected() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    for (path, says) in [
        ("/api/events?stat=dead", "unknown parameter `stat`; did you mean `state`?"),
        ("/api/events?x=1", "expected one of `id`, `state`, `type`, `route`, `source`, `before`, `limit`"),
        ("/api/events?state=ded", "there is no state `ded`; did you mean `dead`?"),
        ("/api/events?state=gone", "expected one of `new`, `retrying`"),
        ("/api/events?limit=501", "`limit` is not what is expected: 1 to 500"),
        ("/api/events?limit=0", "1 to 500"),
        ("/api/events?limit=many", "a number"),
        ("/api/events?before=then", "the `next` of an answer"),
        ("/api/events/msg_1?state=dead", "unknown parameter `state`"),
    ] {
        let answer = gateway.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{path}: {}", answer.body);
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(says), "{path}: {message}");
    }
    for (path, body, says) in [
        ("/api/replay", "", "the body is no JSON object"),
        ("/api/replay", "[]", "the body is no JSON object"),
        ("/api/replay", "{}", "say which are meant"),
        ("/api/replay", r#"{"again": true}"#, "say which are meant"),
        ("/api/replay", r#"{"route": "welcome", "again": true}"#, "`again` needs an `id`"),
        ("/api/replay", r#"{"state": "new"}"#, "one of `dead`, `expired`, `cancelled`, `unrouted`"),
        ("/api/replay", r#"{"state": "delivered"}"#, "one of `dead`, `expired`, `cancelled`, `unrouted`"),
        ("/api/replay", r#"{"state": "dead", "limit": 1001}"#, "1 to 1000"),
        ("/api/replay", r#"{"state": "dead", "limit": "9"}"#, "a number"),
        ("/api/replay", r#"{"state": "dead", "again": "yes"}"#, "`true` or `false`"),
        (
            "/api/replay",
            r#"{"state": "dead", "route": ""}"#,
            "`route` is not what is expected: a text that is not empty",
        ),
        ("/api/replay", r#"{"state": "dead", "all": true}"#, "`all` goes with nothing else"),
        ("/api/drop", "{}", "say which are meant"),
        ("/api/drop", r#"{"state": "delivered"}"#, "one of `new`, `retrying`, `paused`, `dead`"),
        ("/api/drop", r#"{"again": true}"#, "unknown parameter `again`"),
        ("/api/pause", "{}", "say which are meant"),
        ("/api/pause", r#"{"rout": "welcome"}"#, "did you mean `route`?"),
        ("/api/resume", r#"{"all": false}"#, "say which are meant"),
    ] {
        let answer = gateway.ask(path, body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{path} {body}: {}", answer.body);
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(says), "{path} {body}: {message}");
    }
    for (path, body, code, says) in [
        ("/api/replay", r#"{"id": "msg_2"}"#, "unknown_event", "the gateway holds no event `msg_2`"),
        ("/api/drop", r#"{"id": "msg_2"}"#, "unknown_event", "the gateway holds no event `msg_2`"),
        ("/api/pause", r#"{"route": "welcom"}"#, "unknown_route", "no route `welcom`; did you mean `welcome`?"),
        ("/api/pause", r#"{"source": "clerc"}"#, "unknown_source", "no source `clerc`; did you mean `clerk`?"),
    ] {
        let answer = gateway.ask(path, body);
        assert_eq!((answer.status, answer.code().as_str()), (404, code), "{path} {body}");
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    assert_eq!(gateway.ask("/api/drop", &format!("{{\"id\": \"{}\"}}", "x".repeat(1 << 20))).status, 413);
    let unknown = gateway.get("/api/events/msg_2");
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "unknown_event"));
    ask(&gateway, "show msg_2").failed(1).says(&["the gateway holds no event `msg_2`"]);
    ask(&gateway, "replay msg_2").failed(1).says(&["the gateway holds no event `msg_2`"]);
    assert_eq!(novu.requests().len(), 1);
}

#[test]
fn an_id_of_two_sources_is_not_one_event() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let two = format!("sources:\n  other: {{ signing_secrets: [{SECRET}] }}");
    place.write_rules(&rules(novu.address, WELCOME).replace("sources:", &two));
    let gateway = place.start();
    // As strange as an id can be.
    let id = "msg/1+a b";
    for source in ["clerk", "other"] {
        let signed = Signed { source: source.to_owned(), ..Signed::new(id, sample("user.created").as_bytes()) };
        assert_eq!(gateway.request(&signed.request()).outcome(), "accepted");
    }
    gateway.drain();
    let path = "/api/events/msg%2F1+a%20b";
    let answer = gateway.get(path);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("came from `clerk` and from `other`; name the `source`"), "{}", answer.body);
    for path in ["/api/replay", "/api/drop"] {
        assert_eq!(gateway.ask(path, &json!({"id": id}).to_string()).status, 400, "{path}");
    }
    assert_eq!(gateway.get(&format!("{path}?source=other")).json()["source"], "other");
    let mut command = deskbell();
    command.args(["show", id, "--source=clerk", "--json", &format!("--gateway=http://{}/", gateway.admin)]);
    assert_eq!(run_command(command, b"").fine().json()["source"], "clerk");
}

#[test]
fn what_an_event_calls_itself_does_nothing_to_a_terminal() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample_with("session.ended", &[("type", json!("\u{1b}[2Juser\n"))]));
    for arguments in ["events", "show msg_1", "explain --id msg_1"] {
        let text = ask(&gateway, arguments).fine().stdout;
        assert!(text.contains("?[2Juser?") && !text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }
    let mut command = deskbell();
    command.args(["explain", "--sample=user.created", "--set=data.first_name=\u{9b}2J", "--routes"]);
    command.arg(place.path("routes.yaml"));
    let text = run_command(command, b"").fine().stdout;
    assert!(text.contains(r#""firstName": "\u009b2J""#), "{text:?}");
}

#[test]
fn an_id_that_is_no_ordinary_one_spoils_no_table_and_no_command() {
    let novu = Novu::that(|_, _| Behaviour::Answer(400, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let strange = ["$(date)", "-rf", &"x".repeat(200)];
    for id in strange.into_iter().chain(["msg_1"]) {
        gateway.send(id, &sample("user.created"));
    }
    gateway.drain();
    let table = ask(&gateway, "events").fine().stdout;
    let line = table.lines().find(|line| line.contains("msg_1")).expect("a line");
    assert!(line.len() < 140, "{table}");
    for (id, pasted) in [("msg_1", "msg_1"), (strange[0], "ID"), (strange[1], "ID")] {
        let mut command = deskbell();
        command.args(["show", &format!("--gateway=http://{}", gateway.admin), "--", id]);
        let shown = run_command(command, b"").fine().stdout;
        assert!(shown.starts_with(&format!("{id}: ")), "{shown}");
        for command in ["replay", "explain --id"] {
            assert!(shown.contains(&format!("`deskbell {command} {pasted}`")), "{shown}");
            assert!(pasted == id || !shown.contains(&format!("{command} {id}")), "{shown}");
        }
    }
}

#[test]
fn what_waits_is_shown_with_what_it_waits_for() {
    let held = Novu::that(|_, _| Behaviour::Answer(401, "", "{}"));
    let place = Place::new(held.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.wait_for("deskbell_novu_held{source=\"clerk\"}", 1.0);
    gateway.send("msg_2", &sample("user.created"));
    let shown = ask(&gateway, "show msg_2").fine().stdout;
    assert!(shown.contains("welcome: new, not attempted, due\n") && shown.contains("`/readyz`"), "{shown}");

    for (status, headers, says) in [
        (408, "", "something on the way to Novu has failed, and it is tried again"),
        (400, "Idempotency-Replay: true\r\n", "it is tried again under another key"),
    ] {
        let novu = Novu::that(move |_, _| Behaviour::Answer(status, headers, "{}"));
        let place = Place::new(novu.address, WELCOME);
        let gateway = place.start();
        gateway.send("msg_1", &sample("user.created"));
        let shown = eventually("it was attempted", || {
            let shown = ask(&gateway, "show msg_1").fine().stdout;
            shown.contains(&format!("status_{status}")).then_some(shown)
        });
        assert!(shown.contains(says), "{shown}");
    }
}

#[test]
fn without_a_gateway_every_command_says_so() {
    for arguments in
        ["events", "show msg_1", "replay msg_1", "drop msg_1", "pause --route welcome", "resume --route welcome"]
    {
        let mut command = deskbell();
        command.args(arguments.split_whitespace()).arg("--gateway=http://127.0.0.1:9");
        run_command(command, b"").failed(1).says(&["no gateway answers at http://127.0.0.1:9", "--gateway URL"]);
    }
}
