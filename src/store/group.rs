//! A transaction for all that waits, and what it does besides.

use std::sync::Arc;

use super::accept::{self, Arrival, Arrived};
use super::finish::{self, End};
use super::postgres::{Session, batch};
use super::shared::lock;
use super::sql::{Connection, Result};
use super::standing::Claim;
use super::work::{Reply, Work};
use super::{Change, Queue, Unavailable};
use crate::units::Millis;

pub struct Group<'a> {
    pub transaction: Connection<'a>,
    /// What there was when it began.
    queue: Queue,
    pub change: Change,
    /// Something may be due now.
    pub due: bool,
    /// Something was erased.
    pub erased: bool,
    /// A claim for what has just come.
    pub standing: &'a mut Option<Claim>,
    /// Events that a server is to keep together.
    arrivals: Vec<Waiting>,
    /// Ends of attempts that it is to remember together, and when.
    ends: Vec<(Vec<End>, Millis)>,
    counts: Vec<Count>,
    afterwards: Vec<Box<dyn FnOnce()>>,
}

/// An event that waits for others.
struct Waiting {
    arrival: Arc<Arrival>,
    queue_limit: u64,
    reply: Reply<Accepted>,
}

/// What becomes of an event.
pub type Accepted = std::result::Result<Arrived, Unavailable>;

/// Counts what a transaction has ended.
pub type Count = Box<dyn FnOnce()>;

/// What one transaction has done.
pub struct Done {
    pub change: Change,
    /// All that there is, where others change it too.
    pub totals: Option<Change>,
    pub due: bool,
    pub erased: bool,
    pub counts: Vec<Count>,
    /// What is to follow now that it is on disk.
    pub afterwards: Vec<Box<dyn FnOnce()>>,
}

impl<'a> Group<'a> {
    pub fn new(transaction: Connection<'a>, queue: Queue, standing: &'a mut Option<Claim>) -> Self {
        Self {
            transaction,
            queue,
            change: Change::default(),
            due: false,
            erased: false,
            standing,
            arrivals: Vec::new(),
            ends: Vec::new(),
            counts: Vec::new(),
            afterwards: Vec::new(),
        }
    }

    /// Does all work, in which what comes may start if there is a standing claim. If there is none, the `next` claim takes
    /// what has become due, and is the standing one then.
    pub fn run(mut self, works: &mut [Work], next: impl FnOnce(bool) -> Option<Claim>) -> Result<Done> {
        self.afterwards.reserve(works.len());
        for work in works {
            work(&mut self)?;
        }
        if let Connection::Postgres(session) = self.transaction {
            self.run_together(session)?;
        }
        if let Some(mut claim) = next(self.due) {
            let taken = claim.take(&mut self);
            *self.standing = Some(claim);
            taken?;
        }
        let Self { change, due, erased, counts, afterwards, .. } = self;
        Ok(Done { change, totals: None, due, erased, counts, afterwards })
    }

    /// Keeps an event, and answers once that is on disk.
    pub fn accept(&mut self, arrival: &Arc<Arrival>, queue_limit: u64, reply: &Reply<Accepted>) -> Result<()> {
        match self.transaction {
            Connection::Sqlite(_) => {
                let accepted = accept::accept(self, arrival, queue_limit)?;
                self.answer(reply, accepted);
            }
            Connection::Postgres(_) => {
                self.arrivals.push(Waiting { arrival: arrival.clone(), queue_limit, reply: reply.clone() });
            }
        }
        Ok(())
    }

    /// Remembers how attempts have ended.
    pub fn finish(&mut self, ends: &[End], now: Millis) -> Result<()> {
        match self.transaction {
            Connection::Sqlite(_) => ends.iter().try_for_each(|end| finish::finish(self, end, now)),
            Connection::Postgres(_) => {
                self.ends.push((ends.to_vec(), now));
                Ok(())
            }
        }
    }

    fn run_together(&mut self, session: &Session) -> Result<()> {
        let arrivals = std::mem::take(&mut self.arrivals);
        let new: Vec<(&Arrival, u64)> =
            arrivals.iter().map(|waiting| (&*waiting.arrival, waiting.queue_limit)).collect();
        if !new.is_empty() {
            let outcomes = batch::accept_all(self, session, &new)?;
            for (waiting, accepted) in arrivals.iter().zip(outcomes) {
                self.answer(&waiting.reply, accepted);
            }
        }
        let ends = std::mem::take(&mut self.ends);
        let now = ends.iter().map(|(_, now)| *now).max().unwrap_or_default();
        let ends: Vec<End> = ends.into_iter().flat_map(|(ends, _)| ends).collect();
        batch::finish_all(self, session, &ends, now)
    }

    /// Answers once the transaction is on disk. That whoever asked has gone is no matter.
    pub fn answer<T: 'static>(&mut self, reply: &Reply<T>, answer: T) {
        let reply = reply.clone();
        self.afterwards(move || drop(lock(&reply).take().map(|reply| reply.send(answer))));
    }

    /// Counts something once the transaction is on disk. It is seen together with what the queue is then.
    pub fn count(&mut self, what: impl FnOnce() + 'static) {
        self.counts.push(Box::new(what));
    }

    /// Does this once the transaction is on disk.
    pub fn afterwards(&mut self, what: impl FnOnce() + 'static) {
        self.afterwards.push(Box::new(what));
    }

    /// Whether there is room for so many deliveries more.
    pub fn room_for(&self, count: usize, queue_limit: u64) -> std::result::Result<(), Unavailable> {
        let Change { new, retrying, sending, .. } = self.change;
        let waiting = self.queue.waiting() + new + retrying + sending;
        if count as i64 > queue_limit as i64 - waiting {
            return Err(Unavailable::QueueFull);
        }
        if self.queue.disk_full { Err(Unavailable::DiskFull) } else { Ok(()) }
    }
}
