//! A start with a store that is full of what waits.

use std::time::{Duration, Instant};

use deskbell::units::now;
use rusqlite::Connection;

use super::{in_queue, rules};
use crate::harness::{Place, eventually, sample};
use crate::novu::Closed;
use crate::novu::service::Service;

/// What a crash has cut off is not due before the end of the test.
const DELIVERY: &str = "retry: { unknown: 1h }";
/// Together with what is filled in it is about two kilobytes, as many requests have.
const ROUTE: &str =
    "  - { event: subscriptionItem.created, workflow: welcome, payload: { event: \"{{webhook.id}}\", text: TEXT } }\n";
/// Of so many deliveries two are retried, one was being sent, and one is dead.
const CYCLE: usize = 20;

pub struct Waiting {
    pub events: usize,
}

pub struct Ran {
    /// From the start of the process until it is ready.
    pub ready: Duration,
    /// How long it takes to read the metrics.
    pub scrape: Duration,
    /// Of the store, in bytes.
    pub size: u64,
}

impl Waiting {
    pub fn run(&self) -> Ran {
        assert_eq!(self.events % CYCLE, 0, "whole cycles only");
        let route = ROUTE.replace("TEXT", &"text ".repeat(350));
        let away = Closed::new();
        let place = Place::new(away.address, &route);
        let gateway = place.start();
        assert_eq!(gateway.send("msg_0", &sample("subscriptionItem.created")).outcome(), "accepted");
        assert_eq!(gateway.stop(), Some(0));
        fill(&place, self.events);

        let service = Service::start();
        place.write_rules(&rules(service.address, DELIVERY, &route));
        let started = Instant::now();
        let gateway = place.start();
        eventually("it is ready", || (gateway.get("/readyz").status == 200).then_some(()));
        let ready = started.elapsed();

        let share = self.events / CYCLE;
        let expected = [("new", 16 * share), ("retrying", 3 * share), ("sending", 0), ("dead", share)];
        let scraped = Instant::now();
        for (state, count) in expected {
            assert_eq!(in_queue(&gateway, state), count as f64, "{state}");
        }
        let scrape = scraped.elapsed() / expected.len() as u32;
        let oldest = gateway.metric("deskbell_queue_oldest_seconds").expect("a gauge");
        assert!((3_600.0..4_200.0).contains(&oldest), "{oldest}");

        assert_eq!(gateway.send("msg_waiting_4", &sample("subscriptionItem.created")).outcome(), "duplicate");
        assert_eq!(gateway.send("msg_new", &sample("subscriptionItem.created")).outcome(), "accepted");
        gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
        service.judge().assert_once(&["msg_new".to_owned()], &["welcome"]);
        assert_eq!(gateway.stop(), Some(0));
        Ran { ready, scrape, size: std::fs::metadata(place.path("deskbell.db")).expect("the store").len() }
    }
}

/// Makes so many of the one event that is there, and none of it due within the hour.
fn fill(place: &Place, events: usize) {
    let store = Connection::open(place.path("deskbell.db")).expect("the store");
    store
        .execute_batch("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        .expect("haste");
    let due = (now() + 3_600_000).to_string();
    let accepted = (now() - 3_600_000).to_string();
    let tenth = |of: &[(usize, &str)], rest: &str| {
        let cases = of.iter().map(|(which, value)| format!("WHEN {which} THEN {value} ")).collect::<String>();
        format!("CASE n % {CYCLE} {cases} ELSE {rest} END")
    };
    copy(
        &store,
        "events",
        events,
        &[("id", "id + n"), ("event_id", "'msg_waiting_' || n"), ("received_at", &accepted)],
    );
    copy(
        &store,
        "deliveries",
        events,
        &[
            // Its event, and the first of it.
            ("id", "id + (n << 20)"),
            ("event", "event + n"),
            ("transaction_id", "transaction_id || '_' || n"),
            ("priority", "n % 3"),
            ("due_at", &due),
            ("state", &tenth(&[(0, "1"), (1, "3")], "0")),
            ("attempts", &tenth(&[(0, "1"), (1, "9"), (2, "3"), (3, "1")], "0")),
            ("reason", &tenth(&[(1, "'status_422'"), (2, "'status_500'"), (3, "'timeout'")], "NULL")),
            ("ended_at", &tenth(&[(1, &accepted)], "NULL")),
        ],
    );
    store
        .execute_batch("DELETE FROM deliveries WHERE event = 1; DELETE FROM events WHERE id = 1")
        .expect("the first goes");
}

/// Copies the one row of a table so many times, with a few columns changed.
fn copy(store: &Connection, table: &str, times: usize, changes: &[(&str, &str)]) {
    let mut columns = store.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).expect("a table");
    let columns: Vec<String> =
        columns.query_map([], |row| row.get(0)).expect("columns").collect::<Result<_, _>>().expect("columns");
    let value = |column: &String| {
        let changed = changes.iter().find(|(name, _)| name == column);
        changed.map_or(column.clone(), |(_, value)| (*value).to_owned())
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {times})
         INSERT INTO {table} ({}) SELECT {} FROM numbers CROSS JOIN (SELECT * FROM {table} LIMIT 1)",
        columns.join(", "),
        values.join(", ")
    );
    assert_eq!(store.execute(&sql, []).expect(table), times);
}
