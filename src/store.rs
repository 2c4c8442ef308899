//! The durable queue: accept, claim, finish, replay. One writer thread takes everything that waits
//! into one transaction, so that many webhooks share one write to disk.

mod accept;
mod checkpoint;
mod claim;
mod copy;
mod database;
mod disk;
mod finish;
mod group;
mod inbox;
mod key;
mod open;
mod packed;
mod postgres;
mod queue;
mod read;
mod replay;
mod shared;
mod sql;
mod sqlite;
mod standing;
mod start;
mod steer;
mod sweep;
mod work;
mod writer;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;
use accept::{Arrival, Arrived};
pub use claim::{BulkRoom, Claimed, Claiming, Claims, NextDue, Offer, Room};
pub use copy::{Copied, CopyError, copy};
pub use finish::{End, Step};
use group::{Accepted, Group};
use inbox::{Haste, Inbox};
pub use open::OpenError;
use open::Place;
pub use postgres::{KeyState, Replica, Sign};
use queue::Change;
pub use queue::Queue;
pub use read::{Filter, Found, Kept, Recorded, RecordedDelivery, State};
pub use replay::{Again, Replayed};
use shared::{Looks, Shared, lock};
pub use sql::Error as ReadError;
use standing::Claim;
pub use steer::{Chunk, Cursor, Pause};
pub use sweep::{Expired, Identity};
use work::{counted, is_forgotten, with_answer};

/// How often a store that could not be written is tried again.
const PROBE: Duration = Duration::from_secs(1);
/// How long a webhook waits for a server.
const ACCEPT_TIME: Duration = Duration::from_millis(1_500);

/// A handle to the store of this process. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
}

/// The writer ends with the last one.
struct Handle {
    inbox: Arc<Inbox>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.close(None);
    }
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It is durable, and so are its deliveries.
    Accepted,
    /// It had been here before, and this is what was decided then.
    Duplicate {
        routes: Vec<String>,
        revision: String,
        /// What was done about it, if some of it was dead.
        replayed: Option<Replayed>,
    },
}

/// Why an event cannot be kept now.
#[derive(Debug, PartialEq, Eq)]
pub enum Unavailable {
    QueueFull,
    DiskFull,
    NotWritable,
}

impl Store {
    /// Opens or makes the store at `url` (`sqlite:PATH` or `postgres://…`). What a crash left half-sent becomes due again
    /// after `unknown`. It waits for the disk or the server: not for a thread of the runtime, in which it is called.
    ///
    /// # Errors
    /// The file or the server cannot be used, or another process has the file.
    pub fn open(url: &str, now: Millis, unknown: Millis) -> Result<Self, OpenError> {
        match open::place_of(url)? {
            Place::File(path) => start::file(path, now, unknown),
            Place::Server(address) => start::server(&address, unknown),
        }
    }

    /// Keeps an event with its deliveries, once. When this returns, it is on disk. A resend of an event of which something
    /// is dead does the same as a replay.
    ///
    /// # Errors
    /// It cannot be kept now.
    pub async fn accept(&self, event: &Event, decision: &Decision, queue_limit: u64) -> Result<Receipt, Unavailable> {
        let mut replayed = None;
        loop {
            match self.keep(Arrival::new(event, decision), queue_limit).await? {
                Arrived::Accepted => return Ok(Receipt::Accepted),
                Arrived::Duplicate { has_dead: true, .. } if replayed.is_none() => {
                    let (event, decision, moment) = (event.clone(), decision.clone(), event.received_at);
                    let done = self.replay(event, decision, Again::dead(), queue_limit, moment).await?;
                    replayed = Some(done.unwrap_or_default());
                }
                Arrived::Duplicate { routes, revision, .. } => {
                    return Ok(Receipt::Duplicate { routes, revision, replayed });
                }
            }
        }
    }

    /// Takes what is due and has room in one of the offers, the most urgent first, for so many calls together: `now`, or
    /// once something becomes due. What comes alone meanwhile starts in it at once. There is one at a time.
    pub fn claim(&self, offers: Vec<Offer>, calls: usize, now: bool) -> Claiming {
        let (claim, claims) = Claim::new(offers, calls);
        self.handle.inbox.put_claim(claim, now);
        Claiming::new(claims, self.handle.inbox.clone())
    }

    /// Remembers how attempts have ended, before long; tries until the store takes it, since an attempt that is
    /// forgotten would be made again. `count` gets the place of each, once.
    pub async fn finish(&self, ends: Vec<End>, now: Millis, count: impl Fn(usize) + Clone + Send + 'static) {
        let (all, ends): (_, Arc<[End]>) = (0..ends.len(), ends.into());
        let mut waiting = VecDeque::from([all]);
        while let Some(range) = waiting.pop_front() {
            let (ends, these, count) = (ends.clone(), range.clone(), count.clone());
            let finish = move |group: &mut Group<'_>| {
                group.finish(&ends[these.clone()], now)?;
                Ok(these.clone())
            };
            let count = move |ended: &Range<usize>| ended.clone().for_each(&count);
            if self.write(Haste::Soon, counted(finish, count)).await.is_some() {
                continue;
            }
            // What cannot be done keeps nothing else back.
            waiting.extend(range.map(|place| place..place + 1));
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Puts what today's rules make of an event that is kept on its way again: what failed, and what was not there.
    /// None if the event is not kept any more.
    ///
    /// # Errors
    /// It cannot be kept now.
    pub async fn replay(
        &self,
        event: Event,
        decision: Decision,
        again: Again,
        queue_limit: u64,
        now: Millis,
    ) -> Result<Option<Replayed>, Unavailable> {
        let replay = move |group: &mut Group<'_>| replay::replay(group, &event, &decision, &again, queue_limit, now);
        self.write(Haste::Now, replay).await.unwrap_or(Err(Unavailable::NotWritable))
    }

    /// Cancels the next deliveries that the filter wants and that are not finished, behind the place `after`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn drop_chunk(
        &self,
        filter: Filter,
        after: Cursor,
        now: Millis,
        count: impl Fn(&Chunk) + Clone + Send + 'static,
    ) -> Result<Chunk, Unavailable> {
        let drop = move |group: &mut Group<'_>| steer::drop_chunk(group, &filter, after, now);
        self.write(Haste::Now, counted(drop, count)).await.ok_or(Unavailable::NotWritable)
    }

    /// Keeps back what a route or source has to deliver, from now on. When this returns, no further attempt begins.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn pause(&self, pause: Pause, now: Millis) -> Result<(), Unavailable> {
        let shared = self.shared.clone();
        self.write(Haste::Now, move |group| steer::pause(group, &pause, now, shared.clone()))
            .await
            .ok_or(Unavailable::NotWritable)
    }

    /// Ends every pause of this route, or of this source; each of them, if none is named. Says how many there were. What
    /// they kept back goes on its way by and by.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn resume(&self, pause: Pause) -> Result<u64, Unavailable> {
        let shared = self.shared.clone();
        let ended = self.write(Haste::Now, move |group| steer::resume(group, &pause, shared.clone())).await;
        self.release();
        ended.ok_or(Unavailable::NotWritable)
    }

    /// Lets go what no pause keeps back any more: in small steps, so that webhooks do not wait, and to its end,
    /// whoever asked. A crash may have cut it off.
    pub fn release(&self) {
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                match store.write(Haste::Now, steer::release).await {
                    Some(true) => {}
                    Some(false) => return,
                    None => tokio::time::sleep(PROBE).await,
                }
            }
        });
    }

    /// Ends the next deliveries that became too old while they waited. Whether there may be more; none if the store
    /// cannot be written.
    pub async fn expire(
        &self,
        now: Millis,
        count: impl Fn(&Expired) + Clone + Send + 'static,
    ) -> Option<(Vec<Expired>, bool)> {
        let count = move |(expired, _): &(Vec<Expired>, bool)| expired.iter().for_each(&count);
        self.write(Haste::Now, counted(move |group| sweep::expire(group, now), count)).await
    }

    /// Erases what has ended for as long as `retention`, among the events behind the key `after`. Where to go on, until
    /// the end; none as well if the store cannot be written.
    pub async fn retain(&self, after: i64, retention: Millis, remember: Millis, now: Millis) -> Option<i64> {
        self.write(Haste::Now, move |group| sweep::retain(group, after, retention, remember, now)).await.flatten()
    }

    /// Removes the identities of events that came longer ago than `remember`, among those behind `after`. As
    /// [`Store::retain`] does.
    pub async fn forget(&self, after: Identity, remember: Millis, now: Millis) -> Option<Identity> {
        self.write(Haste::Now, move |group| sweep::forget(group, &after, remember, now)).await.flatten()
    }

    /// Looks whether the disk has so many bytes left (none goes by its size), which sources have something to deliver, and
    /// what has waited for longest.
    pub async fn look_around(&self, least_free: Option<u64>) {
        let shared = self.shared.clone();
        // A file system may take its time.
        let _ = tokio::task::spawn_blocking(move || shared.look_at_disk(least_free)).await;
        let shared = self.shared.clone();
        let look = move |group: &mut Group<'_>| {
            let (sources, oldest) = (read::waiting_sources(&group.transaction)?, read::oldest(&group.transaction)?);
            let shared = shared.clone();
            // Before the next transaction changes what there is.
            group.afterwards(move || {
                *shared.waiting_sources() = sources;
                shared.queue().oldest = oldest;
            });
            Ok(())
        };
        self.write(Haste::Now, look).await;
    }

    /// The sources that had something to deliver at the last look around.
    pub fn waiting_sources(&self) -> Vec<String> {
        self.shared.waiting_sources().clone()
    }

    /// Whether a pause keeps back what this route makes of events from this source.
    pub fn is_paused(&self, route: &str, source: &str) -> bool {
        self.shared.pauses().iter().any(|pause| pause.holds(route, source))
    }

    /// What is paused.
    pub fn pauses(&self) -> Vec<Pause> {
        self.shared.pauses().clone()
    }

    /// Tells others that share the store that this gateway lives and what it has found, and takes over from those that do
    /// not. What all of them know of Novu keys; none if nobody shares the store, or it cannot be written.
    pub async fn give_sign(&self, sign: Sign) -> Option<Vec<KeyState>> {
        let Looks::Server { lease, .. } = &self.shared.looks_into else { return None };
        let lease = lease.clone();
        let seen = self.write(Haste::Now, move |group| postgres::heartbeat(group, &lease, &sign)).await.flatten()?;
        *self.shared.pauses() = seen.pauses;
        *lock(&self.shared.replicas) = seen.replicas;
        Some(seen.keys)
    }

    /// Whether other gateways may use the store as well.
    pub fn is_shared(&self) -> bool {
        matches!(self.shared.looks_into, Looks::Server { .. })
    }

    /// Whether it is for this gateway to erase what was kept long enough: one of those that share the store does it.
    pub fn sweeps(&self) -> bool {
        !self.is_shared() || self.replicas().first().is_some_and(|first| first.this)
    }

    /// Resolves when another gateway has something to say.
    pub async fn stirred(&self) {
        self.shared.stirred.notified().await;
    }

    /// The gateways that share the store, this one among them. None share a file.
    pub fn replicas(&self) -> Vec<Replica> {
        lock(&self.shared.replicas).clone()
    }

    /// Whether what is claimed is still this gateway's alone. Where it cannot say that it lives, others take over.
    pub fn may_attempt(&self) -> bool {
        match &self.shared.looks_into {
            Looks::File(_) => true,
            Looks::Server { lease, .. } => lease.is_held(),
        }
    }

    /// Closes the file. Nothing is kept or claimed any more.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        self.handle.inbox.close(Some(reply));
        let _ = closed.await;
    }

    /// Has the writer do something within its next transaction, and waits until that is on disk. None if it failed.
    async fn write<T, W>(&self, haste: Haste, work: W) -> Option<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Group<'_>) -> sql::Result<T> + Send + 'static,
    {
        let (work, answer) = with_answer(work);
        self.handle.inbox.put(work, haste);
        answer.await.ok()
    }

    /// A server is waited for no longer than [`ACCEPT_TIME`], and what waits longer is not done at all.
    async fn keep(&self, arrival: Arrival, queue_limit: u64) -> Accepted {
        let patience = match self.is_shared() {
            true if !self.queue().writable => return Err(Unavailable::NotWritable),
            true => ACCEPT_TIME,
            false => Duration::MAX,
        };
        let (reply, answer) = oneshot::channel();
        let (arrival, reply) = (Arc::new(arrival), Arc::new(Mutex::new(Some(reply))));
        let work = move |group: &mut Group<'_>| match is_forgotten(group, &reply) {
            true => Ok(()),
            false => group.accept(&arrival, queue_limit, &reply),
        };
        self.handle.inbox.put(Box::new(work), Haste::Now);
        let answer = tokio::time::timeout(patience, answer).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(Unavailable::NotWritable))
    }

    /// What the queue holds now.
    pub fn queue(&self) -> Queue {
        *self.shared.queue()
    }

    /// The events with this id, at most one of each source. It reads the file: not for a thread that must not wait.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, id: &str, source: Option<&str>) -> Result<Vec<Kept>, ReadError> {
        self.shared.look(|connection| read::events(connection, id, source))
    }

    /// Looks for events, the newest first. It reads the file: not for a thread that must not wait.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find(&self, filter: &Filter, limit: usize) -> Result<Found, ReadError> {
        self.shared.look(|connection| read::find(connection, filter, &self.pauses(), limit))
    }
}
