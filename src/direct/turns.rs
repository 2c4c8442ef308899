//! Who attempts next: the most urgent of every open lane, as many as may run at the same time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};

use crate::deliver::{Lanes, Open};
use crate::novu::Account;
use crate::render::Priority;
use crate::settings::Settings;
use crate::units::{Millis, now};

/// How long to wait when nothing says when to look again.
const LONGEST_SLEEP: Millis = 60_000;

pub struct Turns {
    lanes: Arc<Lanes>,
    /// In the order in which they are to go.
    waiting: Mutex<BTreeMap<(Reverse<Priority>, u64), Waiting>>,
    number: AtomicU64,
    running: Arc<Running>,
}

/// Attempts that have a turn.
#[derive(Default)]
struct Running {
    count: AtomicUsize,
    /// Somebody may have their turn now.
    wake: Notify,
}

struct Waiting {
    source: Arc<str>,
    /// Later than that, it does not want its turn any more.
    latest: Millis,
    turn: oneshot::Sender<Turn>,
}

/// The permission to make one attempt.
pub struct Turn {
    pub account: Arc<Account>,
    pub settings: Arc<Settings>,
    /// Whether the lane is held, and the attempt is to show whether it still has to be.
    pub probe: bool,
    lanes: Arc<Lanes>,
    running: Arc<Running>,
    used: bool,
}

impl Turns {
    pub fn new(lanes: Arc<Lanes>) -> Self {
        Self { lanes, waiting: Mutex::default(), number: AtomicU64::default(), running: Arc::default() }
    }

    /// Resolves when it is this one's turn; fails as soon as it is known to come too late.
    pub fn take(&self, source: &Arc<str>, priority: Priority, latest: Millis) -> oneshot::Receiver<Turn> {
        let (turn, given) = oneshot::channel();
        let place = (Reverse(priority), self.number.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(place, Waiting { source: source.clone(), latest, turn });
        self.running.wake.notify_one();
        given
    }

    /// Gives turns until `stop` says so.
    pub async fn give(&self, mut settings: watch::Receiver<Arc<Settings>>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let current = settings.borrow_and_update().clone();
            let next = self.give_due(&current);
            tokio::select! {
                () = self.running.wake.notified() => {}
                () = tokio::time::sleep(next) => {}
                Ok(()) = settings.changed() => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Gives a turn to everyone who may have one now, and says when to look again.
    fn give_due(&self, settings: &Arc<Settings>) -> Duration {
        let moment = now();
        let mut waiting = self.lock();
        let (open, reopens) = self.lanes.open(settings, moment);
        let too_late = |waiting: &Waiting| {
            let opens = self.lanes.reopens(&waiting.source, moment);
            waiting.turn.is_closed() || opens.is_some_and(|opens| opens > waiting.latest)
        };
        waiting.retain(|_, waiting| !too_late(waiting));
        let mut next = reopens.unwrap_or(moment + LONGEST_SLEEP);
        for lane in open {
            let free = settings.concurrency.saturating_sub(self.running.count.load(Ordering::Relaxed));
            let chosen: Vec<_> = waiting
                .iter()
                .filter(|(_, waiting)| lane.sources.contains(&waiting.source))
                .map(|(place, _)| *place)
                .take(free.min(lane.most))
                .collect();
            self.lanes.started(&lane, chosen.len(), 0);
            if chosen.len() == lane.most {
                // It was the rate that ended this, and it allows more before an attempt may end.
                next = moment;
            }
            for waiting in chosen.iter().filter_map(|place| waiting.remove(place)) {
                // Who has gone in between gives it back.
                let _ = waiting.turn.send(self.turn(&lane, settings));
            }
        }
        Duration::from_millis(next.saturating_sub(moment).max(0).unsigned_abs())
    }

    fn turn(&self, lane: &Open, settings: &Arc<Settings>) -> Turn {
        self.running.count.fetch_add(1, Ordering::Relaxed);
        Turn {
            account: lane.account.clone(),
            settings: settings.clone(),
            probe: lane.probe,
            lanes: self.lanes.clone(),
            running: self.running.clone(),
            used: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Reverse<Priority>, u64), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The attempt is made: it tells the lane itself how it went.
    pub fn use_up(&mut self) {
        self.used = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.used {
            self.lanes.released(&self.account, 1, self.probe, now());
        }
        self.running.count.fetch_sub(1, Ordering::Relaxed);
        self.running.wake.notify_one();
    }
}
