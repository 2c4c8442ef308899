//! Events that are kept go through today's rules again: what failed is mended, and what worked is never doubled.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::observe::Metrics;
use crate::rules::{Decision, Rules};
use crate::store::{Again, Filter, ReadError, Recorded, Replayed, Store, Unavailable};
use crate::units::now;
use crate::verify::Event;

/// What became of some events. Its JSON is what scripts rely on: it may grow, never change.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// So many were looked at.
    pub events: u64,
    /// Deliveries that are on their way.
    pub sent: u64,
    /// Deliveries that had been made, and were not made again.
    pub delivered: u64,
    /// Deliveries that were on their way already.
    pub waiting: u64,
    /// Deliveries that are too old to be sent.
    pub expired: u64,
    /// Deliveries that cannot be sent as today's rules make them.
    pub dead: u64,
    /// Deliveries that were dead, and that today's rules do not make any more.
    pub left: u64,
    /// Events that no route wants, today as before.
    pub unrouted: u64,
    /// Events of which the body is gone.
    pub erased: u64,
    /// Where to go on; none at the end.
    pub next: Option<i64>,
}

/// Why nothing could be replayed.
#[derive(Debug)]
pub enum Trouble {
    Unreadable(ReadError),
    Unavailable(Unavailable),
}

/// What a replay needs.
#[derive(Clone)]
pub struct Replayer {
    /// One revision decides all of it.
    pub rules: Arc<Rules>,
    pub store: Store,
    pub metrics: Arc<Metrics>,
}

impl Replayer {
    /// Replays at most so many of the events that the filter wants, the newest first. Where it has to end early, the
    /// totals say where to go on.
    ///
    /// # Errors
    /// Not even the first could be replayed.
    pub async fn replay(self, filter: Filter, again: Again, limit: usize) -> Result<Totals, Trouble> {
        let mut before = filter.before;
        let found = self.blocking(move |replayer| replayer.store.find(&filter, limit)).await?;
        let mut totals = Totals { next: found.next, ..Totals::default() };
        for recorded in found.events {
            let key = recorded.key;
            match self.replay_one(recorded, &again, &mut totals).await {
                Ok(()) => totals.events += 1,
                Err(trouble) if totals.events == 0 => return Err(trouble),
                Err(_) => {
                    totals.next = before;
                    break;
                }
            }
            before = Some(key);
        }
        let Totals { events, sent, expired, dead, left, erased, .. } = totals;
        tracing::info!(events, sent, expired, dead, left, erased, revision = self.rules.revision, "replayed");
        Ok(totals)
    }

    async fn replay_one(&self, recorded: Recorded, again: &Again, totals: &mut Totals) -> Result<(), Trouble> {
        let was_unrouted = recorded.deliveries.is_empty();
        let decided = self.blocking(move |replayer| replayer.decide(&recorded)).await?;
        let Some((event, decision)) = decided else {
            totals.erased += 1;
            return Ok(());
        };
        let (source, id) = (event.source.clone(), event.id.clone());
        let replayed = self.store.replay(event, decision, again.clone(), self.rules.settings.queue_limit, now());
        let Some(replayed) = replayed.await.map_err(Trouble::Unavailable)? else { return Ok(()) };
        self.metrics.unsendable(&source, &id, &replayed.dead);
        totals.unrouted += u64::from(was_unrouted && replayed == Replayed::default());
        totals.add(&replayed);
        Ok(())
    }

    /// What today's rules make of an event; none if its body is gone.
    fn decide(&self, recorded: &Recorded) -> Result<Option<(Event, Decision)>, ReadError> {
        let Recorded { id, source, received_at, .. } = recorded;
        let body = self.store.events(id, Some(source))?.pop().and_then(|kept| kept.body);
        let Some(event) = body.and_then(|body| Event::kept(source, id, body, *received_at)) else { return Ok(None) };
        let mut decision = self.rules.decide(&event);
        if self.rules.source(source).is_none() {
            // Nobody could deliver it.
            decision.deliveries.clear();
        }
        Ok(Some((event, decision)))
    }

    /// Does what reads the file where waiting does no harm.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let replayer = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&replayer)).await;
        read.map_err(|_| Trouble::Unavailable(Unavailable::NotWritable))?.map_err(Trouble::Unreadable)
    }
}

impl Totals {
    fn add(&mut self, replayed: &Replayed) {
        self.sent += replayed.sent;
        self.delivered += replayed.delivered;
        self.waiting += replayed.waiting;
        self.expired += replayed.expired;
        self.dead += replayed.dead.len() as u64;
        self.left += replayed.left;
    }
}
