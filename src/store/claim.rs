//! Who goes next, and how an attempt ended.

use std::marker::PhantomData;
use std::sync::Arc;

use rusqlite::{Transaction, params};

use super::sqlite::{Group, Result};
use super::{Change, steer};
use crate::render::Priority;
use crate::units::Millis;

/// The most deliveries that one claim lays aside because they are paused.
const MOST_PAUSED: usize = 1_000;

/// A delivery that this process, and nobody else, is to attempt now.
#[derive(Debug)]
pub struct Claimed {
    id: i64,
    pub event_id: String,
    pub source: Arc<str>,
    pub route: Arc<str>,
    pub transaction_id: String,
    /// This attempt included.
    pub attempts: u32,
    /// Attempts that Novu has definitely failed.
    pub definite_errors: u32,
    /// The sum of the pauses that failed attempts have cost.
    pub waited: Millis,
    pub accepted_at: Millis,
    pub expires_at: Option<Millis>,
    pub priority: Priority,
    /// Whether something of its event is to be erased in the end.
    sensitive: bool,
    /// The body for Novu.
    pub request: Vec<u8>,
    /// Only the store can make one.
    seal: PhantomData<()>,
}

/// What is to be remembered of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Delivered,
    /// To be attempted again, at `due`; `pause` counts towards giving up.
    Again {
        due: Millis,
        pause: Millis,
        definite: bool,
        reason: String,
        /// What Novu has said, without any value of the request.
        answer: Option<String>,
    },
    /// Ended without success; a dead one can be replayed.
    Dead {
        definite: bool,
        reason: String,
        answer: Option<String>,
    },
    Expired,
    /// Not attempted after all.
    GivenBack {
        due: Millis,
    },
}

/// Deliveries to attempt, and when the next ones are due.
#[derive(Debug, Default)]
pub struct Claims {
    pub claimed: Vec<Claimed>,
    /// None as well if there may be more that is due now.
    pub next_due: Option<Millis>,
}

/// Whose attempt has ended.
#[derive(Clone, Copy)]
pub struct End {
    id: i64,
    sensitive: bool,
}

impl Claimed {
    pub(super) fn end(&self) -> End {
        End { id: self.id, sensitive: self.sensitive }
    }
}

pub fn claim(group: &mut Group<'_>, sources: &[Arc<str>], most: usize, now: Millis) -> Result<Claims> {
    let pauses = steer::pauses(&group.transaction)?;
    let mut claims = Claims::default();
    let mut paused = 0;
    for priority in Priority::ALL {
        for source in sources {
            loop {
                let room = most - claims.claimed.len();
                if room == 0 || paused >= MOST_PAUSED {
                    break;
                }
                let taken = take(group, source, priority, room, now)?;
                let count = taken.len();
                for claimed in taken {
                    match pauses.iter().any(|pause| pause.holds(&claimed.route, source)) {
                        true => {
                            lay_aside(group, &claimed)?;
                            paused += 1;
                        }
                        false => claims.claimed.push(claimed),
                    }
                }
                if count < room {
                    break;
                }
            }
        }
    }
    if claims.claimed.len() < most {
        claims.next_due = if paused >= MOST_PAUSED { Some(now) } else { next_due(&group.transaction, sources)? };
    }
    Ok(claims)
}

fn take(
    group: &mut Group<'_>,
    source: &Arc<str>,
    priority: Priority,
    room: usize,
    now: Millis,
) -> Result<Vec<Claimed>> {
    let mut due = group.transaction.prepare_cached(
        "UPDATE deliveries SET state = 1, attempts = attempts + 1 WHERE id IN (
             SELECT id FROM deliveries WHERE state = 0 AND source = ?1 AND priority = ?2 AND due_at <= ?3
             ORDER BY due_at LIMIT ?4)
         RETURNING id, route, transaction_id, attempts, definite_errors, waited, expires_at, request,
             (SELECT event_id FROM events WHERE events.id = event),
             (SELECT received_at FROM events WHERE events.id = event),
             (SELECT sensitive FROM events WHERE events.id = event)",
    )?;
    let rows = due.query_map(params![&**source, priority as i64, now, room as i64], |row| {
        Ok(Claimed {
            id: row.get(0)?,
            source: source.clone(),
            route: row.get::<_, String>(1)?.into(),
            transaction_id: row.get(2)?,
            attempts: row.get(3)?,
            definite_errors: row.get(4)?,
            waited: row.get(5)?,
            expires_at: row.get(6)?,
            request: row.get::<_, Option<Vec<u8>>>(7)?.unwrap_or_default(),
            event_id: row.get(8)?,
            accepted_at: row.get(9)?,
            sensitive: row.get(10)?,
            priority,
            seal: PhantomData,
        })
    })?;
    let taken: Vec<Claimed> = rows.collect::<Result<_>>()?;
    for claimed in &taken {
        group.change.wait(i64::from(claimed.attempts) - 1, -1);
        group.change.sending += 1;
    }
    Ok(taken)
}

/// A pause keeps it back: it is out of the way of what is due until that ends.
fn lay_aside(group: &mut Group<'_>, claimed: &Claimed) -> Result<()> {
    let mut aside =
        group.transaction.prepare_cached("UPDATE deliveries SET state = -1, attempts = attempts - 1 WHERE id = ?1")?;
    aside.execute([claimed.id])?;
    group.change.sending -= 1;
    group.change.wait(i64::from(claimed.attempts) - 1, 1);
    Ok(())
}

/// When the next delivery of these sources is due.
fn next_due(transaction: &Transaction<'_>, sources: &[Arc<str>]) -> Result<Option<Millis>> {
    let mut next = transaction
        .prepare_cached("SELECT min(due_at) FROM deliveries WHERE state = 0 AND source = ?1 AND priority = ?2")?;
    let mut earliest: Option<Millis> = None;
    for priority in Priority::ALL {
        for source in sources {
            let due: Option<Millis> = next.query_row(params![&**source, priority as i64], |row| row.get(0))?;
            earliest = [earliest, due].into_iter().flatten().min();
        }
    }
    Ok(earliest)
}

pub fn finish(group: &mut Group<'_>, end: End, step: &Step, now: Millis) -> Result<()> {
    let End { id, sensitive } = end;
    let (transaction, change) = (&group.transaction, &mut group.change);
    change.sending -= 1;
    match step {
        Step::Delivered => ended(transaction, id, 2, now)?,
        Step::Expired => ended(transaction, id, 4, now)?,
        Step::Dead { definite, reason, answer } => {
            change.dead += 1;
            let mut dead = transaction.prepare_cached(
                "UPDATE deliveries SET state = 3, ended_at = ?2, definite_errors = definite_errors + ?3, reason = ?4,
                     answer = ?5 WHERE id = ?1",
            )?;
            dead.execute(params![id, now, definite, reason, answer])?;
        }
        Step::Again { due, pause, definite, reason, answer } => {
            change.retrying += 1;
            let mut again = transaction.prepare_cached(
                "UPDATE deliveries SET state = 0, due_at = ?2, waited = waited + ?3,
                     definite_errors = definite_errors + ?4, reason = ?5, answer = ?6 WHERE id = ?1",
            )?;
            again.execute(params![id, due, pause, definite, reason, answer])?;
        }
        Step::GivenBack { due } => give_back(transaction, id, *due, change)?,
    }
    if sensitive && matches!(step, Step::Delivered | Step::Expired) {
        group.erased |= erase_sensitive(&group.transaction, id)?;
    }
    Ok(())
}

fn ended(transaction: &Transaction<'_>, id: i64, state: i64, now: Millis) -> Result<()> {
    let mut end = transaction.prepare_cached(
        "UPDATE deliveries SET state = ?2, ended_at = ?3, reason = NULL, answer = NULL WHERE id = ?1",
    )?;
    end.execute(params![id, state, now]).map(drop)
}

fn give_back(transaction: &Transaction<'_>, id: i64, due: Millis, change: &mut Change) -> Result<()> {
    let mut back = transaction.prepare_cached(
        "UPDATE deliveries SET state = 0, due_at = ?2, attempts = attempts - 1 WHERE id = ?1 RETURNING attempts",
    )?;
    let attempts = back.query_row(params![id, due], |row| row.get(0))?;
    change.wait(attempts, 1);
    Ok(())
}

/// The request goes at once; the body when no delivery of the event could still need it. Says
/// whether something was erased.
pub fn erase_sensitive(transaction: &Transaction<'_>, id: i64) -> Result<bool> {
    let mut request =
        transaction.prepare_cached("UPDATE deliveries SET request = NULL WHERE id = ?1 AND sensitive AND state = 2")?;
    let mut body = transaction.prepare_cached(
        "UPDATE events SET body = x'' WHERE id = (SELECT event FROM deliveries WHERE id = ?1)
             AND EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND sensitive AND state = 2)
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND state IN (-1, 0, 1, 3))",
    )?;
    Ok(request.execute([id])? + body.execute([id])? > 0)
}

impl Priority {
    /// The order in which deliveries are claimed.
    const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
}

#[cfg(test)]
impl Claimed {
    /// A claim that no store has made, for the table tests of what follows from an attempt.
    pub fn for_test(attempts: u32, waited: Millis) -> Self {
        Self {
            id: 1,
            event_id: "msg_1".to_owned(),
            source: "clerk".into(),
            route: "welcome".into(),
            transaction_id: "deskbell_1".to_owned(),
            attempts,
            definite_errors: 0,
            waited,
            accepted_at: 0,
            expires_at: None,
            priority: Priority::Normal,
            sensitive: false,
            request: Vec::new(),
            seal: PhantomData,
        }
    }
}
