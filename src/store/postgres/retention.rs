//! What is erased because it was kept long enough goes in few statements, however many events it is.

use super::session::Session;
use crate::store::finish::ERASED;
use crate::store::group::Group;
use crate::store::key::OF_EVENT;
use crate::store::sql::Result;
use crate::store::sweep::{Candidate, Fate};
use crate::units::Millis;

/// The most events that one step looks at: some milliseconds.
const STEP: i64 = 500;
/// The deliveries of events in a list, `gone`.
const OF_GONE: &str = "deliveries.id BETWEEN gone.id << 20 AND (gone.id << 20) + 1048575";

/// Erases what was kept long enough, among the events behind the key `after`. Says where to go on.
pub fn retain(
    group: &mut Group<'_>,
    session: &Session,
    after: i64,
    retention: Millis,
    remember: Millis,
    now: Millis,
) -> Result<Option<i64>> {
    // What somebody is just replaying is left for the next time.
    let sql = format!(
        "WITH next AS (SELECT id, received_at FROM events WHERE id > ?1 ORDER BY id LIMIT ?2 FOR UPDATE SKIP LOCKED)
         SELECT next.id, next.received_at,
             EXISTS (SELECT 1 FROM deliveries WHERE {} AND state + 0 IN (-1, 0, 1)),
             (SELECT count(*) FROM deliveries WHERE {} AND state + 0 = 3),
             coalesce((SELECT max(ended_at) FROM deliveries WHERE {}), next.received_at)
         FROM next ORDER BY next.id",
        OF_EVENT.replace("events.", "next."),
        OF_EVENT.replace("events.", "next."),
        OF_EVENT.replace("events.", "next."),
    );
    let rows = session.query_many(&sql, &[&after, &STEP])?;
    let (mut erased, mut remembered, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for row in &rows {
        let event = Candidate {
            id: row.try_get(0)?,
            received_at: row.try_get(1)?,
            unfinished: row.try_get(2)?,
            dead: row.try_get(3)?,
            ended_at: row.try_get(4)?,
        };
        last = Some(event.id);
        match event.fate(retention, remember, now) {
            Fate::Young => {
                last = None;
                break;
            }
            Fate::Kept => {}
            Fate::Erased => erased.push(event.id),
            Fate::Removed { is_remembered } => {
                group.change.dead -= event.dead;
                removed.push(event.id);
                remembered.extend(is_remembered.then_some(event.id));
            }
        }
    }
    erase(group, session, &erased)?;
    remove(group, session, &remembered, &removed)?;
    Ok(last.filter(|_| rows.len() as i64 == STEP))
}

fn erase(group: &mut Group<'_>, session: &Session, ids: &Vec<i64>) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let bodies = "UPDATE events SET body = ?2 WHERE id = ANY(?1::bigint[]) AND length(body) > 0";
    let requests = format!(
        "UPDATE deliveries SET request = NULL FROM unnest(?1::bigint[]) AS gone (id) WHERE {OF_GONE} AND request IS NOT NULL"
    );
    let count = session.execute_many(bodies, &[ids, &ERASED])? + session.execute_many(&requests, &[ids])?;
    group.erased |= count > 0;
    Ok(())
}

fn remove(group: &mut Group<'_>, session: &Session, remembered: &Vec<i64>, removed: &Vec<i64>) -> Result<()> {
    if removed.is_empty() {
        return Ok(());
    }
    let remember = "INSERT INTO remembered (event_id, source, received_at)
         SELECT event_id, source, received_at FROM events WHERE id = ANY(?1::bigint[]) ON CONFLICT DO NOTHING";
    session.execute_many(remember, &[remembered])?;
    let deliveries = format!("DELETE FROM deliveries USING unnest(?1::bigint[]) AS gone (id) WHERE {OF_GONE}");
    session.execute_many(&deliveries, &[removed])?;
    session.execute_many("DELETE FROM events WHERE id = ANY(?1::bigint[])", &[removed])?;
    group.erased = true;
    Ok(())
}
