//! When its sender comes back: nothing is sent twice, and nothing in parallel.

use std::io::Write;
use std::thread;
use std::time::Duration;

use super::{FAILED, INACTIVE, place_with, start, unavailable};
use crate::harness::{Place, Signed, WELCOME, connect, eventually, sample};
use crate::novu::{Behaviour, Novu};

const TWO: &str = "  - { event: user.created, workflow: first }\n  - { event: user.created, workflow: second }\n";

#[test]
fn what_was_delivered_is_not_sent_again() {
    let novu = Novu::that(|request, _| if request.workflow() == "second" { INACTIVE } else { Behaviour::Process });
    let place = Place::new(novu.address, TWO);
    let gateway = start(&place);
    unavailable(&gateway.send("msg_1", &sample("user.created")));
    unavailable(&gateway.send("msg_1", &sample("user.created")));
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    let of = |workflow: &str| novu.requests().iter().filter(|request| request.workflow() == workflow).count();
    assert_eq!((of("first"), of("second")), (1, 3));
    assert_eq!((gateway.ended("first", "delivered"), gateway.ended("second", "delivered")), (1.0, 1.0));
    assert_eq!(gateway.metric("deskbell_events_total{source=\"clerk\",type=\"user.created\"}"), Some(1.0));
}

#[test]
fn the_deliveries_of_an_event_are_made_at_the_same_time() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_secs(1)));
    let place = Place::new(novu.address, TWO);
    let gateway = start(&place);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let requests = novu.requests();
    assert!(requests[1].at.duration_since(requests[0].at) < Duration::from_secs(1));
}

#[test]
fn who_comes_while_an_event_is_delivered_waits_for_what_becomes_of_it() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(500)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let mut outcomes: Vec<String> = thread::scope(|scope| {
        let send = || gateway.send("msg_1", &sample("user.created")).outcome();
        let sent: Vec<_> = (0..5).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|sent| sent.join().expect("an answer")).collect()
    });
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["accepted", "duplicate", "duplicate", "duplicate", "duplicate"]);
    assert_eq!(novu.requests().len(), 1);
}

#[test]
fn what_is_still_under_way_when_the_time_is_over_is_to_come_again_and_is_not_sent_twice() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_secs(14)));
    let place = place_with(&novu, WELCOME, "timeout: 2s", "timeout: 30s");
    let gateway = start(&place);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| unavailable(&gateway.send("msg_1", &sample("user.created"))));
        }
    });
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    assert_eq!(novu.requests().len(), 1);
}

#[test]
fn what_was_begun_goes_on_when_its_sender_hangs_up() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(500)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    let mut sender = connect(gateway.webhooks);
    sender.write_all(&Signed::new("msg_1", sample("user.created").as_bytes()).request()).expect("a webhook");
    novu.wait_for(1);
    drop(sender);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(gateway.ended("welcome", "delivered"), 1.0);
}

#[test]
fn after_an_unknown_outcome_the_same_transaction_waits_and_keeps_its_key() {
    for lost in [Behaviour::ProcessThenReset, Behaviour::Hang, Behaviour::Answer(504, "", "<html>504</html>")] {
        let novu = Novu::that(move |_, before| if before == 0 { lost.clone() } else { Behaviour::Process });
        let place = place_with(&novu, WELCOME, "unknown: 100ms", "unknown: 1s");
        let gateway = start(&place);
        assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
        let requests = novu.requests();
        assert_eq!((requests.len(), requests[0].key()), (2, requests[1].key()));
        // The clock of the gateway counts whole milliseconds.
        let passed = requests[1].at.duration_since(requests[0].at) + Duration::from_millis(2);
        assert!(passed >= Duration::from_secs(1), "{passed:?}");
    }
}

#[test]
fn after_an_unknown_outcome_the_next_webhook_waits_as_well() {
    let unknown = Duration::from_secs(13);
    let novu = Novu::that(|_, before| if before == 0 { Behaviour::ProcessThenReset } else { Behaviour::Process });
    let place = place_with(&novu, WELCOME, "unknown: 100ms", "unknown: 13s, give_up_after: 1s");
    let gateway = start(&place);
    let first = unavailable(&gateway.send("msg_1", &sample("user.created")));
    assert_eq!(first, 13);
    let mut last = first;
    let answer = eventually("it is time", || {
        let answer = gateway.send("msg_1", &sample("user.created"));
        if answer.status == 200 {
            return Some(answer);
        }
        let remains = unavailable(&answer);
        assert!((1..=last).contains(&remains), "{remains} s after {last} s");
        last = remains;
        None
    });
    assert_eq!(answer.outcome(), "accepted");
    let requests = novu.requests();
    assert_eq!((requests.len(), requests[0].key()), (2, requests[1].key()));
    let passed = requests[1].at.duration_since(requests[0].at) + Duration::from_millis(2);
    assert!(passed >= unknown, "{passed:?}");
}

#[test]
fn an_error_changes_the_key_for_the_next_webhook_too() {
    let novu = Novu::that(|_, _| INACTIVE);
    let place = Place::new(novu.address, WELCOME);
    let gateway = start(&place);
    unavailable(&gateway.send("msg_1", &sample("user.created")));
    novu.now(|_, before| if before == 1 { FAILED } else { Behaviour::Process });
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let requests = novu.requests();
    let mut keys: Vec<&str> = requests.iter().map(|request| request.key()).collect();
    keys.dedup();
    assert_eq!(keys.len(), 3, "{keys:?}");
}
