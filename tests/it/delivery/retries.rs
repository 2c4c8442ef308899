//! What is sent again, and how the attempts of one delivery are told apart from those of two.

use std::collections::HashSet;
use std::time::Duration;

use crate::harness::{Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu, Request};

const FAILED: Behaviour = Behaviour::Answer(500, "", r#"{"statusCode":500,"message":"Internal server error"}"#);
const UNKNOWN_WORKFLOW: Behaviour = Behaviour::Answer(422, "", r#"{"statusCode":422,"message":"workflow_not_found"}"#);

fn keys(requests: &[Request]) -> HashSet<&str> {
    requests.iter().map(|request| request.key()).collect()
}

fn transactions(requests: &[Request]) -> HashSet<&str> {
    requests.iter().map(|request| request.transaction_id()).collect()
}

#[test]
fn after_a_definite_error_the_same_transaction_goes_under_a_new_key() {
    let novu = Novu::that(|_, before| if before < 3 { FAILED } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    let requests = novu.requests();
    assert_eq!((requests.len(), transactions(&requests).len(), keys(&requests).len()), (4, 1, 4));
    assert!(requests.windows(2).all(|pair| pair[0].body == pair[1].body), "nothing else has changed");
    gateway.wait_for("deskbell_attempts_total{result=\"server_error\"}", 3.0);
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
}

#[test]
fn after_an_unknown_outcome_the_same_transaction_waits_and_keeps_its_key() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "page" => Behaviour::Answer(502, "", "<html>502 Bad Gateway</html>"),
        "cut" => Behaviour::Reset,
        "lost" => Behaviour::ProcessThenReset,
        _ => Behaviour::Hang,
    });
    let kinds = ["page", "cut", "lost", "hang"];
    let routes = kinds.map(|workflow| format!("  - {{ event: user.created, workflow: {workflow} }}\n")).concat();
    let place = Place::new(novu.address, &routes);
    place.write_rules(&rules(novu.address, &routes).replace("unknown: 100ms", "unknown: 500ms"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    let of = |workflow: &str| -> Vec<Request> {
        novu.requests().into_iter().filter(|request| request.workflow() == workflow).collect()
    };
    for (kind, result, pause) in [
        ("page", "server_error", 500),
        ("cut", "connection", 500),
        ("lost", "connection", 500),
        // Two seconds and a half, less what Novu took to read the first.
        ("hang", "timeout", 2_250),
    ] {
        let requests = eventually("a second attempt", || Some(of(kind)).filter(|requests| requests.len() >= 2));
        assert_eq!((transactions(&requests).len(), keys(&requests).len()), (1, 1), "{kind}");
        for pair in requests.windows(2) {
            // The clock of the gateway counts whole milliseconds.
            let passed = pair[1].at.duration_since(pair[0].at) + Duration::from_millis(2);
            assert!(passed >= Duration::from_millis(pause), "{kind}: {passed:?}");
        }
        let attempts = gateway.metric(&format!("deskbell_attempts_total{{result=\"{result}\"}}"));
        assert!(attempts.is_some_and(|count| count >= 1.0), "{kind} is counted as {result}");
    }
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    for kind in kinds {
        gateway.wait_for(&format!("deskbell_deliveries_total{{outcome=\"delivered\",route=\"{kind}\"}}"), 1.0);
        assert_eq!(transactions(&of(kind)).len(), 1, "{kind}");
    }
}

/// The requests of one delivery that was sent so often, the last one with success.
#[track_caller]
fn delivered_after(first: &'static [Behaviour]) -> Vec<Request> {
    let novu = Novu::that(move |_, before| first.get(before).cloned().unwrap_or(Behaviour::Process));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
    let requests = novu.requests();
    assert_eq!((requests.len(), transactions(&requests).len()), (first.len() + 1, 1));
    requests
}

#[test]
fn what_novu_is_still_doing_is_asked_for_after_a_second_under_the_same_key() {
    const BUSY: Behaviour = Behaviour::Answer(409, "Retry-After: 1\r\n", r#"{"statusCode":409,"message":"…"}"#);
    let requests = delivered_after(&[Behaviour::ProcessThenReset, BUSY, BUSY]);
    assert_eq!(keys(&requests).len(), 1);
    for pair in requests[1..].windows(2) {
        // The clock of the gateway counts whole milliseconds.
        let passed = pair[1].at.duration_since(pair[0].at) + Duration::from_millis(2);
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&passed), "{passed:?}");
    }
}

#[test]
fn what_novu_says_before_it_looks_at_the_key_does_not_change_it() {
    const EARLY: Behaviour = Behaviour::Answer(425, "", "");
    const LIMITER_DOWN: Behaviour = Behaviour::Answer(503, "", r#"{"statusCode":503,"message":"Service Unavailable"}"#);
    let requests = delivered_after(&[Behaviour::ProcessThenReset, LIMITER_DOWN, EARLY]);
    assert_eq!(keys(&requests).len(), 1, "the first of them may have succeeded under it");
}

#[test]
fn an_error_that_novu_repeats_is_asked_for_again_under_a_new_key() {
    const REPLAYED: &str = "Idempotency-Replay: true\r\n";
    const REPLAYED_400: Behaviour = Behaviour::Answer(400, REPLAYED, r#"{"statusCode":400,"message":"Bad Request"}"#);
    const REPLAYED_422: Behaviour = Behaviour::Answer(422, REPLAYED, r#"{"statusCode":422,"message":"no"}"#);
    const REPLAYED_503: Behaviour = Behaviour::Answer(503, REPLAYED, r#"{"statusCode":503,"message":"no"}"#);
    let requests = delivered_after(&[Behaviour::Reset, REPLAYED_400, REPLAYED_422, REPLAYED_503]);
    assert_eq!(requests[0].key(), requests[1].key(), "an unknown outcome keeps it");
    assert_eq!(keys(&requests).len(), 4);
}

#[test]
fn a_key_that_novu_knows_from_another_body_is_replaced() {
    const REUSED: &str =
        "{\"statusCode\":422,\"message\":\"Request with key \\\"k\\\" is being reused for a different body\"}";
    let requests = delivered_after(&[Behaviour::Answer(422, "", REUSED)]);
    assert_eq!(keys(&requests).len(), 2);
}

#[test]
fn a_workflow_that_novu_does_not_know_is_tried_a_few_times() {
    let novu = Novu::that(|_, _| UNKNOWN_WORKFLOW);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"rejected\",route=\"welcome\"}", 1.0);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(1.0));
    let tried = novu.requests().len();
    assert!((2..10).contains(&tried), "{tried}");
    assert_eq!(keys(&novu.requests()).len(), tried, "the answer is not one that Novu remembers");

    novu.now(move |_, before| if before < tried + 2 { UNKNOWN_WORKFLOW } else { Behaviour::Process });
    gateway.send("msg_2", &sample("user.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
}

#[test]
fn a_workflow_gets_its_tries_even_after_lost_connections() {
    let novu = Novu::that(|_, before| match before {
        0..5 => Behaviour::Reset,
        5..7 => UNKNOWN_WORKFLOW,
        _ => Behaviour::Process,
    });
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
}

#[test]
fn what_fails_for_too_long_is_given_up() {
    let novu = Novu::that(|_, _| FAILED);
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("first:", "give_up_after: 300ms, first:"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"gave_up\",route=\"welcome\"}", 1.0);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(1.0));
    assert!(novu.requests().len() > 2, "{}", novu.requests().len());
}
