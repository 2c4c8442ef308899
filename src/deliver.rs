//! A claimed delivery becomes a Novu call, and its answer an outcome that the store remembers.

mod gate;
mod lanes;
mod next;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::novu::{Account, Novu};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::store::{Claimed, Step, Store};
use crate::units::{Millis, now};
pub use lanes::Lanes;
use next::{GAVE_UP, Standing, attempt_result, delivery_outcome, next_step, throttle};

/// How long to wait when nothing says when to look again.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Everything that an attempt needs.
#[derive(Clone)]
pub struct Deliverer {
    pub store: Store,
    pub novu: Novu,
    pub metrics: Arc<Metrics>,
    pub lanes: Arc<Lanes>,
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
        let (open, reopens) = self.lanes.open(settings, moment);
        next = next.min(reopens.unwrap_or(next));
        for lane in open {
            let free = settings.concurrency.saturating_sub(running.len()).min(lane.most);
            if free == 0 {
                continue;
            }
            let Some(claims) = self.store.claim(lane.sources.clone(), free, moment).await else {
                return Duration::from_secs(1);
            };
            self.lanes.started(&lane, claims.claimed.len());
            next = next.min(claims.next_due.unwrap_or(next));
            if claims.claimed.len() == lane.most {
                // It was the rate that ended this, and it allows more before an attempt may end.
                next = moment;
            }
            for claimed in claims.claimed {
                let (deliverer, account, settings) = (self.clone(), lane.account.clone(), settings.clone());
                let probe = lane.probe;
                running.spawn(async move { deliverer.deliver_next(claimed, &account, probe, &settings).await });
            }
        }
        Duration::from_millis(next.saturating_sub(moment).max(0).unsigned_abs())
    }

    /// The whole life of one attempt.
    async fn deliver_next(&self, claimed: Claimed, account: &Arc<Account>, probe: bool, settings: &Settings) {
        let moment = now();
        if claimed.expires_at.is_some_and(|at| at <= moment) {
            self.lanes.released(account, probe, moment);
            self.record(&claimed, Step::Expired, "expired").await;
            return;
        }
        let key = account.idempotency_key(&claimed.transaction_id, &claimed.request, claimed.definite_errors);
        let started = Instant::now();
        let response = self.novu.trigger(account, &key, &claimed.request, settings.timeout).await;
        let outcome = response.outcome;
        self.metrics.attempt(attempt_result(outcome), started.elapsed().as_secs_f64());

        let moment = now();
        let until = throttle(outcome).map(|pause| moment.saturating_add(pause));
        for change in self.lanes.ended(account, &claimed.source, outcome, probe, until, moment) {
            change.report(&self.metrics, moment);
        }
        let standing = match self.lanes.is_held(account) {
            _ if probe => Standing::Probe,
            true => Standing::Held,
            false => Standing::Open,
        };
        let step = next_step(&response, &claimed, standing, settings.retry, moment);
        self.record(&claimed, step, delivery_outcome(outcome)).await;
    }

    async fn record(&self, claimed: &Claimed, step: Step, outcome: &str) {
        let moment = now();
        self.store.finish(claimed, &step, moment).await;
        let Claimed { source, event_id: event, route, attempts: attempt, .. } = claimed;
        match &step {
            Step::Delivered => {
                self.metrics.delivered(route, moment - claimed.accepted_at);
                tracing::info!(%source, event, %route, attempt, "delivered");
            }
            Step::Dead { reason, .. } => {
                let outcome = if reason == GAVE_UP { GAVE_UP } else { outcome };
                self.metrics.delivery(route, outcome);
                tracing::warn!(%source, event, %route, attempt, reason, "dead");
            }
            Step::Expired => {
                self.metrics.delivery(route, outcome);
                tracing::info!(%source, event, %route, "expired");
            }
            Step::Again { reason, pause, .. } => {
                tracing::debug!(%source, event, %route, attempt, reason, pause, "again")
            }
            Step::GivenBack { .. } => {}
        }
    }
}
