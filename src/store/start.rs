//! A store begins: with a file, or with a server.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle as Runtime;

use super::database::Database;
use super::inbox::Inbox;
use super::postgres::{Address, Lease, Postgres, Reader};
use super::queue::Change;
use super::shared::{Looks, Shared, hear};
use super::{Handle, OpenError, Store, open, writer};
use crate::units::Millis;

const MOVED: &str = "it has moved to PostgreSQL, and what waits in it would be sent twice";
const STAY: &str = "name that store with `--store postgres://…`; `deskbell store copy` goes on if it was cut off. Or, if no gateway \
    has run there: `sqlite3 FILE 'PRAGMA application_id = 0'`, and copy into an empty database the next time";
const NO_THREAD: &str = "the system has no thread left";

pub fn file(path: PathBuf, now: Millis, unknown: Millis) -> Result<Store, OpenError> {
    let lock = open::take_lock(&path)?;
    let mut database = open::open(&path)?;
    if database.has_moved().map_err(|error| OpenError::of(path.display(), &error))? {
        return Err(OpenError::new(path.display(), MOVED, STAY));
    }
    let recovered = database.recover(now, unknown).map_err(|error| OpenError::of(path.display(), &error))?;
    let shared = Shared::new(Looks::File(path.clone()), recovered.pauses);
    shared.queue().apply(recovered.change, None);
    shared.queue().oldest = recovered.oldest;
    let start = start(shared, Arc::default(), Database::Sqlite(database), unknown, lock);
    start.map_err(|error| OpenError::new(path.display(), error, NO_THREAD))
}

pub fn server(address: &Arc<Address>, unknown: Millis) -> Result<Store, OpenError> {
    let (runtime, lease, inbox) = (Runtime::current(), Arc::new(Lease::default()), Arc::new(Inbox::default()));
    let reader = Reader::new(address.clone(), runtime.clone());
    let shared = Shared::new(Looks::Server { reader: Box::new(reader), lease: lease.clone() }, Vec::new());
    let heard = hear(&shared, &inbox);
    let opened = Postgres::open(address.clone(), runtime, heard, lease);
    let (database, found) = opened
        .map_err(|error| OpenError::of(&address.name, &error))?
        .map_err(|version| OpenError::too_new(&address.name, version))?;
    *shared.pauses() = found.pauses;
    shared.queue().apply(Change::default(), Some(found.totals));
    shared.queue().oldest = found.oldest;
    let start = start(shared, inbox, Database::Postgres(Box::new(database)), unknown, ());
    start.map_err(|error| OpenError::new(&address.name, error, NO_THREAD))
}

/// The writer keeps what is `held` until it has ended.
fn start(
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    database: Database,
    unknown: Millis,
    held: impl Send + 'static,
) -> std::io::Result<Store> {
    let (writer, works) = (shared.clone(), inbox.clone());
    std::thread::Builder::new().name("store".to_owned()).spawn(move || {
        writer::write_groups(database, &works, &writer, unknown);
        drop(held);
    })?;
    Ok(Store { handle: Arc::new(Handle { inbox }), shared })
}
