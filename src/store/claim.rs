//! What is to be attempted next: the SQL of a claim.

use std::marker::PhantomData;
use std::sync::Arc;

use rusqlite::{Result, Transaction, params};

use super::{Change, Claimed};
use crate::render::Priority;
use crate::units::Millis;

/// How much there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Calls to Novu.
    pub calls: usize,
    /// One of the calls may take many deliveries.
    pub bulk: Option<BulkRoom>,
}

/// What may go in one call. What is urgent goes alone, and so does what was attempted before and may have been done
/// or turned down for the sake of another: so that it makes its way.
#[derive(Clone, Copy, Debug)]
pub struct BulkRoom {
    /// If fewer are due, they go alone.
    pub least: usize,
    /// If more are due, they wait. Where it is 0, all of them wait for a call that may not be made yet.
    pub most: usize,
    /// Of requests.
    pub bytes: usize,
}

/// Deliveries to attempt, and when the next ones are due.
#[derive(Debug, Default)]
pub struct Claims {
    /// Each for a call of its own.
    pub claimed: Vec<Claimed>,
    /// For one call.
    pub bulk: Vec<Claimed>,
    /// None as well if there may be more that is due now.
    pub next_due: Option<Millis>,
}

/// A delivery that is due.
struct Due {
    id: i64,
    source: Arc<str>,
    /// Whether every attempt so far has ended in a definite error.
    open_to_bulk: bool,
    bytes: usize,
}

/// Takes what is due and has room, the most urgent first.
pub fn claim(
    transaction: &Transaction<'_>,
    sources: &[Arc<str>],
    room: Room,
    now: Millis,
    change: &mut Change,
) -> Result<Claims> {
    let mut claims = Claims::default();
    let mut single = due(transaction, sources, &[Priority::High], now, room.calls)?;
    let calls = room.calls - single.len();
    let looked_at = calls.max(room.bulk.filter(|_| calls > 0).map_or(0, |bulk| bulk.least.max(bulk.most)));
    let mut others = due(transaction, sources, &[Priority::Normal, Priority::Low], now, looked_at)?;
    let mut all = calls > 0 && others.len() < looked_at;
    match room.bulk.and_then(|bulk| for_one_call(&others, bulk)) {
        Some(count) => {
            all &= count == others.len();
            for due in &others[..count] {
                claims.bulk.push(take(transaction, due, change)?);
            }
        }
        None => {
            all &= others.len() <= calls;
            others.truncate(calls);
            single.extend(others);
        }
    }
    for due in &single {
        claims.claimed.push(take(transaction, due, change)?);
    }
    if all {
        claims.next_due = next_due(transaction, sources)?;
    }
    Ok(claims)
}

/// How many of these go together, if any should.
fn for_one_call(others: &[Due], bulk: BulkRoom) -> Option<usize> {
    let mut bytes = 0;
    let fits = others.iter().take_while(|due| {
        bytes += due.bytes;
        due.open_to_bulk && bytes <= bulk.bytes
    });
    let count = fits.count();
    (count >= bulk.least).then_some(count.min(bulk.most))
}

fn due(
    transaction: &Transaction<'_>,
    sources: &[Arc<str>],
    priorities: &[Priority],
    now: Millis,
    most: usize,
) -> Result<Vec<Due>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, attempts = definite_errors, length(request) FROM deliveries
         WHERE state = 0 AND source = ?1 AND priority = ?2 AND due_at <= ?3 ORDER BY due_at LIMIT ?4",
    )?;
    let mut found = Vec::new();
    for priority in priorities {
        for source in sources {
            let left = (most - found.len()) as i64;
            let rows = statement.query_map(params![&**source, *priority as i64, now, left], |row| {
                Ok(Due {
                    id: row.get(0)?,
                    source: source.clone(),
                    open_to_bulk: row.get(1)?,
                    bytes: row.get::<_, Option<u32>>(2)?.unwrap_or_default() as usize,
                })
            })?;
            for row in rows {
                found.push(row?);
            }
        }
    }
    Ok(found)
}

fn take(transaction: &Transaction<'_>, due: &Due, change: &mut Change) -> Result<Claimed> {
    let mut statement = transaction.prepare_cached(
        "UPDATE deliveries SET state = 1, attempts = attempts + 1 WHERE id = ?1
         RETURNING id, route, transaction_id, attempts, definite_errors, waited, expires_at, request,
             (SELECT event_id FROM events WHERE events.id = event),
             (SELECT received_at FROM events WHERE events.id = event),
             (SELECT sensitive FROM events WHERE events.id = event)",
    )?;
    let claimed = statement.query_row([due.id], |row| {
        Ok(Claimed {
            id: row.get(0)?,
            source: due.source.clone(),
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
            seal: PhantomData,
        })
    })?;
    *(if claimed.attempts == 1 { &mut change.new } else { &mut change.retrying }) -= 1;
    change.sending += 1;
    Ok(claimed)
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
