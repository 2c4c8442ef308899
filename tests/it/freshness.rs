//! `max_age` never stands still: what waits ends when its time is over, whatever it waits for.

use std::time::Duration;

use deskbell::units::now;
use serde_json::json;

use crate::harness::{Gateway, Place, eventually, rules, sample_with};
use crate::novu::{Behaviour, Novu};

const CODE: &str = "  - { event: user.created, workflow: code, max_age: 1s }\n";

/// An event of this moment.
fn young() -> String {
    sample_with("user.created", &[("timestamp", json!(now()))])
}

fn nothing_waits(gateway: &Gateway) {
    for state in ["new", "retrying", "sending", "dead"] {
        let name = format!("deskbell_queue_deliveries{{state=\"{state}\"}}");
        assert_eq!(gateway.metric(&name), Some(0.0), "{state}");
    }
    assert_eq!(gateway.metric("deskbell_queue_oldest_seconds"), Some(0.0));
}

fn expires(gateway: &Gateway, count: f64) {
    gateway.wait_for("deskbell_deliveries_total{outcome=\"expired\",route=\"code\"}", count);
}

#[test]
fn what_waits_for_novu_to_take_more_expires_meanwhile() {
    let novu = Novu::that(|_, _| Behaviour::Answer(429, "Retry-After: 600\r\n", r#"{"statusCode":429}"#));
    let place = Place::new(novu.address, CODE);
    let gateway = place.start();
    // The first is attempted and waits again, the others are never attempted.
    for number in 0..5 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &young()).outcome(), "accepted");
    }
    expires(&gateway, 5.0);
    nothing_waits(&gateway);
    let logged = || gateway.log().matches("\"message\":\"expired\"").count();
    // The log is written a little later than what it tells of.
    eventually("each is logged", || (logged() >= 5).then_some(()));
    assert_eq!(gateway.send("msg_1", &young()).outcome(), "duplicate");
    nothing_waits(&gateway);
    assert_eq!(logged(), 5, "once");
}

#[test]
fn what_waits_for_its_next_attempt_expires_meanwhile() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", r#"{"statusCode":500}"#));
    let place = Place::new(novu.address, CODE);
    place.write_rules(&rules(novu.address, CODE).replace("first: 20ms, longest: 200ms", "first: 1h, longest: 1h"));
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &young()).outcome(), "accepted");
    gateway.wait_for("deskbell_queue_deliveries{state=\"retrying\"}", 1.0);
    expires(&gateway, 1.0);
    nothing_waits(&gateway);
    assert_eq!(novu.requests().len(), 1);
}

#[test]
fn what_is_on_its_way_to_novu_does_not_expire() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(3_500)));
    let place = Place::new(novu.address, CODE);
    place.write_rules(&rules(novu.address, CODE).replace("timeout: 2s", "timeout: 10s"));
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &young()).outcome(), "accepted");
    gateway.drain();
    assert_eq!((gateway.ended("code", "delivered"), gateway.ended("code", "expired")), (1.0, 0.0));
}

#[test]
fn a_sensitive_body_does_not_stay_because_another_delivery_has_expired() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "code" => Behaviour::Answer(500, "", r#"{"statusCode":500}"#),
        _ => Behaviour::Process,
    });
    let place = Place::new(novu.address, "");
    let secret = "  - { event: user.created, workflow: secret, sensitive: true }\n";
    let slow = rules(novu.address, &format!("{CODE}{secret}")).replace("first: 20ms", "first: 1h");
    place.write_rules(&slow.replace("longest: 200ms", "longest: 1h"));
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &young()).outcome(), "accepted");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"secret\"}", 1.0);
    expires(&gateway, 1.0);
    assert_eq!(gateway.ask("/api/explain", r#"{"id":"msg_1"}"#).code(), "erased");
}

#[test]
fn what_nobody_delivers_any_more_expires_too() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", r#"{"statusCode":500}"#));
    let place = Place::new(novu.address, CODE);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &young()).outcome(), "accepted");
    place.write_rules(&rules(novu.address, CODE).replace("clerk:", "other:"));
    let is_gone = || (gateway.send("msg_1", &young()).code() == "unknown_source").then_some(());
    eventually("the source is gone", is_gone);
    expires(&gateway, 1.0);
}
