//! A claimed delivery becomes a Novu call, and its answer an outcome that the store remembers.

mod attempt;
mod lanes;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::novu::{Account, Outcome};
use crate::settings::{Retry, Settings};
use crate::store::{Claimed, Step, Store};
use crate::units::{Millis, now};
pub use attempt::{Attempts, Progress};
pub use lanes::{Lanes, Open};

/// How often a workflow that Novu does not know is tried: it may be new, and a replica behind.
/// Attempts that never got as far as an answer do not count.
const UNKNOWN_WORKFLOW_ATTEMPTS: u32 = 4;
/// The pause when Novu asks to wait and does not say how long.
const DEFAULT_THROTTLE: Millis = 1_000;
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
            let free = settings.concurrency.saturating_sub(running.len()).min(lane.most);
            if free == 0 {
                continue;
            }
            let Some(claims) = self.store.claim(lane.sources, free, moment).await else {
                return Duration::from_secs(1);
            };
            self.attempts.lanes.started(&lane.account, claims.claimed.len());
            next = next.min(claims.next_due.unwrap_or(next));
            if claims.claimed.len() == lane.most {
                // It was the rate that ended this, and it allows more before an attempt may end.
                next = moment;
            }
            for claimed in claims.claimed {
                let (deliverer, account, settings) = (self.clone(), lane.account.clone(), settings.clone());
                running.spawn(async move { deliverer.deliver_next(claimed, &account, &settings).await });
            }
        }
        Duration::from_millis(next.saturating_sub(moment).max(0).unsigned_abs())
    }

    /// The whole life of one attempt.
    async fn deliver_next(&self, mut claimed: Claimed, account: &Arc<Account>, settings: &Settings) {
        let moment = now();
        if claimed.expires_at.is_some_and(|at| at <= moment) {
            self.attempts.lanes.released(account, moment);
            self.record(&claimed, Step::Expired, "expired").await;
            return;
        }
        let request = std::mem::take(&mut claimed.request);
        let (outcome, step) =
            self.attempts.make(&claimed.source, account, Progress::from(&claimed), request, settings).await;
        self.record(&claimed, step, delivery_outcome(&outcome)).await;
    }

    async fn record(&self, claimed: &Claimed, step: Step, outcome: &str) {
        let moment = now();
        self.store.finish(claimed, &step, moment).await;
        let Claimed { source, event_id: event, route, attempts: attempt, .. } = claimed;
        match &step {
            Step::Delivered => {
                self.attempts.metrics.delivered(route, moment - claimed.accepted_at);
                tracing::info!(%source, event, %route, attempt, "delivered");
            }
            Step::Dead { reason } => {
                let outcome = if reason == GAVE_UP { GAVE_UP } else { outcome };
                self.attempts.metrics.delivery(route, outcome);
                tracing::warn!(%source, event, %route, attempt, reason, "dead");
            }
            Step::Expired => {
                self.attempts.metrics.delivery(route, outcome);
                tracing::info!(%source, event, %route, "expired");
            }
            Step::Again { reason, pause, .. } => {
                tracing::debug!(%source, event, %route, attempt, reason, pause, "again")
            }
            Step::GivenBack { .. } => {}
        }
    }
}

const GAVE_UP: &str = "gave_up";

/// What follows from how an attempt ended. Pure.
fn next_step(outcome: &Outcome, progress: Progress<'_>, probe: bool, retry: Retry, now: Millis) -> Step {
    let pause = backoff(progress, retry);
    match outcome {
        Outcome::Delivered => Step::Delivered,
        Outcome::Refused(reason) | Outcome::Rejected(reason) => Step::Dead { reason: reason.to_string() },
        Outcome::UnknownWorkflow if progress.definite_errors + 1 >= UNKNOWN_WORKFLOW_ATTEMPTS => {
            Step::Dead { reason: "workflow_not_found".to_owned() }
        }
        Outcome::UnknownWorkflow => again(progress, retry, now, pause, true, "workflow_not_found"),
        Outcome::Held(_) if probe => Step::GivenBack { due: now },
        // It may be this delivery alone that something on the way to Novu turns down: it comes
        // back ever later, and others get to show that the key is good.
        Outcome::Held(reason) => {
            Step::Again { due: now.saturating_add(pause), pause: 0, definite: false, reason: reason.to_string() }
        }
        Outcome::Throttled { retry_after } => {
            let due = now.saturating_add(retry_after.unwrap_or(DEFAULT_THROTTLE));
            Step::Again { due, pause: 0, definite: false, reason: "throttled".to_owned() }
        }
        Outcome::ServerError(reason) => again(progress, retry, now, pause, true, &reason.to_string()),
        Outcome::Unreachable(reason) => again(progress, retry, now, pause, false, &reason.to_string()),
        // It may have been done: do not overlap with it.
        Outcome::Unsure(reason) => again(progress, retry, now, pause.max(retry.unknown), false, &reason.to_string()),
        Outcome::Timeout => again(progress, retry, now, pause.max(retry.unknown), false, "timeout"),
        Outcome::ConnectionLost => again(progress, retry, now, pause.max(retry.unknown), false, "connection_lost"),
    }
}

fn again(progress: Progress<'_>, retry: Retry, now: Millis, pause: Millis, definite: bool, reason: &str) -> Step {
    if progress.waited.saturating_add(pause) > retry.give_up_after {
        return Step::Dead { reason: GAVE_UP.to_owned() };
    }
    Step::Again { due: now.saturating_add(pause), pause, definite, reason: reason.to_owned() }
}

/// 1 s, 2 s, 4 s … up to the longest, and up to a quarter less, so that what failed together
/// does not come back together.
fn backoff(progress: Progress<'_>, retry: Retry) -> Millis {
    let doublings = progress.attempts.saturating_sub(1).min(30);
    let full = retry.first.saturating_mul(1 << doublings).min(retry.longest);
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((progress.transaction_id, progress.attempts));
    full - full / 4 * (hash % 1000) as Millis / 1000
}

/// The `outcome` of `deskbell_deliveries_total`, if the attempt ended the delivery.
fn delivery_outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused(_) => "refused",
        Outcome::Rejected(_) | Outcome::UnknownWorkflow => "rejected",
        _ => GAVE_UP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::novu::Reason;

    const RETRY: Retry = Retry { first: 1_000, longest: 300_000, unknown: 30_000, give_up_after: 86_400_000 };

    fn progress(attempts: u32, waited: Millis) -> Progress<'static> {
        Progress { transaction_id: "deskbell_1", attempts, definite_errors: 0, waited }
    }

    fn step(outcome: &Outcome, attempts: u32, waited: Millis) -> Step {
        next_step(outcome, progress(attempts, waited), true, RETRY, 0)
    }

    fn due(step: &Step) -> (Millis, bool) {
        match step {
            Step::Again { due, definite, .. } => (*due, *definite),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (attempt, full) in [(1, 1_000), (2, 2_000), (5, 16_000), (10, 300_000), (4_000_000, 300_000)] {
            let (pause, definite) = due(&step(&Outcome::ServerError(Reason::new("status_500")), attempt, 0));
            assert!(definite && (full * 3 / 4..=full).contains(&pause), "{attempt}: {pause}");
        }
    }

    #[test]
    fn after_an_unknown_outcome_the_next_attempt_waits() {
        for outcome in [Outcome::Timeout, Outcome::ConnectionLost, Outcome::Unsure(Reason::new("status_502"))] {
            assert_eq!(due(&step(&outcome, 1, 0)), (30_000, false), "{outcome:?}");
        }
        assert!(due(&step(&Outcome::Unreachable(Reason::new("unreachable")), 1, 0)).0 <= 1_000);
    }

    #[test]
    fn after_a_day_of_failures_it_is_given_up() {
        let outcome = Outcome::ServerError(Reason::new("status_500"));
        assert_eq!(step(&outcome, 300, 86_399_999), Step::Dead { reason: "gave_up".to_owned() });
        assert_eq!(due(&step(&Outcome::Throttled { retry_after: Some(5_000) }, 300, 86_399_999)), (5_000, false));
        assert_eq!(step(&Outcome::Held(Reason::new("status_401")), 300, 86_399_999), Step::GivenBack { due: 0 });
    }

    #[test]
    fn what_takes_a_good_key_down_comes_back_ever_later_and_never_gives_up() {
        let outcome = Outcome::Held(Reason::new("status_403"));
        for (attempt, full) in [(1, 1_000), (4, 8_000), (300, 300_000)] {
            let step = next_step(&outcome, progress(attempt, 86_399_999), false, RETRY, 0);
            assert!(
                matches!(step, Step::Again { due, pause: 0, .. } if (full * 3 / 4..=full).contains(&due)),
                "{step:?}"
            );
        }
    }

    #[test]
    fn an_unknown_workflow_is_tried_a_few_times() {
        let step = |definite_errors| {
            let progress = Progress { definite_errors, ..progress(9, 0) };
            next_step(&Outcome::UnknownWorkflow, progress, false, RETRY, 0)
        };
        assert!(matches!(step(2), Step::Again { definite: true, .. }));
        assert_eq!(step(3), Step::Dead { reason: "workflow_not_found".to_owned() });
    }
}
