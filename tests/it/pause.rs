//! `pause` and `resume`: what is kept back, and what goes on.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::events::{ask, states};
use crate::harness::{Client, Gateway, Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

const TWO: &str = "  - { event: user.created, workflow: welcome }\n  - { event: user.created, workflow: audit }\n";

fn count(novu: &Novu, workflow: &str) -> usize {
    novu.requests().iter().filter(|request| request.workflow() == workflow).count()
}

fn waiting(gateway: &Gateway, state: &str) -> Option<f64> {
    gateway.metric(&format!("deskbell_queue_deliveries{{state=\"{state}\"}}"))
}

#[test]
fn a_pause_stops_a_route_at_once_outlives_a_crash_and_ends_with_everything_sent_once() {
    const EVENTS: usize = 150;
    const AT_ONCE: usize = 4;
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(10)));
    let place = Place::new(novu.address, TWO);
    place
        .write_rules(&rules(novu.address, TWO).replace("timeout: 2s", &format!("timeout: 5s, concurrency: {AT_ONCE}")));
    let gateway = place.start();
    let mut client = Client::new(gateway.webhooks).expect("a connection");
    for number in 0..EVENTS {
        client.send(&format!("msg_{number}"), &sample("user.created")).expect("an answer");
    }
    novu.wait_for(20);
    let said = ask(&gateway, "pause --route welcome").fine().stdout;
    let at_the_answer = count(&novu, "welcome");
    assert_eq!(said, "paused: route `welcome`\n");
    assert!(at_the_answer < EVENTS - AT_ONCE, "it was paused in the middle");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"audit\"}", EVENTS as f64);
    gateway.wait_for("deskbell_queue_deliveries{state=\"sending\"}", 0.0);
    let paused_at = count(&novu, "welcome");
    assert!(paused_at <= at_the_answer + AT_ONCE, "{} began after the answer", paused_at - at_the_answer);
    let left = EVENTS - paused_at;
    assert_eq!(waiting(&gateway, "new"), Some(left as f64), "they wait as ever");
    assert_eq!(gateway.degraded(), ["route `welcome` is paused"]);
    gateway.kill();

    let gateway = place.start();
    assert_eq!(gateway.degraded(), ["route `welcome` is paused"]);
    assert_eq!(waiting(&gateway, "new"), Some(left as f64));
    gateway.send("msg_new", &sample("user.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"audit\"}", 1.0);
    assert_eq!(count(&novu, "welcome"), paused_at);
    assert_eq!(states(&gateway, "msg_new")[0].1, "paused");
    let paused = gateway.get("/api/events?state=paused&limit=500").json();
    assert_eq!(paused["events"].as_array().map(Vec::len), Some(left + 1));
    let shown = ask(&gateway, "show msg_new").fine().stdout;
    assert!(shown.contains("it waits until `deskbell resume --route welcome`, `--source clerk` or `--all`"), "{shown}");

    assert_eq!(ask(&gateway, "resume --route welcome").fine().stdout, "nothing is paused\n");
    gateway.drain();
    assert!(gateway.degraded().is_empty());
    let ids: HashSet<String> = novu.processed().iter().map(|request| request.transaction_id().to_owned()).collect();
    assert_eq!((novu.processed().len(), ids.len()), (2 * EVENTS + 2, 2 * EVENTS + 2), "each once");
    gateway.has_logged("\"resumed\"");
    for change in ["paused", "resumed"] {
        let lines = gateway.log().lines().filter(|line| line.contains(&format!("\"{change}\""))).count();
        assert_eq!(lines, usize::from(change == "resumed"), "{change}, by this process");
    }
}

#[test]
fn a_route_that_was_wrong_is_paused_mended_dropped_and_replayed() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for number in 0..5 {
        gateway.send(&format!("msg_{number}"), &sample("user.created"));
    }
    novu.wait_for(5);
    ask(&gateway, "pause --route welcome").fine();
    gateway.wait_for("deskbell_queue_deliveries{state=\"sending\"}", 0.0);
    assert_eq!(waiting(&gateway, "retrying"), Some(5.0), "retries wait, too");
    let before = novu.requests().len();
    novu.now(|_, _| Behaviour::Process);
    let mended = format!("{}\n", WELCOME.trim_end().replace(" }", ", payload: { greeting: hello } }"));
    place.write_rules(&rules(novu.address, &mended));
    gateway.reload();
    assert_eq!(gateway.degraded(), ["route `welcome` is paused"], "a reload ends no pause");

    assert_eq!(ask(&gateway, "drop --state paused --route welcome").fine().stdout, "5 deliveries are cancelled\n");
    assert_eq!(waiting(&gateway, "retrying"), Some(0.0));
    assert_eq!(ask(&gateway, "replay --state cancelled").fine().stdout, "5 events: 5 on the way again\n");
    assert_eq!(ask(&gateway, "replay --state cancelled").fine().stdout, "0 events: nothing to send\n");
    assert_eq!(novu.requests().len(), before, "it is still paused");
    ask(&gateway, "resume --route welcome").fine();
    gateway.drain();
    let requests = novu.requests().split_off(before);
    assert!(requests.iter().all(|request| request.body["payload"]["greeting"] == "hello"), "{requests:?}");
    let ids: HashSet<&str> = requests.iter().map(|request| request.transaction_id()).collect();
    assert_eq!((requests.len(), ids.len()), (5, 5));
}

#[test]
fn a_pause_is_of_a_route_a_source_both_or_everything() {
    let novu = Novu::start();
    let place = Place::new(novu.address, TWO);
    let gateway = place.start();
    let ask_for = |path: &str, body: &str| {
        let answer = gateway.ask(path, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        answer.json()
    };
    ask_for("/api/pause", r#"{"route": "welcome", "source": "clerk"}"#);
    ask_for("/api/pause", r#"{"source": "clerk"}"#);
    let twice = ask_for("/api/pause", r#"{"source": "clerk"}"#);
    // Those of one moment are in no order.
    let mut paused = twice["paused"].as_array().expect("pauses").clone();
    paused.sort_by_key(|pause| pause["route"].is_null());
    let expected = [json!({"route": "welcome", "source": "clerk"}), json!({"route": null, "source": "clerk"})];
    assert_eq!(paused, expected, "a pause is there once");
    let mut degraded = gateway.degraded();
    degraded.sort_unstable();
    let expected = ["every route for source `clerk` is paused", "route `welcome` for source `clerk` is paused"];
    assert_eq!(degraded, expected);
    gateway.send("msg_1", &sample("user.created"));
    eventually("it is kept back", || (states(&gateway, "msg_1")[1].1 == "paused").then_some(()));

    let nothing = ask(&gateway, "resume --route audit").says(&["there was no such pause"]);
    assert_eq!(nothing.status, 1);
    let left = json!([{"route": null, "source": "clerk"}]);
    assert_eq!(ask_for("/api/resume", r#"{"route": "welcome"}"#), json!({"resumed": 1, "paused": left}));
    ask_for("/api/pause", r#"{"all": true}"#);
    assert_eq!(gateway.degraded(), ["every route for source `clerk` is paused", "every route is paused"]);
    assert!(novu.requests().is_empty());
    assert_eq!(ask_for("/api/resume", r#"{"all": true}"#), json!({"resumed": 2, "paused": []}));
    gateway.drain();
    assert_eq!(novu.requests().len(), 2);
    ask(&gateway, "pause --route welcom").failed(1).says(&["no route `welcom`; did you mean `welcome`?"]);
}
