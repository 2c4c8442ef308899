//! One SQL for two databases: what both understand, with parameters as `?1` and results by their place.

use std::fmt;

use rusqlite::types::FromSql as FromSqlite;
use rusqlite::{OptionalExtension, ToSql as ToSqlite};
use tokio_postgres::types::{FromSqlOwned as FromPostgres, ToSql as ToPostgres};

use super::postgres::Session;

pub type Result<T> = std::result::Result<T, Error>;

/// What a database could not do.
#[derive(Debug)]
pub enum Error {
    Sqlite(rusqlite::Error),
    Postgres(tokio_postgres::Error),
    /// The database has not answered in time, or its connection is gone.
    Away(String),
    /// What is kept is not what was written.
    Damaged,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(formatter),
            // Its own text names no more than the kind.
            Self::Postgres(error) => match error.as_db_error() {
                Some(refusal) => write!(formatter, "{} ({})", refusal.message(), refusal.code().code()),
                None => error.fmt(formatter),
            },
            Self::Away(why) => formatter.write_str(why),
            Self::Damaged => formatter.write_str("what is kept is not what was written"),
        }
    }
}

impl Error {
    /// A database that says nothing in time.
    pub fn silent() -> Self {
        Self::Away("the database does not answer".to_owned())
    }

    /// No way to the database, or none any more: what went wrong, and why.
    pub fn lost(error: &tokio_postgres::Error) -> Self {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        Self::Away(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

/// A value that goes to either database.
pub trait Value: ToSqlite + ToPostgres + Sync {
    fn for_sqlite(&self) -> &dyn ToSqlite;
    fn for_postgres(&self) -> &(dyn ToPostgres + Sync);
}

impl<T: ToSqlite + ToPostgres + Sync> Value for T {
    fn for_sqlite(&self) -> &dyn ToSqlite {
        self
    }

    fn for_postgres(&self) -> &(dyn ToPostgres + Sync) {
        self
    }
}

/// A value that comes from either.
pub trait Cell: FromSqlite + FromPostgres {}

impl<T: FromSqlite + FromPostgres> Cell for T {}

/// The values of a statement, in their order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$(&$value as &dyn $crate::store::sql::Value),*] };
}
pub(super) use values;

/// A row of a result.
pub enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    pub fn get<T: Cell>(&self, place: usize) -> Result<T> {
        match self {
            Self::Sqlite(row) => Ok(row.get(place)?),
            Self::Postgres(row) => Ok(row.try_get(place)?),
        }
    }
}

/// A connection within a transaction, or one that only reads.
pub enum Connection<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a Session),
}

impl Connection<'_> {
    /// What it has changed: rows.
    pub fn execute(&self, sql: &str, values: &[&dyn Value]) -> Result<u64> {
        match self {
            Self::Sqlite(connection) => Ok(connection.prepare_cached(sql)?.execute(sqlite(values))? as u64),
            Self::Postgres(session) => session.execute(sql, values),
        }
    }

    /// Adds a row, and gives its key. None if it is in conflict with one that is there, and nothing is to be done then.
    pub fn insert(&self, sql: &str, values: &[&dyn Value]) -> Result<Option<i64>> {
        match self {
            Self::Sqlite(connection) => {
                let added = connection.prepare_cached(sql)?.execute(sqlite(values))?;
                Ok((added > 0).then(|| connection.last_insert_rowid()))
            }
            Self::Postgres(session) => {
                let added = session.query(&format!("{sql} RETURNING id"), values)?;
                Ok(added.first().map(|row| row.try_get(0)).transpose()?)
            }
        }
    }

    /// Each row of a result.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[&dyn Value],
        mut each: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(sqlite(values))?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(each(&Row::Sqlite(row))?);
                }
                Ok(found)
            }
            Self::Postgres(session) => {
                session.query(sql, values)?.iter().map(|row| each(&Row::Postgres(row))).collect()
            }
        }
    }

    /// The first row of a result.
    pub fn first<T>(
        &self,
        sql: &str,
        values: &[&dyn Value],
        each: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let found = statement.query_row(sqlite(values), |row| Ok(each(&Row::Sqlite(row)))).optional()?;
                found.transpose()
            }
            Self::Postgres(session) => {
                session.query(sql, values)?.first().map(|row| each(&Row::Postgres(row))).transpose()
            }
        }
    }

    /// Whether there is such a row.
    pub fn exists(&self, sql: &str, values: &[&dyn Value]) -> Result<bool> {
        Ok(self.first(sql, values, |_| Ok(()))?.is_some())
    }

    /// Whether nobody else writes.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// Leaves out the rows of a result that others are about to change, and keeps the rest for this transaction.
    pub fn skipping(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Keeps others from removing an event until the transaction ends. False if it is gone.
    pub fn keep(&self, event: i64) -> Result<bool> {
        match self {
            Self::Sqlite(_) => Ok(true),
            Self::Postgres(_) => self.exists("SELECT 1 FROM events WHERE id = ?1 FOR UPDATE", values![event]),
        }
    }

    /// What keeps others from changing the rows of a result until the transaction ends. One file has one writer.
    pub fn locking(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE OF deliveries",
        }
    }
}

fn sqlite<'a>(values: &'a [&'a dyn Value]) -> impl rusqlite::Params + 'a {
    rusqlite::params_from_iter(values.iter().map(|value| value.for_sqlite()))
}
