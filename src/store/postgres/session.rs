//! A connection to PostgreSQL, for a thread that may wait.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

use super::address::Address;
use crate::store::sql::{Error, Result, Value};

/// How long a connection that webhooks wait for may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// How long a statement is waited for. The server gives up a little earlier.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what nobody waits for.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// Told of what other gateways have to say, with the word for it.
pub type Heard = Arc<dyn Fn(&str) + Send + Sync>;

type Done<T> = std::result::Result<T, tokio_postgres::Error>;

pub struct Session {
    client: Client,
    runtime: Handle,
    statements: RefCell<HashMap<String, Statement>>,
    patience: Duration,
    /// It did not answer in time: nothing more is asked, and nothing more waited for.
    is_silent: Cell<bool>,
    /// A transaction begins with the next statement.
    begins: Cell<bool>,
    /// Which gateway this is, among those that share the database; 0 if it only looks.
    pub replica: i64,
}

impl Session {
    /// # Errors
    /// No server answers there, or it does not let us in.
    pub fn connect(address: &Address, runtime: &Handle, heard: Option<Heard>) -> Result<Self> {
        let time = if heard.is_some() { CONNECT_TIME } else { PATIENCE };
        let connect = async {
            let (client, mut connection) = address.config.connect(address.tls.clone()).await?;
            tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                    if let (AsyncMessage::Notification(said), Some(heard)) = (message, &heard) {
                        heard(said.payload());
                    }
                }
            });
            client.batch_execute(SETTINGS).await?;
            Ok(client)
        };
        let client = runtime.block_on(async { timeout(time, connect).await }).map_err(|_| Error::silent())?;
        let client: Client = client.map_err(|error: tokio_postgres::Error| match error.as_db_error() {
            Some(_) => Error::Postgres(error),
            None => Error::lost(&error),
        })?;
        Ok(Self {
            client,
            runtime: runtime.clone(),
            statements: RefCell::default(),
            patience: PATIENCE,
            is_silent: Cell::new(false),
            begins: Cell::new(false),
            replica: 0,
        })
    }

    /// The same connection for statements that may take a minute.
    pub fn patient(self) -> Self {
        Self { patience: LONG_PATIENCE, ..self }
    }

    /// Whether its connection is gone, or might as well be.
    pub fn is_lost(&self) -> bool {
        self.is_silent.get() || self.client.is_closed()
    }

    /// Begins a transaction, on the way of its first statement.
    pub fn begin(&self) {
        self.begins.set(true);
    }

    /// The last statement of a transaction, and its end on the same way: after this word for the others, if there is one.
    ///
    /// # Errors
    /// Nothing of it was done; or, if the server is away, that is not known.
    pub fn query_and_commit(&self, sql: &str, values: &[&dyn Value], word: Option<&str>) -> Result<Vec<Row>> {
        let statement = self.statement(sql)?;
        let commit = word.map_or("COMMIT".to_owned(), |word| format!("NOTIFY deskbell, '{word}'; COMMIT"));
        let (values, begin) = (postgres(values), self.begin_now());
        self.wait(async {
            let query = self.client.query(&statement, &values);
            let (begun, rows, committed) = tokio::join!(biased; begin, query, self.client.batch_execute(&commit));
            // Where one has failed, those behind it have done nothing.
            begun?;
            let rows = rows?;
            committed.map(|()| rows)
        })
    }

    /// Takes a transaction back. One whose connection is lost has done so by itself.
    pub fn roll_back(&self) {
        if !self.begins.take() {
            let _ = self.batch("ROLLBACK");
        }
    }

    /// Statements without values and results, in one message.
    pub fn batch(&self, sql: &str) -> Result<()> {
        self.along(self.begin_now(), self.client.batch_execute(sql))
    }

    /// The same, for as long as it takes: for a change of the schema.
    pub fn batch_patiently(&self, sql: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.client.batch_execute(sql))?)
    }

    pub fn execute(&self, sql: &str, values: &[&dyn Value]) -> Result<u64> {
        self.execute_many(sql, &postgres(values))
    }

    pub fn query(&self, sql: &str, values: &[&dyn Value]) -> Result<Vec<Row>> {
        self.query_many(sql, &postgres(values))
    }

    /// The same with a column of values in place of each.
    pub fn execute_many(&self, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let statement = self.statement(sql)?;
        self.along(self.begin_now(), self.client.execute(&statement, columns))
    }

    /// The same, for rows.
    pub fn query_many(&self, sql: &str, columns: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let statement = self.statement(sql)?;
        self.along(self.begin_now(), self.client.query(&statement, columns))
    }

    /// A statement is prepared once.
    fn statement(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.wait(self.client.prepare(&sql.replace('?', "$")))?;
        self.statements.borrow_mut().insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    async fn begin_now(&self) -> Done<()> {
        if self.begins.take() { self.client.batch_execute("BEGIN").await } else { Ok(()) }
    }

    /// Both on one way there and back, in this order.
    fn along<T>(&self, first: impl Future<Output = Done<()>>, then: impl Future<Output = Done<T>>) -> Result<T> {
        self.wait(async {
            let (first, then) = tokio::join!(biased; first, then);
            first.and(then)
        })
    }

    fn wait<T>(&self, what: impl Future<Output = Done<T>>) -> Result<T> {
        if self.is_silent.get() {
            return Err(Error::silent());
        }
        let outcome = self.runtime.block_on(async { timeout(self.patience, what).await }).map_err(|_| {
            self.is_silent.set(true);
            Error::silent()
        })?;
        outcome.map_err(
            |error| if self.is_lost() || error.is_closed() { Error::lost(&error) } else { Error::Postgres(error) },
        )
    }
}

/// A gateway that is frozen within a transaction must not keep its locks. And each statement looks up what it needs in an
/// index: a plan that was made while the tables were small reads all of them, and stays.
const SETTINGS: &str = "
    SET enable_seqscan TO off;
    SET enable_bitmapscan TO off;
    SET enable_hashjoin TO off;
    SET enable_mergejoin TO off;
    SET jit TO off;
    SET search_path TO deskbell;
    SET statement_timeout TO '4s';
    SET idle_in_transaction_session_timeout TO '10s';
    SET synchronous_commit TO on;
";

fn postgres<'a>(values: &[&'a dyn Value]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value.for_postgres()).collect()
}
