//! One attempt of a delivery, wherever it has waited for its turn.

use std::sync::Arc;
use std::time::Instant;

use super::Lanes;
use super::next::{Standing, attempt_result, next_step, throttle};
use crate::novu::{Account, Novu, Outcome};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::store::{Claimed, Step};
use crate::units::{Millis, now};

/// Everything that an attempt needs.
#[derive(Clone)]
pub struct Attempts {
    pub novu: Novu,
    pub metrics: Arc<Metrics>,
    pub lanes: Arc<Lanes>,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub transaction_id: &'a str,
    /// This attempt included.
    pub attempts: u32,
    /// Attempts that Novu has definitely failed.
    pub definite_errors: u32,
    /// The sum of the pauses that failed attempts have cost.
    pub waited: Millis,
}

impl<'a> From<&'a Claimed> for Progress<'a> {
    fn from(claimed: &'a Claimed) -> Self {
        let Claimed { ref transaction_id, attempts, definite_errors, waited, .. } = *claimed;
        Self { transaction_id, attempts, definite_errors, waited }
    }
}

impl Attempts {
    /// Asks Novu once, tells the lane how it went, and says what follows.
    pub async fn make(
        &self,
        source: &Arc<str>,
        account: &Arc<Account>,
        probe: bool,
        progress: Progress<'_>,
        request: &[u8],
        settings: &Settings,
    ) -> (Outcome, Step) {
        let key = account.idempotency_key(progress.transaction_id, request, progress.definite_errors);
        let started = Instant::now();
        let response = self.novu.trigger(account, &key, request, settings.timeout).await;
        let outcome = response.outcome;
        self.metrics.attempt(attempt_result(outcome), started.elapsed().as_secs_f64());

        let moment = now();
        self.lanes.learned(account, &response, moment);
        self.tell_lane(account, source, outcome, probe, moment);
        let standing = self.standing(account, probe);
        (outcome, next_step(outcome, &response.answer, progress, standing, settings.retry, moment))
    }

    pub(super) fn tell_lane(
        &self,
        account: &Arc<Account>,
        source: &Arc<str>,
        outcome: Outcome,
        probe: bool,
        now: Millis,
    ) {
        let until = throttle(outcome).map(|pause| now.saturating_add(pause));
        for change in self.lanes.ended(account, source, outcome, probe, until, now) {
            change.report(&self.metrics, now);
        }
    }

    /// How an attempt that has ended stands to the hold of its lane.
    pub(super) fn standing(&self, account: &Arc<Account>, probe: bool) -> Standing {
        match self.lanes.is_held(account) {
            _ if probe => Standing::Probe,
            true => Standing::Held,
            false => Standing::Open,
        }
    }
}
