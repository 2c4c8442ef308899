//! What the writer writes to: a file of its own, or a database that others share.

use super::Queue;
use super::group::Done;
use super::postgres::{self, Postgres};
use super::sql::{Error, Result};
use super::sqlite::{self, Sqlite};
use super::standing::Claim;
use super::work::Work;
use crate::units::Millis;

pub enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Database {
    /// Does all work in one transaction, in which what comes may start if there is a `standing` claim. If there is none,
    /// the `next` claim takes what has become due, and is the standing one then.
    pub fn write(
        &mut self,
        works: &mut [Work],
        queue: Queue,
        standing: &mut Option<Claim>,
        next: impl FnOnce(bool) -> Option<Claim>,
    ) -> Result<Done> {
        match self {
            Self::Sqlite(file) => file.write(works, queue, standing, next),
            Self::Postgres(server) => server.write(works, queue, standing, next),
        }
    }

    /// Keeps the log of changes short. Nobody waits for it.
    pub fn shorten_log(&mut self) {
        if let Self::Sqlite(file) = self {
            file.shorten_log();
        }
    }

    /// Empties the log of changes, in which what was erased still stands. False if somebody reads
    /// the file just now.
    pub fn empty_log(&self) -> Result<bool> {
        match self {
            Self::Sqlite(file) => file.empty_log(),
            // What the server keeps of it is the server's.
            Self::Postgres(_) => Ok(true),
        }
    }

    /// To be called last: others may go on with what is left.
    pub fn leave(&mut self, now: Millis, unknown: Millis) {
        if let Self::Postgres(server) = self {
            server.leave(now, unknown);
        }
    }
}

/// Whether other work would fail as well, and just now.
pub fn is_everywhere(error: &Error) -> bool {
    match error {
        Error::Sqlite(error) => sqlite::is_busy(error),
        Error::Postgres(error) => !postgres::is_about_work(error),
        Error::Away(_) => true,
        Error::Damaged => false,
    }
}

/// Whether it says something about one piece of work alone.
pub fn is_about_work(error: &Error) -> bool {
    matches!(error, Error::Postgres(error) if postgres::is_about_work(error))
}

/// A part of what is kept is not what was written. The rest may be fine.
pub fn is_damage(error: &Error) -> bool {
    match error {
        Error::Sqlite(error) => sqlite::is_damage(error),
        Error::Damaged => true,
        Error::Postgres(_) | Error::Away(_) => false,
    }
}

const DAMAGED: &str = "stop the gateway and start with a new store, or with a backup; what was accepted and not delivered \
    stays in the old one";

/// What helps.
pub fn hint(error: &Error) -> &'static str {
    match error {
        Error::Sqlite(error) => sqlite::hint(error),
        Error::Postgres(error) => postgres::hint(error),
        Error::Away(_) => postgres::AWAY,
        Error::Damaged => DAMAGED,
    }
}
