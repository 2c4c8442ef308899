//! One lane for each Novu key: what holds one delivery of it back holds all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rate::{self, Rate};
use crate::novu::bulk::{self, Bulk};
use crate::novu::{Account, Limit, Outcome, Reason, Response};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::units::Millis;

/// The pauses between probes of a key that is held: the first, and the longest.
const PROBE: Millis = 5_000;
const LONGEST_PROBE: Millis = 60_000;
/// Of all attempts at the same time, this part may be calls for many.
const BULK_CALLS: usize = 8;
/// How long deliveries go one by one after a call for many that Novu did not answer as it should.
const WITHOUT_BULK: Millis = 600_000;

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
    rate: Rate,
    /// Attempts that have started and not ended. A call for many is one.
    running: usize,
    /// Those that are calls for many.
    bulk_running: usize,
    /// Calls for many do not work here until then.
    without_bulk_until: Millis,
}

struct Hold {
    reason: Reason,
    pause: Millis,
    /// When the next probe goes; none while one is on its way.
    probe_at: Option<Millis>,
}

/// A lane in which deliveries may be attempted now.
pub struct Open {
    pub account: Arc<Account>,
    pub sources: Vec<Arc<str>>,
    pub most: usize,
    pub bulk: rate::Bulk,
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
                Ok(most) => {
                    let bulk = lane.bulk(settings, now);
                    open.push(Open { account: lane.account.clone(), sources: lane.sources.clone(), most, bulk });
                }
                Err(until) => reopens = [reopens, until].into_iter().flatten().min(),
            }
        }
        (open, reopens)
    }

    /// So many attempts were started, and perhaps a call for many.
    pub fn started(&self, account: &Arc<Account>, count: usize, bulk: bool) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.rate.spend(count + if bulk { bulk::COST } else { 0 });
            lane.running += count + usize::from(bulk);
            lane.bulk_running += usize::from(bulk);
            if let Some(hold) = lane.held.as_mut().filter(|_| count > 0) {
                hold.probe_at = None;
            }
        }
    }

    /// What was started, at this cost, was not attempted after all.
    pub fn released(&self, account: &Arc<Account>, cost: usize, now: Millis) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return };
        lane.running = lane.running.saturating_sub(1);
        lane.rate.give_back(cost);
        if let Some(hold) = &mut lane.held {
            hold.probe_at = hold.probe_at.or(Some(now));
        }
    }

    /// Takes what an answer says of the limit, before [`Lanes::ended`].
    pub fn learned(&self, account: &Arc<Account>, response: &Response, now: Millis) {
        let taken = matches!(response.outcome, Outcome::Delivered | Outcome::Refused(_));
        let throttled = matches!(response.outcome, Outcome::Throttled { .. });
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.learn(response.limit, taken, throttled, now);
        }
    }

    /// The same of a call for many.
    pub fn learned_in_bulk(&self, account: &Arc<Account>, response: &Response<Bulk>, now: Millis) {
        let taken = matches!(response.outcome, Bulk::Each(_));
        let throttled = matches!(response.outcome, Bulk::All(Outcome::Throttled { .. }));
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.learn(response.limit, taken, throttled, now);
            if !works(&response.outcome) {
                if lane.without_bulk_until <= now {
                    tracing::info!(sources = ?lane.sources, "a bulk call did not work; deliveries go alone for a while");
                }
                lane.without_bulk_until = now + WITHOUT_BULK;
            }
        }
    }

    /// A call for many is over, whether it was made or not.
    pub fn bulk_ended(&self, account: &Arc<Account>) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.bulk_running = lane.bulk_running.saturating_sub(1);
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
                rate: Rate::new(),
                running: 0,
                bulk_running: 0,
                without_bulk_until: 0,
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
        self.rate.allowance(settings.rate, now).map_err(Some)
    }

    /// Whether a call for many may start now.
    fn bulk(&self, settings: &Settings, now: Millis) -> rate::Bulk {
        let full = self.bulk_running >= (settings.concurrency / BULK_CALLS).max(1);
        match !settings.bulk || full || self.held.is_some() || now < self.without_bulk_until {
            true => rate::Bulk::No,
            false => self.rate.bulk(settings.rate, now),
        }
    }

    /// What goes to Novu at the same time is too much only once.
    fn learn(&mut self, limit: Option<Limit>, taken: bool, throttled: bool, now: Millis) {
        self.rate.learn(limit, taken);
        if throttled && self.throttled_until <= now {
            self.rate.slow_down();
        }
    }
}

/// Whether Novu can be asked for many at once. It may be too slow for it, may not know it, or something on the way may
/// not let it pass, while all is well with one by one.
fn works(outcome: &Bulk) -> bool {
    match outcome {
        Bulk::Each(_) => true,
        Bulk::Absent => false,
        Bulk::All(outcome) => {
            !matches!(outcome, Outcome::Held(_) | Outcome::Unsure(_) | Outcome::Timeout | Outcome::ConnectionLost)
        }
    }
}
