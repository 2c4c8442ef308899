//! The writer thread: one transaction for all that waits, and nobody is told before it is on disk.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::sqlite::{self, Database, Group};
use super::{PROBE, Shared};

/// The most that one transaction takes.
const GROUP: usize = 256;
/// What is erased may stand in the log of changes for this long. Emptying it costs milliseconds.
const EMPTY_LOG_EVERY: Duration = Duration::from_secs(1);

/// Something to be done within a transaction; once more in another one, if the first has failed because of something else.
pub type Work = Box<dyn FnMut(&mut Group<'_>) -> sqlite::Result<()> + Send>;

pub enum Command {
    Work(Work),
    Close(oneshot::Sender<()>),
}

/// Runs until the store is closed, or nobody has a handle to it any more.
pub fn write_groups(database: Database, commands: &mpsc::Receiver<Command>, shared: &Shared) {
    let mut writer = Writer { database, shared, failed_at: None, erased: false, emptied_at: None };
    loop {
        let first = match commands.recv_timeout(PROBE) {
            Ok(command) => Some(command),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) if writer.failed_at.is_none() && !writer.erased => continue,
            Err(mpsc::RecvTimeoutError::Timeout) => None,
        };
        let mut closing = None;
        let mut group: Vec<Work> = Vec::new();
        for command in first.into_iter().chain(commands.try_iter().take(GROUP - 1)) {
            match command {
                Command::Work(work) => group.push(work),
                Command::Close(reply) => closing = Some(reply),
            }
        }
        writer.write(&mut group);
        if let Some(reply) = closing {
            drop(writer);
            let _ = reply.send(());
            return;
        }
        // What failed is dropped with its replies, which tells those who asked.
        drop(group);
        writer.empty_log();
    }
}

struct Writer<'a> {
    database: Database,
    shared: &'a Shared,
    /// When the last write failed, until the store can be written again.
    failed_at: Option<Instant>,
    /// Whether the log still holds something that was erased, and when it was emptied.
    erased: bool,
    emptied_at: Option<Instant>,
}

impl Writer<'_> {
    /// Everything in one transaction. If that fails, each work gets its own: what cannot be done keeps nothing else back.
    fn write(&mut self, works: &mut [Work]) {
        match self.try_write(works) {
            Ok(()) => self.succeeded(),
            Err(error) if works.len() > 1 && !sqlite::is_busy(&error) => {
                works.chunks_mut(1).for_each(|work| self.write(work));
            }
            Err(error) => self.failed(&error),
        }
    }

    fn try_write(&mut self, works: &mut [Work]) -> sqlite::Result<()> {
        let queue = *self.shared.queue();
        let done = self.database.write(works, queue)?;
        self.shared.apply(done.change, done.oldest);
        self.erased |= done.erased;
        done.afterwards.into_iter().for_each(|reply| reply());
        if done.due {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn succeeded(&mut self) {
        // Some writes may succeed and others not. That is no coming and going.
        if self.failed_at.is_some_and(|at| at.elapsed() >= PROBE) {
            self.failed_at = None;
            self.shared.queue().writable = true;
            tracing::info!("the store can be written again");
        }
    }

    fn failed(&mut self, error: &rusqlite::Error) {
        let hint = sqlite::hint(error);
        if sqlite::is_damage(error) {
            if !std::mem::replace(&mut self.shared.queue().damaged, true) {
                tracing::error!(%error, hint, "the store is damaged; what needs the damaged part cannot be done");
            }
            return;
        }
        self.failed_at = Some(Instant::now());
        if std::mem::replace(&mut self.shared.queue().writable, false) {
            tracing::error!(%error, hint, "the store cannot be written; webhooks are refused until it can");
        }
    }

    fn empty_log(&mut self) {
        let is_time = self.emptied_at.is_none_or(|at| at.elapsed() >= EMPTY_LOG_EVERY);
        if !self.erased || self.failed_at.is_some() || !is_time {
            return;
        }
        match self.database.empty_log() {
            Ok(emptied) => self.erased = !emptied,
            Err(error) => tracing::error!(%error, "what was erased still stands in the log of the store"),
        }
        self.emptied_at = Some(Instant::now());
    }
}
