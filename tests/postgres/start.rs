//! What a gateway finds in its database, and how: a schema that others have brought further, and much that waits.

use std::time::Instant;

use crate::harness::{Gateway, Place, WELCOME, sample};
use crate::novu::Novu;
use crate::server::ask;

const WAITING: usize = 50_000;

/// What a later version could do while this one runs: it adds, and says which versions can go on.
fn bring_further(place: &Place, oldest: u32) {
    ask(
        &place.store.url(),
        &format!(
            "BEGIN;
             SET search_path TO deskbell;
             ALTER TABLE events ADD COLUMN region TEXT NOT NULL DEFAULT '';
             ALTER TABLE deliveries ADD COLUMN cost BIGINT;
             CREATE INDEX events_region ON events (region);
             CREATE TABLE regions (name TEXT PRIMARY KEY);
             UPDATE schema SET version = 99, oldest = {oldest};
             COMMIT"
        ),
    );
}

fn deliver(gateway: &Gateway, novu: &Novu, id: &str, deliveries: usize) {
    assert_eq!(gateway.send(id, &sample("user.created")).outcome(), "accepted");
    gateway.drain();
    assert_eq!(novu.requests().len(), deliveries);
    assert_eq!(gateway.send(id, &sample("user.created")).outcome(), "duplicate");
}

#[test]
fn beside_a_newer_version_an_older_one_goes_on_and_starts_again() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    deliver(&gateway, &novu, "msg_1", 1);
    bring_further(&place, 1);
    deliver(&gateway, &novu, "msg_2", 2);
    assert_eq!(gateway.stop(), Some(0));
    deliver(&place.start(), &novu, "msg_3", 3);
    assert_eq!(place.store.number("SELECT version FROM schema"), 99);
}

#[test]
fn a_version_that_is_too_old_for_the_schema_does_not_start() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    assert_eq!(place.start().stop(), Some(0));
    bring_further(&place, 99);
    let (status, said) = place.refuses_to_start(|_| {});
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("written by a newer deskbell (schema 99)"), "{said}");
}

#[test]
fn a_start_knows_what_waits_and_what_comes_does_not_wait_for_it() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    deliver(&gateway, &novu, "msg_1", 1);
    assert_eq!(gateway.stop(), Some(0));
    // Nothing of it is due within the hour. The server has looked at its tables while they were small.
    ask(
        &place.store.url(),
        &format!(
            "SET search_path TO deskbell;
             INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body, unpacked)
                 SELECT source, 'msg_waiting_' || number, type, received_at, revision, sensitive, body, unpacked
                 FROM events, generate_series(1, {WAITING}) AS number;
             INSERT INTO deliveries (id, event, source, route, transaction_id, priority, sensitive, state, due_at, request)
                 SELECT events.id << 20, events.id, events.source, route, events.event_id, events.id % 3, FALSE, 0,
                     due_at + 3600000, request
                 FROM deliveries, events WHERE events.event_id LIKE 'msg_waiting_%';
             UPDATE replicas SET new = new + {WAITING} WHERE id = 0"
        ),
    );
    let gateway = place.start();
    let waiting = "deskbell_queue_deliveries{state=\"new\"}";
    assert_eq!(gateway.metric(waiting), Some(WAITING as f64));
    assert_eq!(gateway.send("msg_waiting_4", &sample("user.created")).outcome(), "duplicate");
    assert_eq!(gateway.send("msg_2", &sample("user.created")).outcome(), "accepted");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
    assert_eq!(novu.requests().len(), 2);
    assert_eq!(gateway.metric(waiting), Some(WAITING as f64));
}

#[test]
fn nothing_is_looked_through_however_small_the_tables_were_when_the_server_looked() {
    const EVENTS: usize = 150;
    let started = Instant::now();
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for number in 0..EVENTS {
        if number == 3 {
            // It plans for tables of three rows and an empty queue, and by itself looks no more.
            ask(
                &place.store.url(),
                "ALTER TABLE deskbell.events SET (autovacuum_enabled = off);
                 ALTER TABLE deskbell.deliveries SET (autovacuum_enabled = off);
                 ALTER TABLE deskbell.remembered SET (autovacuum_enabled = off);
                 ANALYZE",
            );
        }
        deliver(&gateway, &novu, &format!("msg_{number}"), number + 1);
    }
    // Whoever leaves tells the server what it has done.
    assert_eq!(gateway.stop(), Some(0));
    let sum = |column: &str, indexes: &str| {
        place.store.number(&format!(
            "SELECT sum({column}) FROM pg_stat_user_indexes WHERE schemaname = 'deskbell' AND {indexes}"
        ))
    };
    // The age of the queue is looked for there once a second, and nothing else is.
    let looks = sum("idx_scan", "indexrelname IN ('deliveries_sending', 'deliveries_unfinished', 'deliveries_failed')");
    assert!(looks < 50 + 2 * started.elapsed().as_secs() as i64, "{looks}");
    let reads = sum("idx_tup_read", "relname IN ('events', 'deliveries', 'remembered')");
    assert!(reads < 50 * EVENTS as i64, "{reads}");
}
