//! One lane for each Novu key: what holds one delivery of it back holds all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::gate::{Gate, Turn};
use super::rate::{self, Rate};
use crate::novu::bulk::{self, Bulk};
use crate::novu::{Account, Limit, Outcome, Reason, Response};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::units::Millis;

/// Of all attempts at the same time, this part may be full calls for many, or as much in smaller ones.
const BULK_CALLS: usize = 8;
/// How long deliveries go one by one after a call for many that Novu did not answer as it should.
const WITHOUT_BULK: Millis = 600_000;

/// All lanes of this process.
#[derive(Default)]
pub struct Lanes {
    lanes: Mutex<Vec<Lane>>,
    /// What was open may not be open any more, or the other way round.
    pub(super) changed: Notify,
    /// Something is to be told to others who use the same keys.
    pub(super) news: Notify,
}

pub(super) struct Lane {
    pub account: Arc<Account>,
    /// The sources that deliver with this key.
    pub sources: Vec<Arc<str>>,
    pub gate: Gate,
    /// Novu asked to wait until then.
    pub throttled_until: Millis,
    /// Others do not know yet what has changed of these two.
    pub is_news: bool,
    pub rate: Rate,
    /// Attempts that have started and not ended. A call for many is one.
    running: usize,
    /// Deliveries in calls for many.
    in_bulk: usize,
    /// Calls for many do not work here until then.
    without_bulk_until: Millis,
}

/// A lane in which deliveries may be attempted now.
pub struct Open {
    pub account: Arc<Account>,
    pub sources: Vec<Arc<str>>,
    pub most: usize,
    /// Whether many may go in one call.
    pub bulk: rate::Bulk,
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
                    bulk: lane.bulk(settings, now),
                    probe: lane.gate.held().is_some(),
                }),
                Err(until) => reopens = [reopens, until].into_iter().flatten().min(),
            }
        }
        (open, reopens)
    }

    /// Resolves when something may go that could not, or the other way round.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// When the lane of a source opens again, if it is closed and that is known.
    pub fn reopens(&self, source: &Arc<str>, now: Millis) -> Option<Millis> {
        let lanes = self.lock();
        let lane = lanes.iter().find(|lane| lane.sources.contains(source))?;
        let probe_at = lane.gate.probe_at().flatten();
        Some(lane.throttled_until.max(probe_at.unwrap_or_default())).filter(|at| *at > now)
    }

    /// So many attempts were started in a lane that was open, and one call for so many `in_bulk`, if any. It may have come
    /// to be held since.
    pub fn started(&self, open: &Open, count: usize, in_bulk: usize) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == open.account) {
            let bulk = in_bulk > 0;
            lane.rate.spend(count + if bulk { bulk::COST } else { 0 });
            lane.running += count + usize::from(bulk);
            lane.in_bulk += in_bulk;
            if open.probe && count > 0 {
                lane.gate.probing();
            }
        }
    }

    /// What was started, at this cost, was not attempted after all.
    pub fn released(&self, account: &Arc<Account>, cost: usize, probe: bool, now: Millis) {
        let mut lanes = self.lock();
        let Some(lane) = lanes.iter_mut().find(|lane| lane.account == *account) else { return };
        lane.running = lane.running.saturating_sub(1);
        lane.rate.give_back(cost);
        if probe {
            lane.gate.released(now);
            self.changed.notify_one();
        }
    }

    /// Takes what an answer says of the limit, before [`Lanes::ended`].
    pub fn learned(&self, account: &Arc<Account>, response: &Response, now: Millis) {
        let taken = matches!(response.outcome, Outcome::Delivered | Outcome::Refused(_));
        let throttled = matches!(response.outcome, Outcome::Throttled { .. });
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account)
            && lane.learn(response.limit, taken, throttled, now)
        {
            self.changed.notify_one();
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

    /// A call for so many is over, whether it was made or not.
    pub fn bulk_ended(&self, account: &Arc<Account>, count: usize) {
        if let Some(lane) = self.lock().iter_mut().find(|lane| lane.account == *account) {
            lane.in_bulk = lane.in_bulk.saturating_sub(count);
            self.changed.notify_one();
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
        if !changes.is_empty() {
            lane.is_news = true;
            self.news.notify_one();
        }
        if probe || !changes.is_empty() {
            self.changed.notify_one();
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

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Lane>> {
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
                is_news: false,
                rate: Rate::new(),
                running: 0,
                in_bulk: 0,
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
        match self.gate.probe_at() {
            Some(Some(at)) if at <= now => return Ok(1),
            Some(next) => return Err(next),
            None => {}
        }
        self.rate.allowance(settings.rate, now).map_err(Some)
    }

    /// Whether a call for many may start now.
    fn bulk(&self, settings: &Settings, now: Millis) -> rate::Bulk {
        let full = self.in_bulk + bulk::MOST > (settings.concurrency / BULK_CALLS).max(1) * bulk::MOST;
        match !settings.bulk || full || self.gate.held().is_some() || now < self.without_bulk_until {
            true => rate::Bulk::No,
            false => self.rate.bulk(settings.rate, now),
        }
    }

    /// Says whether that changes anything. What goes to Novu at the same time is too much only once.
    fn learn(&mut self, limit: Option<Limit>, taken: bool, throttled: bool, now: Millis) -> bool {
        let too_much = throttled && self.throttled_until <= now;
        let new = self.rate.learn(limit, taken);
        if too_much {
            self.rate.slow_down();
        }
        new || too_much
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
            bulk: true,
            retry: Retry { first: 1_000, longest: 300_000, unknown: 30_000, give_up_after: 86_400_000 },
            body_limit: 0,
            queue_limit: 0,
            free_disk: None,
            retention: 0,
            remember: 0,
            accounts: [(source.clone(), account.clone())].into(),
        };
        let lanes = Lanes::default();
        let open = |now| lanes.open(&settings, now).0.pop();
        let before = open(0).expect("an open lane");
        let ended = |outcome, probe, now| lanes.ended(&account, &source, outcome, probe, None, now).len();
        assert_eq!(ended(Outcome::Held(Reason::Status(401)), false, 0), 1);
        lanes.started(&before, 3, 0);
        lanes.released(&account, 1, before.probe, 100);
        assert_eq!(ended(Outcome::Timeout, before.probe, 200), 0);
        assert!(open(4_999).is_none());
        let probe = open(5_000).expect("a probe");
        assert!((probe.probe, probe.most) == (true, 1));
        lanes.started(&probe, 1, 0);
        assert!(open(60_000).is_none(), "one at a time");
    }
}
