//! The gateways that share a database: who lives, what each has added to the queue, and what becomes of what a dead one was
//! attempting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Session;
use crate::store::group::Group;
use crate::store::sql::{Connection, Error, Result, Row, values};
use crate::store::{Change, Pause, steer};
use crate::units::{Millis, now};

/// After so long without a sign of life, others take over.
const LEASE: Duration = Duration::from_secs(10);
/// Before that, a gateway that cannot give one begins no attempt any more.
const MARGIN: Duration = Duration::from_secs(3);

/// Who has given a sign of life of late. Who has not is not dead yet, and does nothing.
const PRESENT: &str = "SELECT name, revision, id FROM replicas
     WHERE id > 0 AND name <> '' AND seen_at > clock_timestamp() - interval '5 seconds' ORDER BY id";

/// Whether this gateway may begin attempts.
#[derive(Debug, Default)]
pub struct Lease {
    state: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// The last sign of life.
    renewed: Option<Instant>,
    /// Since when there was one in time, again and again.
    unbroken: Option<Instant>,
}

impl Lease {
    pub fn is_held(&self) -> bool {
        self.get().renewed.is_some_and(|renewed| renewed.elapsed() < LEASE - MARGIN)
    }

    pub fn end(&self) {
        self.set(Standing::default());
    }

    /// Where nobody could give a sign of life for a while, nobody is dead. So only those judge who had no gap for a whole lease.
    fn may_judge(&self) -> bool {
        self.is_held() && self.get().unbroken.is_some_and(|since| since.elapsed() > LEASE)
    }

    /// A sign of life was given at a transaction that began then.
    fn renew(&self, at: Instant) {
        let unbroken = self.get().unbroken.filter(|_| self.is_held()).or(Some(at));
        self.set(Standing { renewed: Some(at), unbroken });
    }

    fn get(&self) -> Standing {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, standing: Standing) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// A gateway that shares the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replica {
    pub name: String,
    /// Of the rules that it runs.
    pub revision: String,
    /// It is the one that says so.
    pub this: bool,
}

/// How a Novu key can be used, as one of the gateways has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// A fingerprint of it.
    pub key: String,
    /// Why nothing goes to Novu with it.
    pub held: Option<String>,
    /// Novu asked to wait until then.
    pub throttled_until: Millis,
}

/// What a gateway tells the others with its sign of life.
#[derive(Clone, Debug)]
pub struct Sign {
    /// Of the rules that it runs.
    pub revision: String,
    /// After so long, what a dead gateway was attempting is attempted again.
    pub unknown: Millis,
    /// What it has found of Novu keys.
    pub keys: Vec<KeyState>,
}

/// What a sign of life brings back.
pub struct Seen {
    pub keys: Vec<KeyState>,
    pub pauses: Vec<Pause>,
    pub replicas: Vec<Replica>,
}

/// Gives a sign of life, and takes over from those who have given none.
pub fn heartbeat(group: &mut Group<'_>, lease: &Arc<Lease>, sign: &Sign) -> Result<Option<Seen>> {
    let Connection::Postgres(session) = group.transaction else { return Ok(None) };
    let name = format!("{}/{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id());
    let began = Instant::now();
    let connection = Connection::Postgres(session);
    connection.execute(
        "INSERT INTO replicas (id, name, revision, seen_at) VALUES (?1, ?2, ?3, clock_timestamp())
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, revision = excluded.revision, seen_at = excluded.seen_at",
        values![session.replica, name, sign.revision],
    )?;
    for KeyState { key, held, throttled_until } in &sign.keys {
        let sql = "INSERT INTO novu_keys (key, held, throttled_until) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE
             SET held = excluded.held, throttled_until = greatest(novu_keys.throttled_until, excluded.throttled_until)";
        connection.execute(sql, values![key, held, throttled_until])?;
    }
    if !sign.keys.is_empty() {
        session.batch("NOTIFY deskbell, 'keys'")?;
    }
    if lease.may_judge() {
        let dead = "SELECT id, name FROM replicas
             WHERE seen_at < clock_timestamp() - make_interval(secs => ?1) FOR UPDATE SKIP LOCKED";
        let dead =
            connection.query(dead, values![LEASE.as_secs_f64()], |row| Ok((row.get(0)?, row.get::<String>(1)?)))?;
        for (id, gateway) in dead {
            let freed = bury(group, id, now().saturating_add(sign.unknown))?;
            if gateway == name {
                tracing::info!(freed, "what was being attempted when the last connection was lost is attempted again");
            } else {
                tracing::warn!(
                    gateway,
                    freed,
                    "another gateway gives no sign of life; what it was attempting goes on here"
                );
            }
        }
    }
    let seen = Seen {
        keys: connection.query("SELECT key, held, throttled_until FROM novu_keys", &[], |row| {
            Ok(KeyState { key: row.get(0)?, held: row.get(1)?, throttled_until: row.get(2)? })
        })?,
        pauses: steer::pauses(&connection)?,
        replicas: connection.query(PRESENT, &[], |row| {
            Ok(Replica { name: row.get(0)?, revision: row.get(1)?, this: row.get::<i64>(2)? == session.replica })
        })?,
    };
    // Something may be due that nobody has told of.
    group.due = true;
    let lease = lease.clone();
    group.afterwards(move || lease.renew(began));
    Ok(Some(seen))
}

/// What it was attempting becomes due, and what it has counted is counted here. Says how many that were.
fn bury(group: &mut Group<'_>, id: i64, due_at: Millis) -> Result<u64> {
    let connection = &group.transaction;
    let freed = free(connection, id, due_at)?;
    let counted = connection.first(
        "DELETE FROM replicas WHERE id = ?1 RETURNING new, retrying, sending, dead",
        values![id],
        change_of,
    )?;
    group.change = group.change + counted.unwrap_or_default();
    group.change.sending -= freed as i64;
    group.change.retrying += freed as i64;
    Ok(freed)
}

fn free(connection: &Connection<'_>, id: i64, due_at: Millis) -> Result<u64> {
    let sql = "UPDATE deliveries SET state = 0, due_at = ?2, alone = TRUE WHERE state = 1 AND replica = ?1";
    connection.execute(sql, values![id, due_at])
}

/// The place of this gateway is free, and its counts go to number 0.
pub fn leave(connection: &Connection<'_>, id: i64, now: Millis, unknown: Millis) -> Result<()> {
    let freed = free(connection, id, now.saturating_add(unknown))? as i64;
    count(connection, id, Change { retrying: freed, sending: -freed, ..Change::default() })?;
    let sql = "WITH gone AS (DELETE FROM replicas WHERE id = ?1 RETURNING new, retrying, sending, dead)
         UPDATE replicas SET new = replicas.new + gone.new, retrying = replicas.retrying + gone.retrying,
             sending = replicas.sending + gone.sending, dead = replicas.dead + gone.dead
         FROM gone WHERE replicas.id = 0";
    connection.execute(sql, values![id]).map(drop)
}

/// Adds what a transaction has changed.
const COUNT: &str = "INSERT INTO replicas (id, seen_at, new, retrying, sending, dead)
     VALUES (?1, clock_timestamp(), ?2, ?3, ?4, ?5)
     ON CONFLICT (id) DO UPDATE SET new = replicas.new + excluded.new, retrying = replicas.retrying + excluded.retrying,
         sending = replicas.sending + excluded.sending, dead = replicas.dead + excluded.dead";

/// What the queue holds, whoever has added it.
const TOTALS: &str = "SELECT CAST(coalesce(sum(new), 0) AS BIGINT), CAST(coalesce(sum(retrying), 0) AS BIGINT),
         CAST(coalesce(sum(sending), 0) AS BIGINT), CAST(coalesce(sum(dead), 0) AS BIGINT) FROM";

pub fn count(connection: &Connection<'_>, id: i64, change: Change) -> Result<()> {
    if change == Change::default() {
        return Ok(());
    }
    let values = values![id, change.new, change.retrying, change.sending, change.dead];
    connection.execute(COUNT, values).map(drop)
}

/// What the queue holds.
pub fn totals(connection: &Connection<'_>) -> Result<Change> {
    Ok(connection.first(&format!("{TOTALS} replicas"), &[], change_of)?.unwrap_or_default())
}

/// Ends a transaction that has changed this, with a word for the other gateways: what the queue holds then.
pub fn conclude(session: &Session, change: Change, word: Option<&str>) -> Result<Change> {
    let rows = if change == Change::default() {
        session.query_and_commit(&format!("{TOTALS} replicas"), &[], word)?
    } else {
        let sql = format!(
            "WITH counted AS ({COUNT} RETURNING new, retrying, sending, dead)
             {TOTALS} (SELECT new, retrying, sending, dead FROM counted
                 UNION ALL SELECT new, retrying, sending, dead FROM replicas WHERE id <> ?1) AS counts"
        );
        let values = values![session.replica, change.new, change.retrying, change.sending, change.dead];
        session.query_and_commit(&sql, values, word)?
    };
    rows.first().map_or(Err(Error::Damaged), |row| change_of(&Row::Postgres(row)))
}

fn change_of(row: &Row<'_>) -> Result<Change> {
    Ok(Change { new: row.get(0)?, retrying: row.get(1)?, sending: row.get(2)?, dead: row.get(3)? })
}
