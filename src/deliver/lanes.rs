//! One lane for each Novu key: what holds one delivery of it back holds all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::novu::{Account, Outcome, Reason};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::units::Millis;

/// The pauses between probes of a key that is held: the first, and the longest.
const PROBE: Millis = 5_000;
const LONGEST_PROBE: Millis = 60_000;

/// All lanes of this process.
#[derive(Default)]
pub struct Lanes {
    lanes: Mutex<Vec<Lane>>,
}

struct Lane {
    account: Arc<Account>,
    /// The sources that deliver with this key.
    sources: Vec<Arc<str>>,
    held: Option<Hold>,
    /// Novu asked to wait until then.
    throttled_until: Millis,
    rate: Bucket,
    /// Attempts that have started and not ended.
    running: usize,
}

struct Hold {
    reason: Reason,
    pause: Millis,
    /// When the next probe goes; none while one is on its way.
    probe_at: Option<Millis>,
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
                Ok(most) => open.push(Open { account: lane.account.clone(), sources: lane.sources.clone(), most }),
                Err(until) => reopens = [reopens, until].into_iter().flatten().min(),
            }
        }
        (open, reopens)
    }

    /// When the lane of a source opens again, if it is closed and that is known.
    pub fn reopens(&self, source: &Arc<str>, now: Millis) -> Option<Millis> {
        let lanes = self.lock();
        let lane = lanes.iter().find(|lane| lane.sources.contains(source))?;
        let probe_at = lane.held.as_ref().and_then(|hold| hold.probe_at);
        Some(lane.throttled_until.max(probe_at.unwrap_or_default())).filter(|at| *at > now)
    }

    /// So many attempts were started.
    pub fn started(&self, account: &Arc<Account>, count: usize) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.rate.tokens -= count as f64;
            lane.running += count;
            if let Some(hold) = lane.held.as_mut().filter(|_| count > 0) {
                hold.probe_at = None;
            }
        }
    }

    /// A delivery that was started was not attempted after all.
    pub fn released(&self, account: &Arc<Account>, now: Millis) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return };
        lane.running = lane.running.saturating_sub(1);
        if let Some(hold) = &mut lane.held {
            hold.probe_at = hold.probe_at.or(Some(now));
        }
    }

    /// Takes what an attempt says about its key.
    pub fn ended(
        &self,
        account: &Arc<Account>,
        source: &Arc<str>,
        outcome: &Outcome,
        throttled_until: Option<Millis>,
        now: Millis,
    ) -> Vec<Change> {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return Vec::new() };
        lane.running = lane.running.saturating_sub(1);
        let mut changes = Vec::new();
        match (outcome, &mut lane.held) {
            (Outcome::Held(reason), None) => {
                lane.held = Some(Hold { reason: reason.clone(), pause: PROBE, probe_at: Some(now + PROBE) });
                changes.push(Change::Held { sources: lane.sources.clone(), reason: reason.clone() });
            }
            (Outcome::Held(_), Some(hold)) if hold.probe_at.is_none() => {
                hold.pause = (hold.pause * 2).min(LONGEST_PROBE);
                hold.probe_at = Some(now + hold.pause);
            }
            // Novu has judged the request itself, so it took the key.
            (Outcome::Delivered | Outcome::Refused(_) | Outcome::Rejected(_) | Outcome::UnknownWorkflow, Some(_)) => {
                lane.held = None;
                changes.push(Change::Recovered { sources: lane.sources.clone() });
            }
            (_, Some(hold)) => hold.probe_at = hold.probe_at.or(Some(now + hold.pause)),
            (_, None) => {}
        }
        if let Some(until) = throttled_until.filter(|until| *until > lane.throttled_until) {
            lane.throttled_until = until;
            changes.push(Change::Throttled { source: source.clone(), until });
        }
        changes
    }

    pub fn is_held(&self, account: &Arc<Account>) -> bool {
        self.lock().iter().any(|lane| lane.account == *account && lane.held.is_some())
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
            if let Some(hold) = &lane.held {
                degraded.push(format!(
                    "Novu cannot be used with the key of {sources}: {}; deliveries are held",
                    hold.reason
                ));
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
                held: None,
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
        if let Some(hold) = &self.held {
            return match hold.probe_at {
                Some(at) if at <= now => Ok(1),
                next => Err(next),
            };
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
