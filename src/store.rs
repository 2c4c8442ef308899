//! The durable queue: accept, claim, finish. One writer thread takes everything that waits into
//! one transaction, so that many webhooks share one write to disk.

mod read;
mod sqlite;

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::render::Priority;
use crate::rules::Decision;
use crate::units::Millis;
use crate::verify::Event;
pub use read::{ReadError, Stored};
use sqlite::Database;

/// The most that one transaction takes.
const GROUP: usize = 256;
/// How often a store that could not be written is tried again.
const PROBE: Duration = Duration::from_secs(1);
/// What is erased may stand in the log of changes for this long. Emptying it costs milliseconds.
const EMPTY_LOG_EVERY: Duration = Duration::from_secs(1);

/// A handle to the store of this process. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// Something may be due.
    wake: Notify,
}

/// What the queue holds after the last transaction: deliveries by their state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    pub new: i64,
    pub retrying: i64,
    pub sending: i64,
    pub dead: i64,
    /// When the oldest unfinished delivery was accepted.
    pub oldest: Option<Millis>,
    /// Whether the last write succeeded.
    pub writable: bool,
}

impl Queue {
    /// Deliveries that are not finished.
    pub fn waiting(&self) -> i64 {
        self.new + self.retrying + self.sending
    }
}

/// How many deliveries come to a state and leave one, within a transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    new: i64,
    retrying: i64,
    sending: i64,
    dead: i64,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It is durable, and so are its deliveries.
    Accepted,
    /// It had been here before, and this is what was decided then.
    Duplicate { routes: Vec<String>, revision: String },
}

/// Why an event cannot be kept now.
#[derive(Debug, PartialEq, Eq)]
pub enum Unavailable {
    QueueFull,
    NotWritable,
}

/// A delivery that this process, and nobody else, is to attempt now.
#[derive(Debug)]
pub struct Claimed {
    id: i64,
    pub event_id: String,
    pub source: Arc<str>,
    pub route: Arc<str>,
    pub transaction_id: String,
    /// This attempt included.
    pub attempts: u32,
    /// Attempts that Novu has definitely failed.
    pub definite_errors: u32,
    /// The sum of the pauses that failed attempts have cost.
    pub waited: Millis,
    pub accepted_at: Millis,
    pub expires_at: Option<Millis>,
    /// Whether something of its event is to be erased in the end.
    sensitive: bool,
    /// The body for Novu.
    pub request: Vec<u8>,
    /// Only the store can make one.
    seal: PhantomData<()>,
}

/// What is to be remembered of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Delivered,
    /// To be attempted again, at `due`; `pause` counts towards giving up.
    Again {
        due: Millis,
        pause: Millis,
        definite: bool,
        reason: String,
    },
    /// Ended without success; a dead one can be replayed.
    Dead {
        reason: String,
    },
    Expired,
    /// Not attempted after all.
    GivenBack {
        due: Millis,
    },
}

/// Deliveries to attempt, and when the next ones are due.
#[derive(Debug, Default)]
pub struct Claims {
    pub claimed: Vec<Claimed>,
    /// None as well if there may be more that is due now.
    pub next_due: Option<Millis>,
}

enum Command {
    Accept {
        event: Box<Event>,
        decision: Box<Decision>,
        queue_limit: u64,
        reply: oneshot::Sender<Result<Receipt, Unavailable>>,
    },
    Claim {
        sources: Vec<Arc<str>>,
        most: usize,
        now: Millis,
        reply: oneshot::Sender<Claims>,
    },
    Finish {
        id: i64,
        sensitive: bool,
        step: Step,
        now: Millis,
        reply: oneshot::Sender<()>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// Why a store cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    pub message: String,
    /// Another process has it: it may go away.
    pub in_use: bool,
}

impl Store {
    /// Opens or makes the store at `url` (`sqlite:PATH`). What a crash left half-sent becomes due
    /// again after `unknown`.
    pub fn open(url: &str, now: Millis, unknown: Millis) -> Result<Self, OpenError> {
        let path = path_of(url)?;
        let failed = |error: &dyn std::fmt::Display| OpenError {
            message: format!("the store `{}` cannot be opened: {error}", path.display()),
            in_use: false,
        };
        let lock = take_lock(&path)?;
        let mut database = Database::open(&path).map_err(|error| failed(&error))?;
        let (change, oldest) = database.recover(now, unknown).map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared { path: path.clone(), queue: Mutex::default(), wake: Notify::new() });
        shared.apply(change, oldest);
        let (commands, receiver) = mpsc::channel();
        let writer = shared.clone();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                write_groups(database, &receiver, &writer);
                drop(lock);
            })
            .map_err(|error| failed(&error))?;
        Ok(Self { commands, shared })
    }

    /// Keeps an event with its deliveries, once. When this returns, it is on disk.
    pub async fn accept(&self, event: Event, decision: Decision, queue_limit: u64) -> Result<Receipt, Unavailable> {
        let (event, decision) = (Box::new(event), Box::new(decision));
        self.ask(|reply| Command::Accept { event, decision, queue_limit, reply })
            .await
            .unwrap_or(Err(Unavailable::NotWritable))
    }

    /// Takes up to `most` due deliveries of these sources, the most urgent first.
    pub async fn claim(&self, sources: Vec<Arc<str>>, most: usize, now: Millis) -> Option<Claims> {
        self.ask(|reply| Command::Claim { sources, most, now, reply }).await
    }

    /// Remembers the end of an attempt; tries until the store takes it, since an attempt that is
    /// forgotten would be made again.
    pub async fn finish(&self, claimed: &Claimed, step: &Step, now: Millis) {
        let Claimed { id, sensitive, .. } = *claimed;
        while self.ask(|reply| Command::Finish { id, sensitive, step: step.clone(), now, reply }).await.is_none() {
            tokio::time::sleep(PROBE).await;
        }
    }

    /// Closes the file. Nothing is kept or claimed any more.
    pub async fn close(&self) {
        self.ask(|reply| Command::Close { reply }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).ok()?;
        answer.await.ok()
    }

    /// What the queue holds now.
    pub fn queue(&self) -> Queue {
        *self.shared.queue()
    }

    /// The events with this id, at most one of each source. It reads the file: not for a thread that must not wait.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self, id: &str, source: Option<&str>) -> Result<Vec<Stored>, ReadError> {
        read::events(&self.shared.path, id, source)
    }

    /// Resolves when something may have become due.
    pub async fn woken(&self) {
        self.shared.wake.notified().await;
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a transaction has changed, all at once for whoever looks.
    fn apply(&self, change: Change, oldest: Option<Millis>) {
        let mut queue = self.queue();
        queue.new += change.new;
        queue.retrying += change.retrying;
        queue.sending += change.sending;
        queue.dead += change.dead;
        queue.oldest = oldest;
        queue.writable = true;
    }
}

/// The writer thread: one transaction for all that waits, replies only after it is on disk.
fn write_groups(mut database: Database, commands: &mpsc::Receiver<Command>, shared: &Shared) {
    // Whether the log still holds something that was erased, and when it was emptied.
    let (mut erased, mut emptied_at) = (false, None::<Instant>);
    loop {
        let first = match commands.recv_timeout(PROBE) {
            Ok(command) => Some(command),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) if shared.queue().writable && !erased => {
                continue;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => None,
        };
        let group: Vec<Command> = first.into_iter().chain(commands.try_iter().take(GROUP - 1)).collect();
        let waiting = shared.queue().waiting();
        // A group that fails is dropped with its replies, which tells those who asked.
        match database.write(group, waiting) {
            Ok(done) => {
                shared.apply(done.change, done.oldest);
                erased |= done.erased;
                if done.closing {
                    drop(database);
                    return done.replies.into_iter().for_each(|reply| reply());
                }
                done.replies.into_iter().for_each(|reply| reply());
                if done.due {
                    shared.wake.notify_one();
                }
            }
            Err(error) => {
                if std::mem::replace(&mut shared.queue().writable, false) {
                    tracing::error!(%error, "the store cannot be written; webhooks are refused until it can");
                }
            }
        }
        if erased && emptied_at.is_none_or(|at| at.elapsed() >= EMPTY_LOG_EVERY) {
            match database.empty_log() {
                Ok(emptied) => erased = !emptied,
                Err(error) => tracing::error!(%error, "what was erased still stands in the log of the store"),
            }
            emptied_at = Some(Instant::now());
        }
    }
}

/// What one transaction has done.
#[derive(Default)]
struct Done {
    change: Change,
    oldest: Option<Millis>,
    replies: Vec<Box<dyn FnOnce()>>,
    /// Something may be due now.
    due: bool,
    /// Something was erased.
    erased: bool,
    /// Nothing is to follow.
    closing: bool,
}

fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    match url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
        Some(path) if !path.is_empty() && !path.starts_with(':') => Ok(PathBuf::from(path)),
        _ => Err(OpenError {
            message: format!("`{url}` is not a store, expected `sqlite:PATH` such as `sqlite:deskbell.db`, or `none`"),
            in_use: false,
        }),
    }
}

/// A store has one owner. The lock goes with the process, however it ends.
fn take_lock(path: &Path) -> Result<std::fs::File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&name);
    let lock = lock.map_err(|error| OpenError {
        message: format!("the store `{}` cannot be opened: {error}", path.display()),
        in_use: false,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(OpenError {
            message: format!("the store `{}` belongs to another process", path.display()),
            in_use: true,
        }),
    }
}

impl Priority {
    /// The order in which deliveries are claimed.
    const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];
}
