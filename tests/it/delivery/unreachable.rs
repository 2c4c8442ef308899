//! A Novu that cannot be reached is left alone, but for a probe now and then.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Gateway, Place, WELCOME, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Closed};

const HELD: &str = "deskbell_novu_held{source=\"clerk\"}";
const ATTEMPTS: &str = "deskbell_attempts_total{result=\"connection\"}";
const DEAD: &str = "deskbell_queue_deliveries{state=\"dead\"}";

fn send(gateway: &Gateway, ids: std::ops::Range<usize>) {
    for number in ids {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
}

/// The lines of the log, above those for debugging, that say this of Novu.
fn told(gateway: &Gateway, text: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(text) && !line.contains("\"DEBUG\"")).count()
}

#[test]
fn a_novu_that_cannot_be_reached_is_left_alone_until_it_can() {
    let closed = Closed::new();
    let routes = "  - { event: user.created, workflow: welcome }\n  \
                    - { event: user.updated, workflow: later, priority: low }\n";
    let place = Place::new(closed.address, routes);
    // Two pauses that count would be the end of a delivery.
    let retry = "first: 600ms, longest: 600ms, give_up_after: 800ms";
    place.write_rules(&rules(closed.address, routes).replace("first: 20ms, longest: 200ms", retry));
    let gateway = place.start();
    let started = Instant::now();
    send(&gateway, 0..5);
    gateway.wait_for(HELD, 1.0);
    assert_eq!(gateway.metric(ATTEMPTS), Some(5.0));
    for number in 0..50 {
        gateway.send(&format!("msg_later_{number}"), &sample("user.updated"));
    }
    let degraded = gateway.degraded();
    assert!(degraded.len() == 1 && degraded[0].contains("unreachable"), "{degraded:?}");

    gateway.wait_for(ATTEMPTS, 7.0);
    let passed = started.elapsed();
    // The second probe goes three seconds after the hold began.
    assert!(passed > Duration::from_millis(2_900), "55 deliveries wait, and two were tried within {passed:?}");
    assert_eq!((gateway.metric(HELD), gateway.metric(DEAD)), (Some(1.0), Some(0.0)));

    let novu = closed.open();
    gateway.drain();
    assert_eq!((novu.requests().len(), novu.processed().len()), (55, 55));
    assert_eq!(gateway.metric(DEAD), Some(0.0));
    gateway.wait_for(HELD, 0.0);
    assert_eq!(gateway.degraded(), [""; 0]);
    gateway.has_logged("can be used again");
    assert_eq!((told(&gateway, "cannot be reached"), told(&gateway, "can be used again")), (1, 1));
    assert_eq!(gateway.log().lines().filter(|line| line.contains("\"WARN\"")).count(), 1, "failures are no warnings");
}

#[test]
fn attempts_that_were_under_way_when_it_began_prolong_nothing_and_cost_nothing() {
    let closed = Closed::new();
    let routes = "  - { event: user.created, workflow: all, each: \"$.data.public_metadata.all[*]\", \
                      subscriber: { subscriberId: \"{{item}}\" } }\n";
    let place = Place::new(closed.address, routes);
    place
        .write_rules(&rules(closed.address, routes).replace("first: 20ms, longest: 200ms", "first: 10m, longest: 10m"));
    let gateway = place.start();
    let all: Vec<String> = (0..30).map(|number| format!("person_{number}")).collect();
    let at = Instant::now();
    gateway.send("msg_1", &sample_with("user.created", &[("data.public_metadata", json!({"all": all}))]));
    gateway.wait_for(ATTEMPTS, 31.0);
    let passed = at.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&passed), "the first probe: {passed:?}");
    let novu = closed.open();
    // All but the four that had failed before, which come back after ten minutes.
    novu.wait_for(26);
}

#[test]
fn any_answer_shows_that_novu_can_be_reached() {
    const FAILED: Behaviour = Behaviour::Answer(500, "", r#"{"statusCode":500,"message":"Internal server error"}"#);
    let closed = Closed::new();
    let place = Place::new(closed.address, WELCOME);
    let gateway = place.start();
    send(&gateway, 0..3);
    gateway.wait_for(HELD, 1.0);
    let novu = closed.open_that(|_, _| FAILED);
    gateway.wait_for(HELD, 0.0);
    // All of them are tried at once, and again, since an error alone holds nothing.
    novu.wait_for(10);
    assert_eq!((gateway.metric(HELD), gateway.metric(DEAD)), (Some(0.0), Some(0.0)));
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(novu.processed().len(), 3);
}

#[test]
fn a_novu_that_is_reached_and_refuses_the_key_is_still_held() {
    const UNAUTHORIZED: Behaviour = Behaviour::Answer(401, "", r#"{"statusCode":401,"message":"API Key not found"}"#);
    let closed = Closed::new();
    let place = Place::new(closed.address, WELCOME);
    let gateway = place.start();
    send(&gateway, 0..3);
    gateway.wait_for(HELD, 1.0);
    let novu = closed.open_that(|_, _| UNAUTHORIZED);
    eventually("the reason is another", || {
        gateway.degraded().iter().any(|line| line.contains("status_401")).then_some(())
    });
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(told(&gateway, "can be used again"), 0);
}

#[test]
fn a_connection_that_is_made_and_cut_is_no_reason_to_hold() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = Place::new(listener.local_addr().expect("an address"), WELCOME);
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    let gateway = place.start();
    send(&gateway, 0..3);
    eventually("many attempts", || gateway.metric(ATTEMPTS).filter(|count| *count >= 12.0));
    assert_eq!(gateway.metric(HELD), Some(0.0), "it can be reached");
}

#[test]
fn what_waited_goes_at_once_and_the_most_urgent_first() {
    let routes = "  - { event: user.created, workflow: low, priority: low }\n  \
                    - { event: session.created, workflow: high, priority: high }\n";
    let closed = Closed::new();
    let place = Place::new(closed.address, routes);
    place.write_rules(&rules(closed.address, routes).replace("timeout: 2s", "timeout: 2s, concurrency: 1"));
    let gateway = place.start();
    send(&gateway, 0..1);
    gateway.wait_for(HELD, 1.0);
    send(&gateway, 1..10);
    for number in 0..5 {
        gateway.send(&format!("msg_high_{number}"), &sample("session.created"));
    }
    let novu = closed.open();
    gateway.drain();
    let requests = novu.requests();
    let workflows: Vec<&str> = requests.iter().map(|request| request.workflow()).collect();
    // The probe is whatever has waited for longest.
    let urgent = workflows[..6].iter().filter(|workflow| **workflow == "high").count();
    assert_eq!(urgent, 5, "{workflows:?}");
    let passed = requests[14].at.duration_since(requests[0].at);
    assert!(passed < Duration::from_secs(5), "{passed:?}");
}
