//! What is erased because it was kept long enough goes in few statements, however many events it is.

use super::session::Session;
use crate::store::finish::ERASED;
use crate::store::group::Group;
use crate::store::key::OF_EVENT;
use crate::store::sql::Result;
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
             (SELECT count(*) FROM deliveries WHERE {} AND state < 2),
             (SELECT count(*) FROM deliveries WHERE {} AND state = 3),
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
        let (id, received_at): (i64, Millis) = (row.try_get(0)?, row.try_get(1)?);
        let (unfinished, dead, ended_at): (i64, i64, Millis) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        // Events stand in the order in which they came: all behind a young one are young.
        if (now - retention..=now).contains(&received_at) {
            last = None;
            break;
        }
        last = Some(id);
        if unfinished > 0 || ended_at > now - retention {
            continue;
        }
        let is_remembered = received_at > now - remember;
        if is_remembered && dead > 0 {
            erased.push(id);
            continue;
        }
        group.change.dead -= dead;
        removed.push(id);
        if is_remembered {
            remembered.push(id);
        }
    }
    erase(group, session, &erased)?;
    remove(group, session, &remembered, &removed)?;
    Ok(last.filter(|_| rows.len() as i64 == STEP))
}

/// What is dead stays, so that a resend still mends it. Its body and its requests go.
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

/// The events go with their deliveries; of some the identity stays.
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
