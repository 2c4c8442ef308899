//! A database that several gateways share. It does the coordinating: rows are locked, leases are rows, and whoever is told
//! that something is due only looks for itself.

mod address;
pub mod batch;
mod import;
mod replica;
mod retention;
mod schema;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;

pub use address::Address;
pub use import::Import;
pub use replica::{KeyState, Lease, Replica, Sign, heartbeat};
pub use retention::retain;
pub use session::{Heard, Session};

use super::group::{Done, Group};
use super::read::oldest;
use super::sql::{Connection, Error, Result};
use super::standing::Claim;
use super::work::Work;
use super::{Change, Pause, Queue, steer};
use crate::units::Millis;

/// How often others are told at most that there is more to do than one gateway takes.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What the writer of one gateway has of it.
pub struct Postgres {
    address: Arc<Address>,
    runtime: Handle,
    heard: Heard,
    session: Option<Session>,
    told_at: Option<Instant>,
    lease: Arc<Lease>,
}

/// What was found at the start.
pub struct Found {
    pub totals: Change,
    pub oldest: Option<Millis>,
    pub pauses: Vec<Pause>,
}

impl Postgres {
    /// Connects, and brings the schema up to date. The schema is newer than this program can use: its version.
    ///
    /// # Errors
    /// No server answers, or it does not let us do that.
    pub fn open(
        address: Arc<Address>,
        runtime: Handle,
        heard: Heard,
        lease: Arc<Lease>,
    ) -> Result<std::result::Result<(Self, Found), i64>> {
        let session = Session::connect(&address, &runtime, None)?;
        if let Err(version) = schema::migrate(&session)? {
            return Ok(Err(version));
        }
        let connection = Connection::Postgres(&session);
        let found = Found {
            totals: replica::totals(&connection)?,
            oldest: oldest(&connection)?,
            pauses: steer::pauses(&connection)?,
        };
        drop(session);
        Ok(Ok((Self { address, runtime, heard, session: None, told_at: None, lease }, found)))
    }

    /// The connection; a new one if the last is lost. With it goes a new number: whether the last transaction of the old one
    /// is there is not known, so nobody knows what was claimed in it. That is freed with the lease of the old number.
    fn session(&mut self) -> Result<&Session> {
        self.session.take_if(|session| session.is_lost());
        if self.session.is_none() {
            let heard = Some(self.heard.clone());
            let mut session = Session::connect(&self.address, &self.runtime, heard)?;
            session.batch("LISTEN deskbell")?;
            let number =
                Connection::Postgres(&session).first("SELECT nextval('replica_ids')", &[], |row| row.get(0))?;
            session.replica = number.unwrap_or_default();
            self.session = Some(session);
        }
        self.session.as_ref().ok_or_else(Error::silent)
    }

    /// Does all work in one transaction.
    pub fn write(
        &mut self,
        works: &mut [Work],
        queue: Queue,
        standing: &mut Option<Claim>,
        next: impl FnOnce(bool) -> Option<Claim>,
    ) -> Result<Done> {
        let may_tell = self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        let session = self.session()?;
        session.begin();
        let written = write_within(session, works, queue, standing, next, may_tell);
        let (done, told) = written.inspect_err(|_| session.roll_back())?;
        if told {
            self.told_at = Some(Instant::now());
        }
        Ok(done)
    }

    /// What this gateway was attempting becomes due for others after `unknown`, and its place is free.
    pub fn leave(&mut self, now: Millis, unknown: Millis) {
        self.lease.end();
        let Ok(session) = self.session() else { return };
        let replica = session.replica;
        let left = session.batch("BEGIN").and_then(|()| {
            replica::leave(&Connection::Postgres(session), replica, now, unknown)?;
            session.batch("COMMIT")
        });
        if let Err(error) = left {
            tracing::debug!(%error, "the others learn by themselves that this gateway is gone");
        }
    }
}

/// Says as well whether others were told that there is more to do.
fn write_within(
    session: &Session,
    works: &mut [Work],
    queue: Queue,
    standing: &mut Option<Claim>,
    next: impl FnOnce(bool) -> Option<Claim>,
    may_tell: bool,
) -> Result<(Done, bool)> {
    let mut done = Group::new(Connection::Postgres(session), queue, standing).run(works, next)?;
    let tells = may_tell && done.change.new + done.change.retrying > 0;
    done.totals = Some(replica::conclude(session, done.change, tells.then_some("due"))?);
    Ok((done, tells))
}

/// Tells the other gateways that something was paused or let go.
pub fn tell_of_pauses(connection: &Connection<'_>) -> Result<()> {
    match connection {
        Connection::Sqlite(_) => Ok(()),
        Connection::Postgres(session) => session.batch("NOTIFY deskbell, 'pauses'"),
    }
}

/// Looks into the database, on a connection beside the writer's.
pub struct Reader {
    address: Arc<Address>,
    runtime: Handle,
    session: Mutex<Option<Session>>,
}

impl Reader {
    pub fn new(address: Arc<Address>, runtime: Handle) -> Self {
        Self { address, runtime, session: Mutex::default() }
    }

    pub fn look<T>(&self, look: impl FnOnce(&Connection<'_>) -> Result<T>) -> Result<T> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.take_if(|session| session.is_lost());
        let connected = match session.take() {
            Some(session) => session,
            None => Session::connect(&self.address, &self.runtime, None)?,
        };
        look(&Connection::Postgres(session.insert(connected)))
    }
}

/// What helps against an error of the server.
pub fn hint(error: &tokio_postgres::Error) -> &'static str {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "look at the user and the password in the address of the store"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => "make the database first: `createdb NAME`",
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "let the user make a schema: `GRANT CREATE ON DATABASE … TO …`, or make it for them: `CREATE SCHEMA deskbell AUTHORIZATION …`"
        }
        Some(code) if *code == SqlState::DISK_FULL => "make room on the disk of the server",
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "each gateway needs three connections: allow more of them"
        }
        Some(_) => "look into the log of the PostgreSQL server",
        None => AWAY,
    }
}

pub const AWAY: &str = "see whether the PostgreSQL server runs and can be reached from here";

/// Whether it says something about one piece of work alone, and nothing about the server.
pub fn is_about_work(error: &tokio_postgres::Error) -> bool {
    // Where there is no code, the connection is fine and a value was not what was expected.
    // Data, constraints, and what has come between transactions: classes of the SQL standard.
    error.code().is_none_or(|code| ["22", "23", "40"].iter().any(|class| code.code().starts_with(class)))
}
