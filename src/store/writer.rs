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

/// Something to be done within a transaction.
pub type Work = Box<dyn FnOnce(&mut Group<'_>) -> sqlite::Result<()> + Send>;

pub enum Command {
    Work(Work),
    Close(oneshot::Sender<()>),
}

/// Runs until the store is closed, or nobody has a handle to it any more.
pub fn write_groups(mut database: Database, commands: &mpsc::Receiver<Command>, shared: &Shared) {
    // Whether the log still holds something that was erased, and when it was emptied.
    let (mut erased, mut emptied_at) = (false, None::<Instant>);
    let mut failed_at = None::<Instant>;
    loop {
        let first = match commands.recv_timeout(PROBE) {
            Ok(command) => Some(command),
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) if failed_at.is_none() && !erased => continue,
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
        let queue = *shared.queue();
        // A group that fails is dropped with its replies, which tells those who asked.
        match database.write(group, queue) {
            Ok(done) => {
                shared.apply(done.change, done.oldest);
                erased |= done.erased;
                done.afterwards.into_iter().for_each(|reply| reply());
                if done.due {
                    shared.wake.notify_one();
                }
                // Some writes may succeed and others not. That is no coming and going.
                if failed_at.is_some_and(|at| at.elapsed() >= PROBE) {
                    failed_at = None;
                    shared.queue().writable = true;
                    tracing::info!("the store can be written again");
                }
            }
            Err(error) => {
                failed_at = Some(Instant::now());
                if std::mem::replace(&mut shared.queue().writable, false) {
                    let hint = sqlite::hint(&error);
                    tracing::error!(%error, hint, "the store cannot be written; webhooks are refused until it can");
                }
            }
        }
        if let Some(reply) = closing {
            drop(database);
            let _ = reply.send(());
            return;
        }
        if erased && failed_at.is_none() && emptied_at.is_none_or(|at| at.elapsed() >= EMPTY_LOG_EVERY) {
            match database.empty_log() {
                Ok(emptied) => erased = !emptied,
                Err(error) => tracing::error!(%error, "what was erased still stands in the log of the store"),
            }
            emptied_at = Some(Instant::now());
        }
    }
}
