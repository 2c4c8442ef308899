//! What comes often goes to the server in few statements, however many it is: each costs a way there and back.
//!
//! Each of them leaves the server no other way than through the index for it. It plans a statement once, and if that was
//! while a table was small, it would go on to read all of it until its statistics are new.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::session::Session;
use crate::store::accept::{Arrival, Arrived, accept, duplicate};
use crate::store::claim::{Claimed, Due, Lane, claimed, due_of};
use crate::store::finish::{End, Step, erase_sensitive, finish};
use crate::store::group::Group;
use crate::store::sql::{self, Connection, Error, Result};
use crate::store::{Unavailable, key};
use crate::units::Millis;

/// Which event: id and source.
type Identity<'a> = (&'a str, &'a str);

/// What is made of events that come together.
pub type Outcomes = Vec<std::result::Result<Arrived, Unavailable>>;

/// Keeps events that come together, with their deliveries: in two statements for all that are new.
pub fn accept_all(group: &mut Group<'_>, session: &Session, arrivals: &[(&Arrival, u64)]) -> Result<Outcomes> {
    let mut new = fresh(session, arrivals)?;
    // Whoever brings the same ones at the same time locks them in the same order.
    new.sort_by_key(|index| arrivals[*index].0.identity());
    let (mut room, mut refused) = (Vec::with_capacity(new.len()), HashMap::new());
    let mut taken = 0;
    for index in new {
        let (arrival, queue_limit) = arrivals[index];
        let count = arrival.deliveries.len();
        match group.room_for(taken + count, queue_limit) {
            Ok(()) => {
                taken += count;
                room.push(index);
            }
            Err(unavailable) => drop(refused.insert(index, unavailable)),
        }
    }
    let keys = insert_events(session, room.iter().map(|index| arrivals[*index].0))?;
    let kept: Vec<(i64, &Arrival)> = room
        .iter()
        .filter_map(|index| Some((*keys.get(&owned(arrivals[*index].0.identity()))?, arrivals[*index].0)))
        .collect();
    insert_deliveries(session, &kept)?;
    for (_, arrival) in &kept {
        arrival.deliveries.iter().for_each(|start| group.started(start));
    }
    // Each once: a second one in the same company finds the first.
    let mut done: HashSet<Identity<'_>> = HashSet::new();
    let is_kept: HashSet<Identity<'_>> = kept.iter().map(|(_, arrival)| arrival.identity()).collect();
    let outcomes = arrivals.iter().enumerate().map(|(index, (arrival, queue_limit))| {
        if let Some(unavailable) = refused.remove(&index) {
            return Ok(Err(unavailable));
        }
        let identity = arrival.identity();
        match is_kept.contains(&identity) && done.insert(identity) {
            true => Ok(Ok(Arrived::Accepted)),
            // It was here before, or another gateway was faster.
            false => match duplicate(&group.transaction, arrival)? {
                Some(duplicate) => Ok(Ok(duplicate)),
                None => accept(group, arrival, *queue_limit),
            },
        }
    });
    outcomes.collect()
}

fn owned((id, source): Identity<'_>) -> (String, String) {
    (id.to_owned(), source.to_owned())
}

/// Which of them are not known, each once.
fn fresh(session: &Session, arrivals: &[(&Arrival, u64)]) -> Result<Vec<usize>> {
    let ids: Vec<&str> = arrivals.iter().map(|(arrival, _)| arrival.identity().0).collect();
    let sources: Vec<&str> = arrivals.iter().map(|(arrival, _)| arrival.identity().1).collect();
    let one = "WHERE event_id = arrived.event_id AND source = arrived.source LIMIT 1";
    let sql = format!(
        "SELECT arrived.event_id, arrived.source FROM unnest(?1::text[], ?2::text[]) AS arrived (event_id, source)
         CROSS JOIN LATERAL (
             (SELECT 1 FROM events {one}) UNION ALL (SELECT 1 FROM remembered {one}) LIMIT 1
         ) AS known",
    );
    let rows = session.query_many(&sql, &[&ids, &sources])?;
    let known: HashSet<Identity<'_>> = rows.iter().map(identity).collect::<Result<_>>()?;
    let mut seen = HashSet::new();
    let is_new = |index: &usize| {
        let identity = arrivals[*index].0.identity();
        !known.contains(&identity) && seen.insert(identity)
    };
    Ok((0..arrivals.len()).filter(is_new).collect())
}

fn identity(row: &Row) -> Result<Identity<'_>> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The keys of those that nobody else has brought meanwhile.
fn insert_events<'a>(
    session: &Session,
    arrivals: impl Iterator<Item = &'a Arrival>,
) -> Result<HashMap<(String, String), i64>> {
    let (mut ids, mut sources, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut received, mut revisions, mut sensitive) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bodies, mut unpacked) = (Vec::new(), Vec::new());
    for arrival in arrivals {
        let (id, source) = arrival.identity();
        ids.push(id);
        sources.push(source);
        kinds.push(arrival.kind.as_deref());
        received.push(arrival.received_at);
        revisions.push(&*arrival.revision);
        sensitive.push(arrival.sensitive);
        bodies.push(&*arrival.body.bytes);
        unpacked.push(arrival.body.unpacked);
    }
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "INSERT INTO events (event_id, source, type, received_at, revision, sensitive, body, unpacked)
         SELECT * FROM unnest(?1::text[], ?2::text[], ?3::text[], ?4::bigint[], ?5::text[], ?6::boolean[], ?7::bytea[],
             ?8::bigint[])
         ON CONFLICT DO NOTHING RETURNING event_id, source, id";
    let rows =
        session.query_many(sql, &[&ids, &sources, &kinds, &received, &revisions, &sensitive, &bodies, &unpacked])?;
    rows.iter().map(|row| Ok((owned(identity(row)?), row.try_get(2)?))).collect()
}

fn insert_deliveries(session: &Session, kept: &[(i64, &Arrival)]) -> Result<()> {
    let (mut keys, mut events, mut sources, mut routes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut transactions, mut priorities, mut sensitive) = (Vec::new(), Vec::new(), Vec::new());
    let (mut states, mut due, mut expires, mut ended) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut reasons, mut requests) = (Vec::new(), Vec::new());
    for (event, arrival) in kept {
        for (number, start) in arrival.deliveries.iter().enumerate() {
            keys.push(key::delivery(*event, number));
            events.push(*event);
            sources.push(arrival.identity().1);
            routes.push(&*start.route);
            transactions.push(&*start.transaction_id);
            priorities.push(start.priority as i64);
            sensitive.push(start.sensitive);
            states.push(start.state);
            due.push(arrival.received_at);
            expires.push(start.expires_at);
            ended.push(start.reason.map(|_| arrival.received_at));
            reasons.push(start.reason);
            requests.push(start.request.as_deref());
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO deliveries (id, event, source, route, transaction_id, priority, sensitive, state, due_at,
             expires_at, ended_at, reason, request)
         SELECT * FROM unnest(?1::bigint[], ?2::bigint[], ?3::text[], ?4::text[], ?5::text[], ?6::bigint[], ?7::boolean[],
             ?8::bigint[], ?9::bigint[], ?10::bigint[], ?11::bigint[], ?12::text[], ?13::bytea[])";
    session.query_many(
        sql,
        &[
            &keys,
            &events,
            &sources,
            &routes,
            &transactions,
            &priorities,
            &sensitive,
            &states,
            &due,
            &expires,
            &ended,
            &reasons,
            &requests,
        ],
    )?;
    Ok(())
}

/// Remembers how attempts have ended: in one statement for all that have delivered.
pub fn finish_all(group: &mut Group<'_>, session: &Session, ends: &[End], now: Millis) -> Result<()> {
    let (mut delivered, others): (Vec<&End>, Vec<&End>) = ends.iter().partition(|end| *end.step() == Step::Delivered);
    for end in others {
        finish(group, end, now)?;
    }
    if delivered.is_empty() {
        return Ok(());
    }
    // The place of a key among those that are sorted is that of its attempt.
    delivered.sort_by_key(|end| end.which());
    let (ids, attempts): (Vec<i64>, Vec<i64>) = delivered.iter().map(|end| end.which()).unzip();
    let sql = "UPDATE deliveries SET state = 2, ended_at = ?3, reason = NULL, answer = NULL
         WHERE id = ANY(?1::bigint[]) AND state + 0 = 1
             AND attempts = (?2::bigint[])[width_bucket(id, ?1::bigint[])]
         RETURNING id, (SELECT sensitive FROM events WHERE events.id = deliveries.event)";
    let rows = session.query_many(sql, &[&ids, &attempts, &now])?;
    group.change.sending -= rows.len() as i64;
    for row in &rows {
        if row.try_get(1)? {
            group.erased |= erase_sensitive(&Connection::Postgres(session), row.try_get(0)?)?;
        }
    }
    Ok(())
}

/// What is due in these lanes, one after another, as far as nobody else is about to take it. What is not asked for is not
/// locked.
pub fn due(session: &Session, lanes: &[Lane<'_>], now: Millis, most: usize) -> Result<Vec<Due>> {
    let (priorities, sources) = columns(lanes);
    let sql = "SELECT id, route, due_at, attempts, alone, length(request), place
         FROM unnest(?1::bigint[], ?2::text[]) WITH ORDINALITY AS lane (priority, source, place)
         CROSS JOIN LATERAL (
             SELECT id, route, due_at, attempts, alone, request FROM deliveries
             WHERE state = 0 AND deliveries.source = lane.source AND deliveries.priority = lane.priority AND due_at <= ?3
             ORDER BY due_at LIMIT ?4 FOR UPDATE SKIP LOCKED
         ) AS due
         LIMIT ?4";
    let rows = session.query_many(sql, &[&priorities, &sources, &now, &(most as i64)])?;
    let due = rows.iter().map(|row| {
        let place: i64 = row.try_get(6)?;
        let (_, source) = lanes.get((place - 1) as usize).ok_or(Error::Damaged)?;
        due_of(&sql::Row::Postgres(row), source)
    });
    due.collect()
}

/// When the next one in these lanes is due, after this moment.
pub fn next_due(session: &Session, lanes: &[Lane<'_>], now: Millis) -> Result<Option<Millis>> {
    let (priorities, sources) = columns(lanes);
    let sql = "SELECT min(next.due_at) FROM unnest(?1::bigint[], ?2::text[]) AS lane (priority, source)
         CROSS JOIN LATERAL (
             SELECT due_at FROM deliveries
             WHERE state = 0 AND deliveries.source = lane.source AND deliveries.priority = lane.priority AND due_at > ?3
             ORDER BY due_at LIMIT 1
         ) AS next";
    let rows = session.query_many(sql, &[&priorities, &sources, &now])?;
    rows.first().map_or(Ok(None), |row| Ok(row.try_get(0)?))
}

fn columns<'a>(lanes: &[Lane<'a>]) -> (Vec<i64>, Vec<&'a str>) {
    lanes.iter().map(|(priority, source)| (*priority as i64, &***source)).unzip()
}

/// Takes what is due, in one statement.
pub fn take_all(group: &mut Group<'_>, session: &Session, due: &[Due]) -> Result<Vec<Claimed>> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = due.iter().map(|due| due.id).collect();
    let sql = "WITH taken AS (
             UPDATE deliveries SET state = 1, attempts = attempts + 1, replica = ?2 WHERE id = ANY(?1::bigint[])
             RETURNING id, event, transaction_id, attempts, definite_errors, waited, expires_at, request)
         SELECT event, transaction_id, attempts, definite_errors, waited, expires_at, request, event_id, received_at, id
         FROM taken
         CROSS JOIN LATERAL (SELECT event_id, received_at FROM events WHERE events.id = taken.event LIMIT 1) AS about";
    let rows = session.query_many(sql, &[&ids, &session.replica])?;
    let mut rows: HashMap<i64, Row> = rows.into_iter().map(|row| Ok((row.try_get(9)?, row))).collect::<Result<_>>()?;
    let mut taken = Vec::with_capacity(due.len());
    for due in due {
        let Some(row) = rows.remove(&due.id) else { continue };
        group.change.wait(due.attempts, -1);
        group.change.sending += 1;
        taken.push(claimed(&sql::Row::Postgres(&row), due)?);
    }
    Ok(taken)
}
