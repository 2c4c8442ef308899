//! What the writer and everybody else know of the store.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::group::{Count, Group};
use super::inbox::{Haste, Inbox};
use super::postgres::{Heard, Lease, Reader, Replica};
use super::sql::{Connection, Result};
use super::{Change, Pause, Queue, disk, sqlite, steer};

pub struct Shared {
    pub looks_into: Looks,
    queue: Mutex<Queue>,
    pauses: Mutex<Vec<Pause>>,
    /// The sources that had deliveries due or to come, when they were last looked for.
    waiting_sources: Mutex<Vec<String>>,
    /// The gateways that share the store, when they were last looked for.
    pub replicas: Mutex<Vec<Replica>>,
    /// Another gateway has something to say.
    pub stirred: Notify,
}

/// What is looked into beside the writer.
pub enum Looks {
    File(PathBuf),
    Server { reader: Box<Reader>, lease: Arc<Lease> },
}

/// What follows from a word of another gateway.
pub fn hear(shared: &Arc<Shared>, inbox: &Arc<Inbox>) -> Heard {
    let (shared, inbox) = (Arc::downgrade(shared), Arc::downgrade(inbox));
    Arc::new(move |said| {
        let (Some(shared), Some(inbox)) = (shared.upgrade(), inbox.upgrade()) else { return };
        match said {
            "due" => return inbox.something_due(),
            "keys" => return shared.stirred.notify_one(),
            _ => {}
        }
        let look = move |group: &mut Group<'_>| {
            *shared.pauses() = steer::pauses(&group.transaction)?;
            group.due = true;
            Ok(())
        };
        inbox.put(Box::new(look), Haste::Now);
    })
}

impl Shared {
    pub fn new(looks_into: Looks, pauses: Vec<Pause>) -> Arc<Self> {
        let shared = Self {
            looks_into,
            queue: Mutex::new(Queue { writable: true, ..Queue::default() }),
            pauses: Mutex::new(pauses),
            waiting_sources: Mutex::default(),
            replicas: Mutex::default(),
            stirred: Notify::new(),
        };
        Arc::new(shared)
    }

    pub fn look<T>(&self, look: impl FnOnce(&Connection<'_>) -> Result<T>) -> Result<T> {
        match &self.looks_into {
            Looks::File(path) => look(&Connection::Sqlite(&sqlite::look_into(path)?)),
            Looks::Server { reader, .. } => reader.look(look),
        }
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub fn pauses(&self) -> MutexGuard<'_, Vec<Pause>> {
        lock(&self.pauses)
    }

    pub fn waiting_sources(&self) -> MutexGuard<'_, Vec<String>> {
        lock(&self.waiting_sources)
    }

    pub fn look_at_disk(&self, least_free: Option<u64>) {
        let Looks::File(path) = &self.looks_into else { return };
        match disk::room(path) {
            Ok(disk::Room { free, total }) => {
                let least_free = disk::least_free(least_free, total);
                let mut queue = self.queue();
                // A little more than that is needed to recover, or it would come and go.
                let margin = if queue.disk_full { least_free / 10 } else { 0 };
                queue.disk_full = free < least_free.saturating_add(margin);
            }
            Err(error) => tracing::debug!(%error, "how much room the disk has cannot be told"),
        }
    }

    /// Takes what a transaction has changed, and counts what it has ended: all at once for whoever looks at the queue.
    pub fn apply(&self, change: Change, totals: Option<Change>, counts: Vec<Count>) {
        let mut queue = self.queue();
        counts.into_iter().for_each(|count| count());
        queue.apply(change, totals);
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
