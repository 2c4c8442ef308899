//! The brake: what is paused, let go again, and cancelled.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::finish::erase_sensitive;
use super::group::Group;
use super::key::{OF_EVENT, UNFINISHED};
use super::postgres::tell_of_pauses;
use super::read::{Filter, State};
use super::shared::Shared;
use super::sql::{Connection, Result, Row, values};
use crate::units::Millis;

/// The most rows that one step looks at: some milliseconds, for which webhooks wait.
const STEP: i64 = 1_000;

/// Deliveries that are kept back: of a route, of a source, of both, or all there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub route: Option<String>,
    pub source: Option<String>,
}

/// What one step of a long work has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// How many of each route.
    pub dropped: BTreeMap<String, u64>,
    /// They cannot be stopped any more: their attempts are under way.
    pub sending: u64,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// A place among the deliveries: of which event, and which of it.
pub type Cursor = (i64, i64);

impl Pause {
    /// Whether it keeps back what this route makes of events from this source.
    pub fn holds(&self, route: &str, source: &str) -> bool {
        self.route.as_deref().is_none_or(|paused| paused == route)
            && self.source.as_deref().is_none_or(|paused| paused == source)
    }

    /// Its columns: an empty text stands for all.
    fn columns(&self) -> [&str; 2] {
        [&self.route, &self.source].map(|name| name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.route, &self.source) {
            (Some(route), Some(source)) => write!(formatter, "route `{route}` for source `{source}`"),
            (Some(route), None) => write!(formatter, "route `{route}`"),
            (None, Some(source)) => write!(formatter, "every route for source `{source}`"),
            (None, None) => formatter.write_str("every route"),
        }
    }
}

pub fn pauses(connection: &Connection<'_>) -> Result<Vec<Pause>> {
    let name = |name: String| Some(name).filter(|name| !name.is_empty());
    connection.query("SELECT route, source FROM pauses ORDER BY since", &[], |row| {
        Ok(Pause { route: name(row.get(0)?), source: name(row.get(1)?) })
    })
}

pub fn pause(group: &mut Group<'_>, pause: &Pause, now: Millis, shared: Arc<Shared>) -> Result<()> {
    let [route, source] = pause.columns();
    let sql = "INSERT INTO pauses (route, source, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    group.transaction.execute(sql, values![route, source, now])?;
    tell(group, shared)
}

/// Ends every pause of this route, or of this source; each of them, if none is named.
pub fn resume(group: &mut Group<'_>, pause: &Pause, shared: Arc<Shared>) -> Result<u64> {
    let [route, source] = pause.columns();
    let sql = "DELETE FROM pauses WHERE ?1 IN ('', route) AND ?2 IN ('', source)";
    let ended = group.transaction.execute(sql, values![route, source])?;
    tell(group, shared)?;
    Ok(ended)
}

fn tell(group: &mut Group<'_>, shared: Arc<Shared>) -> Result<()> {
    let pauses = pauses(&group.transaction)?;
    group.afterwards(move || *shared.pauses() = pauses);
    tell_of_pauses(&group.transaction)
}

/// Lets go some of what no pause keeps back any more. Whether there may be more.
pub fn release(group: &mut Group<'_>) -> Result<bool> {
    let Some((route, source)) = laid_aside_for_nothing(&group.transaction)? else { return Ok(false) };
    let sql = "UPDATE deliveries SET state = 0 WHERE state + 0 = -1 AND id IN (
             SELECT id FROM deliveries WHERE state = -1 AND route = ?1 AND source = ?2 LIMIT ?3)";
    group.transaction.execute(sql, values![route, source, STEP])?;
    group.due = true;
    Ok(true)
}

/// A route and source that has something laid aside, and that no pause holds: one step in an index for each that has.
fn laid_aside_for_nothing(connection: &Connection<'_>) -> Result<Option<(String, String)>> {
    let next = |column: &str| {
        format!(
            "SELECT {column} FROM deliveries WHERE state = -1 AND (route, source) > (aside.route, aside.source)
             ORDER BY route, source LIMIT 1"
        )
    };
    let sql = format!(
        "WITH RECURSIVE aside (route, source) AS (
             SELECT CAST('' AS TEXT), CAST('' AS TEXT)
             UNION ALL
             SELECT ({}), ({}) FROM aside WHERE route IS NOT NULL)
         SELECT route, source FROM aside WHERE route <> '' AND NOT EXISTS (
             SELECT 1 FROM pauses WHERE pauses.route IN ('', aside.route) AND pauses.source IN ('', aside.source))
         LIMIT 1",
        next("route"),
        next("source"),
    );
    connection.first(&sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Cancels those of the next deliveries that the filter wants.
pub fn drop_chunk(group: &mut Group<'_>, filter: &Filter, after: Cursor, now: Millis) -> Result<Chunk> {
    let candidates = candidates(group, filter, after)?;
    let next = candidates.last().filter(|_| candidates.len() as i64 == STEP).map(|last| (last.event, last.id));
    let mut chunk = Chunk { next, ..Chunk::default() };
    for candidate in candidates.into_iter().filter(|candidate| candidate.wanted) {
        if candidate.state == State::Sending {
            chunk.sending += 1;
            continue;
        }
        cancel(group, candidate.id, "dropped", now)?;
        if candidate.sensitive {
            group.erased |= erase_sensitive(&group.transaction, candidate.id)?;
        }
        match candidate.state {
            State::Dead => group.change.dead -= 1,
            _ => group.change.wait(candidate.attempts, -1),
        }
        *chunk.dropped.entry(candidate.route).or_default() += 1;
    }
    Ok(chunk)
}

pub fn cancel(group: &Group<'_>, id: i64, reason: &str, now: Millis) -> Result<()> {
    let sql = "UPDATE deliveries SET state = 5, ended_at = ?2, reason = ?3 WHERE id = ?1";
    group.transaction.execute(sql, values![id, now, reason]).map(drop)
}

/// A delivery that may be dropped.
struct Candidate {
    event: i64,
    id: i64,
    route: String,
    state: State,
    attempts: i64,
    /// Whether something of its event is to be erased in the end.
    sensitive: bool,
    wanted: bool,
}

fn candidates(group: &Group<'_>, filter: &Filter, (event, id): Cursor) -> Result<Vec<Candidate>> {
    // Each has an index of its own, in the order of the cursor.
    let among = match (&filter.id, filter.state) {
        (Some(_), _) => format!("event_id = ?1 AND {OF_EVENT} AND state + 0 IN (-1, 0, 1, 3)"),
        (None, Some(State::Dead)) => "CAST(?1 AS TEXT) IS NULL AND state > 2 AND state = 3".to_owned(),
        _ => format!("CAST(?1 AS TEXT) IS NULL AND {UNFINISHED}"),
    };
    let sql = format!(
        "SELECT deliveries.event, deliveries.id, state, attempts, route, deliveries.source, event_id, type,
             events.sensitive
         FROM deliveries JOIN events ON events.id = deliveries.event
         WHERE {among} AND deliveries.event >= ?2 AND (deliveries.event > ?2 OR deliveries.id > ?3)
         ORDER BY deliveries.event, deliveries.id LIMIT ?4{}",
        group.transaction.locking(),
    );
    let pauses = pauses(&group.transaction)?;
    let values = values![filter.id, event, id, STEP];
    group.transaction.query(&sql, values, |row| candidate(row, filter, &pauses))
}

fn candidate(row: &Row<'_>, filter: &Filter, pauses: &[Pause]) -> Result<Candidate> {
    let attempts = row.get(3)?;
    let [route, source, event_id]: [String; 3] = [row.get(4)?, row.get(5)?, row.get(6)?];
    let kind: Option<String> = row.get(7)?;
    let state = State::of(row.get(2)?, attempts).under(pauses, &route, &source);
    let wanted = filter.wants_event(&event_id, &source, kind.as_deref())
        && filter.route.as_deref().is_none_or(|wanted| wanted == route)
        && filter.state.is_none_or(|wanted| wanted == state || state == State::Sending);
    let sensitive = row.get(8)?;
    Ok(Candidate { event: row.get(0)?, id: row.get(1)?, route, state, attempts, sensitive, wanted })
}
