//! An event goes through today's rules again: what failed is mended, and what worked is never doubled.

use std::sync::Arc;

use super::Unavailable;
use super::accept::{Place, Start, insert_delivery, known};
use super::group::Group;
use super::key;
use super::read::State;
use super::sql::{Result, values};
use super::steer::cancel;
use crate::render::{Delivery, Priority};
use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;

/// What is to be sent again of an event.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// Of these that have ended without success; all of them if none is named.
    pub state: Option<State>,
    /// What this route makes of it alone.
    pub route: Option<Arc<str>>,
    /// Everything once more under new ids, delivered or not.
    pub anew: bool,
    /// Behind everything else that is due.
    pub low: bool,
}

/// What became of an event that was replayed: deliveries by what was done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// On their way.
    pub sent: u64,
    /// They had been delivered.
    pub delivered: u64,
    /// They were on their way already.
    pub waiting: u64,
    /// Too old to be sent, by today's rules.
    pub expired: u64,
    /// Today's rules cannot make a request of them: of which route, and why.
    pub dead: Vec<(Arc<str>, &'static str)>,
    /// Today's rules do not make them any more.
    pub left: u64,
}

impl Replayed {
    fn count(&mut self, delivery: &Delivery, now: Millis) {
        match &delivery.request {
            Err(unsendable) => self.dead.push((delivery.route.clone(), unsendable.code())),
            // It is on its way, and will not get far.
            Ok(_) if delivery.expires_at.is_some_and(|at| at <= now) => self.expired += 1,
            Ok(_) => self.sent += 1,
        }
    }
}

impl Again {
    pub fn dead() -> Self {
        Self { state: Some(State::Dead), ..Self::default() }
    }

    fn revives(&self, state: State) -> bool {
        matches!(state, State::Dead | State::Expired | State::Cancelled)
            && self.state.is_none_or(|wanted| wanted == state)
    }
}

/// A delivery of the event, as it is kept.
struct Row {
    id: i64,
    route: String,
    transaction_id: String,
    state: State,
    /// Today's rules make it.
    made: bool,
}

/// None if the event is not kept any more.
pub fn replay(
    group: &mut Group<'_>,
    event: &Event,
    decision: &Decision,
    again: &Again,
    queue_limit: u64,
    now: Millis,
) -> Result<std::result::Result<Option<Replayed>, Unavailable>> {
    let Some((id, _)) = known(&group.transaction, &event.source, &event.id)? else { return Ok(Ok(None)) };
    if !group.transaction.keep(id)? {
        return Ok(Ok(None));
    }
    let wanted = |delivery: &&Delivery| again.route.as_ref().is_none_or(|route| *route == delivery.route);
    let deliveries: Vec<&Delivery> = decision.deliveries.iter().filter(wanted).collect();
    if let Err(unavailable) = group.room_for(deliveries.len(), queue_limit) {
        return Ok(Err(unavailable));
    }
    if deliveries.iter().any(|delivery| delivery.sensitive) {
        group.transaction.execute("UPDATE events SET sensitive = TRUE WHERE id = ?1", values![id])?;
    }
    let mut rows = rows(group, id)?;
    let mut number = rows.len();
    let mut replayed = Replayed::default();
    for delivery in &deliveries {
        let mut delivery = (*delivery).clone();
        if again.low {
            delivery.priority = Priority::Low;
        }
        let mut family = family(&mut rows, &delivery.transaction_id);
        let count = family.len();
        // The last one stands for all before it.
        let last = if again.anew { None } else { family.pop() };
        for dead in family.iter().filter(|row| row.state == State::Dead) {
            supersede(group, dead.id, now)?;
        }
        match last {
            None => {
                if count > 0 {
                    delivery.rename(count);
                }
                insert_delivery(group, Place { event: id, number }, &event.source, &Start::of(&delivery), now)?;
                number += 1;
                replayed.count(&delivery, now);
            }
            Some(Row { state: State::Delivered, .. }) => replayed.delivered += 1,
            Some(row) if again.revives(row.state) => {
                delivery.transaction_id.clone_from(&row.transaction_id);
                revive(group, row, &mut delivery, now)?;
                replayed.count(&delivery, now);
            }
            Some(row) => replayed.waiting += u64::from(row.state.is_unfinished()),
        }
    }
    for row in rows.iter().filter(|row| !row.made && row.state == State::Dead) {
        match deliveries.iter().any(|delivery| *delivery.route == *row.route) {
            true => supersede(group, row.id, now)?,
            false => replayed.left += u64::from(again.route.as_ref().is_none_or(|route| **route == *row.route)),
        }
    }
    Ok(Ok(Some(replayed)))
}

fn rows(group: &Group<'_>, event: i64) -> Result<Vec<Row>> {
    let (first, last) = key::deliveries(event);
    let sql = format!(
        "SELECT id, route, transaction_id, state, attempts FROM deliveries WHERE id BETWEEN ?1 AND ?2 ORDER BY id{}",
        group.transaction.locking(),
    );
    group.transaction.query(&sql, values![first, last], |row| {
        Ok(Row {
            id: row.get(0)?,
            route: row.get(1)?,
            transaction_id: row.get(2)?,
            state: State::of(row.get(3)?, row.get(4)?),
            made: false,
        })
    })
}

/// A delivery and what was sent anew of it, in their order.
fn family<'a>(rows: &'a mut [Row], transaction_id: &str) -> Vec<&'a Row> {
    let is_of = |row: &&mut Row| {
        let rest = row.transaction_id.strip_prefix(transaction_id);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let mark = |row: &'a mut Row| {
        row.made = true;
        &*row
    };
    rows.iter_mut().filter(is_of).map(mark).collect()
}

/// What has ended starts again, as today's rules make it and under the id that it has. What was dropped after an
/// outcome that stayed unknown waits as long as it would have.
fn revive(group: &mut Group<'_>, row: &Row, delivery: &mut Delivery, now: Millis) -> Result<()> {
    delivery.stamp();
    let start = Start::of(delivery);
    group.transaction.execute(
        "UPDATE deliveries SET priority = ?2, sensitive = ?3, state = ?4,
             due_at = CASE WHEN due_at > ?5 THEN due_at ELSE ?5 END, expires_at = ?6,
             attempts = 0, waited = 0, ended_at = ?7, reason = ?8, answer = NULL, request = ?9
         WHERE id = ?1",
        values![
            row.id,
            start.priority as i64,
            start.sensitive,
            start.state,
            now,
            start.expires_at,
            start.reason.map(|_| now),
            start.reason,
            start.request,
        ],
    )?;
    group.change.dead -= i64::from(row.state == State::Dead);
    group.started(&start);
    Ok(())
}

/// Another one has taken its place.
fn supersede(group: &mut Group<'_>, id: i64, now: Millis) -> Result<()> {
    group.change.dead -= 1;
    cancel(group, id, "superseded", now)
}
