//! What follows from how an attempt ended. Pure.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::Progress;
use crate::novu::{Outcome, Reason};
use crate::settings::Retry;
use crate::store::Step;
use crate::units::Millis;

/// How often a workflow that Novu does not know is tried: it may be new, and a replica behind.
/// Attempts that never got as far as an answer do not count.
const UNKNOWN_WORKFLOW_ATTEMPTS: u32 = 4;
/// The pause when Novu asks to wait and does not say how long.
const DEFAULT_THROTTLE: Millis = 1_000;

/// The `outcome` of `deskbell_deliveries_total`, and the reason.
pub const GAVE_UP: &str = "gave_up";

/// The longest that Novu's word for one delivery is waited for.
const LONGEST_RETRY_AFTER: Millis = 300_000;

/// How an attempt stands to the hold of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing holds the lane.
    Open,
    /// The lane has come to be held while the attempt was under way.
    Held,
    /// It was made to see whether the lane still has to be held.
    Probe,
}

/// What the store is to remember of an attempt.
///
/// A `definite` error gets the next attempt another idempotency key, since Novu would repeat the error
/// for 24 h under this one. After an attempt whose outcome stayed unknown that is right as well: had it
/// succeeded, Novu would have answered so under the same key instead of failing. Where Novu ignores the
/// header, the key means nothing, and the equal `transactionId` is what is left. What Novu says before
/// it looks at the key (429, 503, what is wrong with the set-up) is not definite in this sense.
pub fn next_step(
    outcome: Outcome,
    answer: &Option<String>,
    progress: Progress<'_>,
    standing: Standing,
    retry: Retry,
    now: Millis,
) -> Step {
    let pause = backoff(progress, retry);
    // What may have been done is not to overlap with the next attempt.
    let unsure = pause.max(retry.unknown);
    let next = Next { answer, progress, standing, retry, now };
    match outcome {
        Outcome::Delivered => Step::Delivered,
        Outcome::Refused(reason) | Outcome::Rejected(reason) => next.dead(reason, true),
        // Those before a replay do not count either.
        Outcome::UnknownWorkflow
            if progress.definite_errors.saturating_add(1).min(progress.attempts) >= UNKNOWN_WORKFLOW_ATTEMPTS =>
        {
            next.dead(Reason::WorkflowNotFound, true)
        }
        Outcome::UnknownWorkflow => next.again(pause, true, Reason::WorkflowNotFound),
        Outcome::Held(_) if standing == Standing::Probe => Step::GivenBack { due: now },
        // It may be this delivery alone that something on the way to Novu turns down: it comes
        // back ever later, and others get to show that the key is good.
        Outcome::Held(reason) => next.free(pause, reason),
        Outcome::Throttled { .. } => next.free(throttle(outcome).unwrap_or_default(), Reason::Throttled),
        Outcome::ServerError(reason) => next.again(pause, true, reason),
        Outcome::NotNow { reason, retry_after } => {
            next.again(pause.max(retry_after.unwrap_or(0).min(LONGEST_RETRY_AFTER)), false, reason)
        }
        Outcome::Unreachable if standing != Standing::Open => Step::GivenBack { due: now },
        Outcome::Unreachable => next.again(pause, false, Reason::Unreachable),
        Outcome::Unsure(reason) => next.again(unsure, false, reason),
        Outcome::Timeout => next.again(unsure, false, Reason::Timeout),
        Outcome::ConnectionLost => next.again(unsure, false, Reason::ConnectionLost),
    }
}

/// How long everything with this Novu key has to wait.
pub fn throttle(outcome: Outcome) -> Option<Millis> {
    match outcome {
        Outcome::Throttled { retry_after } => Some(retry_after.unwrap_or(DEFAULT_THROTTLE)),
        _ => None,
    }
}

struct Next<'a> {
    answer: &'a Option<String>,
    progress: Progress<'a>,
    standing: Standing,
    retry: Retry,
    now: Millis,
}

impl Next<'_> {
    /// After a pause that counts towards giving up, unless the lane is held.
    fn again(&self, pause: Millis, definite: bool, reason: Reason) -> Step {
        let counted = if self.standing == Standing::Open { pause } else { 0 };
        if self.progress.waited.saturating_add(counted) > self.retry.give_up_after {
            return self.dead(Reason::GaveUp, definite);
        }
        let (due, answer) = (self.now.saturating_add(pause), self.answer.clone());
        Step::Again { due, pause: counted, definite, reason: reason.to_string(), answer }
    }

    /// After a pause that does not count.
    fn free(&self, pause: Millis, reason: Reason) -> Step {
        let (due, answer) = (self.now.saturating_add(pause), self.answer.clone());
        Step::Again { due, pause: 0, definite: false, reason: reason.to_string(), answer }
    }

    /// It may have been done even so, and a replay is not to overlap with that.
    fn dead(&self, reason: Reason, definite: bool) -> Step {
        let due = self.now.saturating_add(if definite { 0 } else { self.retry.unknown });
        Step::Dead { due, reason: reason.to_string(), definite, answer: self.answer.clone() }
    }
}

/// 1 s, 2 s, 4 s … up to the longest, and up to a quarter less, so that what failed together
/// does not come back together.
fn backoff(progress: Progress<'_>, retry: Retry) -> Millis {
    let doublings = progress.attempts.saturating_sub(1).min(30);
    let full = retry.first.saturating_mul(1 << doublings).min(retry.longest);
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((progress.transaction_id, progress.attempts));
    full - full / 4 * (hash % 1000) as Millis / 1000
}

/// The `result` of `deskbell_attempts_total`.
pub fn attempt_result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "ok",
        Outcome::Refused(_) => "refused",
        Outcome::Rejected(_) | Outcome::UnknownWorkflow => "rejected",
        Outcome::Throttled { .. } => "throttled",
        Outcome::Held(_) => "held",
        Outcome::ServerError(_) | Outcome::NotNow { .. } | Outcome::Unsure(_) => "server_error",
        Outcome::Timeout => "timeout",
        Outcome::ConnectionLost | Outcome::Unreachable => "connection",
    }
}

/// The `outcome` of `deskbell_deliveries_total` for an attempt that was the last.
pub fn delivery_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Refused(_) => "refused",
        Outcome::Rejected(_) | Outcome::UnknownWorkflow => "rejected",
        _ => GAVE_UP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry { first: 1_000, longest: 300_000, unknown: 30_000, give_up_after: 86_400_000 };
    const FAILED: Outcome = Outcome::ServerError(Reason::Status(500));
    const BUSY: Outcome = Outcome::NotNow { reason: Reason::InProgress, retry_after: Some(1_000) };

    fn step(outcome: Outcome, standing: Standing, attempts: u32, waited: Millis) -> Step {
        let progress = Progress { transaction_id: "deskbell_1", attempts, definite_errors: 0, waited };
        next_step(outcome, &Some("said".to_owned()), progress, standing, RETRY, 0)
    }

    /// When it is due, and whether that was definite.
    fn due(outcome: Outcome, attempts: u32) -> (Millis, bool) {
        match step(outcome, Standing::Open, attempts, 0) {
            Step::Again { due, pause, definite, answer, .. } => {
                assert_eq!((pause, answer.as_deref()), (due, Some("said")), "{outcome:?}");
                (due, definite)
            }
            other => panic!("{other:?}"),
        }
    }

    fn dead(reason: &str, definite: bool) -> Step {
        let due = if definite { 0 } else { RETRY.unknown };
        Step::Dead { due, reason: reason.to_owned(), definite, answer: Some("said".to_owned()) }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (attempt, full) in [(1, 1_000), (2, 2_000), (5, 16_000), (10, 300_000), (4_000_000, 300_000)] {
            for (outcome, definite) in [(FAILED, true), (Outcome::Unreachable, false)] {
                let (pause, was_definite) = due(outcome, attempt);
                assert!((full * 3 / 4..=full).contains(&pause), "{attempt}: {pause}");
                assert_eq!(was_definite, definite, "{outcome:?}");
            }
        }
    }

    #[test]
    fn after_an_unknown_outcome_the_next_attempt_waits() {
        for outcome in [Outcome::Timeout, Outcome::ConnectionLost, Outcome::Unsure(Reason::Status(502))] {
            assert_eq!(due(outcome, 1), (30_000, false), "{outcome:?}");
        }
    }

    #[test]
    fn what_novu_is_still_doing_is_asked_for_again_soon_under_the_same_key() {
        assert_eq!(due(BUSY, 1), (1_000, false));
        let (pause, definite) = due(BUSY, 3);
        assert!((3_000..=4_000).contains(&pause) && !definite, "{pause}");
        let forever = Outcome::NotNow { reason: Reason::Status(503), retry_after: Some(86_400_000) };
        assert_eq!(due(forever, 1), (300_000, false));
    }

    #[test]
    fn what_ends_by_a_judgement_of_novus_has_used_its_key() {
        let refused = Outcome::Refused(Reason::TriggerNotActive);
        assert_eq!(step(refused, Standing::Open, 1, 0), dead("trigger_not_active", true));
        let rejected = Outcome::Rejected(Reason::Status(422));
        assert_eq!(step(rejected, Standing::Probe, 1, 0), dead("status_422", true));
    }

    #[test]
    fn after_a_day_of_failures_it_is_given_up() {
        let late = |outcome, standing| step(outcome, standing, 300, 86_399_999);
        assert_eq!(late(FAILED, Standing::Open), dead("gave_up", true));
        for unknown in [Outcome::Timeout, BUSY, Outcome::Unreachable] {
            assert_eq!(late(unknown, Standing::Open), dead("gave_up", false));
        }
        let throttled = late(Outcome::Throttled { retry_after: Some(5_000) }, Standing::Open);
        assert!(matches!(throttled, Step::Again { due: 5_000, pause: 0, definite: false, .. }), "{throttled:?}");
    }

    #[test]
    fn the_clock_of_giving_up_stands_still_while_the_key_is_held() {
        for standing in [Standing::Held, Standing::Probe] {
            for outcome in [FAILED, Outcome::Timeout, BUSY] {
                let step = step(outcome, standing, 1, 86_399_999);
                assert!(matches!(step, Step::Again { due: 750.., pause: 0, .. }), "{outcome:?}: {step:?}");
            }
            assert_eq!(step(Outcome::Unreachable, standing, 1, 86_399_999), Step::GivenBack { due: 0 });
        }
        let held = Outcome::Held(Reason::Status(401));
        assert_eq!(step(held, Standing::Probe, 300, 86_399_999), Step::GivenBack { due: 0 });
    }

    #[test]
    fn what_takes_a_good_key_down_comes_back_ever_later_and_never_gives_up() {
        for (attempt, full) in [(1, 1_000), (4, 8_000), (300, 300_000)] {
            let step = step(Outcome::Held(Reason::Status(403)), Standing::Held, attempt, 86_399_999);
            assert!(
                matches!(step, Step::Again { due, pause: 0, .. } if (full * 3 / 4..=full).contains(&due)),
                "{step:?}"
            );
        }
    }

    #[test]
    fn an_unknown_workflow_is_tried_a_few_times() {
        let step = |attempts, definite_errors| {
            let progress = Progress { transaction_id: "deskbell_1", attempts, definite_errors, waited: 0 };
            next_step(Outcome::UnknownWorkflow, &Some("said".to_owned()), progress, Standing::Open, RETRY, 0)
        };
        assert!(matches!(step(9, 2), Step::Again { definite: true, .. }));
        assert_eq!(step(9, 3), dead("workflow_not_found", true));
        assert!(matches!(step(1, 4), Step::Again { .. }), "it was replayed");
    }
}
