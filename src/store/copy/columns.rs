//! Rows of the file, column by column: a statement takes many at once.

use std::collections::{HashMap, HashSet};

use crate::store::key;
use crate::store::sql::{Connection, Result, Row, values};
use crate::units::Millis;

/// Who events are.
#[derive(Default)]
pub struct Identities {
    /// Of events, their keys in the file.
    pub keys: Vec<i64>,
    pub event_ids: Vec<String>,
    pub sources: Vec<String>,
    pub received_at: Vec<Millis>,
}

impl Identities {
    /// The next of those that are left of events, behind this one.
    pub fn remembered(file: &Connection<'_>, after: &(String, String), most: usize) -> Result<Self> {
        let sql = "SELECT 0, event_id, source, received_at FROM remembered WHERE (event_id, source) > (?1, ?2)
             ORDER BY event_id, source LIMIT ?3";
        let mut identities = Self::default();
        file.query(sql, values![after.0, after.1, most as i64], |row| identities.push(row))?;
        Ok(identities)
    }

    /// Those of events behind this key, and up to that.
    pub fn of_events(file: &Connection<'_>, after: i64, last: i64) -> Result<Self> {
        let sql = "SELECT id, event_id, source, received_at FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id";
        let mut identities = Self::default();
        file.query(sql, values![after, last], |row| identities.push(row))?;
        Ok(identities)
    }

    pub fn last(&self) -> Option<(String, String)> {
        Some((self.event_ids.last()?.clone(), self.sources.last()?.clone()))
    }

    fn push(&mut self, row: &Row<'_>) -> Result<()> {
        self.keys.push(row.get(0)?);
        self.event_ids.push(row.get(1)?);
        self.sources.push(row.get(2)?);
        self.received_at.push(row.get(3)?);
        Ok(())
    }
}

#[derive(Default)]
pub struct Pauses {
    pub routes: Vec<String>,
    pub sources: Vec<String>,
    pub since: Vec<Millis>,
}

impl Pauses {
    pub fn read(file: &Connection<'_>) -> Result<Self> {
        let mut pauses = Self::default();
        file.query("SELECT route, source, since FROM pauses ORDER BY since", &[], |row| {
            pauses.routes.push(row.get(0)?);
            pauses.sources.push(row.get(1)?);
            pauses.since.push(row.get(2)?);
            Ok(())
        })?;
        Ok(pauses)
    }
}

#[derive(Default)]
pub struct Events {
    /// Those in the file.
    pub keys: Vec<i64>,
    pub sources: Vec<String>,
    pub event_ids: Vec<String>,
    pub types: Vec<Option<String>>,
    pub received_at: Vec<Millis>,
    pub revisions: Vec<String>,
    pub sensitive: Vec<bool>,
    pub bodies: Vec<Vec<u8>>,
    pub unpacked: Vec<Option<i64>>,
}

impl Events {
    /// Those of the `wanted` events that are behind this key, and up to that.
    pub fn read(file: &Connection<'_>, after: i64, last: i64, wanted: &HashSet<i64>) -> Result<Self> {
        let sql = "SELECT id, source, event_id, type, received_at, revision, sensitive, body, unpacked
             FROM events WHERE id > ?1 AND id <= ?2 ORDER BY id";
        let mut events = Self::default();
        file.query(sql, values![after, last], |row| match wanted.contains(&row.get(0)?) {
            true => events.push(row),
            false => Ok(()),
        })?;
        Ok(events)
    }

    fn push(&mut self, row: &Row<'_>) -> Result<()> {
        self.keys.push(row.get(0)?);
        self.sources.push(row.get(1)?);
        self.event_ids.push(row.get(2)?);
        self.types.push(text(row.get(3)?));
        self.received_at.push(row.get(4)?);
        self.revisions.push(row.get(5)?);
        self.sensitive.push(row.get(6)?);
        self.bodies.push(row.get(7)?);
        self.unpacked.push(row.get(8)?);
        Ok(())
    }
}

#[derive(Default)]
pub struct Deliveries {
    /// Those in the database.
    pub keys: Vec<i64>,
    pub events: Vec<i64>,
    pub sources: Vec<String>,
    pub routes: Vec<String>,
    pub transaction_ids: Vec<String>,
    pub priorities: Vec<i64>,
    pub sensitive: Vec<bool>,
    pub states: Vec<i64>,
    pub due_at: Vec<Millis>,
    pub expires_at: Vec<Option<Millis>>,
    pub attempts: Vec<i64>,
    pub definite_errors: Vec<i64>,
    pub waited: Vec<i64>,
    pub ended_at: Vec<Option<Millis>>,
    pub reasons: Vec<Option<String>>,
    pub requests: Vec<Option<Vec<u8>>>,
    pub answers: Vec<Option<String>>,
    pub alone: Vec<bool>,
}

impl Deliveries {
    /// The deliveries behind this key, and up to that, of events that have a key in the database.
    pub fn read(file: &Connection<'_>, after: i64, last: i64, events: &HashMap<i64, i64>) -> Result<Self> {
        let sql = "SELECT id, source, route, transaction_id, priority, sensitive, state, due_at, expires_at, attempts,
                 definite_errors, waited, ended_at, reason, request, answer, alone
             FROM deliveries WHERE id > ?1 AND id <= ?2 ORDER BY id";
        let mut deliveries = Self::default();
        file.query(sql, values![after, last], |row| {
            let (event, number) = key::parts(row.get(0)?);
            match events.get(&event) {
                Some(event) => deliveries.push(*event, number, row),
                None => Ok(()),
            }
        })?;
        Ok(deliveries)
    }

    /// The state of each, and how often it was attempted.
    pub fn states(&self) -> impl Iterator<Item = (i64, i64)> {
        self.states.iter().copied().zip(self.attempts.iter().copied())
    }

    fn push(&mut self, event: i64, number: usize, row: &Row<'_>) -> Result<()> {
        self.keys.push(key::delivery(event, number));
        self.events.push(event);
        self.sources.push(row.get(1)?);
        self.routes.push(row.get(2)?);
        self.transaction_ids.push(row.get(3)?);
        self.priorities.push(row.get(4)?);
        self.sensitive.push(row.get(5)?);
        self.states.push(row.get(6)?);
        self.due_at.push(row.get(7)?);
        self.expires_at.push(row.get(8)?);
        self.attempts.push(row.get(9)?);
        self.definite_errors.push(row.get(10)?);
        self.waited.push(row.get(11)?);
        self.ended_at.push(row.get(12)?);
        self.reasons.push(text(row.get(13)?));
        self.requests.push(row.get(14)?);
        self.answers.push(text(row.get(15)?));
        self.alone.push(row.get(16)?);
        Ok(())
    }
}

/// What others have said may hold a character that PostgreSQL does not keep.
fn text(said: Option<String>) -> Option<String> {
    said.map(|said| if said.contains('\0') { said.replace('\0', "\u{fffd}") } else { said })
}
