//! Looking into the store, on connections that only read: the writer never waits for them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Pause;
use super::key::{self, UNFINISHED};
use super::packed::Packed;
use super::sql::{Connection, Result, Row, values};
use crate::units::{Millis, maybe_moment, moment};

/// The most rows that one look goes through.
const MOST_SCANNED: usize = 10_000;

/// An event as it was kept.
#[derive(Debug)]
pub struct Kept {
    pub source: String,
    pub received_at: Millis,
    /// The bytes as they were signed; none once they are erased.
    pub body: Option<Vec<u8>>,
}

/// Which events are meant, and which deliveries of them. What is left out may be anything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The `svix-id`.
    pub id: Option<String>,
    pub source: Option<String>,
    pub kind: Option<String>,
    pub route: Option<Arc<str>>,
    pub state: Option<State>,
    /// Events that no route wanted.
    pub unrouted: bool,
    /// Events before this one, by [`Recorded::key`].
    pub before: Option<i64>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Paused,
    New,
    Retrying,
    Sending,
    Delivered,
    Dead,
    Expired,
    Cancelled,
}

/// Events that were found, the newest first. Its JSON is what scripts rely on: it may grow, never change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    pub events: Vec<Recorded>,
    /// What to look before for more; none at the end.
    pub next: Option<i64>,
}

/// An event and what becomes of it, without anything of its body.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Later events have larger ones.
    #[serde(skip)]
    pub key: i64,
    pub id: String,
    pub source: String,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(with = "moment")]
    pub received_at: Millis,
    /// The rules that decided it when it came.
    pub revision: String,
    /// The body is not kept any more.
    pub erased: bool,
    pub deliveries: Vec<RecordedDelivery>,
}

/// A delivery, without anything of its request.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecordedDelivery {
    pub route: String,
    pub transaction_id: String,
    pub state: State,
    pub attempts: i64,
    /// When the next attempt is due.
    #[serde(with = "moment")]
    pub due_at: Millis,
    #[serde(with = "maybe_moment")]
    pub expires_at: Option<Millis>,
    #[serde(with = "maybe_moment")]
    pub ended_at: Option<Millis>,
    /// Of the last attempt that failed, or why there was none.
    pub reason: Option<String>,
    /// What Novu has said, without any value of the request.
    pub answer: Option<String>,
}

impl State {
    pub const ALL: [State; 8] = [
        State::New,
        State::Retrying,
        State::Sending,
        State::Paused,
        State::Delivered,
        State::Dead,
        State::Expired,
        State::Cancelled,
    ];

    /// As it is stored.
    pub(super) fn of(code: i64, attempts: i64) -> Self {
        match code {
            -1 => State::Paused,
            0 if attempts == 0 => State::New,
            0 => State::Retrying,
            1 => State::Sending,
            2 => State::Delivered,
            3 => State::Dead,
            4 => State::Expired,
            _ => State::Cancelled,
        }
    }

    pub(super) fn is_unfinished(self) -> bool {
        matches!(self, State::Paused | State::New | State::Retrying | State::Sending)
    }

    /// What waits is laid aside when its turn comes, if a pause keeps it back.
    pub(super) fn under(self, pauses: &[Pause], route: &str, source: &str) -> Self {
        match self {
            State::New | State::Retrying if pauses.iter().any(|pause| pause.holds(route, source)) => State::Paused,
            state => state,
        }
    }

    /// A stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Paused => "paused",
            State::New => "new",
            State::Retrying => "retrying",
            State::Sending => "sending",
            State::Delivered => "delivered",
            State::Dead => "dead",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Filter {
    pub(super) fn wants_event(&self, id: &str, source: &str, kind: Option<&str>) -> bool {
        self.id.as_deref().is_none_or(|wanted| wanted == id)
            && self.source.as_deref().is_none_or(|wanted| wanted == source)
            && (self.kind.is_none() || self.kind.as_deref() == kind)
    }

    fn wants(&self, event: &Recorded) -> bool {
        let wanted = |delivery: &RecordedDelivery| {
            self.route.as_deref().is_none_or(|route| route == delivery.route)
                && self.state.is_none_or(|state| state == delivery.state)
        };
        self.wants_event(&event.id, &event.source, event.kind.as_deref())
            && match self.unrouted {
                true => event.deliveries.is_empty(),
                false => (self.route.is_none() && self.state.is_none()) || event.deliveries.iter().any(wanted),
            }
    }

    /// The keys of the events that may be meant, the newest first: by the narrowest index there is.
    fn candidates(&self) -> String {
        let (column, table, among) = match self.state {
            _ if self.id.is_some() => ("id", "events", "event_id = ?3"),
            Some(State::Dead) => ("event", "deliveries", "state > 2 AND state = 3"),
            Some(State::Expired) => ("event", "deliveries", "state > 2 AND state = 4"),
            Some(State::Cancelled) => ("event", "deliveries", "state > 2 AND state = 5"),
            Some(State::New | State::Retrying | State::Sending | State::Paused) => ("event", "deliveries", UNFINISHED),
            Some(State::Delivered) | None => ("id", "events", "TRUE"),
        };
        format!("SELECT DISTINCT {column} FROM {table} WHERE {column} < ?1 AND {among} ORDER BY {column} DESC LIMIT ?2")
    }
}

pub fn events(connection: &Connection<'_>, id: &str, source: Option<&str>) -> Result<Vec<Kept>> {
    let sql = "SELECT source, received_at, body, unpacked FROM events
         WHERE event_id = ?1 AND (CAST(?2 AS TEXT) IS NULL OR source = ?2) ORDER BY source";
    connection.query(sql, values![id, source], |row| {
        let packed = Packed { bytes: row.get(2)?, unpacked: row.get(3)? };
        let body = (!packed.bytes.is_empty()).then(|| packed.unpack());
        Ok(Kept { source: row.get(0)?, received_at: row.get(1)?, body: body.transpose()? })
    })
}

/// Looks through as many events as may cost some milliseconds: there may be fewer than `limit`, and more behind.
pub fn find(connection: &Connection<'_>, filter: &Filter, pauses: &[Pause], limit: usize) -> Result<Found> {
    let before = filter.before.unwrap_or(i64::MAX);
    let values = values![before, MOST_SCANNED as i64, filter.id];
    let used = if filter.id.is_some() { 3 } else { 2 };
    let keys: Vec<i64> = connection.query(&filter.candidates(), &values[..used], |row| row.get(0))?;
    let mut found = Found::default();
    let mut scanned = 0;
    for key in keys {
        let event = load(connection, key, pauses)?;
        scanned += 1 + event.as_ref().map_or(0, |event| event.deliveries.len());
        found.events.extend(event.filter(|event| filter.wants(event)));
        if scanned >= MOST_SCANNED || found.events.len() == limit {
            found.next = Some(key);
            break;
        }
    }
    Ok(found)
}

fn load(connection: &Connection<'_>, key: i64, pauses: &[Pause]) -> Result<Option<Recorded>> {
    let sql = "SELECT event_id, source, type, received_at, revision, length(body) = 0 FROM events WHERE id = ?1";
    let event = connection.first(sql, values![key], |row| {
        Ok(Recorded {
            key,
            id: row.get(0)?,
            source: row.get(1)?,
            kind: row.get(2)?,
            received_at: row.get(3)?,
            revision: row.get(4)?,
            erased: row.get(5)?,
            deliveries: Vec::new(),
        })
    })?;
    let Some(mut event) = event else { return Ok(None) };
    let sql = "SELECT route, transaction_id, state, attempts, due_at, expires_at, ended_at, reason, answer
         FROM deliveries WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    let (first, last) = key::deliveries(key);
    event.deliveries = connection.query(sql, values![first, last], |row| delivery(row, &event.source, pauses))?;
    Ok(Some(event))
}

fn delivery(row: &Row<'_>, source: &str, pauses: &[Pause]) -> Result<RecordedDelivery> {
    let route: String = row.get(0)?;
    let attempts = row.get(3)?;
    let state = State::of(row.get(2)?, attempts).under(pauses, &route, source);
    Ok(RecordedDelivery {
        route,
        transaction_id: row.get(1)?,
        state,
        attempts,
        due_at: row.get(4)?,
        expires_at: row.get(5)?,
        ended_at: row.get(6)?,
        reason: row.get(7)?,
        answer: row.get(8)?,
    })
}

/// When the oldest event with an unfinished delivery was accepted.
pub fn oldest(connection: &Connection<'_>) -> Result<Option<Millis>> {
    let sql = format!(
        "SELECT received_at FROM events WHERE id = (
             SELECT event FROM deliveries WHERE {UNFINISHED} ORDER BY event LIMIT 1)"
    );
    connection.first(&sql, &[], |row| row.get(0))
}

/// The sources that have deliveries to make: one step in an index for each, however many deliveries there are.
pub fn waiting_sources(connection: &Connection<'_>) -> Result<Vec<String>> {
    let sql = "WITH RECURSIVE waiting (source) AS (
             SELECT (SELECT source FROM deliveries WHERE state = 0 ORDER BY source LIMIT 1)
             UNION ALL
             SELECT (SELECT source FROM deliveries WHERE state = 0 AND source > waiting.source ORDER BY source LIMIT 1)
             FROM waiting WHERE source IS NOT NULL)
         SELECT source FROM waiting WHERE source IS NOT NULL";
    connection.query(sql, &[], |row| row.get(0))
}
