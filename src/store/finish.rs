//! How an attempt ended, and what of it is erased.

use super::Claimed;
use super::group::Group;
use super::key::OF_EVENT;
use super::sql::{Connection, Result, values};
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
    /// Which attempt of it.
    attempt: i64,
    step: Step,
}

impl End {
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// The key of the delivery, and the number of the attempt.
    pub fn which(&self) -> (i64, i64) {
        (self.id, self.attempt)
    }

    pub fn new(claimed: &Claimed, step: Step) -> Self {
        Self { id: claimed.id, event: claimed.event, attempt: claimed.attempts.into(), step }
    }
}

/// An attempt that was taken over since, or whose end is known, changes nothing.
///
/// `state + 0` is no state that an index knows: PostgreSQL would look through all that is being sent, and was, for a row that
/// it can find by its key.
pub fn finish(group: &mut Group<'_>, end: &End, now: Millis) -> Result<()> {
    let &End { id, event, attempt, ref step } = end;
    let (connection, change) = (&group.transaction, &mut group.change);
    let ended = match step {
        Step::Delivered | Step::Expired => {
            let state: i64 = if *step == Step::Delivered { 2 } else { 4 };
            let sql = "UPDATE deliveries SET state = ?3, ended_at = ?4, reason = NULL, answer = NULL
                 WHERE id = ?1 AND state + 0 = 1 AND attempts = ?2";
            connection.execute(sql, values![id, attempt, state, now])?
        }
        Step::Dead { due, definite, reason, answer } => {
            let sql =
                "UPDATE deliveries SET state = 3, due_at = ?3, ended_at = ?4, definite_errors = definite_errors + ?5,
                     alone = alone OR ?6, reason = ?7, answer = ?8 WHERE id = ?1 AND state + 0 = 1 AND attempts = ?2";
            let values = values![id, attempt, due, now, i64::from(*definite), !definite, reason, answer];
            let ended = connection.execute(sql, values)?;
            change.dead += ended as i64;
            ended
        }
        Step::Again { due, pause, definite, reason, answer } => {
            let sql = "UPDATE deliveries SET state = 0, due_at = ?3, waited = waited + ?4,
                     definite_errors = definite_errors + ?5, alone = alone OR ?6, reason = ?7, answer = ?8
                 WHERE id = ?1 AND state + 0 = 1 AND attempts = ?2";
            let values = values![id, attempt, due, pause, i64::from(*definite), !definite, reason, answer];
            let ended = connection.execute(sql, values)?;
            change.retrying += ended as i64;
            // It will be, and whoever claims gets to know when.
            group.due = true;
            ended
        }
        Step::GivenBack { due } => {
            let sql = "UPDATE deliveries SET state = 0, due_at = ?3, attempts = attempts - 1
                 WHERE id = ?1 AND state + 0 = 1 AND attempts = ?2";
            let ended = connection.execute(sql, values![id, attempt, due])?;
            change.wait(attempt - 1, ended as i64);
            group.due = true;
            ended
        }
    };
    change.sending -= ended as i64;
    let over = ended > 0 && matches!(step, Step::Delivered | Step::Expired);
    // Something of its event is to be erased in the end.
    if over && group.transaction.exists("SELECT 1 FROM events WHERE id = ?1 AND sensitive", values![event])? {
        group.erased |= erase_sensitive(&group.transaction, id)?;
    }
    Ok(())
}

/// What is left of a body.
pub const ERASED: &[u8] = b"";

/// The request goes at once; the body when no delivery of the event could still need it. Says
/// whether something was erased.
pub fn erase_sensitive(connection: &Connection<'_>, id: i64) -> Result<bool> {
    let request = "UPDATE deliveries SET request = NULL WHERE id = ?1 AND sensitive AND state = 2";
    let body = format!(
        "UPDATE events SET body = ?2 WHERE id = (SELECT event FROM deliveries WHERE id = ?1)
             AND EXISTS (SELECT 1 FROM deliveries WHERE {OF_EVENT} AND sensitive AND state = 2)
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE {OF_EVENT} AND state + 0 IN (-1, 0, 1, 3))",
    );
    Ok(connection.execute(request, values![id])? + connection.execute(&body, values![id, ERASED])? > 0)
}
