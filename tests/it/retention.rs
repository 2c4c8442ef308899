//! What is kept, for how long, and what is left of it.

use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::harness::{Client, Gateway, Place, WELCOME, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu};

const TWO_ROUTES: &str =
    "  - { event: user.created, workflow: welcome }\n  - { event: user.created, workflow: audit }\n";
const ADDRESS: &str = "ada.lovelace@example.com";

/// Rules that keep for a short time.
fn place(novu: &Novu, routes: &str, kept: &str) -> Place {
    let place = Place::new(novu.address, routes);
    place.write_rules(&format!("{}{kept}\n", rules(novu.address, routes)));
    place
}

/// Why an event cannot be explained any more: an empty text if it can.
fn lost(gateway: &Gateway, id: &str) -> String {
    gateway.ask("/api/explain", &format!(r#"{{"id":"{id}"}}"#)).code()
}

fn wait_until(gateway: &Gateway, id: &str, code: &str) {
    eventually(&format!("{id} is {code}"), || (lost(gateway, id) == code).then_some(()));
}

/// Whether the files of the store hold the address.
fn is_stored(place: &Place) -> bool {
    let files = ["deskbell.db", "deskbell.db-wal"].map(|name| std::fs::read(place.path(name)).unwrap_or_default());
    files.concat().windows(ADDRESS.len()).any(|window| window == ADDRESS.as_bytes())
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
    eventually("the address is gone from the files", || (!is_stored(&place)).then_some(()));
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
    eventually("the address is gone from the files", || (!is_stored(&place)).then_some(()));
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

#[test]
fn what_is_erased_makes_room_for_what_comes() {
    const ROUND: usize = 200;
    let novu = Novu::start();
    let place = place(&novu, TWO_ROUTES, "retention: 100ms");
    let gateway = place.start();
    let mut pages = Vec::new();
    for round in 0..6 {
        let mut client = Client::new(gateway.webhooks).expect("a connection");
        for number in 0..ROUND {
            let answer = client.send(&format!("msg_{round}_{number}"), &sample("user.created")).expect("an answer");
            assert_eq!(answer.outcome(), "accepted");
        }
        let reader = Connection::open_with_flags(place.path("deskbell.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
        let reader = reader.expect("the store");
        let count = |sql: &str| {
            reader.query_row(sql, [], |row| row.get::<_, u32>(0).map(|count| count as usize)).expect("a number")
        };
        eventually("nothing but identities", || (count("SELECT count(*) FROM events") == 0).then_some(()));
        assert_eq!(count("SELECT count(*) FROM deliveries"), 0);
        assert_eq!(count("SELECT count(*) FROM remembered"), (round + 1) * ROUND);
        pages.push(count("PRAGMA page_count"));
    }
    // Four rounds kept would be more than four times `ROUND` pages; two rounds may differ by what of
    // them was there at once, which is a round of pages at most.
    let (first, last) = (pages[1], pages[5]);
    assert!(last.saturating_sub(first) < ROUND * 2, "{pages:?}");
}

#[test]
fn bodies_take_half_their_size_on_disk() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let metadata = json!((0..100).map(|number| json!({"document": number, "seen": false})).collect::<Vec<_>>());
    let body = sample_with("user.created", &[("data.public_metadata", json!({"documents": metadata}))]);
    for number in 0..100 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &body).outcome(), "accepted");
    }
    gateway.drain();
    assert_eq!(lost(&gateway, "msg_0"), "", "it is explained from what is kept");
    assert_eq!(gateway.stop(), Some(0));
    assert!(is_stored(&place), "the address is looked for as it is kept");
    let kept = std::fs::metadata(place.path("deskbell.db")).expect("the store").len();
    // With all else that is kept of them.
    assert!(kept < body.len() as u64 * 80, "{kept} bytes for 100 bodies of {}", body.len());
}
