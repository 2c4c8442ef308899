//! What all deliveries share: keys that are held, limits, and the end of the process.

use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{FAILED, place_with, start, unavailable};
use crate::harness::{Client, Gateway, Place, Signed, WELCOME, connect, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu};

const HELD: &str = "deskbell_novu_held{source=\"clerk\"}";

/// Sends events at the same time, and waits for all to be delivered.
fn send_at_once(gateway: &Gateway, count: usize) {
    thread::scope(|scope| {
        for number in 0..count {
            scope.spawn(move || {
                let answer = gateway.send(&format!("msg_{number}"), &sample("user.created"));
                assert_eq!(answer.outcome(), "accepted", "{}", answer.body);
            });
        }
    });
}

#[test]
fn a_key_that_novu_does_not_take_is_probed_gently() {
    let novu = Novu::that(|_, _| Behaviour::Answer(401, "", r#"{"statusCode":401}"#));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    thread::scope(|scope| {
        let send = |id: &'static str| gateway.send(id, &sample("user.created"));
        let first = scope.spawn(move || send("msg_1"));
        gateway.wait_for(HELD, 1.0);
        assert_eq!(gateway.degraded().len(), 1);
        for answer in [send("msg_2"), first.join().expect("an answer")] {
            assert!((5..=10).contains(&unavailable(&answer)), "{answer:?}");
        }
    });
    assert_eq!(novu.requests().len(), 2, "the first, and one probe");

    place.write_rules(&rules(novu.address, WELCOME).replace("key-of-the-tests", "another-key"));
    novu.now(|_, _| Behaviour::Process);
    gateway.post("/-/reload");
    let edited_at = Instant::now();
    eventually("another key is not held", || gateway.degraded().is_empty().then_some(()));
    assert!(edited_at.elapsed() < Duration::from_secs(5), "it need not wait for a probe: {:?}", edited_at.elapsed());
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(novu.requests()[2].headers["authorization"], "ApiKey another-key");
}

#[test]
fn nothing_is_sent_before_novu_wants_more() {
    let novu = Novu::that(|_, _| Behaviour::Answer(429, "Retry-After: 60\r\n", r#"{"statusCode":429}"#));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    for id in ["msg_1", "msg_2", "msg_1"] {
        let sent_at = Instant::now();
        assert!((55..=60).contains(&unavailable(&gateway.send(id, &sample("user.created")))), "{id}");
        assert!(sent_at.elapsed() < Duration::from_secs(10), "it is not worth to wait");
    }
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(gateway.degraded().len(), 1);
    let asked = gateway.metric("deskbell_novu_throttled_seconds_total{source=\"clerk\"}");
    assert!(asked.is_some_and(|seconds| (59.0..=60.0).contains(&seconds)), "{asked:?}");
}

#[test]
fn a_short_wait_is_within_the_time_for_an_answer() {
    const THROTTLED: Behaviour = Behaviour::Answer(429, "Retry-After: 1\r\n", r#"{"statusCode":429}"#);
    let novu = Novu::that(|_, before| if before == 0 { THROTTLED } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let requests = novu.requests();
    assert_eq!(requests[0].key(), requests[1].key(), "Novu remembers nothing of a 429");
    let passed = requests[1].at.duration_since(requests[0].at) + Duration::from_millis(2);
    assert!(passed >= Duration::from_secs(1), "{passed:?}");
}

#[test]
fn no_more_attempts_run_at_the_same_time_than_are_wanted() {
    let pause = Duration::from_millis(300);
    let novu = Novu::that(move |_, _| Behaviour::Slow(pause));
    let place = place_with(&novu, WELCOME, "timeout: 2s", "timeout: 2s, concurrency: 2");
    let gateway = start(&place);
    send_at_once(&gateway, 8);
    for three in novu.requests().windows(3) {
        let passed = three[2].at.duration_since(three[0].at);
        assert!(passed >= pause, "three within {passed:?}");
    }
}

#[test]
fn a_rate_is_kept() {
    let novu = Novu::start();
    let place = place_with(&novu, WELCOME, "timeout: 2s", "timeout: 2s, rate: 20/s");
    let gateway = start(&place);
    send_at_once(&gateway, 20);
    let requests = novu.requests();
    let passed = requests[19].at.duration_since(requests[0].at);
    // Two may go at once, and some may be held up on their way.
    assert!(passed > Duration::from_millis(500), "20 in {passed:?}");
}

#[test]
fn what_is_urgent_goes_first() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "first" => Behaviour::Slow(Duration::from_secs(1)),
        _ => Behaviour::Process,
    });
    let routes = "  - { event: user.deleted, workflow: first }\n  \
                    - { event: user.created, workflow: low, priority: low }\n  \
                    - { event: user.created, workflow: normal }\n  \
                    - { event: user.created, workflow: high, priority: high }\n";
    let place = place_with(&novu, routes, "timeout: 2s", "timeout: 5s, concurrency: 1");
    let gateway = start(&place);
    thread::scope(|scope| {
        scope.spawn(|| gateway.send("msg_0", &sample("user.deleted")));
        novu.wait_for(1);
        assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    });
    let order: Vec<String> = novu.requests().iter().map(|request| request.workflow().to_owned()).collect();
    assert_eq!(order, ["first", "high", "normal", "low"]);
}

#[test]
fn what_is_being_delivered_takes_no_more_memory_than_there_is_for_it() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().expect("the gate");
    let passing = gate.clone();
    let novu = Novu::that(move |_, _| {
        drop(passing.lock());
        Behaviour::Process
    });
    let copies: Vec<String> = (0..8).map(|copy| format!("copy{copy}: \"{{{{data.text}}}}\"")).collect();
    let route = format!("  - {{ event: user.created, workflow: welcome, payload: {{ {} }} }}\n", copies.join(", "));
    let place = place_with(&novu, &route, "timeout: 2s", "timeout: 30s");
    let gateway = start(&place);
    let large = sample_with("user.created", &[("data.text", json!("x".repeat(1_000_000)))]);
    let (answered, answers) = mpsc::channel();
    thread::scope(|scope| {
        // Each takes nine megabytes: its body, and the request.
        for number in 0..10 {
            let (gateway, large, answered) = (&gateway, &large, answered.clone());
            scope.spawn(move || answered.send(gateway.send(&format!("msg_{number}"), large)));
        }
        drop(answered);
        let refused = answers.iter().filter(|answer| answer.body.contains("too many webhooks"));
        assert_eq!(refused.take(3).map(|answer| unavailable(&answer)).collect::<Vec<_>>(), [10, 10, 10]);
        drop(closed);
    });
    eventually("there is room again", || (gateway.send("msg_last", &large).status == 200).then_some(()));
}

#[test]
fn a_webhook_in_flight_is_delivered_before_the_end() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_secs(1)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let mut client = Client::new(gateway.webhooks).expect("a connection");
    let waiting = thread::spawn(move || client.send("msg_1", &sample("user.created")).expect("an answer").outcome());
    novu.wait_for(1);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(waiting.join().expect("an answer"), "accepted");
}

#[test]
fn the_end_waits_for_no_attempt_that_has_not_begun() {
    let novu = Novu::that(|_, _| FAILED);
    let place = place_with(&novu, WELCOME, "first: 20ms, longest: 200ms", "first: 10s");
    let gateway = start(&place);
    let mut client = Client::new(gateway.webhooks).expect("a connection");
    let waiting = thread::spawn(move || client.send("msg_1", &sample("user.created")).expect("an answer"));
    gateway.wait_for("deskbell_attempts_total{result=\"server_error\"}", 1.0);
    let told_at = Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    unavailable(&waiting.join().expect("an answer"));
    assert!(told_at.elapsed() < Duration::from_secs(5), "{:?}", told_at.elapsed());
}

#[test]
fn what_runs_for_a_sender_that_has_gone_ends_before_the_process() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_secs(1)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let mut sender = connect(gateway.webhooks);
    sender.write_all(&Signed::new("msg_1", sample("user.created").as_bytes()).request()).expect("a webhook");
    let begun_at = novu.wait_for(1)[0].at;
    drop(sender);
    assert_eq!(gateway.stop(), Some(0));
    assert!(begun_at.elapsed() >= Duration::from_secs(1), "{:?}", begun_at.elapsed());
}
