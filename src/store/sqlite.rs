//! All SQL. WAL with `synchronous=FULL`: what is committed survives a loss of power.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::claim::claim;
use super::{Change, Command, Done, Receipt, Step, Unavailable};
use crate::render::Delivery;
use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;

/// Each brings the schema one version further; a version that was released is never edited.
///
/// States of a delivery: 0 waiting, 1 sending, 2 delivered, 3 dead, 4 expired, 5 cancelled.
/// Integer keys with slim indexes beside them: a text key on the wide tables costs four times as much.
const MIGRATIONS: [&str; 1] = ["
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
"];

/// How long a file is waited for that somebody else writes to, whoever that may be.
const BUSY_TIME: Duration = Duration::from_secs(5);

pub struct Database {
    connection: Connection,
}

impl Database {
    pub fn open(path: &Path) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        make_private(path)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIME)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What a route calls sensitive is overwritten when it is erased, on pages of its own too.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        migrate(&mut connection)?;
        Ok(Self { connection })
    }

    /// Makes due again what the last process was sending, and counts what there is.
    pub fn recover(&mut self, now: Millis, unknown: Millis) -> Result<(Change, Option<Millis>)> {
        self.connection.execute(
            "UPDATE deliveries SET state = 0, due_at = ?1 WHERE state = 1 AND id IN (SELECT id FROM deliveries WHERE state < 2)",
            [now.saturating_add(unknown)],
        )?;
        let count = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let change = Change {
            new: count("SELECT count(*) FROM deliveries WHERE state = 0 AND attempts = 0")?,
            retrying: count("SELECT count(*) FROM deliveries WHERE state = 0 AND attempts > 0")?,
            sending: 0,
            dead: count("SELECT count(*) FROM deliveries WHERE state = 3")?,
        };
        Ok((change, oldest(&self.connection)?))
    }

    /// Empties the log of changes, in which what was erased still stands. False if somebody reads
    /// the file just now.
    pub fn empty_log(&self) -> Result<bool> {
        // Webhooks do not wait for who reads.
        self.connection.busy_timeout(Duration::ZERO)?;
        let busy = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0).map(|busy| busy != 0));
        self.connection.busy_timeout(BUSY_TIME)?;
        busy.map(|busy| !busy)
    }

    /// Runs all commands in one transaction. Nobody is told before it is on disk.
    pub fn write(&mut self, commands: Vec<Command>, waiting: i64) -> Result<Done> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut done = Done::default();
        for command in commands {
            match command {
                Command::Accept { event, decision, queue_limit, reply } => {
                    let room = queue_limit as i64 - waiting - done.change.new - done.change.retrying;
                    let full = decision.deliveries.len() as i64 > room && !is_known(&transaction, &event)?;
                    let receipt = match full {
                        true => Err(Unavailable::QueueFull),
                        false => Ok(accept(&transaction, &event, &decision, &mut done)?),
                    };
                    done.reply(reply, receipt);
                }
                Command::Claim { sources, room, now, reply } => {
                    let claims = claim(&transaction, &sources, room, now, &mut done.change)?;
                    done.reply(reply, claims);
                }
                Command::Close { reply } => {
                    done.closing = true;
                    done.reply(reply, ());
                }
                Command::Finish { id, sensitive, step, now, reply } => {
                    finish(&transaction, id, &step, now, &mut done.change)?;
                    if sensitive && matches!(step, Step::Delivered | Step::Expired) {
                        done.erased |= erase_sensitive(&transaction, id)?;
                    }
                    done.reply(reply, ());
                }
            }
        }
        done.oldest = oldest(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl Done {
    /// Tells the one who asked, once the transaction is on disk. That they have gone is no matter.
    fn reply<T: 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.replies.push(Box::new(move || {
            let _ = reply.send(answer);
        }));
    }
}

/// Bodies hold codes and addresses: only the owner reads the file. SQLite gives its other files the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn migrate(connection: &mut Connection) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version as usize > MIGRATIONS.len() {
        return Err(format!("it was written by a newer deskbell (schema {version})").into());
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// When the oldest unfinished delivery was accepted.
fn oldest(connection: &Connection) -> Result<Option<Millis>> {
    let mut statement = connection.prepare_cached(
        "SELECT received_at FROM events WHERE id = (SELECT event FROM deliveries WHERE state < 2 ORDER BY id LIMIT 1)",
    )?;
    statement.query_row([], |row| row.get(0)).optional()
}

fn accept(transaction: &Transaction<'_>, event: &Event, decision: &Decision, done: &mut Done) -> Result<Receipt> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO events (source, event_id, type, received_at, revision, sensitive, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (event_id, source) DO NOTHING RETURNING id",
    )?;
    let sensitive = decision.deliveries.iter().any(|delivery| delivery.sensitive);
    let (source, revision) = (&*event.source, &decision.revision);
    let values = params![source, event.id, event.kind(), event.received_at, revision, sensitive, &event.body[..]];
    let Some(id) = statement.query_row(values, |row| row.get::<_, i64>(0)).optional()? else {
        return duplicate(transaction, event);
    };
    for delivery in &decision.deliveries {
        insert_delivery(transaction, id, event, delivery)?;
        match delivery.request {
            Ok(_) => {
                done.change.new += 1;
                done.due = true;
            }
            Err(_) => done.change.dead += 1,
        }
    }
    Ok(Receipt::Accepted)
}

fn insert_delivery(transaction: &Transaction<'_>, event_id: i64, event: &Event, delivery: &Delivery) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO deliveries
             (event, source, route, transaction_id, priority, sensitive, state, due_at, expires_at, ended_at, reason, request)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    let (request, reason) = match &delivery.request {
        Ok(request) => (Some(request.to_string()), None),
        Err(unsendable) => (None, Some(unsendable.code())),
    };
    statement.execute(params![
        event_id,
        &*event.source,
        &*delivery.route,
        delivery.transaction_id,
        delivery.priority as i64,
        delivery.sensitive,
        if request.is_some() { 0 } else { 3 },
        event.received_at,
        delivery.expires_at,
        reason.map(|_| event.received_at),
        reason,
        request.map(String::into_bytes),
    ])?;
    Ok(())
}

fn is_known(transaction: &Transaction<'_>, event: &Event) -> Result<bool> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM events WHERE event_id = ?1 AND source = ?2")?;
    statement.exists(params![event.id, &*event.source])
}

fn duplicate(transaction: &Transaction<'_>, event: &Event) -> Result<Receipt> {
    let mut statement =
        transaction.prepare_cached("SELECT id, revision FROM events WHERE event_id = ?1 AND source = ?2")?;
    let (id, revision): (i64, String) =
        statement.query_row(params![event.id, &*event.source], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statement =
        transaction.prepare_cached("SELECT route FROM deliveries WHERE event = ?1 GROUP BY route ORDER BY min(id)")?;
    let routes = statement.query_map([id], |row| row.get(0))?.collect::<Result<_>>()?;
    Ok(Receipt::Duplicate { routes, revision })
}

fn finish(transaction: &Transaction<'_>, id: i64, step: &Step, now: Millis, change: &mut Change) -> Result<()> {
    change.sending -= 1;
    let mut end =
        transaction.prepare_cached("UPDATE deliveries SET state = ?2, ended_at = ?3, reason = ?4 WHERE id = ?1")?;
    match step {
        Step::Delivered => {
            end.execute(params![id, 2, now, None::<&str>])?;
        }
        Step::Dead { reason } => {
            change.dead += 1;
            end.execute(params![id, 3, now, reason])?;
        }
        Step::Expired => {
            end.execute(params![id, 4, now, None::<&str>])?;
        }
        Step::Again { due, pause, definite, reason } => {
            change.retrying += 1;
            let mut again = transaction.prepare_cached(
                "UPDATE deliveries SET state = 0, due_at = ?2, waited = waited + ?3,
                     definite_errors = definite_errors + ?4, reason = ?5 WHERE id = ?1",
            )?;
            again.execute(params![id, due, pause, definite, reason])?;
        }
        Step::GivenBack { due } => {
            let mut back = transaction.prepare_cached(
                "UPDATE deliveries SET state = 0, due_at = ?2, attempts = attempts - 1 WHERE id = ?1 RETURNING attempts",
            )?;
            let attempts: i64 = back.query_row(params![id, due], |row| row.get(0))?;
            *(if attempts == 0 { &mut change.new } else { &mut change.retrying }) += 1;
        }
    }
    Ok(())
}

/// The request goes at once; the body when no delivery of the event could still need it. Says
/// whether something was erased.
fn erase_sensitive(transaction: &Transaction<'_>, id: i64) -> Result<bool> {
    let mut request =
        transaction.prepare_cached("UPDATE deliveries SET request = NULL WHERE id = ?1 AND sensitive AND state = 2")?;
    let mut body = transaction.prepare_cached(
        "UPDATE events SET body = x'' WHERE id = (SELECT event FROM deliveries WHERE id = ?1)
             AND EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND sensitive AND state = 2)
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = events.id AND state IN (0, 1, 3))",
    )?;
    Ok(request.execute([id])? + body.execute([id])? > 0)
}
