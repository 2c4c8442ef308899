//! Looking into the store, on connections that only read: the writer never waits for them.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result, params};

use crate::units::Millis;

pub use rusqlite::Error as ReadError;

/// An event as it was kept.
#[derive(Debug)]
pub struct Stored {
    pub source: String,
    pub received_at: Millis,
    /// The bytes as they were signed; none once they are erased.
    pub body: Option<Vec<u8>>,
}

pub fn events(path: &Path, id: &str, source: Option<&str>) -> Result<Vec<Stored>> {
    let connection = open(path)?;
    let mut statement = connection.prepare(
        "SELECT source, received_at, nullif(body, x'') FROM events
         WHERE event_id = ?1 AND (?2 IS NULL OR source = ?2) ORDER BY source",
    )?;
    let rows = statement.query_map(params![id, source], |row| {
        Ok(Stored { source: row.get(0)?, received_at: row.get(1)?, body: row.get(2)? })
    })?;
    rows.collect()
}

/// A connection of its own for each look: opening costs less than a millisecond, and none that is
/// left open keeps the log of changes from being emptied.
fn open(path: &Path) -> Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}
