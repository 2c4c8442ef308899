//! What a gateway does when its queue cannot take more: it says no, keeps what it has, and recovers by itself.

use serde_json::json;

use crate::harness::{Gateway, Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

pub fn failing() -> Novu {
    Novu::that(|_, _| Behaviour::Answer(500, "", r#"{"statusCode":500}"#))
}

/// Waits until `/readyz` gives this reason alone, or none.
pub fn wait_for_reason(gateway: &Gateway, reason: Option<&str>) {
    let expected = reason.map_or(json!(null), |reason| json!([reason]));
    eventually(&format!("{reason:?}"), || {
        let answer = gateway.get("/readyz");
        assert_eq!(answer.status == 200, answer.json()["ready"] == json!(true));
        (answer.json()["reasons"] == expected).then_some(())
    });
}

#[track_caller]
pub fn refuses(gateway: &Gateway, id: &str, why: &str) {
    let answer = gateway.send(id, &sample("user.created"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"), "{}", answer.body);
    assert!(answer.body.contains(why), "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
}

pub fn told(gateway: &Gateway, message: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(&format!("\"message\":\"{message}"))).count()
}

#[test]
fn a_full_queue_is_told_once() {
    let novu = failing();
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&format!("{}limits: {{ queue: 1 }}\n", rules(novu.address, WELCOME)));
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    refuses(&gateway, "msg_2", "the queue is full");
    wait_for_reason(&gateway, Some("the queue is full"));
    eventually("it is told", || (told(&gateway, "the queue is full") == 1).then_some(()));
    novu.now(|_, _| Behaviour::Process);
    eventually("it is told", || (told(&gateway, "the queue has room again") == 1).then_some(()));
    assert_eq!(told(&gateway, "the queue is full"), 1);
}

#[test]
fn deliveries_of_a_source_that_was_removed_are_named() {
    let novu = failing();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.degraded(), [""; 0]);
    let both = rules(novu.address, WELCOME);
    place.write_rules(&both.replace("clerk:", "other:"));
    let orphans = ["deliveries of `clerk`, which is no source any more, wait"];
    eventually("it is named", || (gateway.degraded() == orphans).then_some(()));
    novu.now(|_, _| Behaviour::Process);
    place.write_rules(&both);
    gateway.drain();
    eventually("all is well", || gateway.degraded().is_empty().then_some(()));
}
