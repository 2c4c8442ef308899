//! A claim stands until something is due. What comes meanwhile may start in it at once, without ever having waited.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::accept::Start;
use super::claim::{Claimed, Claims, Offer, claim};
use super::group::Group;
use super::sql::Result;
use super::steer;
use crate::units;

pub struct Claim {
    offers: Vec<Offer>,
    /// The most to take, of all offers together.
    calls: usize,
    /// What each offer has got.
    claims: Vec<Claims>,
    reply: oneshot::Sender<Vec<Claims>>,
}

impl Claim {
    pub fn new(offers: Vec<Offer>, calls: usize) -> (Self, oneshot::Receiver<Vec<Claims>>) {
        let (reply, answer) = oneshot::channel();
        let mut claim = Self { offers, calls, claims: Vec::new(), reply };
        claim.reset();
        (claim, answer)
    }

    /// Nothing is taken: the transaction has failed.
    pub fn reset(&mut self) {
        self.claims.clear();
        self.claims.resize_with(self.offers.len(), Claims::default);
    }

    /// Takes what is due.
    pub fn take(&mut self, group: &mut Group<'_>) -> Result<()> {
        self.claims = claim(group, &self.offers, self.calls, units::now())?;
        Ok(())
    }

    /// Says what is taken, now that it is on disk.
    pub fn answer(self) {
        // That whoever asked has gone is no matter.
        let _ = self.reply.send(self.claims);
    }

    /// Where one that has just come from this source has room, if nothing older has to go first.
    fn room(&mut self, source: &Arc<str>) -> Option<&mut Claims> {
        let taken: usize = self.claims.iter().map(Claims::calls).sum();
        let (_, claims) = self.offers.iter().zip(&mut self.claims).find(|(offer, claims)| {
            offer.room.fresh && claims.calls() < offer.room.calls && offer.sources.contains(source)
        })?;
        (taken < self.calls).then_some(claims)
    }
}

impl Group<'_> {
    /// Whether a delivery that has just come is to be attempted at once.
    pub fn has_room(&mut self, source: &Arc<str>, start: &Start) -> Result<bool> {
        let has_room = self.standing.as_mut().is_some_and(|claim| claim.room(source).is_some());
        if !has_room || start.request.is_none() || !self.transaction.is_alone() {
            return Ok(false);
        }
        let pauses = steer::pauses(&self.transaction)?;
        Ok(!pauses.iter().any(|pause| pause.holds(&start.route, source)))
    }

    /// Has it attempted: once this is on disk.
    pub fn attempt(&mut self, claimed: Claimed) {
        if let Some(claims) = self.standing.as_mut().and_then(|claim| claim.room(&claimed.source)) {
            claims.claimed.push(claimed);
        }
    }
}
