//! The writer thread: one transaction for all that waits, and nobody is told before it is on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PROBE;
use super::database::{self, Database};
use super::inbox::{self, Inbox};
use super::shared::Shared;
use super::sql::{Error, Result};
use super::standing::Claim;
use super::work::Work;
use crate::units::{Millis, now};

/// What is erased may stand in the log of changes for this long. Emptying it costs milliseconds.
const EMPTY_LOG_EVERY: Duration = Duration::from_secs(1);

/// Runs until the store is closed, or nobody has a handle to it any more.
pub fn write_groups(database: Database, inbox: &Arc<Inbox>, shared: &Shared, unknown: Millis) {
    let mut writer = Writer { database, inbox, shared, failed_at: None, erased: false, emptied_at: None };
    loop {
        let inbox::Group { works, standing, few, closing, abandoned } = inbox.take(PROBE).unwrap_or_default();
        writer.write(works, standing, few);
        if few {
            // They are answered first, even where there is but one core.
            std::thread::yield_now();
        }
        if let Some(reply) = closing {
            writer.database.leave(now(), unknown);
            drop(writer);
            let _ = reply.send(());
            return;
        }
        if abandoned {
            return;
        }
        writer.database.shorten_log();
        writer.empty_log();
    }
}

struct Writer<'a> {
    database: Database,
    inbox: &'a Arc<Inbox>,
    shared: &'a Shared,
    /// When the last write failed, until the store can be written again.
    failed_at: Option<Instant>,
    /// Whether the log still holds something that was erased, and when it was emptied.
    erased: bool,
    emptied_at: Option<Instant>,
}

impl Writer<'_> {
    /// Everything in one transaction. If that fails, each work gets its own: what cannot be done keeps nothing else back.
    /// What failed is dropped with its reply, which tells who asked.
    fn write(&mut self, mut works: Vec<Work>, mut standing: Option<Claim>, few: bool) {
        let (inbox, is_standing) = (self.inbox, standing.is_some());
        let mut next = if works.is_empty() { inbox.claim(false) } else { None };
        if works.is_empty() && next.is_none() && self.failed_at.is_none() {
            return;
        }
        let next = |due| next.take().or_else(|| if few { None } else { inbox.claim(due) });
        match self.try_write(&mut works, &mut standing, next) {
            Ok(due) => self.succeeded(due && few),
            Err(error) if works.len() + usize::from(standing.is_some()) > 1 && !database::is_everywhere(&error) => {
                works.into_iter().for_each(|work| self.write_alone(work));
                if let Some(claim) = standing {
                    inbox.put_back(claim, !is_standing);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn write_alone(&mut self, work: Work) {
        match self.try_write(&mut [work], &mut None, |_| None) {
            Ok(due) => self.succeeded(due),
            Err(error) => self.failed(&error),
        }
    }

    /// Says whether something has become due.
    fn try_write(
        &mut self,
        works: &mut [Work],
        standing: &mut Option<Claim>,
        next: impl FnOnce(bool) -> Option<Claim>,
    ) -> Result<bool> {
        let queue = *self.shared.queue();
        let done = self.database.write(works, queue, standing, next)?;
        self.shared.apply(done.change, done.totals, done.counts);
        self.erased |= done.erased;
        done.afterwards.into_iter().for_each(|reply| reply());
        standing.take().into_iter().for_each(Claim::answer);
        Ok(done.due)
    }

    fn succeeded(&mut self, due: bool) {
        if due {
            self.inbox.something_due();
        }
        // Some writes may succeed and others not. That is no coming and going.
        if self.failed_at.is_some_and(|at| at.elapsed() >= PROBE) {
            self.failed_at = None;
            self.shared.queue().writable = true;
            tracing::info!("the store can be written again");
        }
    }

    fn failed(&mut self, error: &Error) {
        let hint = database::hint(error);
        if database::is_damage(error) {
            if !std::mem::replace(&mut self.shared.queue().damaged, true) {
                tracing::error!(%error, hint, "the store is damaged; what needs the damaged part cannot be done");
            }
            return;
        }
        if database::is_about_work(error) {
            tracing::error!(%error, hint, "something could not be written");
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
