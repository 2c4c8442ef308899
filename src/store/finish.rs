//! How an attempt ended, and what of it is erased.

use rusqlite::{Transaction, params};

use super::Change;
use super::sqlite::{Group, Result};
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

/// The attempt of the delivery with this key has ended.
pub fn finish(group: &mut Group<'_>, id: i64, step: &Step, now: Millis) -> Result<()> {
    let (transaction, change) = (&group.transaction, &mut group.change);
    change.sending -= 1;
    match step {
        Step::Delivered => ended(group, id, 2, now)?,
        Step::Expired => ended(group, id, 4, now)?,
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
            let mut again = transaction.prepare_cached(
                "UPDATE deliveries SET state = 0, due_at = ?2, waited = waited + ?3,
                     definite_errors = definite_errors + ?4, alone = alone OR NOT ?4, reason = ?5, answer = ?6
                 WHERE id = ?1",
            )?;
            again.execute(params![id, due, pause, definite, reason, answer])?;
        }
        Step::GivenBack { due } => give_back(transaction, id, *due, change)?,
    }
    Ok(())
}

fn ended(group: &mut Group<'_>, id: i64, state: i64, now: Millis) -> Result<()> {
    let mut end = group.transaction.prepare_cached(
        "UPDATE deliveries SET state = ?2, ended_at = ?3, reason = NULL, answer = NULL WHERE id = ?1
         RETURNING (SELECT sensitive FROM events WHERE events.id = event)",
    )?;
    // Something of its event is to be erased in the end.
    if end.query_row(params![id, state, now], |row| row.get(0))? {
        group.erased |= erase_sensitive(&group.transaction, id)?;
    }
    Ok(())
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
