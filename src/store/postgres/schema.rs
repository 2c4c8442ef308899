//! The schema, which several versions of the gateway may use at the same time.

use super::session::Session;
use crate::store::sql::{Error, Result};

/// Each brings the schema one version further; a version that was released is never edited. Each only adds what the version
/// before does not see, so that older gateways go on while a newer one starts: `oldest` says which of them can.
///
/// States of a delivery are those of the file.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE events (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source TEXT NOT NULL,
        event_id TEXT NOT NULL,
        type TEXT,
        received_at BIGINT NOT NULL,
        revision TEXT NOT NULL,
        sensitive BOOLEAN NOT NULL,
        body BYTEA NOT NULL,
        unpacked BIGINT
    );
    -- What is packed already is not packed again.
    ALTER TABLE events ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE UNIQUE INDEX events_identity ON events (event_id, source);
    CREATE TABLE deliveries (
        id BIGINT PRIMARY KEY,
        event BIGINT NOT NULL,
        source TEXT NOT NULL,
        route TEXT NOT NULL,
        transaction_id TEXT NOT NULL,
        priority BIGINT NOT NULL,
        sensitive BOOLEAN NOT NULL,
        state BIGINT NOT NULL,
        due_at BIGINT NOT NULL,
        expires_at BIGINT,
        attempts BIGINT NOT NULL DEFAULT 0,
        definite_errors BIGINT NOT NULL DEFAULT 0,
        waited BIGINT NOT NULL DEFAULT 0,
        ended_at BIGINT,
        reason TEXT,
        request BYTEA,
        answer TEXT,
        alone BOOLEAN NOT NULL DEFAULT FALSE,
        -- Who attempts it, or did so last.
        replica BIGINT
    );
    CREATE INDEX deliveries_due ON deliveries (source, priority, due_at) WHERE state = 0;
    CREATE INDEX deliveries_sending ON deliveries (replica) WHERE state = 1;
    -- No other condition on the state is to fit it. The server would look for what is due in here, through all that waits,
    -- once it has seen both indexes empty.
    CREATE INDEX deliveries_unfinished ON deliveries (event) WHERE (state < 2) IS TRUE;
    CREATE INDEX deliveries_failed ON deliveries (state, event) WHERE state > 2;
    CREATE INDEX deliveries_paused ON deliveries (route, source) WHERE state = -1;
    CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE state < 1 AND expires_at IS NOT NULL;
    -- A queue is mostly dead rows: they are to be cleared away early.
    ALTER TABLE deliveries SET (autovacuum_vacuum_scale_factor = 0.02, fillfactor = 70);
    CREATE TABLE pauses (route TEXT NOT NULL, source TEXT NOT NULL, since BIGINT NOT NULL, PRIMARY KEY (route, source));
    CREATE TABLE remembered (
        event_id TEXT NOT NULL,
        source TEXT NOT NULL,
        received_at BIGINT NOT NULL,
        PRIMARY KEY (event_id, source)
    );
    -- The gateways that run, with what each of them has added to the queue and taken out of it. Number 0 has what those
    -- left that are gone.
    CREATE TABLE replicas (
        id BIGINT PRIMARY KEY,
        name TEXT NOT NULL DEFAULT '',
        revision TEXT NOT NULL DEFAULT '',
        seen_at TIMESTAMPTZ NOT NULL DEFAULT 'infinity',
        new BIGINT NOT NULL DEFAULT 0,
        retrying BIGINT NOT NULL DEFAULT 0,
        sending BIGINT NOT NULL DEFAULT 0,
        dead BIGINT NOT NULL DEFAULT 0
    ) WITH (fillfactor = 20);
    CREATE SEQUENCE replica_ids;
    -- What they have found of Novu keys, by fingerprint.
    CREATE TABLE novu_keys (key TEXT PRIMARY KEY, held TEXT, throttled_until BIGINT NOT NULL);
    INSERT INTO replicas (id) VALUES (0);
"];

/// Gateways from this version of the schema on can use what there is after all migrations.
const OLDEST: i64 = 1;

/// Brings the schema up to date, one gateway at a time. One that this program cannot use is left as it is: its version.
///
/// # Errors
/// The user may not make a schema, or the server is away.
pub fn migrate(session: &Session) -> Result<std::result::Result<(), i64>> {
    // The number stands for `deskbell`; it is held until the end of the transaction.
    session.batch_patiently("BEGIN; SELECT pg_advisory_xact_lock(7310868732402228332)")?;
    match bring_up_to_date(session) {
        Ok(done) => {
            session.batch("COMMIT")?;
            Ok(done)
        }
        Err(error) => {
            let _ = session.batch("ROLLBACK");
            Err(error)
        }
    }
}

fn bring_up_to_date(session: &Session) -> Result<std::result::Result<(), i64>> {
    if session.query("SELECT 1 FROM pg_namespace WHERE nspname = 'deskbell'", &[])?.is_empty() {
        session.batch_patiently("CREATE SCHEMA deskbell")?;
    }
    session.batch_patiently(
        "SET LOCAL client_min_messages TO warning;
         CREATE TABLE IF NOT EXISTS schema (version BIGINT NOT NULL, oldest BIGINT NOT NULL)",
    )?;
    let rows = session.query("SELECT version, oldest FROM schema", &[])?;
    let (version, oldest): (i64, i64) = match rows.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => {
            session.execute("INSERT INTO schema VALUES (0, 0)", &[])?;
            (0, 0)
        }
    };
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Ok(if oldest > known { Err(version) } else { Ok(()) });
    }
    let start = usize::try_from(version).map_err(|_| Error::Damaged)?;
    for migration in &MIGRATIONS[start..] {
        session.batch_patiently(migration)?;
    }
    if version < known {
        session.batch(&format!("UPDATE schema SET version = {known}, oldest = {OLDEST}"))?;
    }
    Ok(Ok(()))
}
