//! A claimed delivery becomes a Novu call, and its answer an outcome that the store remembers.

mod attempt;
mod bulk;
mod gate;
mod lanes;
mod next;
mod rate;
mod share;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::novu::{Account, bulk as novu_bulk};
use crate::observe::Metrics;
use crate::settings::Settings;
use crate::store::{BulkRoom, Claimed, Claiming, Claims, End, NextDue, Offer, Room, Step, Store};
use crate::units::{Millis, now};
pub use attempt::{Attempts, Progress};
pub use lanes::{Lanes, Open};
use next::GAVE_UP;
use slots::{Slot, Slots};

/// How long to wait when nothing says when to look again.
const LONGEST_SLEEP: Millis = 60_000;
/// How soon a store that could not be written is asked again.
const PROBE: Millis = 1_000;

/// How long a claim waits for more attempts to end, so that it is worth its write to disk.
const GATHER: Millis = 2;

/// How long what is due waits for company while places are scarce, so that it goes in one call. Where each took a place
/// of its own there would soon be none, and then a crowd.
const COMPANY: Millis = 20;

/// So many deliveries are worth a call of their own.
const WORTHWHILE: usize = 10;

/// So many ends are reported before others get their turn.
const AT_A_TIME: usize = 8;

/// Delivers what the store holds.
#[derive(Clone)]
pub struct Deliverer {
    store: Store,
    attempts: Attempts,
    slots: Slots,
}

/// What has been offered to the store, and not been answered.
struct Standing {
    lanes: Vec<Open>,
    claiming: Claiming,
}

/// An offer, if there is room for any.
struct Round {
    standing: Option<Standing>,
    /// Something may be due that there is not enough room for: attempts that end make it.
    short: bool,
    /// When to offer anew.
    again: Millis,
}

impl Deliverer {
    pub fn new(store: Store, attempts: Attempts) -> Self {
        Self { store, attempts, slots: Slots::default() }
    }

    /// Delivers what is due, the most urgent first, until `stop` says so; then lets running
    /// attempts end, for as long as `grace`.
    pub async fn run(
        self,
        mut settings: watch::Receiver<Arc<Settings>>,
        mut stop: watch::Receiver<bool>,
        grace: Duration,
    ) {
        let mut running = JoinSet::new();
        let mut current = settings.borrow_and_update().clone();
        // From when on something may be due.
        let mut due_at = 0;
        // Something may be due that the claim which stands does not tell of: it was made before.
        let mut anew = false;
        let mut looked_at = now();
        let mut rests_until = 0;
        let mut round = self.offer(&current, due_at, looked_at, true);
        while !*stop.borrow() {
            let mut hurry = false;
            tokio::select! {
                claims = claims(&mut round.standing) => {
                    let lanes = round.standing.take().map(|standing| standing.lanes).unwrap_or_default();
                    if claims.as_ref().is_none_or(|claims| claims.iter().any(Claims::has_looked)) {
                        looked_at = now();
                    }
                    let bundles = lanes.iter().any(|lane| lane.bulk == rate::Bulk::Free);
                    // They were offered before.
                    anew |= settings.has_changed().unwrap_or_default();
                    current = settings.borrow_and_update().clone();
                    due_at = self.start(lanes, claims, due_at, &current, &mut running);
                    if bundles && self.is_scarce(&current) && due_at > now() {
                        rests_until = now() + COMPANY;
                    }
                }
                () = self.slots.freed(), if round.short => {
                    if !self.is_worthwhile(&current) {
                        round.again = round.again.min(now() + GATHER);
                        continue;
                    }
                }
                () = self.attempts.lanes.changed() => anew = true,
                () = sleep_until(round.again) => {
                    (hurry, anew) = (true, true);
                    looked_at = now();
                }
                Ok(()) = settings.changed() => anew = true,
                _ = stop.changed() => {}
            }
            while running.try_join_next().is_some() {}
            anew |= settings.has_changed().unwrap_or_default();
            current = settings.borrow_and_update().clone();
            if let Some(standing) = withdraw(round.standing.take()) {
                // It has been taken up: the answer is about to come.
                round = Round { standing: Some(standing), short: false, again: now() + PROBE };
                continue;
            }
            if std::mem::take(&mut anew) {
                due_at = 0;
            }
            round = match now() < rests_until {
                true => Round { standing: None, short: false, again: rests_until },
                false => self.offer(&current, due_at, looked_at, hurry),
            };
        }
        if let Some(Standing { lanes, mut claiming }) = withdraw(round.standing.take()) {
            let claims = claiming.claims().await;
            self.start(lanes, claims, due_at, &current, &mut running);
        }
        let all_ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            // The next start makes them due again, after `retry.unknown`.
            tracing::warn!("attempts were still running; their outcome is unknown");
        }
    }

    /// Offers all the room there is, in the lanes that are open.
    fn offer(&self, settings: &Settings, due_at: Millis, looked_at: Millis, hurry: bool) -> Round {
        let moment = now();
        let (open, reopens) = self.attempts.lanes.open(settings, moment);
        let calls = self.slots.free(settings.concurrency);
        let mut again = [Some(looked_at + LONGEST_SLEEP), reopens].into_iter().flatten().min().unwrap_or(moment);
        let is_due = due_at <= moment;
        let short = calls == 0 || is_due && !hurry && !self.is_worthwhile(settings);
        if !is_due {
            again = again.min(due_at);
        } else if short && calls > 0 {
            again = again.min(moment + GATHER);
        }
        let (mut offers, mut lanes) = (Vec::new(), Vec::new());
        for lane in open.into_iter().filter(|lane| calls.min(lane.most) > 0) {
            let (bulk, saved_up) = bulk_room(lane.bulk, self.is_scarce(settings));
            again = again.min(saved_up.unwrap_or(again));
            let room = Room { calls: calls.min(lane.most), bulk, fresh: !is_due && !lane.probe, probe: lane.probe };
            offers.push(Offer { sources: lane.sources.clone(), room });
            lanes.push(lane);
        }
        let standing = (!lanes.is_empty())
            .then(|| Standing { lanes, claiming: self.store.claim(offers, calls, is_due && !short) });
        Round { standing, short, again }
    }

    /// Whether there is room for enough attempts to be worth a write of their own.
    fn is_worthwhile(&self, settings: &Settings) -> bool {
        self.slots.free(settings.concurrency) * 4 >= settings.concurrency
    }

    /// Whether it is time to use the places that are left for many at once.
    fn is_scarce(&self, settings: &Settings) -> bool {
        self.slots.free(settings.concurrency) * 2 <= settings.concurrency
    }

    /// Starts an attempt for everything that was claimed, and says when something may be due again; so it was `before`.
    fn start(
        &self,
        lanes: Vec<Open>,
        claims: Option<Vec<Claims>>,
        before: Millis,
        settings: &Arc<Settings>,
        running: &mut JoinSet<()>,
    ) -> Millis {
        let moment = now();
        let Some(claims) = claims else { return moment + PROBE };
        let any = claims.iter().any(|claims| claims.calls() > 0);
        let mut due_at = Millis::MAX;
        for (lane, claims) in lanes.into_iter().zip(claims) {
            self.attempts.lanes.started(&lane, claims.claimed.len(), claims.bulk.len());
            due_at = due_at.min(match claims.next_due {
                NextDue::AsBefore => before,
                // There may be more where something was found. Otherwise it waits for what only time brings.
                NextDue::Now if any => moment,
                NextDue::At(due) => due,
                NextDue::Now | NextDue::Never => Millis::MAX,
            });
            for claimed in claims.claimed {
                let (deliverer, account, settings) = (self.clone(), lane.account.clone(), settings.clone());
                let (probe, slot) = (lane.probe, self.slots.take());
                running.spawn(async move { deliverer.deliver_next(claimed, &account, probe, &settings, slot).await });
            }
            if !claims.bulk.is_empty() {
                let slot = self.slots.take();
                running.spawn(self.clone().deliver_bulk(claims.bulk, lane.account, settings.clone(), slot));
            }
        }
        due_at
    }

    /// The whole life of one attempt.
    async fn deliver_next(
        &self,
        claimed: Claimed,
        account: &Arc<Account>,
        probe: bool,
        settings: &Settings,
        slot: Slot,
    ) {
        let moment = now();
        let (step, outcome) = match self.not_now(&claimed, account, settings, moment) {
            Some(end) => {
                self.attempts.lanes.released(account, 1, probe, moment);
                end
            }
            None => {
                let progress = Progress::from(&claimed);
                let (outcome, step) =
                    self.attempts.make(&claimed.source, account, probe, progress, &claimed.request, settings).await;
                (step, next::delivery_outcome(outcome))
            }
        };
        drop(slot);
        self.record(vec![(claimed, step, outcome)]).await;
    }

    /// Why a delivery that was claimed is not attempted after all, if it is not.
    fn not_now(
        &self,
        claimed: &Claimed,
        account: &Arc<Account>,
        settings: &Settings,
        now: Millis,
    ) -> Option<(Step, &'static str)> {
        match claimed.expires_at {
            Some(at) if at <= now => Some((Step::Expired, "expired")),
            // Paused since it was claimed: whoever was told so relies on it.
            _ if self.store.is_paused(&claimed.route, &claimed.source) => Some((Step::GivenBack { due: now }, "")),
            // Another gateway may be about to take it over.
            _ if !self.store.may_attempt() => Some((Step::GivenBack { due: now }, "")),
            // The rules have another key for it by now.
            _ if settings.accounts.get(&claimed.source) != Some(account) => Some((Step::GivenBack { due: now }, "")),
            _ => None,
        }
    }

    async fn record(&self, ended: Vec<Ended>) {
        let moment = now();
        let ends = ended.iter().map(|(claimed, step, _)| End::new(claimed, step.clone())).collect();
        let (ended, metrics): (Arc<[Ended]>, _) = (ended.into(), self.attempts.metrics.clone());
        let counted = ended.clone();
        self.store.finish(ends, moment, move |place| count(&metrics, &counted[place], moment)).await;
        for (index, (claimed, step, _)) in ended.iter().enumerate() {
            if index > 0 && index % AT_A_TIME == 0 {
                // Webhooks that have come meanwhile go first.
                tokio::task::yield_now().await;
            }
            report(claimed, step);
        }
    }
}

/// How a delivery leaves an attempt, and the outcome if it is the last one.
type Ended = (Claimed, Step, &'static str);

fn count(metrics: &Metrics, (claimed, step, outcome): &Ended, moment: Millis) {
    match step {
        Step::Delivered => metrics.delivered(&claimed.route, moment - claimed.accepted_at),
        Step::Dead { reason, .. } if reason == GAVE_UP => metrics.delivery(&claimed.route, GAVE_UP),
        Step::Dead { .. } | Step::Expired => metrics.delivery(&claimed.route, outcome),
        Step::Again { .. } | Step::GivenBack { .. } => {}
    }
}

fn report(claimed: &Claimed, step: &Step) {
    let Claimed { source, event_id: event, route, attempts: attempt, .. } = claimed;
    match step {
        Step::Delivered => tracing::info!(%source, event, %route, attempt, "delivered"),
        Step::Dead { reason, .. } => tracing::warn!(%source, event, %route, attempt, reason, "dead"),
        Step::Expired => tracing::info!(%source, event, %route, "expired"),
        Step::Again { reason, pause, .. } => {
            tracing::debug!(%source, event, %route, attempt, reason, pause, "again")
        }
        Step::GivenBack { .. } => {}
    }
}

/// Resolves once something is claimed; none if the store cannot be written.
async fn claims(standing: &mut Option<Standing>) -> Option<Vec<Claims>> {
    match standing {
        Some(standing) => standing.claiming.claims().await,
        None => std::future::pending().await,
    }
}

/// What is left of it: it has been taken up.
fn withdraw(standing: Option<Standing>) -> Option<Standing> {
    let Standing { lanes, claiming } = standing?;
    claiming.withdraw().err().map(|claiming| Standing { lanes, claiming })
}

async fn sleep_until(moment: Millis) {
    tokio::time::sleep(Duration::from_millis((moment - now()).max(0).unsigned_abs())).await;
}

/// What a call for many may take, and when it may be made if that is not yet.
fn bulk_room(bulk: rate::Bulk, is_scarce: bool) -> (Option<BulkRoom>, Option<Millis>) {
    let room = |least, most| Some(BulkRoom { least, most, bytes: novu_bulk::MOST_BYTES });
    match bulk {
        rate::Bulk::No => (None, None),
        rate::Bulk::Free => (room(if is_scarce { 2 } else { WORTHWHILE }, novu_bulk::MOST), None),
        rate::Bulk::Full => (room(novu_bulk::MOST, novu_bulk::MOST), None),
        rate::Bulk::At(moment) => (room(novu_bulk::MOST, 0), Some(moment)),
    }
}
