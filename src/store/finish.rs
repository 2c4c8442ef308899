//! How an attempt ended, and what of it is erased.

use rusqlite::{Transaction, params};

use super::sqlite::{Group, Result};
use super::{Change, Claimed};
use crate::units::Millis;

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
    /// Ended without success; a dead one can be replayed, and is not attempted before `due`.
    Dead {
        due: Millis,
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

/// How the attempt of a delivery has ended.
#[derive(Clone, Debug)]
pub struct End {
    id: i64,
    /// The key of its event.
    event: i64,
    step: Step,
}

impl End {
    pub fn new(claimed: &Claimed, step: Step) -> Self {
        Self { id: claimed.id, event: claimed.event, step }
    }
}

pub fn finish(group: &mut Group<'_>, end: &End, now: Millis) -> Result<()> {
    let &End { id, event, ref step } = end;
    let (transaction, change) = (&group.transaction, &mut group.change);
    change.sending -= 1;
    match step {
        Step::Delivered => ended(group, id, event, 2, now)?,
        Step::Expired => ended(group, id, event, 4, now)?,
        Step::Dead { due, definite, reason, answer } => {
            change.dead += 1;
            let mut dead = transaction.prepare_cached(
                "UPDATE deliveries SET state = 3, due_at = ?2, ended_at = ?3, definite_errors = definite_errors + ?4,
                     alone = alone OR NOT ?4, reason = ?5, answer = ?6 WHERE id = ?1",
            )?;
            dead.execute(params![id, due, now, definite, reason, answer])?;
        }
        Step::Again { due, pause, definite, reason, answer } => {
            change.retrying += 1;
            // It will be, and whoever claims gets to know when.
            group.due = true;
            let mut again = transaction.prepare_cached(
                "UPDATE deliveries SET state = 0, due_at = ?2, waited = waited + ?3,
                     definite_errors = definite_errors + ?4, alone = alone OR NOT ?4, reason = ?5, answer = ?6
                 WHERE id = ?1",
            )?;
            again.execute(params![id, due, pause, definite, reason, answer])?;
        }
        Step::GivenBack { due } => {
            give_back(transaction, id, *due, change)?;
            group.due = true;
        }
    }
    Ok(())
}

fn ended(group: &mut Group<'_>, id: i64, event: i64, state: i64, now: Millis) -> Result<()> {
    let transaction = &group.transaction;
    let mut end = transaction.prepare_cached(
        "UPDATE deliveries SET state = ?2, ended_at = ?3, reason = NULL, answer = NULL WHERE id = ?1",
    )?;
    end.execute(params![id, state, now])?;
    // Something of its event is to be erased in the end.
    if transaction.prepare_cached("SELECT 1 FROM events WHERE id = ?1 AND sensitive")?.exists([event])? {
        group.erased |= erase_sensitive(transaction, id)?;
    }
    Ok(())
}

fn give_back(transaction: &Transaction<'_>, id: i64, due: Millis, change: &mut Change) -> Result<()> {
    let mut back = transaction
        .prepare_cached("UPDATE deliveries SET state = 0, due_at = ?2, attempts = attempts - 1 WHERE id = ?1")?;
    back.execute(params![id, due])?;
    let mut attempts = transaction.prepare_cached("SELECT attempts FROM deliveries WHERE id = ?1")?;
    let attempts = attempts.query_row([id], |row| row.get(0))?;
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
