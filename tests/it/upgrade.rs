//! A store that an older version has written is taken over with everything in it.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use serde_json::json;

use crate::harness::{Place, WELCOME, sample};
use crate::novu::Novu;

/// The first schema, as it was released.
const FIRST: &str = "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        event_id TEXT NOT NULL,
        type TEXT,
        received_at INTEGER NOT NULL,
        revision TEXT NOT NULL,
        sensitive INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX events_identity ON events (event_id, source);
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL REFERENCES events (id),
        source TEXT NOT NULL,
        route TEXT NOT NULL,
        transaction_id TEXT NOT NULL,
        priority INTEGER NOT NULL,
        sensitive INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        expires_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        definite_errors INTEGER NOT NULL DEFAULT 0,
        waited INTEGER NOT NULL DEFAULT 0,
        ended_at INTEGER,
        reason TEXT,
        request BLOB
    );
    CREATE INDEX deliveries_of_event ON deliveries (event);
    CREATE INDEX deliveries_due ON deliveries (source, priority, due_at) WHERE state = 0;
    CREATE INDEX deliveries_unfinished ON deliveries (id) WHERE state < 2;
    CREATE INDEX deliveries_dead ON deliveries (id) WHERE state = 3;
    PRAGMA user_version = 1;
";

/// What stands in it: an event for each state that a delivery could have.
const DELIVERIES: [(&str, i64, i64); 6] =
    [("new", 0, 0), ("retrying", 0, 3), ("sending", 1, 1), ("delivered", 2, 1), ("dead", 3, 5), ("expired", 4, 0)];

fn write(place: &Place, received_at: i64) {
    let connection = Connection::open(place.path("deskbell.db")).expect("a database");
    connection.execute_batch(FIRST).expect("the schema");
    for (name, state, attempts) in DELIVERIES {
        let ended_at = (state > 1).then_some(received_at);
        let request = json!({"name": "welcome", "transactionId": format!("deskbell_{name}"), "payload": {}});
        connection
            .execute(
                "INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body)
                 VALUES ('clerk', ?1, 'user.created', ?2, 'abc', 0, ?3)",
                params![name, received_at, sample("user.created").into_bytes()],
            )
            .expect("an event");
        connection
            .execute(
                "INSERT INTO deliveries (event, source, route, transaction_id, priority, sensitive, state, due_at, attempts,
                     ended_at, request)
                 VALUES (last_insert_rowid(), 'clerk', 'welcome', ?1, 1, 0, ?2, ?3, ?4, ?5, ?6)",
                params![format!("deskbell_{name}"), state, received_at, attempts, ended_at, request.to_string().into_bytes()],
            )
            .expect("a delivery");
    }
}

#[test]
fn everything_in_a_store_of_the_first_version_is_found_and_goes_on() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    write(&place, deskbell::units::now());
    let gateway = place.start();
    gateway.drain();
    let sent: HashSet<String> = novu.processed().iter().map(|request| request.transaction_id().to_owned()).collect();
    assert_eq!(sent, ["new", "retrying", "sending"].map(|name| format!("deskbell_{name}")).into());
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(1.0));
    for (name, ..) in DELIVERIES {
        assert_eq!(gateway.ask("/api/explain", &format!(r#"{{"id":"{name}"}}"#)).status, 200, "{name}");
        if name != "dead" {
            assert_eq!(gateway.send(name, &sample("user.created")).outcome(), "duplicate", "{name}");
        }
    }
    gateway.drain();
    assert_eq!(novu.requests().len(), 3, "nothing is sent again");
    assert_eq!(gateway.stop(), Some(0));
    // Once more, now that it is up to date.
    let gateway = place.start();
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(1.0));
    assert_eq!(gateway.send("dead", &sample("user.created")).outcome(), "duplicate");
    gateway.drain();
    assert_eq!(novu.requests().len(), 4, "what is dead is sent by a resend");
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(0.0));
}
