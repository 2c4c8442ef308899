//! The file: its schema, and a transaction for a group of work. WAL with `synchronous=FULL`: what is
//! committed survives a loss of power.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, TransactionBehavior};

use super::checkpoint::Checkpoints;
use super::group::{Done, Group};
use super::read::oldest;
use super::sql::{self, Result};
use super::standing::Claim;
use super::work::Work;
use super::{Change, Pause, Queue, steer};
use crate::units::Millis;

/// Each brings the schema one version further; a version that was released is never edited.
///
/// States of a delivery: -1 paused, 0 waiting, 1 sending, 2 delivered, 3 dead, 4 expired, 5 cancelled.
/// Integer keys with slim indexes beside them: a text key on the wide tables costs four times as much.
const MIGRATIONS: [&str; 4] = [
    "
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        event_id TEXT NOT NULL,
        type TEXT,
        received_at INTEGER NOT NULL,
        revision TEXT NOT NULL,
        sensitive INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX events_identity ON events (event_id, source);
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL REFERENCES events (id),
        source TEXT NOT NULL,
        route TEXT NOT NULL,
        transaction_id TEXT NOT NULL,
        priority INTEGER NOT NULL,
        sensitive INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        expires_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        definite_errors INTEGER NOT NULL DEFAULT 0,
        waited INTEGER NOT NULL DEFAULT 0,
        ended_at INTEGER,
        reason TEXT,
        request BLOB
    );
    CREATE INDEX deliveries_of_event ON deliveries (event);
    CREATE INDEX deliveries_due ON deliveries (source, priority, due_at) WHERE state = 0;
    CREATE INDEX deliveries_unfinished ON deliveries (id) WHERE state < 2;
    CREATE INDEX deliveries_dead ON deliveries (id) WHERE state = 3;
    ",
    // Each index beyond the path of what succeeds at once is a partial one, so that this path does not pay for it.
    "
    ALTER TABLE deliveries ADD COLUMN answer TEXT;
    -- It may have been done, or was turned down with others. Attempts start at 0 again with a replay, and cannot tell it.
    ALTER TABLE deliveries ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
    UPDATE deliveries SET alone = 1 WHERE attempts > definite_errors AND state <> 2;
    DROP INDEX deliveries_unfinished;
    DROP INDEX deliveries_dead;
    CREATE INDEX deliveries_unfinished ON deliveries (event) WHERE state < 2;
    CREATE INDEX deliveries_failed ON deliveries (state, event) WHERE state > 2;
    CREATE INDEX deliveries_sending ON deliveries (id) WHERE state = 1;
    CREATE INDEX deliveries_paused ON deliveries (route, source) WHERE state = -1;
    CREATE INDEX deliveries_retrying ON deliveries (id) WHERE state < 1 AND attempts > 0;
    CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE state < 1 AND expires_at IS NOT NULL;
    -- An empty text stands for every route, or every source.
    CREATE TABLE pauses (
        route TEXT NOT NULL,
        source TEXT NOT NULL,
        since INTEGER NOT NULL,
        PRIMARY KEY (route, source)
    ) WITHOUT ROWID;
    -- What is left of an event in the end: that it was here.
    CREATE TABLE remembered (
        event_id TEXT NOT NULL,
        source TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        PRIMARY KEY (event_id, source)
    ) WITHOUT ROWID;
    ",
    // One page less for each delivery that begins, and for each that ends.
    "
    DROP INDEX deliveries_sending;
    DROP INDEX deliveries_unfinished;
    CREATE INDEX deliveries_unfinished ON deliveries (event, state) WHERE state < 2;
    ",
    // The length of a body that is kept packed. And keys of deliveries that say which event they are of: an index less,
    // and a page less for each event. All of them are written anew for that, once.
    "
    ALTER TABLE events ADD COLUMN unpacked INTEGER;
    ALTER TABLE deliveries RENAME TO numbered;
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL,
        source TEXT NOT NULL,
        route TEXT NOT NULL,
        transaction_id TEXT NOT NULL,
        priority INTEGER NOT NULL,
        sensitive INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due_at INTEGER NOT NULL,
        expires_at INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        definite_errors INTEGER NOT NULL DEFAULT 0,
        waited INTEGER NOT NULL DEFAULT 0,
        ended_at INTEGER,
        reason TEXT,
        request BLOB,
        answer TEXT,
        alone INTEGER NOT NULL DEFAULT 0
    );
    INSERT INTO deliveries SELECT (event << 20) + row_number() OVER (PARTITION BY event ORDER BY id) - 1,
        event, source, route, transaction_id, priority, sensitive, state, due_at, expires_at, attempts, definite_errors,
        waited, ended_at, reason, request, answer, alone FROM numbered;
    DROP TABLE numbered;
    CREATE INDEX deliveries_due ON deliveries (source, priority, due_at) WHERE state = 0;
    CREATE INDEX deliveries_unfinished ON deliveries (event, state) WHERE state < 2;
    CREATE INDEX deliveries_failed ON deliveries (state, event) WHERE state > 2;
    CREATE INDEX deliveries_paused ON deliveries (route, source) WHERE state = -1;
    CREATE INDEX deliveries_retrying ON deliveries (id) WHERE state < 1 AND attempts > 0;
    CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE state < 1 AND expires_at IS NOT NULL;
    ",
];

/// What a file has for an id whose content goes on elsewhere; `move` in letters. Any other has none.
const MOVED: i32 = 0x6d6f7665;

/// How long a file is waited for that somebody else writes to, whoever that may be.
const BUSY_TIME: Duration = Duration::from_secs(5);

pub struct Sqlite {
    // Its connection is closed first: the last one puts all in order.
    checkpoints: Checkpoints,
    connection: Connection,
}

/// What was found at the start.
pub struct Recovered {
    pub change: Change,
    pub oldest: Option<Millis>,
    pub pauses: Vec<Pause>,
}

impl Sqlite {
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIME)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What a route calls sensitive is overwritten when it is erased, on pages of its own too.
        connection.pragma_update(None, "secure_delete", true)?;
        // Statements are planned once, and not again for other values.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // Whoever adds or removes a delivery has its event at hand; to check that costs a look-up each time.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { checkpoints: Checkpoints::start(path, &mut connection)?, connection })
    }

    /// Brings the schema up to date. One that is newer than this program is left as it is: its version.
    pub fn migrate(&mut self) -> Result<std::result::Result<(), u32>> {
        let version: u32 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version as usize > MIGRATIONS.len() {
            return Ok(Err(version));
        }
        for (index, migration) in MIGRATIONS.iter().enumerate().skip(version as usize) {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", index as u32 + 1)?;
            transaction.commit()?;
        }
        Ok(Ok(()))
    }

    /// Whether its content goes on elsewhere: what waits in it was sent there, or will be.
    pub fn has_moved(&self) -> Result<bool> {
        Ok(self.connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))? == MOVED)
    }

    pub fn mark_as_moved(&self) -> Result<()> {
        Ok(self.connection.pragma_update(None, "application_id", MOVED)?)
    }

    /// Makes due again what the last process was sending, and counts what there is: in indexes alone,
    /// however much that may be.
    pub fn recover(&mut self, now: Millis, unknown: Millis) -> Result<Recovered> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "UPDATE deliveries SET state = 0, due_at = ?1, alone = 1
             WHERE id IN (SELECT id FROM deliveries WHERE state < 2 AND state = 1)",
            [now.saturating_add(unknown)],
        )?;
        let pauses = steer::pauses(&sql::Connection::Sqlite(&transaction))?;
        let count = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
        let waiting = count("SELECT count(*) FROM deliveries WHERE state < 2")?;
        let retrying = count("SELECT count(*) FROM deliveries WHERE state < 1 AND attempts > 0")?;
        let dead = count("SELECT count(*) FROM deliveries WHERE state > 2 AND state = 3")?;
        let change = Change { new: waiting - retrying, retrying, sending: 0, dead };
        let oldest = oldest(&sql::Connection::Sqlite(&transaction))?;
        transaction.commit()?;
        Ok(Recovered { change, oldest, pauses })
    }

    /// For who does without a transaction.
    pub fn connection(&self) -> sql::Connection<'_> {
        sql::Connection::Sqlite(&self.connection)
    }

    /// Keeps the log of changes short. Nobody waits for it.
    pub fn shorten_log(&mut self) {
        self.checkpoints.follow(&self.connection);
    }

    /// Empties the log of changes, in which what was erased still stands. False if somebody reads
    /// the file just now.
    pub fn empty_log(&self) -> Result<bool> {
        // Webhooks do not wait for who reads.
        self.connection.busy_timeout(Duration::ZERO)?;
        let busy = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0).map(|busy| busy != 0));
        Ok(!busy?)
    }

    /// Does all work in one transaction.
    pub fn write(
        &mut self,
        works: &mut [Work],
        queue: Queue,
        standing: &mut Option<Claim>,
        next: impl FnOnce(bool) -> Option<Claim>,
    ) -> Result<Done> {
        // Nobody is made to wait for what could not be written a moment ago.
        self.connection.busy_timeout(if queue.writable { BUSY_TIME } else { Duration::ZERO })?;
        let transaction = Transaction::begin(&self.connection)?;
        if !queue.writable {
            // The work may have nothing to write, and would say nothing about whether that is possible.
            self.connection.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
        }
        let done = Group::new(self.connection(), queue, standing).run(works, next)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// One that writes. It is planned once, as the statements in it are.
struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    fn commit(self) -> Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // SQLite may have done so by itself.
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::debug!(%error, "a transaction cannot be taken back");
        }
    }
}

/// A connection of its own for each look: opening costs less than a millisecond, and none that is
/// left open keeps the log of changes from being emptied.
pub fn look_into(path: &Path) -> Result<Connection> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}

/// Somebody else writes to the file.
pub fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// A part of the file is not what SQLite has written. The rest may be fine.
pub fn is_damage(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

const DAMAGED: &str = "the file is damaged: stop the gateway, move the file away and start with a new one, or with a \
    backup; what was accepted and not delivered stays in the old one";

/// What helps against an error of SQLite.
pub fn hint(error: &Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "make room on the disk",
        _ if is_busy(error) => "another program writes to the file; end that one",
        Some(ErrorCode::NotADatabase) => "name another file with `--store URL`, or move this one away",
        Some(ErrorCode::DatabaseCorrupt) => DAMAGED,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "its folder and its file have to be writable for the user that the gateway runs as"
        }
        _ => "look at the disk and at the file system that the store is on",
    }
}
