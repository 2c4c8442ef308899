//! A transaction for all that waits, and what it does besides.

use super::sql::{Connection, Result};
use super::standing::Claim;
use super::writer::Work;
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
    afterwards: Vec<Box<dyn FnOnce()>>,
}

/// What one transaction has done.
pub struct Done {
    pub change: Change,
    /// All that there is, where others change it too.
    pub totals: Option<Change>,
    pub oldest: Option<Millis>,
    pub due: bool,
    pub erased: bool,
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
        if let Some(mut claim) = next(self.due) {
            let taken = claim.take(&mut self);
            *self.standing = Some(claim);
            taken?;
        }
        let Self { change, due, erased, afterwards, .. } = self;
        Ok(Done { change, totals: None, oldest: None, due, erased, afterwards })
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

/// When the oldest event with an unfinished delivery was accepted.
pub fn oldest(connection: &Connection<'_>) -> Result<Option<Millis>> {
    let sql = "SELECT received_at FROM events WHERE id = (SELECT min(event) FROM deliveries WHERE state < 2)";
    connection.first(sql, &[], |row| row.get(0))
}
