//! Many rows at once, from a store that this database takes the place of.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;

use super::address::Address;
use super::session::Session;
use super::{replica, schema};
use crate::store::Change;
use crate::store::copy::{Deliveries, Events, Identities, Pauses};
use crate::store::sql::{Connection, Error, Result};

/// The number of those that nobody has counted who lives.
const NOBODY: i64 = 0;
/// How often a transaction is tried that met one of a gateway.
const TRIES: usize = 10;

/// Nobody waits for an answer here.
const SETTINGS: &str = "
    SET statement_timeout TO '55s';
    SET idle_in_transaction_session_timeout TO '60s';
";

pub struct Import {
    session: Session,
}

impl Import {
    /// Connects, and brings the schema up to date. The schema is newer than this program can use: its version.
    ///
    /// # Errors
    /// No server answers, or it does not let us do that.
    pub fn open(address: &Arc<Address>, runtime: &Handle) -> Result<std::result::Result<Self, i64>> {
        let session = Session::connect(address, runtime, None)?;
        if let Err(version) = schema::migrate(&session)? {
            return Ok(Err(version));
        }
        let session = session.patient();
        session.batch(SETTINGS)?;
        Ok(Ok(Self { session }))
    }

    /// Does something in a transaction; once more if it met one of a gateway.
    pub fn write<T>(&self, mut write: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_write(&mut write) {
                Err(Error::Postgres(error)) if tries < TRIES && is_clash(&error) => {}
                written => return written,
            }
        }
    }

    fn try_write<T>(&self, write: &mut impl FnMut(&Self) -> Result<T>) -> Result<T> {
        // One that copies at a time. The number stands for `deskcopy`.
        self.session.batch("BEGIN; SELECT pg_advisory_xact_lock(7233178109498880121)")?;
        match write(self) {
            Ok(written) => {
                self.session.batch("COMMIT")?;
                Ok(written)
            }
            Err(error) => {
                let _ = self.session.batch("ROLLBACK");
                Err(error)
            }
        }
    }

    /// The keys of the events that were never here.
    pub fn missing(&self, events: &Identities) -> Result<Vec<i64>> {
        let sql = "SELECT key FROM unnest(?1::BIGINT[], ?2::TEXT[], ?3::TEXT[]) AS copied (key, event_id, source)
             WHERE NOT EXISTS (SELECT 1 FROM events
                     WHERE events.event_id = copied.event_id AND events.source = copied.source)
                 AND NOT EXISTS (SELECT 1 FROM remembered
                     WHERE remembered.event_id = copied.event_id AND remembered.source = copied.source)";
        let rows = self.session.query_many(sql, &[&events.keys, &events.event_ids, &events.sources])?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// How many of them were not there.
    pub fn pauses(&self, pauses: &Pauses) -> Result<u64> {
        let sql = "INSERT INTO pauses (route, source, since)
             SELECT * FROM unnest(?1::TEXT[], ?2::TEXT[], ?3::BIGINT[]) ON CONFLICT DO NOTHING";
        let added = self.session.execute_many(sql, &[&pauses.routes, &pauses.sources, &pauses.since])?;
        if added > 0 {
            self.session.batch("NOTIFY deskbell, 'pauses'")?;
        }
        Ok(added)
    }

    /// How many of them were not there.
    pub fn identities(&self, identities: &Identities) -> Result<u64> {
        let Identities { event_ids, sources, received_at, .. } = identities;
        let sql = "INSERT INTO remembered (event_id, source, received_at)
             SELECT * FROM unnest(?1::TEXT[], ?2::TEXT[], ?3::BIGINT[]) ON CONFLICT DO NOTHING";
        self.session.execute_many(sql, &[event_ids, sources, received_at])
    }

    /// Adds events in their order. The key that each has here, by the one it had; none of those that somebody else has
    /// brought meanwhile.
    pub fn events(&self, events: &Events) -> Result<HashMap<i64, i64>> {
        let Events { keys, sources, event_ids, types, received_at, revisions, sensitive, bodies, unpacked } = events;
        let sql = "INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body, unpacked)
             SELECT source, event_id, type, received_at, revision, sensitive, body, unpacked
             FROM unnest(?1::TEXT[], ?2::TEXT[], ?3::TEXT[], ?4::BIGINT[], ?5::TEXT[], ?6::BOOLEAN[], ?7::BYTEA[],
                     ?8::BIGINT[])
                 WITH ORDINALITY
                 AS copied (source, event_id, type, received_at, revision, sensitive, body, unpacked, number)
             ORDER BY number ON CONFLICT (event_id, source) DO NOTHING RETURNING id, event_id, source";
        let rows = self
            .session
            .query_many(sql, &[sources, event_ids, types, received_at, revisions, sensitive, bodies, unpacked])?;
        let identities = event_ids.iter().map(String::as_str).zip(sources.iter().map(String::as_str));
        let known: HashMap<(&str, &str), i64> = identities.zip(keys.iter().copied()).collect();
        rows.iter()
            .map(|row| {
                let old = known.get(&(row.try_get(1)?, row.try_get(2)?)).ok_or(Error::Damaged)?;
                Ok((*old, row.try_get(0)?))
            })
            .collect()
    }

    pub fn deliveries(&self, deliveries: &Deliveries) -> Result<()> {
        let sql =
            "INSERT INTO deliveries (id, event, source, route, transaction_id, priority, sensitive, state, due_at,
                 expires_at, attempts, definite_errors, waited, ended_at, reason, request, answer, alone)
             SELECT * FROM unnest(?1::BIGINT[], ?2::BIGINT[], ?3::TEXT[], ?4::TEXT[], ?5::TEXT[], ?6::BIGINT[],
                 ?7::BOOLEAN[], ?8::BIGINT[], ?9::BIGINT[], ?10::BIGINT[], ?11::BIGINT[], ?12::BIGINT[], ?13::BIGINT[],
                 ?14::BIGINT[], ?15::TEXT[], ?16::BYTEA[], ?17::TEXT[], ?18::BOOLEAN[])";
        let all = deliveries;
        self.session.execute_many(
            sql,
            &[
                &all.keys,
                &all.events,
                &all.sources,
                &all.routes,
                &all.transaction_ids,
                &all.priorities,
                &all.sensitive,
                &all.states,
                &all.due_at,
                &all.expires_at,
                &all.attempts,
                &all.definite_errors,
                &all.waited,
                &all.ended_at,
                &all.reasons,
                &all.requests,
                &all.answers,
                &all.alone,
            ],
        )?;
        Ok(())
    }

    /// Counts what a transaction has added. Gateways that run look for themselves what of it is due.
    pub fn count(&self, change: Change) -> Result<()> {
        replica::count(&Connection::Postgres(&self.session), NOBODY, change)?;
        match change.waiting() {
            0 => Ok(()),
            _ => self.session.batch("NOTIFY deskbell, 'due'"),
        }
    }
}

/// Two transactions that wait for each other, or that could not be one after the other.
fn is_clash(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_some_and(|code| *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE)
}
