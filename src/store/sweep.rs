//! What time ends: a delivery that is too old to be sent, a body that was kept long enough, an identity that no
//! resend asks for any more. All of it in small steps, for which webhooks hardly wait.

use std::time::{Duration, Instant};

use super::finish::{ERASED, erase_sensitive};
use super::group::Group;
use super::key::{self, OF_EVENT};
use super::postgres;
use super::sql::{Connection, Result, values};
use crate::units::Millis;

/// The most deliveries that one step lets expire: some milliseconds.
const EXPIRE_STEP: i64 = 200;
/// The most events or identities that one step looks at. Most are only looked at.
const SWEEP_STEP: usize = 500;
/// What one step takes to erase, before its transaction ends.
const ERASE_TIME: Duration = Duration::from_millis(2);

/// A delivery that became too old while it waited.
#[derive(Clone, Debug)]
pub struct Expired {
    pub source: String,
    pub event_id: String,
    pub route: String,
}

/// Ends the next deliveries whose time is over. What is under way is left to its attempt.
pub fn expire(group: &mut Group<'_>, now: Millis) -> Result<(Vec<Expired>, bool)> {
    let sql = format!(
        "UPDATE deliveries SET state = 4, ended_at = ?1, reason = NULL, answer = NULL WHERE id IN (
             SELECT id FROM deliveries WHERE state < 1 AND expires_at IS NOT NULL AND expires_at <= ?1
             ORDER BY expires_at LIMIT ?2{})
         RETURNING id, attempts, source, route,
             (SELECT event_id FROM events WHERE events.id = event),
             (SELECT sensitive FROM events WHERE events.id = event)",
        group.transaction.skipping(),
    );
    let rows: Vec<(i64, i64, bool, Expired)> = group.transaction.query(&sql, values![now, EXPIRE_STEP], |row| {
        let expired = Expired { source: row.get(2)?, route: row.get(3)?, event_id: row.get(4)? };
        Ok((row.get(0)?, row.get(1)?, row.get(5)?, expired))
    })?;
    let more = rows.len() as i64 == EXPIRE_STEP;
    let mut expired = Vec::with_capacity(rows.len());
    for (id, attempts, sensitive, delivery) in rows {
        group.change.wait(attempts, -1);
        if sensitive {
            group.erased |= erase_sensitive(&group.transaction, id)?;
        }
        expired.push(delivery);
    }
    Ok((expired, more))
}

/// An event, and what has become of its deliveries.
pub struct Candidate {
    pub id: i64,
    pub received_at: Millis,
    pub unfinished: bool,
    pub dead: i64,
    pub ended_at: Millis,
}

/// What is to become of an event.
pub enum Fate {
    /// It has not been kept for long enough; nor has any behind it, since events stand in the order in which they came.
    Young,
    /// Something of it is under way, or has ended only lately.
    Kept,
    /// What is dead stays, so that a resend still mends it. Its body and its requests go.
    Erased,
    /// It goes with its deliveries, and may leave its identity.
    Removed { is_remembered: bool },
}

impl Candidate {
    pub fn fate(&self, retention: Millis, remember: Millis, now: Millis) -> Fate {
        let is_remembered = self.received_at > now - remember;
        match (now - retention..=now).contains(&self.received_at) {
            true => Fate::Young,
            false if self.unfinished || self.ended_at > now - retention => Fate::Kept,
            false if is_remembered && self.dead > 0 => Fate::Erased,
            false => Fate::Removed { is_remembered },
        }
    }
}

/// Erases what was kept long enough, among the events behind the key `after`. Says where to go on.
pub fn retain(
    group: &mut Group<'_>,
    after: i64,
    retention: Millis,
    remember: Millis,
    now: Millis,
) -> Result<Option<i64>> {
    if let Connection::Postgres(session) = group.transaction {
        return postgres::retain(group, session, after, retention, remember, now);
    }
    let started = Instant::now();
    let mut last = after;
    for _ in 0..SWEEP_STEP {
        let Some(event) = next_event(group, last)? else { return Ok(None) };
        last = event.id;
        match event.fate(retention, remember, now) {
            Fate::Young => return Ok(None),
            Fate::Kept => continue,
            Fate::Erased => erase(group, event.id)?,
            Fate::Removed { is_remembered } => remove(group, &event, is_remembered)?,
        }
        if started.elapsed() >= ERASE_TIME {
            break;
        }
    }
    Ok(Some(last))
}

fn next_event(group: &Group<'_>, after: i64) -> Result<Option<Candidate>> {
    let sql = format!(
        "SELECT events.id, received_at, coalesce(max(CASE WHEN state < 2 THEN 1 ELSE 0 END), 0) = 1,
             count(*) FILTER (WHERE state = 3), coalesce(max(ended_at), received_at)
         FROM events LEFT JOIN deliveries ON {OF_EVENT}
         WHERE events.id = (SELECT min(id) FROM events WHERE id > ?1) GROUP BY events.id",
    );
    group.transaction.first(&sql, values![after], |row| {
        Ok(Candidate {
            id: row.get(0)?,
            received_at: row.get(1)?,
            unfinished: row.get(2)?,
            dead: row.get(3)?,
            ended_at: row.get(4)?,
        })
    })
}

fn erase(group: &mut Group<'_>, id: i64) -> Result<()> {
    let body = "UPDATE events SET body = ?2 WHERE id = ?1 AND length(body) > 0";
    let requests = "UPDATE deliveries SET request = NULL WHERE id BETWEEN ?1 AND ?2 AND request IS NOT NULL";
    let bodies = group.transaction.execute(body, values![id, ERASED])?;
    let (first, last) = key::deliveries(id);
    group.erased |= bodies + group.transaction.execute(requests, values![first, last])? > 0;
    Ok(())
}

fn remove(group: &mut Group<'_>, event: &Candidate, is_remembered: bool) -> Result<()> {
    let transaction = &group.transaction;
    if is_remembered {
        let remember = "INSERT INTO remembered (event_id, source, received_at)
             SELECT event_id, source, received_at FROM events WHERE id = ?1 ON CONFLICT DO NOTHING";
        transaction.execute(remember, values![event.id])?;
    }
    let (first, last) = key::deliveries(event.id);
    transaction.execute("DELETE FROM deliveries WHERE id BETWEEN ?1 AND ?2", values![first, last])?;
    transaction.execute("DELETE FROM events WHERE id = ?1", values![event.id])?;
    group.change.dead -= event.dead;
    group.erased = true;
    Ok(())
}

/// A place among the identities: id and source of an event.
pub type Identity = (String, String);

/// Removes the identities of events that came long ago, among those behind `after`. Says where to go on.
pub fn forget(group: &mut Group<'_>, after: &Identity, remember: Millis, now: Millis) -> Result<Option<Identity>> {
    let sql = "SELECT event_id, source FROM remembered WHERE (event_id, source) > (?1, ?2)
         ORDER BY event_id, source LIMIT ?3";
    let identities: Vec<Identity> =
        group
            .transaction
            .query(sql, values![after.0, after.1, SWEEP_STEP as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let more = identities.len() == SWEEP_STEP;
    let Some(last) = identities.into_iter().next_back() else { return Ok(None) };
    let remove = "DELETE FROM remembered WHERE (event_id, source) > (?1, ?2) AND (event_id, source) <= (?3, ?4)
         AND received_at <= ?5";
    group.transaction.execute(remove, values![after.0, after.1, last.0, last.1, now - remember])?;
    Ok(Some(last).filter(|_| more))
}
