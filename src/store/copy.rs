//! Everything in a file goes into a database that gateways share: in steps that are whole, so that a copy which was cut off
//! goes on where it stopped when it is asked for again.

mod columns;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle as Runtime;

use super::open::{self, OpenError, Place};
use super::postgres::{Address, Import};
use super::sql::{Connection, Error, Result, values};
use super::{Change, State, database, key};
use crate::units::Millis;
pub use columns::{Deliveries, Events, Identities, Pauses};

/// The most rows that one statement takes.
const ROWS: usize = 2_000;
/// The most events of one transaction, and so what is known of the progress.
const STEP: usize = 1_000;
/// The most bytes that one statement takes, unless a single row has more.
const BYTES: i64 = 8 << 20;
/// A row with its indexes, beside what is long in it.
const ROW: i64 = 256;

/// How far a copy is.
#[derive(Clone, Debug, Default)]
pub struct Copied {
    /// The events in the file.
    pub all: u64,
    pub events: u64,
    /// Events that were there already.
    pub skipped: u64,
    pub identities: u64,
    pub pauses: u64,
    deliveries: [u64; State::ALL.len()],
}

impl Copied {
    /// How many deliveries in this state were copied.
    pub fn deliveries(&self, state: State) -> u64 {
        self.deliveries[state as usize]
    }
}

/// Why not everything could be copied.
#[derive(Debug)]
pub struct CopyError {
    pub message: String,
    pub hint: Option<String>,
    /// What was asked for makes no sense, whatever there is.
    pub is_usage: bool,
}

impl From<OpenError> for CopyError {
    fn from(error: OpenError) -> Self {
        Self { message: error.message, hint: error.hint, is_usage: false }
    }
}

/// Copies what the file in `from` keeps to the server in `to`. What was being sent when its gateway crashed becomes due again
/// after `unknown`. It is told now and then how far it is.
///
/// # Errors
/// The file or the server cannot be used. What has been copied by then stays, and is skipped the next time.
pub fn copy(
    from: &str,
    to: &str,
    runtime: &Runtime,
    now: Millis,
    unknown: Millis,
    tell: &mut dyn FnMut(&Copied),
) -> std::result::Result<Copied, CopyError> {
    let (path, address) = match (place(from)?, place(to)?) {
        (Place::File(path), Place::Server(address)) => (path, address),
        _ => {
            return Err(CopyError {
                message: "this copies from a file to a PostgreSQL server, and no other way".to_owned(),
                hint: Some("such as `deskbell store copy sqlite:deskbell.db postgres://…`".to_owned()),
                is_usage: true,
            });
        }
    };
    if !path.exists() {
        return Err(CopyError {
            message: format!("there is no store `{}`", path.display()),
            hint: Some("name the file that the gateway was started with".to_owned()),
            is_usage: false,
        });
    }
    let _lock = open::take_lock(&path).map_err(|error| match error.in_use {
        true => CopyError {
            hint: Some(
                "stop the gateway that uses it first: what it delivers meanwhile would be sent twice".to_owned(),
            ),
            ..error.into()
        },
        false => error.into(),
    })?;
    // The server first: a file that cannot be copied is left as it is.
    let import = open_server(&address, runtime)?;
    let mut file = open::open(&path)?;
    let marked = file.recover(now, unknown).and_then(|_| file.mark_as_moved());
    marked.map_err(|error| OpenError::of(path.display(), &error))?;
    let mut copy = Copy { file: file.connection(), import, copied: Copied::default() };
    let ran = copy.run(tell);
    ran.map_err(|error| stopped(&path, &address, &copy.copied, &error))?;
    Ok(copy.copied)
}

fn place(url: &str) -> std::result::Result<Place, CopyError> {
    open::place_of(url).map_err(|error| CopyError {
        message: error.message,
        hint: Some(
            "such as `deskbell store copy sqlite:deskbell.db postgres://deskbell@db.example.com/deskbell`".into(),
        ),
        is_usage: true,
    })
}

fn open_server(address: &Arc<Address>, runtime: &Runtime) -> std::result::Result<Import, OpenError> {
    Import::open(address, runtime)
        .map_err(|error| OpenError::of(&address.name, &error))?
        .map_err(|version| OpenError::too_new(&address.name, version))
}

fn stopped(path: &Path, address: &Address, copied: &Copied, error: &Error) -> CopyError {
    let (hint, done) = (database::hint(error), copied.events + copied.skipped);
    CopyError {
        message: format!(
            "{done} of {} events of `{}` are in `{}`, then: {error}",
            copied.all,
            path.display(),
            address.name
        ),
        hint: Some(format!("{hint}; then ask for the same again, and it goes on where it stopped")),
        is_usage: false,
    }
}

struct Copy<'a> {
    file: Connection<'a>,
    import: Import,
    copied: Copied,
}

/// What a step has done, for when it is on disk.
#[derive(Default)]
struct Step {
    events: u64,
    deliveries: [u64; State::ALL.len()],
    change: Change,
}

impl Copy<'_> {
    /// Whatever keeps something from being sent comes before what could be sent.
    fn run(&mut self, tell: &mut dyn FnMut(&Copied)) -> Result<()> {
        let all = self.file.first("SELECT count(*) FROM events", &[], |row| row.get::<i64>(0))?;
        self.copied.all = u64::try_from(all.unwrap_or_default()).unwrap_or_default();
        let pauses = Pauses::read(&self.file)?;
        self.copied.pauses = self.import.write(|import| import.pauses(&pauses))?;
        let mut after = (String::new(), String::new());
        loop {
            let identities = Identities::remembered(&self.file, &after, ROWS)?;
            let Some(last) = identities.last() else { break };
            after = last;
            self.copied.identities += self.import.write(|import| import.identities(&identities))?;
            tell(&self.copied);
        }
        let mut after = i64::MIN;
        while let Some(last) = self.step(after)? {
            after = last;
            tell(&self.copied);
        }
        Ok(())
    }

    /// Copies the next events behind this one. The last of them; none at the end.
    fn step(&mut self, after: i64) -> Result<Option<i64>> {
        let sql = format!(
            "SELECT id, {ROW} + length(body) + (SELECT coalesce(sum({ROW} + coalesce(length(request), 0)), 0)
                 FROM deliveries WHERE {})
             FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
            key::OF_EVENT
        );
        let Some((last, count)) = self.fitting(&sql, values![after, STEP as i64])? else { return Ok(None) };
        let here = Identities::of_events(&self.file, after, last)?;
        let missing: HashSet<i64> = self.import.missing(&here)?.into_iter().collect();
        let done = match missing.is_empty() {
            true => Step::default(),
            false => {
                let events = Events::read(&self.file, after, last, &missing)?;
                self.import.write(|import| self.put(import, &events, last))?
            }
        };
        self.copied.events += done.events;
        self.copied.skipped += count - done.events;
        for (sum, more) in self.copied.deliveries.iter_mut().zip(done.deliveries) {
            *sum += more;
        }
        Ok(Some(last))
    }

    /// Puts events with all their deliveries into the database, within a transaction.
    fn put(&self, import: &Import, events: &Events, last: i64) -> Result<Step> {
        let keys: HashMap<i64, i64> = import.events(events)?;
        let mut step = Step { events: keys.len() as u64, ..Step::default() };
        let Some(first) = events.keys.first() else { return Ok(step) };
        let (mut after, end) = (key::deliveries(*first).0 - 1, key::deliveries(last).1);
        let sql = format!(
            "SELECT id, {ROW} + coalesce(length(request), 0) FROM deliveries WHERE id > ?1 AND id <= ?3 ORDER BY id LIMIT ?2"
        );
        while let Some((until, _)) = self.fitting(&sql, values![after, ROWS as i64, end])? {
            let deliveries = Deliveries::read(&self.file, after, until, &keys)?;
            import.deliveries(&deliveries)?;
            for (state, attempts) in deliveries.states() {
                let state = State::of(state, attempts);
                match state {
                    State::Dead => step.change.dead += 1,
                    state if state.is_unfinished() => step.change.wait(attempts, 1),
                    _ => {}
                }
                step.deliveries[state as usize] += 1;
            }
            after = until;
        }
        import.count(step.change)?;
        Ok(step)
    }

    /// Of rows with their keys and sizes, how far those go that one statement takes, and how many they are.
    fn fitting(&self, sql: &str, values: &[&dyn super::sql::Value]) -> Result<Option<(i64, u64)>> {
        let rows: Vec<(i64, i64)> = self.file.query(sql, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (mut room, mut fitting) = (BYTES, None);
        for (count, (id, size)) in rows.into_iter().enumerate() {
            room -= size;
            if room < 0 && fitting.is_some() {
                break;
            }
            fitting = Some((id, count as u64 + 1));
        }
        Ok(fitting)
    }
}
