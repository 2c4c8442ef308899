//! An event is kept once, with its deliveries: the unique index decides, in the same transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::replay::{self, Again};
use super::sqlite::{Group, Result};
use super::{Receipt, Unavailable};
use crate::render::Delivery;
use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;

pub fn accept(
    group: &mut Group<'_>,
    event: &Event,
    decision: &Decision,
    queue_limit: u64,
) -> Result<std::result::Result<Receipt, Unavailable>> {
    if let Some(known) = known(&group.transaction, event)? {
        return duplicate(group, known, event, decision, queue_limit);
    }
    if is_remembered(&group.transaction, event)? {
        return Ok(Ok(Receipt::Duplicate { routes: Vec::new(), revision: decision.revision.clone(), replayed: None }));
    }
    if let Err(unavailable) = group.room_for(decision.deliveries.len(), queue_limit) {
        return Ok(Err(unavailable));
    }
    let mut statement = group.transaction.prepare_cached(
        "INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let sensitive = decision.deliveries.iter().any(|delivery| delivery.sensitive);
    let (source, revision) = (&*event.source, &decision.revision);
    statement.execute(params![
        source,
        event.id,
        event.kind(),
        event.received_at,
        revision,
        sensitive,
        &event.body[..]
    ])?;
    drop(statement);
    let id = group.transaction.last_insert_rowid();
    for delivery in &decision.deliveries {
        insert_delivery(group, id, event, delivery, event.received_at)?;
    }
    Ok(Ok(Receipt::Accepted))
}

/// How a delivery starts: due, or dead if it cannot be sent as it is.
pub struct Start {
    pub state: i64,
    pub request: Option<Vec<u8>>,
    pub reason: Option<&'static str>,
}

impl Start {
    pub fn of(delivery: &Delivery) -> Self {
        match &delivery.request {
            Ok(request) => Self { state: 0, request: Some(request.to_string().into_bytes()), reason: None },
            Err(unsendable) => Self { state: 3, request: None, reason: Some(unsendable.code()) },
        }
    }
}

impl Group<'_> {
    /// Counts a delivery that has started.
    pub fn started(&mut self, delivery: &Delivery) {
        match delivery.request {
            Ok(_) => {
                self.change.new += 1;
                self.due = true;
            }
            Err(_) => self.change.dead += 1,
        }
    }
}

/// Adds a delivery of an event.
pub fn insert_delivery(group: &mut Group<'_>, id: i64, event: &Event, delivery: &Delivery, now: Millis) -> Result<()> {
    let mut statement = group.transaction.prepare_cached(
        "INSERT INTO deliveries
             (event, source, route, transaction_id, priority, sensitive, state, due_at, expires_at, ended_at, reason, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let Start { state, request, reason } = Start::of(delivery);
    statement.execute(params![
        id,
        &*event.source,
        &*delivery.route,
        delivery.transaction_id,
        delivery.priority as i64,
        delivery.sensitive,
        state,
        now,
        delivery.expires_at,
        reason.map(|_| now),
        reason,
        request,
    ])?;
    drop(statement);
    group.started(delivery);
    Ok(())
}

/// The key of an event that is kept, and the revision that decided it.
type Known = (i64, String);

pub fn known(transaction: &Transaction<'_>, event: &Event) -> Result<Option<Known>> {
    let mut statement =
        transaction.prepare_cached("SELECT id, revision FROM events WHERE event_id = ?1 AND source = ?2")?;
    statement.query_row(params![event.id, &*event.source], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn is_remembered(transaction: &Transaction<'_>, event: &Event) -> Result<bool> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM remembered WHERE event_id = ?1 AND source = ?2")?;
    statement.exists(params![event.id, &*event.source])
}

/// A resend of an event of which something is dead does the same as a replay.
fn duplicate(
    group: &mut Group<'_>,
    (id, revision): Known,
    event: &Event,
    decision: &Decision,
    queue_limit: u64,
) -> Result<std::result::Result<Receipt, Unavailable>> {
    let mut replayed = None;
    if has_dead(&group.transaction, id)? {
        match replay::replay(group, event, decision, &Again::dead(), queue_limit, event.received_at)? {
            Ok(done) => replayed = done,
            Err(unavailable) => return Ok(Err(unavailable)),
        }
    }
    let mut statement = group
        .transaction
        .prepare_cached("SELECT route FROM deliveries WHERE event = ?1 GROUP BY route ORDER BY min(id)")?;
    let routes = statement.query_map([id], |row| row.get(0))?.collect::<Result<_>>()?;
    Ok(Ok(Receipt::Duplicate { routes, revision, replayed }))
}

fn has_dead(transaction: &Transaction<'_>, id: i64) -> Result<bool> {
    transaction.prepare_cached("SELECT 1 FROM deliveries WHERE event = ?1 AND state = 3")?.exists([id])
}
