//! What has to be done again and again while a gateway runs: deliveries become too old, events have been kept long
//! enough, and the disk fills.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::deliver::Lanes;
use crate::observe::Metrics;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store::{Expired, Identity, Replica, Sign, Store};
use crate::units::{Millis, now};

/// How often the time of what waits, the disk and the queue are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After each step, this many times as long as it took belongs to webhooks and deliveries alone.
const REST: u32 = 4;
/// The pauses between two sweeps over all that is kept, and over all identities. Where less is kept, they are shorter.
const LONGEST_PAUSE: Millis = 60_000;
/// How long gateways may run different rules before that is told.
const LASTING: Duration = Duration::from_secs(15);
const LONGEST_IDENTITY_PAUSE: Millis = 3_600_000;

/// Everything that it needs.
pub struct Upkeep {
    pub store: Store,
    pub lanes: Arc<Lanes>,
    pub metrics: Arc<Metrics>,
    pub rules: watch::Receiver<Arc<Rules>>,
}

impl Upkeep {
    /// Runs until it is dropped.
    pub async fn run(self) {
        tokio::join!(self.look_around(), self.talk(), self.expire(), self.retain(), self.forget());
    }

    fn settings(&self) -> Arc<Settings> {
        self.rules.borrow().settings.clone()
    }

    async fn look_around(&self) {
        let (mut disk_was_full, mut queue_was_full) = (false, false);
        loop {
            let rules = self.rules.borrow().clone();
            let Settings { free_disk, queue_limit, .. } = *rules.settings;
            self.store.look_around(free_disk).await;
            let queue = self.store.queue();
            if std::mem::replace(&mut disk_was_full, queue.disk_full) != queue.disk_full {
                report_disk(queue.disk_full);
            }
            let full = is_full(queue.waiting().unsigned_abs(), queue_limit, queue_was_full);
            if std::mem::replace(&mut queue_was_full, full) != full {
                report_queue(full, queue_limit);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Gives signs of life to the gateways that share the store, and learns what they know.
    async fn talk(&self) {
        if !self.store.is_shared() {
            return;
        }
        let mut split = Split::default();
        loop {
            let rules = self.rules.borrow().clone();
            let keys = self.lanes.news();
            let sign =
                Sign { revision: rules.revision.clone(), unknown: rules.settings.retry.unknown, keys: keys.clone() };
            match self.store.give_sign(sign).await {
                Some(known) => self.lanes.follow_others(&known, self.store.replicas().len(), now()),
                None => self.lanes.untold(&keys),
            }
            split.look(&self.store.replicas());
            if self.store.sweeps() {
                // One may lay something aside at the moment when another ends the pause.
                self.store.release();
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.lanes.has_news() => {}
                () = self.store.stirred() => {}
            }
        }
    }

    async fn expire(&self) {
        loop {
            let mut more = true;
            while more {
                let started = Instant::now();
                let metrics = self.metrics.clone();
                let count = move |Expired { route, .. }: &Expired| metrics.delivery(route, "expired");
                let step = self.store.expire(now(), count).await;
                more = step.as_ref().is_some_and(|(_, more)| *more);
                for Expired { source, event_id: event, route } in step.iter().flat_map(|(expired, _)| expired) {
                    tracing::info!(%source, event, %route, "expired");
                }
                rest(started).await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn retain(&self) {
        loop {
            let mut place = self.store.sweeps().then_some(0);
            while let Some(after) = place {
                let started = Instant::now();
                let Settings { retention, remember, .. } = *self.settings();
                place = self.store.retain(after, retention, remember, now()).await;
                rest(started).await;
            }
            self.pause(|settings| settings.retention.min(LONGEST_PAUSE)).await;
        }
    }

    async fn forget(&self) {
        loop {
            let mut place = self.store.sweeps().then(Identity::default);
            while let Some(after) = place {
                let started = Instant::now();
                place = self.store.forget(after, self.settings().remember, now()).await;
                rest(started).await;
            }
            self.pause(|settings| settings.remember.min(LONGEST_IDENTITY_PAUSE)).await;
        }
    }

    /// Waits for as long as the settings say, or until they change.
    async fn pause(&self, length: impl Fn(&Settings) -> Millis) {
        let mut rules = self.rules.clone();
        let length = length(&rules.borrow_and_update().settings).unsigned_abs();
        let _ = tokio::time::timeout(Duration::from_millis(length), rules.changed()).await;
    }
}

/// Gateways that share a store and run different rules.
#[derive(Default)]
struct Split {
    since: Option<Instant>,
    told: bool,
}

impl Split {
    /// A change reaches one after another: what lasts is told.
    fn look(&mut self, replicas: &[Replica]) {
        let is_split = replicas.windows(2).any(|pair| pair[0].revision != pair[1].revision);
        if !is_split {
            if std::mem::take(self).told {
                tracing::info!("all gateways run the same rules again");
            }
            return;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() >= LASTING && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(
                hint = "`/api/rules` says which of them runs what; give all of them the same file",
                "the gateways that share the store run different rules"
            );
        }
    }
}

async fn rest(since: Instant) {
    tokio::time::sleep(since.elapsed() * REST).await;
}

/// A queue that was full has to become a little emptier to be no longer called so, or it would come and go.
fn is_full(waiting: u64, limit: u64, was_full: bool) -> bool {
    waiting >= if was_full { limit - limit / 10 } else { limit }
}

fn report_disk(full: bool) {
    match full {
        true => tracing::error!(
            hint = "make room on it, or allow less with `limits.free_disk`",
            "the disk is almost full; webhooks are refused until it has room again"
        ),
        false => tracing::info!("the disk has room again"),
    }
}

fn report_queue(full: bool, limit: u64) {
    match full {
        true => tracing::error!(
            limit,
            hint = "`/readyz` says what holds deliveries back; `limits.queue` allows more",
            "the queue is full; webhooks that make deliveries are refused until it has room again"
        ),
        false => tracing::info!("the queue has room again"),
    }
}
