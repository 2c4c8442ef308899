//! When nothing goes to a Novu that cannot be used, but a probe now and then. Pure.

use crate::novu::{Outcome, Reason};
use crate::units::Millis;

/// So many attempts in a row that found no connection: Novu cannot be reached.
const UNREACHED: u32 = 5;
/// The first pause before a probe, where Novu cannot be reached and where the set-up is wrong; the
/// pauses double up to the longest.
const UNREACHABLE_PROBE: Millis = 1_000;
const SET_UP_PROBE: Millis = 5_000;
const LONGEST_PROBE: Millis = 60_000;

/// What lets attempts pass, or holds them.
#[derive(Debug, Default)]
pub struct Gate {
    hold: Option<Hold>,
    /// Attempts in a row that found no connection.
    unreached: u32,
}

#[derive(Debug)]
struct Hold {
    reason: Reason,
    pause: Millis,
    /// When the next probe goes; none while one is on its way.
    probe_at: Option<Millis>,
}

/// What an attempt has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    Held(Reason),
    Recovered,
}

impl Gate {
    /// Why nothing passes.
    pub fn held(&self) -> Option<Reason> {
        self.hold.as_ref().map(|hold| hold.reason)
    }

    /// When the next probe may go, if nothing else may.
    pub fn probe_at(&self) -> Option<Option<Millis>> {
        self.hold.as_ref().map(|hold| hold.probe_at)
    }

    /// A probe is on its way.
    pub fn probing(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.probe_at = None;
        }
    }

    /// A probe was not made after all.
    pub fn released(&mut self, now: Millis) {
        if let Some(hold) = &mut self.hold {
            hold.probe_at = hold.probe_at.or(Some(now));
        }
    }

    /// Takes what another gateway has found with the same key, and says whether that is new. Whether Novu can be reached
    /// is for each to find.
    pub fn follow(&mut self, held: Option<Reason>, now: Millis) -> bool {
        match (self.held(), held) {
            (None | Some(Reason::Unreachable), Some(reason)) => self.hold = Some(Hold::new(reason, now)),
            (Some(reason), None) if reason != Reason::Unreachable => self.hold = None,
            _ => return false,
        }
        true
    }

    /// Takes what an attempt shows. Those that were under way when the hold began prolong nothing.
    pub fn ended(&mut self, outcome: Outcome, probe: bool, now: Millis) -> Option<Turn> {
        self.unreached = if outcome == Outcome::Unreachable { self.unreached.saturating_add(1) } else { 0 };
        let trouble = match outcome {
            Outcome::Held(reason) => Some(reason),
            Outcome::Unreachable if self.unreached >= UNREACHED => Some(Reason::Unreachable),
            _ => None,
        };
        let was_held = self.hold.take_if(|hold| hold.is_ended_by(outcome, probe)).is_some();
        match (&mut self.hold, trouble) {
            (None, Some(reason)) => {
                self.hold = Some(Hold::new(reason, now));
                Some(Turn::Held(reason))
            }
            (None, None) => was_held.then_some(Turn::Recovered),
            (Some(hold), _) if probe => {
                hold.pause = (hold.pause * 2).min(LONGEST_PROBE);
                hold.probe_at = Some(now.saturating_add(hold.pause));
                None
            }
            (Some(_), _) => None,
        }
    }
}

impl Hold {
    fn new(reason: Reason, now: Millis) -> Self {
        let pause = if reason == Reason::Unreachable { UNREACHABLE_PROBE } else { SET_UP_PROBE };
        Self { reason, pause, probe_at: Some(now.saturating_add(pause)) }
    }

    /// Any contact shows that Novu can be reached; of attempts that had connected before, an answer.
    /// That the set-up is good is only shown by a judgement of the request.
    fn is_ended_by(&self, outcome: Outcome, probe: bool) -> bool {
        match self.reason {
            Reason::Unreachable => outcome.is_answer() || (probe && outcome != Outcome::Unreachable),
            _ => outcome.is_judgement(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: Outcome = Outcome::Held(Reason::Status(401));
    const FAILED: Outcome = Outcome::ServerError(Reason::Status(500));
    const THROTTLED: Outcome = Outcome::Throttled { retry_after: None };

    fn unreachable() -> Gate {
        let mut gate = Gate::default();
        for _ in 1..UNREACHED {
            assert_eq!(gate.ended(Outcome::Unreachable, false, 0), None);
        }
        assert_eq!(gate.ended(Outcome::Unreachable, false, 0), Some(Turn::Held(Reason::Unreachable)));
        gate
    }

    fn wrong() -> Gate {
        let mut gate = Gate::default();
        assert_eq!(gate.ended(WRONG, false, 0), Some(Turn::Held(Reason::Status(401))));
        gate
    }

    /// The pauses before the probes, when each ends so.
    fn pauses(mut gate: Gate, outcome: Outcome) -> Vec<Millis> {
        let mut now = 0;
        let pauses = (0..8).map(|_| {
            let at = gate.probe_at().flatten().expect("a probe");
            let pause = at - now;
            now = at;
            gate.probing();
            assert_eq!(gate.probe_at(), Some(None), "one at a time");
            assert_eq!(gate.ended(outcome, true, now), None, "nothing has changed");
            pause / 1_000
        });
        pauses.collect()
    }

    #[test]
    fn probes_come_ever_more_rarely() {
        assert_eq!(pauses(unreachable(), Outcome::Unreachable), [1, 2, 4, 8, 16, 32, 60, 60]);
        for outcome in [WRONG, FAILED, THROTTLED, Outcome::Timeout, Outcome::Unreachable] {
            assert_eq!(pauses(wrong(), outcome), [5, 10, 20, 40, 60, 60, 60, 60], "{outcome:?}");
        }
    }

    #[test]
    fn it_takes_five_in_a_row_to_be_unreachable() {
        let mut gate = Gate::default();
        for between in [FAILED, THROTTLED, Outcome::Delivered, Outcome::Timeout] {
            for _ in 1..UNREACHED {
                assert_eq!(gate.ended(Outcome::Unreachable, false, 0), None);
            }
            assert_eq!(gate.ended(between, false, 0), None);
        }
        assert_eq!(gate.held(), None);
    }

    #[test]
    fn what_was_under_way_prolongs_nothing() {
        for (mut gate, outcome) in [(unreachable(), Outcome::Unreachable), (wrong(), WRONG)] {
            let first = gate.probe_at();
            for now in [100, 200, 4_000] {
                assert_eq!(gate.ended(outcome, false, now), None);
            }
            assert_eq!(gate.probe_at(), first);
            gate.probing();
            assert_eq!(gate.ended(outcome, false, 5_000), None);
            assert_eq!(gate.probe_at(), Some(None), "the probe is still on its way");
        }
    }

    #[test]
    fn any_contact_ends_being_unreachable() {
        let judged = Outcome::Rejected(Reason::Status(422));
        for outcome in [FAILED, THROTTLED, judged, Outcome::Delivered, Outcome::Unsure(Reason::Status(502))] {
            assert_eq!(unreachable().ended(outcome, true, 0), Some(Turn::Recovered), "{outcome:?}");
            assert_eq!(unreachable().ended(outcome, false, 0), Some(Turn::Recovered), "{outcome:?}");
        }
        for outcome in [Outcome::Timeout, Outcome::ConnectionLost] {
            assert_eq!(unreachable().ended(outcome, true, 0), Some(Turn::Recovered), "{outcome:?}");
            assert_eq!(unreachable().ended(outcome, false, 0), None, "it had connected before: {outcome:?}");
        }
        let mut gate = unreachable();
        assert_eq!(gate.ended(WRONG, true, 0), Some(Turn::Held(Reason::Status(401))), "reached, and wrong");
        assert_eq!(gate.ended(FAILED, true, 0), None);
    }

    #[test]
    fn only_a_judgement_shows_that_the_set_up_is_good() {
        for outcome in [Outcome::Delivered, Outcome::Refused(Reason::Error), Outcome::UnknownWorkflow] {
            assert_eq!(wrong().ended(outcome, false, 0), Some(Turn::Recovered), "{outcome:?}");
        }
    }

    #[test]
    fn what_another_finds_of_the_key_counts_and_what_it_reaches_does_not() {
        let mut gate = Gate::default();
        assert!(gate.follow(Some(Reason::Status(401)), 1_000));
        assert!(!gate.follow(Some(Reason::Status(401)), 2_000), "nothing new");
        assert_eq!(gate.probe_at(), Some(Some(6_000)));
        assert!(gate.follow(None, 3_000));
        assert_eq!(gate.held(), None);
        let mut gate = unreachable();
        assert!(!gate.follow(None, 0));
        assert_eq!(gate.held(), Some(Reason::Unreachable));
    }

    #[test]
    fn a_probe_that_was_not_made_is_made_up_for() {
        let mut gate = unreachable();
        gate.probing();
        gate.released(1_500);
        assert_eq!(gate.probe_at(), Some(Some(1_500)));
    }
}
