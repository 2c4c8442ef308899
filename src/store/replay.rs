//! An event goes through today's rules again: what failed is mended, and what worked is never doubled.

use std::sync::Arc;

use rusqlite::params;
use serde_json::Value;

use super::accept::{insert_delivery, known};
use super::read::State;
use super::sqlite::{Group, Result};
use super::{Change, Unavailable};
use crate::render::{Delivery, Priority, Unsendable};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// On their way.
    pub sent: u64,
    /// They had been delivered.
    pub delivered: u64,
    /// They were on their way already.
    pub waiting: u64,
    /// Today's rules cannot make a request of them.
    pub dead: u64,
    /// Today's rules do not make them any more.
    pub left: u64,
}

impl Again {
    pub fn dead() -> Self {
        Self { state: Some(State::Dead), ..Self::default() }
    }

    fn revives(&self, state: State) -> bool {
        match self.state {
            None => matches!(state, State::Dead | State::Expired | State::Cancelled),
            Some(wanted) => state == wanted,
        }
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
    let Some((id, _)) = known(&group.transaction, event)? else { return Ok(Ok(None)) };
    let wanted = |delivery: &&Delivery| again.route.as_ref().is_none_or(|route| *route == delivery.route);
    let deliveries: Vec<&Delivery> = decision.deliveries.iter().filter(wanted).collect();
    if let Err(unavailable) = group.room_for(deliveries.len(), queue_limit) {
        return Ok(Err(unavailable));
    }
    if deliveries.iter().any(|delivery| delivery.sensitive) {
        group.transaction.execute("UPDATE events SET sensitive = 1 WHERE id = ?1", [id])?;
    }
    let mut rows = rows(group, id)?;
    let mut replayed = Replayed::default();
    for delivery in &deliveries {
        let mut delivery = (*delivery).clone();
        if again.low {
            delivery.priority = Priority::Low;
        }
        let count = mark(&mut rows, &delivery.transaction_id);
        if count == 0 || again.anew {
            if count > 0 {
                delivery.rename(count);
            }
            insert_delivery(group, id, event, &delivery)?;
            count_new(&delivery, &mut replayed);
            continue;
        }
        let base = delivery.transaction_id.clone();
        for row in rows.iter().filter(|row| is_of(&row.transaction_id, &base)) {
            match row.state {
                State::Delivered => replayed.delivered += 1,
                State::Dead | State::Expired | State::Cancelled if again.revives(row.state) => {
                    delivery.transaction_id.clone_from(&row.transaction_id);
                    revive(group, row, &mut delivery, now)?;
                    count_new(&delivery, &mut replayed);
                }
                State::Dead | State::Expired | State::Cancelled => {}
                _ => replayed.waiting += 1,
            }
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
    let mut statement = group
        .transaction
        .prepare_cached("SELECT id, route, transaction_id, state, attempts FROM deliveries WHERE event = ?1")?;
    let rows = statement.query_map([event], |row| {
        Ok(Row {
            id: row.get(0)?,
            route: row.get(1)?,
            transaction_id: row.get(2)?,
            state: State::of(row.get(3)?, row.get(4)?),
            made: false,
        })
    })?;
    rows.collect()
}

/// How many there are of a delivery: itself, and what was sent anew.
fn mark(rows: &mut [Row], transaction_id: &str) -> usize {
    let of_it = rows.iter_mut().filter(|row| is_of(&row.transaction_id, transaction_id));
    of_it.map(|row| row.made = true).count()
}

fn is_of(transaction_id: &str, base: &str) -> bool {
    transaction_id.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn count_new(delivery: &Delivery, replayed: &mut Replayed) {
    match delivery.request {
        Ok(_) => replayed.sent += 1,
        Err(_) => replayed.dead += 1,
    }
}

/// What has ended starts again, as today's rules make it and under the id that it has.
fn revive(group: &mut Group<'_>, row: &Row, delivery: &mut Delivery, now: Millis) -> Result<()> {
    delivery.stamp();
    let mut statement = group.transaction.prepare_cached(
        "UPDATE deliveries SET priority = ?2, sensitive = ?3, state = ?4, due_at = ?5, expires_at = ?6, attempts = 0,
             waited = 0, ended_at = ?7, reason = ?8, answer = NULL, request = ?9
         WHERE id = ?1",
    )?;
    let request = delivery.request.as_ref().ok().map(Value::to_string);
    let reason = delivery.request.as_ref().err().map(Unsendable::code);
    statement.execute(params![
        row.id,
        delivery.priority as i64,
        delivery.sensitive,
        if request.is_some() { 0 } else { 3 },
        now,
        delivery.expires_at,
        reason.map(|_| now),
        reason,
        request.map(String::into_bytes),
    ])?;
    let Change { new, dead, .. } = &mut group.change;
    *dead -= i64::from(row.state == State::Dead);
    match delivery.request {
        Ok(_) => {
            *new += 1;
            group.due = true;
        }
        Err(_) => *dead += 1,
    }
    Ok(())
}

/// Its route makes others of the event now.
fn supersede(group: &mut Group<'_>, id: i64, now: Millis) -> Result<()> {
    let mut statement = group
        .transaction
        .prepare_cached("UPDATE deliveries SET state = 5, ended_at = ?2, reason = 'superseded' WHERE id = ?1")?;
    statement.execute(params![id, now])?;
    group.change.dead -= 1;
    Ok(())
}
