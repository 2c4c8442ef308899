//! What is committed moves from the log of changes into the file, on a thread of its own: webhooks do not wait for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::sql::Result;

/// From so many pages of 4 KiB in the log on, they are moved. Fewer would be moved too often, and a log of more is slower to
/// write to: it leaves the caches of the processor.
const PAGES: i32 = 1_000;

/// Watches the log of one connection.
pub struct Checkpoints {
    /// What the log holds.
    pages: Arc<AtomicI32>,
    asks: Option<Sender<()>>,
    ends: Receiver<()>,
    running: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// For the file at `path`, which `writer` writes to.
    pub fn start(path: &Path, writer: &mut Connection) -> Result<Self> {
        let connection = Connection::open(path)?;
        let pages = Arc::new(AtomicI32::new(0));
        let count = pages.clone();
        // Takes the place of the checkpoints that SQLite makes by itself, within a commit.
        writer.wal_hook(Some(move |_: &mut _, pages| {
            count.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let (asks, asked) = channel();
        let (end, ends) = channel();
        let work = move || {
            step_back();
            for () in asked {
                checkpoint(&connection);
                let _ = end.send(());
            }
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work).ok();
        Ok(Self { pages, asks: Some(asks), ends, running: false, thread })
    }

    /// To be called between two transactions of the writer.
    pub fn follow(&mut self, writer: &Connection) {
        if self.running {
            if self.ends.try_recv().is_ok() {
                self.running = false;
                // Moves what has come meanwhile. Once all of it is moved, the log starts anew.
                checkpoint(writer);
            }
        } else if self.pages.load(Ordering::Relaxed) >= PAGES {
            self.running = self.asks.as_ref().is_some_and(|asks| asks.send(()).is_ok());
            if !self.running {
                checkpoint(writer);
            }
        }
    }
}

/// Lets those go first who have something to answer: on one core, this thread would keep them waiting.
fn step_back() {
    // Elsewhere it would concern the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "checkpoints have the priority of everything else");
    }
}

/// Moves as much as those who read allow. What cannot be moved now stays in the log, and is tried again.
fn checkpoint(connection: &Connection) {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = moved {
        tracing::debug!(%error, "the log of changes cannot be moved into the file of the store now");
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        drop(self.asks.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}
