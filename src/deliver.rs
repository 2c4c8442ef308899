//! A claimed delivery becomes a Novu call, and its answer an outcome that the store remembers.

mod attempt;
mod bulk;
mod gate;
mod lanes;
mod next;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::novu::{Account, bulk as novu_bulk};
use crate::settings::Settings;
use crate::store::{BulkRoom, Claimed, Room, Step, Store};
use crate::units::{Millis, now};
pub use attempt::{Attempts, Progress};
pub use lanes::{Lanes, Open};
use next::GAVE_UP;

/// How long to wait when nothing says when to look again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Delivers what the store holds.
#[derive(Clone)]
pub struct Deliverer {
    pub store: Store,
    pub attempts: Attempts,
}

impl Deliverer {
    /// Delivers what is due, the most urgent first, until `stop` says so; then lets running
    /// attempts end, for as long as `grace`.
    pub async fn run(
        self,
        mut settings: watch::Receiver<Arc<Settings>>,
        mut stop: watch::Receiver<bool>,
        grace: Duration,
    ) {
        let mut running = JoinSet::new();
        while !*stop.borrow() {
            let current = settings.borrow_and_update().clone();
            let next = self.start_due(&current, &mut running).await;
            tokio::select! {
                () = self.store.woken() => {}
                Some(_) = running.join_next() => while running.try_join_next().is_some() {},
                () = tokio::time::sleep(next) => {}
                Ok(()) = settings.changed() => {}
                _ = stop.changed() => {}
            }
        }
        let all_ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            // The next start makes them due again, after `retry.unknown`.
            tracing::warn!("attempts were still running; their outcome is unknown");
        }
    }

    /// Starts an attempt for everything that is due and allowed, and says when to look again.
    async fn start_due(&self, settings: &Arc<Settings>, running: &mut JoinSet<()>) -> Duration {
        let moment = now();
        let mut next = moment + LONGEST_SLEEP.as_millis() as Millis;
        let (open, reopens) = self.attempts.lanes.open(settings, moment);
        next = next.min(reopens.unwrap_or(next));
        for lane in open {
            let calls = settings.concurrency.saturating_sub(running.len()).min(lane.most);
            if calls == 0 {
                continue;
            }
            let (bulk, saved_up) = bulk_room(lane.bulk);
            next = next.min(saved_up.unwrap_or(next));
            let room = Room { calls, bulk, probe: lane.probe };
            let Some(claims) = self.store.claim(lane.sources.clone(), room, moment).await else {
                return Duration::from_secs(1);
            };
            self.attempts.lanes.started(&lane, claims.claimed.len(), !claims.bulk.is_empty());
            next = next.min(claims.next_due.unwrap_or(next));
            if claims.claimed.len() == lane.most || !claims.bulk.is_empty() {
                // It was the rate or the size of a call that ended this, and there may be more before an attempt ends.
                next = moment;
            }
            for claimed in claims.claimed {
                let (deliverer, account, settings) = (self.clone(), lane.account.clone(), settings.clone());
                let probe = lane.probe;
                running.spawn(async move { deliverer.deliver_next(claimed, &account, probe, &settings).await });
            }
            if !claims.bulk.is_empty() {
                running.spawn(self.clone().deliver_bulk(claims.bulk, lane.account, settings.clone()));
            }
        }
        Duration::from_millis(next.saturating_sub(moment).max(0).unsigned_abs())
    }

    /// The whole life of one attempt.
    async fn deliver_next(&self, claimed: Claimed, account: &Arc<Account>, probe: bool, settings: &Settings) {
        let moment = now();
        if let Some((step, outcome)) = self.not_now(&claimed, moment) {
            self.attempts.lanes.released(account, 1, probe, moment);
            self.record(&claimed, step, outcome).await;
            return;
        }
        let progress = Progress::from(&claimed);
        let (outcome, step) =
            self.attempts.make(&claimed.source, account, probe, progress, &claimed.request, settings).await;
        self.record(&claimed, step, next::delivery_outcome(outcome)).await;
    }

    /// Why a delivery that was claimed is not attempted after all, if it is not.
    fn not_now(&self, claimed: &Claimed, now: Millis) -> Option<(Step, &'static str)> {
        match claimed.expires_at {
            Some(at) if at <= now => Some((Step::Expired, "expired")),
            // Paused since it was claimed: whoever was told so relies on it.
            _ if self.store.is_paused(&claimed.route, &claimed.source) => Some((Step::GivenBack { due: now }, "")),
            _ => None,
        }
    }

    async fn record(&self, claimed: &Claimed, step: Step, outcome: &str) {
        let moment = now();
        self.store.finish(claimed, &step, moment).await;
        let metrics = &self.attempts.metrics;
        let Claimed { source, event_id: event, route, attempts: attempt, .. } = claimed;
        match &step {
            Step::Delivered => {
                metrics.delivered(route, moment - claimed.accepted_at);
                tracing::info!(%source, event, %route, attempt, "delivered");
            }
            Step::Dead { reason, .. } => {
                let outcome = if reason == GAVE_UP { GAVE_UP } else { outcome };
                metrics.delivery(route, outcome);
                tracing::warn!(%source, event, %route, attempt, reason, "dead");
            }
            Step::Expired => {
                metrics.delivery(route, outcome);
                tracing::info!(%source, event, %route, "expired");
            }
            Step::Again { reason, pause, .. } => {
                tracing::debug!(%source, event, %route, attempt, reason, pause, "again")
            }
            Step::GivenBack { .. } => {}
        }
    }
}

/// What a call for many may take, and when it may be made if that is not yet.
fn bulk_room(bulk: rate::Bulk) -> (Option<BulkRoom>, Option<Millis>) {
    let room = |least, most| Some(BulkRoom { least, most, bytes: novu_bulk::MOST_BYTES });
    match bulk {
        rate::Bulk::No => (None, None),
        rate::Bulk::Yes { least } => (room(least, novu_bulk::MOST), None),
        rate::Bulk::At(moment) => (room(novu_bulk::MOST, 0), Some(moment)),
    }
}
