//! How fast one Novu key may be used: as its answers say, and no faster than the file says. Pure.

use crate::novu::{Limit, bulk};
use crate::units::Millis;

/// Kept below the limit, so that clocks that differ a little do not make it too many.
const MARGIN: f64 = 0.98;
/// After a 429 nevertheless, somebody else uses the key as well: what is left of our share, at once and at least.
const SLOWER: f64 = 0.7;
const LEAST_SHARE: f64 = 0.05;
/// How much of the limit is taken back in each second.
const TAKEN_BACK: f64 = 0.01;
/// In seconds: attempts go in parcels of at least this much of the rate, so that each claim is worth its write to disk.
const PARCEL: f64 = 0.05;
/// In seconds: how much of the rate may be saved up, so that a late parcel costs none of it.
const SAVED: f64 = 0.2;
/// From this rate on, what a call for many costs is half a second's worth, and others need not wait for it.
const ENOUGH_FOR_BULK: f64 = 2.0 * bulk::COST as f64;

/// What has been learned of a key, and the attempts that it has left.
#[derive(Debug)]
pub struct Rate {
    seen: Seen,
    share: f64,
    /// So many use the key at the same time, each as much as the others.
    gateways: f64,
    tokens: f64,
    filled_at: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Nothing,
    NoLimit,
    Limit(Limit),
}

/// Whether many deliveries may go in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    No,
    /// There is no limit.
    Free,
    /// A call costs the same whatever its size, so it is to be full.
    Full,
    /// Not before this moment. A full call's worth is kept until then.
    At(Millis),
}

impl Rate {
    pub fn new() -> Self {
        Self { seen: Seen::Nothing, share: 1.0, gateways: 1.0, tokens: 0.0, filled_at: 0 }
    }

    /// Takes what an answer says. That there is no limit is only believed where Novu has `taken` what was sent: other
    /// answers may come from before its limiter, or from somebody else.
    /// Says whether that is new.
    pub fn learn(&mut self, limit: Option<Limit>, taken: bool) -> bool {
        let seen = match limit {
            Some(limit) => Seen::Limit(limit),
            None if taken => Seen::NoLimit,
            None => return false,
        };
        std::mem::replace(&mut self.seen, seen) != seen
    }

    /// So many gateways use the key.
    pub fn share(&mut self, gateways: usize) {
        self.gateways = gateways.max(1) as f64;
    }

    /// Novu has found it too much.
    pub fn slow_down(&mut self) {
        self.share = (self.share * SLOWER).max(LEAST_SHARE);
        self.tokens = 0.0;
    }

    /// How many attempts may start now, or when some may. Before the first answer, and where there is no limit, as many
    /// as there may be at the same time.
    pub fn allowance(&mut self, fixed: Option<u32>, now: Millis) -> Result<usize, Millis> {
        let Some(rate) = self.per_second(fixed) else { return Ok(usize::MAX) };
        self.fill(rate, now);
        let parcel = (rate * PARCEL).max(1.0);
        match self.tokens >= parcel {
            true => Ok(self.tokens as usize),
            false => Err(self.moment_of(parcel, rate, now)),
        }
    }

    /// To be asked after [`Rate::allowance`].
    pub fn bulk(&self, fixed: Option<u32>, now: Millis) -> Bulk {
        match (self.seen, self.per_second(fixed)) {
            (Seen::Nothing, _) => Bulk::No,
            (_, None) => Bulk::Free,
            (_, Some(rate)) if rate < ENOUGH_FOR_BULK => Bulk::No,
            (_, Some(_)) if self.tokens >= bulk::COST as f64 => Bulk::Full,
            (_, Some(rate)) => Bulk::At(self.moment_of(bulk::COST as f64, rate, now)),
        }
    }

    /// Attempts have started, at this cost.
    pub fn spend(&mut self, cost: usize) {
        self.tokens = (self.tokens - cost as f64).max(0.0);
    }

    /// An attempt was not made after all.
    pub fn give_back(&mut self, cost: usize) {
        self.tokens += cost as f64;
    }

    fn per_second(&self, fixed: Option<u32>) -> Option<f64> {
        let learned = match self.seen {
            Seen::Limit(limit) => limit.per_second * MARGIN,
            Seen::Nothing | Seen::NoLimit => f64::INFINITY,
        };
        let rate = fixed.map_or(learned, |fixed| learned.min(f64::from(fixed)));
        rate.is_finite().then_some(rate * self.share / self.gateways)
    }

    fn fill(&mut self, rate: f64, now: Millis) {
        let elapsed = (now - self.filled_at).clamp(0, 60_000) as f64 / 1000.0;
        let most = if rate < ENOUGH_FOR_BULK { 1.0 } else { bulk::COST as f64 };
        self.tokens = (self.tokens + elapsed * rate).min((rate * SAVED).max(most));
        self.share = (self.share + elapsed.min(1.0) * TAKEN_BACK).min(1.0);
        self.filled_at = now;
    }

    /// When so many tokens will be there.
    fn moment_of(&self, tokens: f64, rate: f64, now: Millis) -> Millis {
        now + ((tokens - self.tokens) / rate * 1000.0).ceil() as Millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Option<Limit> = Some(Limit { per_second: 60.0 });
    const PRO: Option<Limit> = Some(Limit { per_second: 240.0 });

    fn learned(limit: Option<Limit>) -> Rate {
        let mut rate = Rate::new();
        rate.learn(limit, true);
        rate
    }

    /// How many attempts go within so many seconds of a backlog.
    fn sent(rate: &mut Rate, fixed: Option<u32>, from: Millis, seconds: Millis) -> usize {
        let (mut now, mut sent) = (from, 0);
        while now < from + seconds * 1000 {
            match rate.allowance(fixed, now) {
                Ok(usize::MAX) => return usize::MAX,
                Ok(count) => {
                    rate.spend(count);
                    sent += count;
                }
                Err(next) => now = next,
            }
        }
        sent
    }

    #[test]
    fn a_backlog_goes_just_below_the_limit() {
        for (limit, fixed, expected) in
            [(FREE, None, 588), (FREE, Some(60), 588), (FREE, Some(20), 200), (None, Some(20), 200), (PRO, None, 2352)]
        {
            let sent = sent(&mut learned(limit), fixed, 1_000_000, 10);
            // What was saved up goes at once.
            let saved = (expected / 50).max(if limit == PRO { 100 } else { 1 });
            assert!((expected * 99 / 100..=expected + saved).contains(&sent), "{limit:?} {fixed:?}: {sent}");
        }
    }

    #[test]
    fn what_several_gateways_send_together_stays_below_the_limit() {
        let mut three = [learned(FREE), learned(FREE), learned(FREE)];
        let all: usize = three
            .iter_mut()
            .map(|rate| {
                rate.share(3);
                sent(rate, None, 1_000_000, 10)
            })
            .sum();
        assert!((580..=600).contains(&all), "{all}");
    }

    #[test]
    fn nothing_is_held_back_where_there_is_no_limit() {
        assert_eq!(sent(&mut Rate::new(), None, 0, 10), usize::MAX, "no answer yet");
        assert_eq!(sent(&mut learned(None), None, 0, 10), usize::MAX);
        let mut rate = learned(FREE);
        rate.learn(None, false);
        assert!(rate.allowance(None, 1_000).is_ok_and(|count| count < 60), "an error page is no word on limits");
    }

    #[test]
    fn a_late_wake_up_costs_nothing_and_a_long_rest_saves_little() {
        let mut rate = learned(FREE);
        rate.allowance(None, 1_000).expect("some");
        rate.spend(usize::MAX);
        assert_eq!(rate.allowance(None, 1_150), Ok(8), "150 ms late");
        rate.spend(8);
        assert_eq!(rate.allowance(None, 60_000), Ok(11));
    }

    #[test]
    fn after_a_429_it_goes_slower_and_gently_comes_back() {
        let mut rate = learned(FREE);
        sent(&mut rate, None, 1_000_000, 1);
        rate.slow_down();
        let slow = sent(&mut rate, None, 1_001_000, 5);
        assert!((205..220).contains(&slow), "{slow}");
        sent(&mut rate, None, 1_006_000, 30);
        let back = sent(&mut rate, None, 1_036_000, 10);
        assert!((580..=590).contains(&back), "{back}");
        for _ in 0..100 {
            rate.slow_down();
        }
        assert!(sent(&mut rate, None, 2_000_000, 1) > 0, "it never stops");
    }

    #[test]
    fn many_go_in_one_call_where_it_costs_others_little() {
        let bulk = |rate: &mut Rate, fixed| {
            let _ = rate.allowance(fixed, 1_000);
            rate.bulk(fixed, 1_000)
        };
        assert_eq!(bulk(&mut Rate::new(), None), Bulk::No, "no answer yet");
        assert_eq!(bulk(&mut learned(None), None), Bulk::Free);
        assert_eq!(bulk(&mut learned(FREE), None), Bulk::No);
        assert_eq!(bulk(&mut learned(PRO), Some(199)), Bulk::No);
        let mut rate = learned(PRO);
        assert_eq!(bulk(&mut rate, None), Bulk::Full);
        rate.spend(50);
        assert_eq!(rate.bulk(None, 1_000), Bulk::At(1_213), "50 of 235 in a second");
    }
}
