//! One lane for each Novu key: what holds one delivery of it back holds all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::{Gate, Turn};
use crate::novu::{Account, Outcome, Reason};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::units::Millis;

/// All lanes of this process.
#[derive(Default)]
pub struct Lanes {
    lanes: Mutex<Vec<Lane>>,
}

struct Lane {
    account: Arc<Account>,
    /// The sources that deliver with this key.
    sources: Vec<Arc<str>>,
    gate: Gate,
    /// Novu asked to wait until then.
    throttled_until: Millis,
    rate: Bucket,
    /// Attempts that have started and not ended.
    running: usize,
}

/// Attempts that the rate allows: a tenth of a second's worth may go at once.
struct Bucket {
    tokens: f64,
    filled_at: Millis,
}

/// A lane in which deliveries may be attempted now.
pub struct Open {
    pub account: Arc<Account>,
    pub sources: Vec<Arc<str>>,
    pub most: usize,
    /// Whether it is held, and the attempt is to show whether it still has to be.
    pub probe: bool,
}

/// A lane has come to be held, throttled, or open again.
pub enum Change {
    Held { sources: Vec<Arc<str>>, reason: Reason },
    Recovered { sources: Vec<Arc<str>> },
    Throttled { source: Arc<str>, until: Millis },
}

impl Change {
    pub fn report(self, metrics: &Metrics, now: Millis) {
        match self {
            Change::Held { sources, reason: Reason::Unreachable } => {
                tracing::warn!(?sources, "Novu cannot be reached; its deliveries are held");
            }
            Change::Held { sources, reason } => {
                tracing::warn!(?sources, %reason, "Novu cannot be used with this key; its deliveries are held");
            }
            Change::Recovered { sources } => {
                tracing::info!(?sources, "Novu can be used again");
            }
            Change::Throttled { source, until } => metrics.throttled(&source, until - now),
        }
    }
}

impl Lanes {
    /// The lanes that are open now, and when the next of the others opens. Who has least under way
    /// comes first, so that a Novu that hangs does not take every attempt there can be.
    pub fn open(&self, settings: &Settings, now: Millis) -> (Vec<Open>, Option<Millis>) {
        let mut lanes = self.lock();
        follow(&mut lanes, settings);
        let mut reopens: Option<Millis> = None;
        let mut open = Vec::new();
        lanes.sort_by_key(|lane| lane.running);
        for lane in lanes.iter_mut() {
            match lane.allowance(settings, now) {
                Ok(most) => open.push(Open {
                    account: lane.account.clone(),
                    sources: lane.sources.clone(),
                    most,
                    probe: lane.gate.held().is_some(),
                }),
                Err(until) => reopens = [reopens, until].into_iter().flatten().min(),
            }
        }
        (open, reopens)
    }

    /// So many attempts were started in a lane that was open. It may have come to be held since.
    pub fn started(&self, open: &Open, count: usize) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == open.account) {
            lane.rate.tokens -= count as f64;
            lane.running += count;
            if open.probe && count > 0 {
                lane.gate.probing();
            }
        }
    }

    /// A delivery that was started was not attempted after all.
    pub fn released(&self, account: &Arc<Account>, probe: bool, now: Millis) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return };
        lane.running = lane.running.saturating_sub(1);
        if probe {
            lane.gate.released(now);
        }
    }

    /// Takes what an attempt says about its key.
    pub fn ended(
        &self,
        account: &Arc<Account>,
        source: &Arc<str>,
        outcome: Outcome,
        probe: bool,
        throttled_until: Option<Millis>,
        now: Millis,
    ) -> Vec<Change> {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return Vec::new() };
        lane.running = lane.running.saturating_sub(1);
        let mut changes = Vec::new();
        match lane.gate.ended(outcome, probe, now) {
            Some(Turn::Held(reason)) => changes.push(Change::Held { sources: lane.sources.clone(), reason }),
            Some(Turn::Recovered) => changes.push(Change::Recovered { sources: lane.sources.clone() }),
            None => {}
        }
        if let Some(until) = throttled_until.filter(|until| *until > lane.throttled_until) {
            lane.throttled_until = until;
            changes.push(Change::Throttled { source: source.clone(), until });
        }
        changes
    }

    pub fn is_held(&self, account: &Arc<Account>) -> bool {
        self.lock().iter().any(|lane| lane.account == *account && lane.gate.held().is_some())
    }

    /// Whether the key of each source is held.
    pub fn held(&self, settings: &Settings) -> Vec<(Arc<str>, bool)> {
        settings.accounts.iter().map(|(source, account)| (source.clone(), self.is_held(account))).collect()
    }

    /// What is wrong, for people.
    pub fn degraded(&self, now: Millis) -> Vec<String> {
        let mut degraded = Vec::new();
        for lane in self.lock().iter() {
            let sources = lane.sources.join(", ");
            if let Some(reason) = lane.gate.held() {
                degraded.push(format!("Novu cannot be used with the key of {sources}: {reason}; deliveries are held"));
            } else if lane.throttled_until > now {
                degraded.push(format!("Novu asks to wait with the key of {sources}"));
            }
        }
        degraded
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the lanes those of the settings. A key that stays keeps its state.
fn follow(lanes: &mut Vec<Lane>, settings: &Settings) {
    for lane in lanes.iter_mut() {
        lane.sources.clear();
    }
    for (source, account) in &settings.accounts {
        match lanes.iter_mut().find(|lane| lane.account == *account) {
            Some(lane) => lane.sources.push(source.clone()),
            None => lanes.push(Lane {
                account: account.clone(),
                sources: vec![source.clone()],
                gate: Gate::default(),
                throttled_until: 0,
                rate: Bucket { tokens: 0.0, filled_at: 0 },
                running: 0,
            }),
        }
    }
    lanes.retain(|lane| !lane.sources.is_empty());
}

impl Lane {
    /// How many attempts may start now, or when to ask again.
    fn allowance(&mut self, settings: &Settings, now: Millis) -> Result<usize, Option<Millis>> {
        if self.throttled_until > now {
            return Err(Some(self.throttled_until));
        }
        match self.gate.probe_at() {
            Some(Some(at)) if at <= now => return Ok(1),
            Some(next) => return Err(next),
            None => {}
        }
        match settings.rate {
            Some(rate) => self.rate.allowance(f64::from(rate), now),
            None => Ok(usize::MAX),
        }
    }
}

impl Bucket {
    fn allowance(&mut self, rate: f64, now: Millis) -> Result<usize, Option<Millis>> {
        let elapsed = (now - self.filled_at).clamp(0, 60_000) as f64 / 1000.0;
        self.tokens = (self.tokens + elapsed * rate).min((rate / 10.0).max(1.0));
        self.filled_at = now;
        match self.tokens {
            tokens if tokens >= 1.0 => Ok(tokens as usize),
            tokens => Err(Some(now + ((1.0 - tokens) / rate * 1000.0).ceil() as Millis)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Retry;

    #[test]
    fn what_was_claimed_when_a_hold_began_is_not_taken_for_its_probe() {
        let account = Arc::new(Account::new("https://api.novu.co", "key").expect("an account"));
        let source: Arc<str> = "clerk".into();
        let settings = Settings {
            concurrency: 32,
            timeout: 10_000,
            rate: None,
            retry: Retry { first: 1_000, longest: 300_000, unknown: 30_000, give_up_after: 86_400_000 },
            body_limit: 0,
            queue_limit: 0,
            accounts: [(source.clone(), account.clone())].into(),
        };
        let lanes = Lanes::default();
        let open = |now| lanes.open(&settings, now).0.pop();
        let before = open(0).expect("an open lane");
        let ended = |outcome, probe, now| lanes.ended(&account, &source, outcome, probe, None, now).len();
        assert_eq!(ended(Outcome::Held(Reason::Status(401)), false, 0), 1);
        lanes.started(&before, 3);
        lanes.released(&account, before.probe, 100);
        assert_eq!(ended(Outcome::Timeout, before.probe, 200), 0);
        assert!(open(4_999).is_none());
        let probe = open(5_000).expect("a probe");
        assert!((probe.probe, probe.most) == (true, 1));
        lanes.started(&probe, 1);
        assert!(open(60_000).is_none(), "one at a time");
    }
}
