//! How many deliveries there are, and what one transaction makes of that.

use std::ops::Add;

use crate::units::Millis;

/// What the queue holds after the last transaction: deliveries by their state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    pub new: i64,
    pub retrying: i64,
    pub sending: i64,
    pub dead: i64,
    /// When the oldest unfinished delivery was accepted: at the last look around, a second ago at most.
    pub oldest: Option<Millis>,
    /// Whether the store could be written of late.
    pub writable: bool,
    /// The disk has less room than it was to have.
    pub disk_full: bool,
    /// A part of the file cannot be read.
    pub damaged: bool,
}

impl Queue {
    /// Deliveries that are not finished.
    pub fn waiting(&self) -> i64 {
        self.new + self.retrying + self.sending
    }

    /// Takes what a transaction has changed, or what there is after it.
    pub(super) fn apply(&mut self, change: Change, totals: Option<Change>) {
        let before = Change { new: self.new, retrying: self.retrying, sending: self.sending, dead: self.dead };
        let Change { new, retrying, sending, dead } = totals.unwrap_or(before + change);
        (self.new, self.retrying, self.sending, self.dead) = (new, retrying, sending, dead);
        self.oldest = self.oldest.filter(|_| self.waiting() > 0);
    }
}

/// How many deliveries come to a state and leave one, within a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub new: i64,
    pub retrying: i64,
    pub sending: i64,
    pub dead: i64,
}

impl Change {
    /// So many deliveries that wait for an attempt come, or go: never attempted, or attempted before.
    pub fn wait(&mut self, attempts: i64, count: i64) {
        *(if attempts == 0 { &mut self.new } else { &mut self.retrying }) += count;
    }

    /// Deliveries that are not finished.
    pub fn waiting(self) -> i64 {
        self.new + self.retrying + self.sending
    }
}

impl Add for Change {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            new: self.new + other.new,
            retrying: self.retrying + other.retrying,
            sending: self.sending + other.sending,
            dead: self.dead + other.dead,
        }
    }
}
