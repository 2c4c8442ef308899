//! `--store none`: an event is delivered before it is answered.

mod again;
mod shared;

use std::fs;

use deskbell::units::now;
use serde_json::json;

use crate::harness::{Answer, Gateway, Place, WELCOME, rules, sample, sample_with};
use crate::novu::{Behaviour, Closed, Novu};

const FAILED: Behaviour = Behaviour::Answer(500, "", r#"{"statusCode":500,"message":"Internal server error"}"#);
const INACTIVE: Behaviour =
    Behaviour::Answer(201, "", r#"{"data":{"acknowledged":true,"status":"trigger_not_active"}}"#);
const INVALID: Behaviour =
    Behaviour::Answer(422, "", r#"{"statusCode":422,"message":"Validation Error","errors":{"to":{"value":"402913"}}}"#);

fn start(place: &Place) -> Gateway {
    place.start_with(|command| {
        command.args(["--store", "none"]);
    })
}

/// A place whose rules have something changed.
fn place_with(novu: &Novu, routes: &str, from: &str, to: &str) -> Place {
    let place = Place::new(novu.address, routes);
    place.write_rules(&rules(novu.address, routes).replace(from, to));
    place
}

/// What Svix is asked to wait, in seconds.
#[track_caller]
fn unavailable(answer: &Answer) -> i64 {
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.body);
    assert!(!answer.headers.contains_key("webhook-delivery"), "Svix is to come back");
    answer.headers["retry-after"].parse().expect("whole seconds")
}

#[track_caller]
fn rejected(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (422, "rejected"), "{}", answer.body);
    assert_eq!(answer.headers["webhook-delivery"], "abort-message");
    assert!(!answer.headers.contains_key("retry-after"));
}

/// All deliveries that have ended, whatever their route.
fn ended(gateway: &Gateway) -> usize {
    let page = gateway.get("/metrics").body;
    page.lines().filter(|line| line.starts_with("deskbell_deliveries_total{")).count()
}

#[test]
fn an_event_is_delivered_before_it_is_answered() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let answer = gateway.send("msg_1", &sample("user.created"));
    assert_eq!(novu.processed().len(), 1);
    let mut body = answer.json();
    let revision = body["revision"].take();
    assert_eq!(body, json!({"event": "msg_1", "outcome": "accepted", "routes": ["welcome"], "revision": null}));

    let again = gateway.send("msg_1", &sample("user.created")).json();
    assert_eq!(again, json!({"event": "msg_1", "outcome": "duplicate", "routes": ["welcome"], "revision": revision}));
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "unrouted");
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "duplicate");
    assert_eq!(novu.requests().len(), 1, "nothing is sent again");

    let files: Vec<_> =
        fs::read_dir(place.folder.path()).expect("a folder").flatten().map(|file| file.file_name()).collect();
    assert_eq!(files, ["routes.yaml"], "nothing is on disk");
    assert_eq!(gateway.degraded(), [""; 0]);
    for (name, value) in [
        ("deskbell_webhooks_total{result=\"accepted\",source=\"clerk\"}", 1.0),
        ("deskbell_webhooks_total{result=\"duplicate\",source=\"clerk\"}", 2.0),
        ("deskbell_webhooks_total{result=\"unrouted\",source=\"clerk\"}", 1.0),
        ("deskbell_events_total{source=\"clerk\",type=\"user.created\"}", 1.0),
        ("deskbell_events_total{source=\"clerk\",type=\"user.deleted\"}", 1.0),
        ("deskbell_route_matches_total{route=\"welcome\"}", 1.0),
        ("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0),
        ("deskbell_delivery_delay_seconds_count{route=\"welcome\"}", 1.0),
        ("deskbell_attempts_total{result=\"ok\"}", 1.0),
        ("deskbell_queue_deliveries{state=\"new\"}", 0.0),
        ("deskbell_queue_deliveries{state=\"retrying\"}", 0.0),
        ("deskbell_queue_deliveries{state=\"sending\"}", 0.0),
        ("deskbell_queue_deliveries{state=\"dead\"}", 0.0),
        ("deskbell_queue_oldest_seconds", 0.0),
        ("deskbell_novu_held{source=\"clerk\"}", 0.0),
    ] {
        assert_eq!(gateway.metric(name), Some(value), "{name}");
    }
}

#[test]
fn what_novu_fails_is_attempted_again_before_the_answer() {
    let novu = Novu::that(|_, before| if before < 3 { FAILED } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let requests = novu.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.windows(2).all(|pair| pair[0].body == pair[1].body), "it is the same transaction");
    assert!(requests.windows(2).all(|pair| pair[0].key() != pair[1].key()), "after an error the key is another");
    assert_eq!(gateway.metric("deskbell_attempts_total{result=\"server_error\"}"), Some(3.0));
}

/// A webhook that Novu treats like this is answered 503, and taken once Novu is mended.
fn check_mendable(behaviour: Behaviour) {
    let novu = Novu::that(move |_, _| behaviour.clone());
    // Too long to be waited for.
    let place = place_with(
        &novu,
        WELCOME,
        "retry: { first: 20ms, longest: 200ms, unknown: 100ms }",
        "retry: { first: 20s, unknown: 20s }",
    );
    let gateway = start(&place);
    let answer = gateway.send("msg_1", &sample("user.created"));
    assert!((1..=20).contains(&unavailable(&answer)), "{answer:?}");
    assert!(answer.body.contains("`welcome`"), "its owner is told the route: {}", answer.body);
    assert_eq!(ended(&gateway), 0, "it has not ended");
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(0.0));
    assert_eq!(gateway.metric("deskbell_events_total{source=\"clerk\",type=\"user.created\"}"), None);
    assert_eq!(gateway.metric("deskbell_webhooks_total{result=\"unavailable\",source=\"clerk\"}"), Some(1.0));
}

#[test]
fn what_time_may_mend_is_to_come_again() {
    check_mendable(FAILED);
    check_mendable(Behaviour::Answer(502, "", "<html>502 Bad Gateway</html>"));
    check_mendable(Behaviour::Reset);
    check_mendable(Behaviour::Hang);
    check_mendable(Behaviour::Answer(422, "", r#"{"statusCode":422,"message":"workflow_not_found"}"#));
    check_mendable(INACTIVE);
}

#[test]
fn a_novu_that_cannot_be_reached_may_come_back() {
    let closed = Closed::new();
    let place = Place::new(closed.address, WELCOME);
    let retry = "retry: { first: 20s, unknown: 20s }";
    place.write_rules(
        &rules(closed.address, WELCOME).replace("retry: { first: 20ms, longest: 200ms, unknown: 100ms }", retry),
    );
    let gateway = start(&place);
    assert!((1..=20).contains(&unavailable(&gateway.send("msg_1", &sample("user.created")))));
    assert_eq!(ended(&gateway), 0);
}

#[test]
fn what_an_edit_may_mend_is_to_come_again() {
    let novu = Novu::start();
    let route =
        "  - { event: user.created, workflow: hello, subscriber: { subscriberId: \"{{data.external_id}}\" } }\n";
    let place = Place::new(novu.address, &format!("{route}{WELCOME}"));
    let gateway = start(&place);
    let event = sample_with("user.created", &[("data.external_id", json!(null))]);
    let answer = gateway.send("msg_1", &event);
    unavailable(&answer);
    assert!(answer.body.contains("`hello` (no_subscriber_id)"), "{}", answer.body);
    assert_eq!(novu.requests()[0].workflow(), "welcome", "the other route is not held up");

    place.write_rules(&rules(novu.address, &format!("{route}{WELCOME}").replace("external_id", "id")));
    assert_eq!(gateway.post("/-/reload").status, 200);
    assert_eq!(gateway.send("msg_1", &event).outcome(), "accepted");
    let workflows: Vec<_> = novu.requests().iter().map(|request| request.workflow().to_owned()).collect();
    assert_eq!(workflows, ["welcome", "hello"]);
}

#[test]
fn what_novu_never_takes_is_not_to_come_again() {
    let novu = Novu::that(|_, _| INVALID);
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let answer = gateway.send("msg_1", &sample("user.created"));
    rejected(&answer);
    assert!(answer.body.contains("`welcome` (status_422)"), "{}", answer.body);
    gateway.has_logged("status_422");
    assert!(!answer.body.contains("402913") && !gateway.log().contains("402913"), "nothing is echoed");
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(gateway.ended("welcome", "rejected"), 1.0);
    assert_eq!(gateway.metric("deskbell_webhooks_total{result=\"rejected\",source=\"clerk\"}"), Some(1.0));

    // Somebody sends it again by hand.
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let requests = novu.requests();
    assert_ne!(requests[0].key(), requests[1].key(), "Novu remembers what it has said of a key");
}

#[test]
fn what_may_be_mended_comes_before_what_is_refused_for_good() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "bad" => INVALID,
        "inactive" => INACTIVE,
        _ => Behaviour::Process,
    });
    let routes = ["bad", "inactive", "good"].map(|name| format!("  - {{ event: user.created, workflow: {name} }}\n"));
    let place = Place::new(novu.address, &routes.concat());
    let gateway = start(&place);
    unavailable(&gateway.send("msg_1", &sample("user.created")));
    assert_eq!(gateway.ended("bad", "rejected"), 0.0, "it is not the end");

    novu.now(|request, _| if request.workflow() == "bad" { INVALID } else { Behaviour::Process });
    rejected(&gateway.send("msg_1", &sample("user.created")));
    for (route, outcome) in [("bad", "rejected"), ("inactive", "delivered"), ("good", "delivered")] {
        assert_eq!(gateway.ended(route, outcome), 1.0, "{route}");
    }
}

#[test]
fn what_is_too_old_is_never_sent_and_is_no_reason_to_come_again() {
    let novu = Novu::that(|_, _| INACTIVE);
    let routes = format!("  - {{ event: user.created, workflow: code, max_age: 10m }}\n{WELCOME}");
    let place = Place::new(novu.address, &routes);
    let gateway = start(&place);
    let old = sample_with("user.created", &[("timestamp", json!(now() - 601_000))]);
    unavailable(&gateway.send("msg_1", &old));
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.send("msg_1", &old).json()["routes"], json!(["code", "welcome"]));
    assert_eq!(gateway.ended("code", "expired"), 1.0, "it expires once");
    assert!(novu.requests().iter().all(|request| request.workflow() == "welcome"));
}

#[test]
fn what_grows_too_old_while_novu_fails_is_not_sent_any_more() {
    let novu = Novu::that(|_, _| FAILED);
    let place = Place::new(novu.address, "  - { event: user.created, workflow: code, max_age: 1s }\n");
    let gateway = start(&place);
    let answer = gateway.send("msg_1", &sample_with("user.created", &[("timestamp", json!(now()))]));
    assert_eq!(answer.outcome(), "accepted");
    assert!(novu.requests().len() > 1, "it was tried while there was time");
    assert_eq!(gateway.ended("code", "expired"), 1.0);
}

#[test]
fn whatever_needs_a_store_says_that_there_is_none() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let answer = gateway.ask("/api/explain", r#"{"id":"msg_1"}"#);
    assert_eq!((answer.status, answer.code().as_str()), (409, "no_store"), "{}", answer.body);
    assert!(answer.body.contains("--store none"), "{}", answer.body);
    let answer = gateway.ask("/api/explain", r#"{"sample":"user.created"}"#);
    assert_eq!(answer.status, 200, "what needs none works: {}", answer.body);
}
