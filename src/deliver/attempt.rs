//! One attempt of a delivery, wherever it has waited for its turn.

use std::sync::Arc;
use std::time::Instant;

use super::{Lanes, next_step};
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
        progress: Progress<'_>,
        request: Vec<u8>,
        settings: &Settings,
    ) -> (Outcome, Step) {
        let key = format!("{}-{}", progress.transaction_id, progress.definite_errors);
        let probe = self.lanes.is_held(account);
        let started = Instant::now();
        let outcome = self.novu.trigger(account, &key, request, settings.timeout).await;
        self.metrics.attempt(attempt_result(&outcome), started.elapsed().as_secs_f64());

        let moment = now();
        let step = next_step(&outcome, progress, probe, settings.retry, moment);
        let until = match (&outcome, &step) {
            (Outcome::Throttled { .. }, Step::Again { due, .. }) => Some(*due),
            _ => None,
        };
        for change in self.lanes.ended(account, source, &outcome, until, moment) {
            change.report(&self.metrics, moment);
        }
        (outcome, step)
    }
}

/// The `result` of `deskbell_attempts_total`.
fn attempt_result(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "ok",
        Outcome::Refused(_) => "refused",
        Outcome::Rejected(_) | Outcome::UnknownWorkflow => "rejected",
        Outcome::Throttled { .. } => "throttled",
        Outcome::Held(_) => "held",
        Outcome::ServerError(_) | Outcome::Unsure(_) => "server_error",
        Outcome::Timeout => "timeout",
        Outcome::ConnectionLost | Outcome::Unreachable(_) => "connection",
    }
}
