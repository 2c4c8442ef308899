//! An event is kept once, with its deliveries: the unique index decides, in the same transaction.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Unavailable;
use super::claim::Claimed;
use super::group::Group;
use super::key;
use super::packed::Packed;
use super::sql::{Connection, Result, values};
use crate::render::{Delivery, Priority};
use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;

/// The state of a delivery that is being attempted.
const SENDING: i64 = 1;

/// What is kept of an event that comes. It is made by who brings the event: the writer has enough to do.
pub struct Arrival {
    pub source: Arc<str>,
    pub id: String,
    pub kind: Option<String>,
    pub received_at: Millis,
    pub body: Packed,
    pub revision: String,
    pub sensitive: bool,
    pub deliveries: Vec<Start>,
}

impl Arrival {
    pub fn new(event: &Event, decision: &Decision) -> Self {
        Self {
            source: event.source.clone(),
            id: event.id.clone(),
            // PostgreSQL keeps no text with a zero in it.
            kind: event.kind().map(|kind| kind.replace('\0', "\u{fffd}")),
            received_at: event.received_at,
            body: Packed::of(&event.body),
            revision: decision.revision.clone(),
            sensitive: decision.deliveries.iter().any(|delivery| delivery.sensitive),
            deliveries: decision.deliveries.iter().map(Start::of).collect(),
        }
    }

    /// What decides whether it was here before: id and source.
    pub fn identity(&self) -> (&str, &str) {
        (&self.id, &self.source)
    }

    /// A delivery of it that is attempted at once.
    fn claimed(&self, place: Place, start: &Start) -> Claimed {
        Claimed {
            id: place.key(),
            event: place.event,
            event_id: self.id.clone(),
            source: self.source.clone(),
            route: start.route.clone(),
            transaction_id: start.transaction_id.clone(),
            attempts: 1,
            definite_errors: 0,
            waited: 0,
            accepted_at: self.received_at,
            expires_at: start.expires_at,
            request: start.request.clone().unwrap_or_default(),
            seal: PhantomData,
        }
    }
}

/// What the store makes of an event that comes.
pub enum Arrived {
    Accepted,
    /// It had been here before, and this is what was decided then.
    Duplicate {
        routes: Vec<String>,
        revision: String,
        has_dead: bool,
    },
}

pub fn accept(
    group: &mut Group<'_>,
    arrival: &Arrival,
    queue_limit: u64,
) -> Result<std::result::Result<Arrived, Unavailable>> {
    let Arrival { source, id: event_id, kind, received_at, body, revision, sensitive, deliveries } = arrival;
    if is_remembered(&group.transaction, source, event_id)? {
        return Ok(Ok(Arrived::Duplicate { routes: Vec::new(), revision: revision.clone(), has_dead: false }));
    }
    if let Err(unavailable) = group.room_for(deliveries.len(), queue_limit) {
        return Ok(duplicate(&group.transaction, arrival)?.ok_or(unavailable));
    }
    let Packed { bytes, unpacked } = body;
    let inserted = group.transaction.insert(
        "INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body, unpacked)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        values![&**source, event_id, kind, received_at, revision, sensitive, bytes, unpacked],
    )?;
    let Some(id) = inserted else {
        // Where others write as well, it may be gone by now.
        return Ok(duplicate(&group.transaction, arrival)?.ok_or(Unavailable::NotWritable));
    };
    for (number, start) in deliveries.iter().enumerate() {
        let place = Place { event: id, number };
        if group.has_room(source, start)? {
            insert(group, place, source, start, SENDING, *received_at)?;
            group.change.sending += 1;
            group.attempt(arrival.claimed(place, start));
        } else {
            insert_delivery(group, place, source, start, *received_at)?;
        }
    }
    Ok(Ok(Arrived::Accepted))
}

/// What was decided about an event that is here already.
pub fn duplicate(connection: &Connection<'_>, arrival: &Arrival) -> Result<Option<Arrived>> {
    let Some((event, revision)) = known(connection, &arrival.source, &arrival.id)? else { return Ok(None) };
    let (routes, has_dead) = (routes(connection, event)?, has_dead(connection, event)?);
    Ok(Some(Arrived::Duplicate { routes, revision, has_dead }))
}

/// How a delivery starts: due, or dead if it cannot be sent as it is.
pub struct Start {
    pub route: Arc<str>,
    pub transaction_id: String,
    pub priority: Priority,
    pub sensitive: bool,
    pub expires_at: Option<Millis>,
    pub state: i64,
    pub request: Option<Vec<u8>>,
    pub reason: Option<&'static str>,
}

impl Start {
    pub fn of(delivery: &Delivery) -> Self {
        let (state, request, reason) = match &delivery.request {
            Ok(request) => (0, Some(request.to_string().into_bytes()), None),
            Err(unsendable) => (3, None, Some(unsendable.code())),
        };
        Self {
            route: delivery.route.clone(),
            transaction_id: delivery.transaction_id.clone(),
            priority: delivery.priority,
            sensitive: delivery.sensitive,
            expires_at: delivery.expires_at,
            state,
            request,
            reason,
        }
    }
}

impl Group<'_> {
    /// Counts a delivery that has started.
    pub fn started(&mut self, start: &Start) {
        match start.reason {
            None => {
                self.change.new += 1;
                self.due = true;
            }
            Some(_) => self.change.dead += 1,
        }
    }
}

/// Which delivery: of the event with this key, and the how manieth of it.
#[derive(Clone, Copy)]
pub struct Place {
    pub event: i64,
    pub number: usize,
}

impl Place {
    fn key(self) -> i64 {
        key::delivery(self.event, self.number)
    }
}

/// Adds a delivery.
pub fn insert_delivery(group: &mut Group<'_>, place: Place, source: &str, start: &Start, now: Millis) -> Result<()> {
    insert(group, place, source, start, start.state, now)?;
    group.started(start);
    Ok(())
}

/// The same, uncounted.
fn insert(group: &Group<'_>, place: Place, source: &str, start: &Start, state: i64, now: Millis) -> Result<()> {
    let inserted = group.transaction.execute(
        "INSERT INTO deliveries
             (id, event, source, route, transaction_id, priority, sensitive, state, due_at, expires_at, ended_at, reason,
              request, attempts)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        values![
            place.key(),
            place.event,
            source,
            &*start.route,
            start.transaction_id,
            start.priority as i64,
            start.sensitive,
            state,
            now,
            start.expires_at,
            start.reason.map(|_| now),
            start.reason,
            start.request,
            i64::from(state == SENDING),
        ],
    );
    inserted.map(drop)
}

/// The key of an event that is kept, and the revision that decided it.
type Known = (i64, String);

pub fn known(connection: &Connection<'_>, source: &str, event_id: &str) -> Result<Option<Known>> {
    let sql = "SELECT id, revision FROM events WHERE event_id = ?1 AND source = ?2";
    connection.first(sql, values![event_id, source], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn is_remembered(connection: &Connection<'_>, source: &str, event_id: &str) -> Result<bool> {
    connection.exists("SELECT 1 FROM remembered WHERE event_id = ?1 AND source = ?2", values![event_id, source])
}

fn routes(connection: &Connection<'_>, event: i64) -> Result<Vec<String>> {
    let (first, last) = key::deliveries(event);
    let sql = "SELECT route FROM deliveries WHERE id BETWEEN ?1 AND ?2 GROUP BY route ORDER BY min(id)";
    connection.query(sql, values![first, last], |row| row.get(0))
}

fn has_dead(connection: &Connection<'_>, event: i64) -> Result<bool> {
    let (first, last) = key::deliveries(event);
    connection.exists("SELECT 1 FROM deliveries WHERE id BETWEEN ?1 AND ?2 AND state + 0 = 3", values![first, last])
}
