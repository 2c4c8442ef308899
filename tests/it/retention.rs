//! What is kept, for how long, and what is left of it.

use crate::harness::{Gateway, Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

pub const TWO_ROUTES: &str =
    "  - { event: user.created, workflow: welcome }\n  - { event: user.created, workflow: audit }\n";
pub const ADDRESS: &str = "ada.lovelace@example.com";

/// Rules that keep for a short time.
pub fn place(novu: &Novu, routes: &str, kept: &str) -> Place {
    let place = Place::new(novu.address, routes);
    place.write_rules(&format!("{}{kept}\n", rules(novu.address, routes)));
    place
}

/// Why an event cannot be explained any more: an empty text if it can.
pub fn lost(gateway: &Gateway, id: &str) -> String {
    gateway.ask("/api/explain", &format!(r#"{{"id":"{id}"}}"#)).code()
}

fn wait_until(gateway: &Gateway, id: &str, code: &str) {
    eventually(&format!("{id} is {code}"), || (lost(gateway, id) == code).then_some(()));
}

fn dead(gateway: &Gateway) -> Option<f64> {
    gateway.metric("deskbell_queue_deliveries{state=\"dead\"}")
}

#[test]
fn of_an_event_that_is_done_only_the_identity_stays() {
    let novu = Novu::start();
    let place = place(&novu, TWO_ROUTES, "retention: 100ms");
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "unrouted");
    wait_until(&gateway, "msg_1", "unknown_event");
    wait_until(&gateway, "msg_2", "unknown_event");
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "duplicate");
    eventually("the address is gone", || (!place.store.holds(ADDRESS)).then_some(()));
    assert_eq!(novu.requests().len(), 2, "nothing was sent again");
    gateway.kill();
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    gateway.drain();
    assert_eq!(novu.requests().len(), 2);
}

#[test]
fn retention_is_changed_while_it_runs() {
    let novu = Novu::start();
    let place = place(&novu, WELCOME, "retention: 7d");
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    gateway.drain();
    assert_eq!(lost(&gateway, "msg_1"), "");
    place.write_rules(&format!("{}retention: 100ms\n", rules(novu.address, WELCOME)));
    wait_until(&gateway, "msg_1", "unknown_event");
}

#[test]
fn what_is_dead_is_erased_and_can_still_be_sent_by_a_resend() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "audit" => Behaviour::Answer(400, "", r#"{"statusCode":400}"#),
        _ => Behaviour::Process,
    });
    let place = place(&novu, TWO_ROUTES, "retention: 100ms");
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    wait_until(&gateway, "msg_1", "erased");
    assert_eq!(dead(&gateway), Some(1.0));
    eventually("the address is gone", || (!place.store.holds(ADDRESS)).then_some(()));
    // Another one is through, and the dead one is still there.
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "unrouted");
    wait_until(&gateway, "msg_2", "unknown_event");
    assert_eq!((lost(&gateway, "msg_1").as_str(), dead(&gateway)), ("erased", Some(1.0)));

    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"audit\"}", 1.0);
    let workflows: Vec<String> = novu.processed().iter().map(|request| request.workflow().to_owned()).collect();
    assert_eq!(workflows, ["welcome", "audit"], "what was delivered is not sent again");
    wait_until(&gateway, "msg_1", "unknown_event");
    assert_eq!(dead(&gateway), Some(0.0));
}

#[test]
fn what_waits_is_kept_however_long_it_takes() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "audit" => Behaviour::Answer(500, "", r#"{"statusCode":500}"#),
        _ => Behaviour::Process,
    });
    let place = place(&novu, TWO_ROUTES, "retention: 100ms\nremember: 100ms");
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    // Those that come later go before it.
    for id in ["msg_2", "msg_3"] {
        assert_eq!(gateway.send(id, &sample("user.deleted")).outcome(), "unrouted");
        wait_until(&gateway, id, "unknown_event");
    }
    assert_eq!(lost(&gateway, "msg_1"), "");
    novu.now(|_, _| Behaviour::Process);
    wait_until(&gateway, "msg_1", "unknown_event");
    assert_eq!((gateway.ended("welcome", "delivered"), gateway.ended("audit", "delivered")), (1.0, 1.0));
}

#[test]
fn after_remember_an_event_is_a_new_one_and_nothing_dead_is_left() {
    let novu = Novu::that(|_, _| Behaviour::Answer(400, "", r#"{"statusCode":400}"#));
    let place = place(&novu, WELCOME, "retention: 100ms\nremember: 500ms");
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.send("msg_2", &sample("user.deleted")).outcome(), "unrouted");
    // First to an identity, and then to nothing.
    wait_until(&gateway, "msg_2", "unknown_event");
    let is_new = || (gateway.send("msg_2", &sample("user.deleted")).outcome() == "unrouted").then_some(());
    eventually("msg_2 is a new event", is_new);
    wait_until(&gateway, "msg_1", "unknown_event");
    assert_eq!(dead(&gateway), Some(0.0));
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
}
