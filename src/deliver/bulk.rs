//! Many deliveries in one call.
//!
//! Each keeps its own transaction id and comes to its own end. After a call whose outcome is not known they go one by one
//! and under keys of their own, which Novu has not seen; that nothing runs twice is then up to the transaction ids, by
//! which Novu drops what it has run.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{Deliverer, attempt_result, delivery_outcome, idempotency_key, is_expired, next_step, throttled_until};
use crate::novu::bulk::{Bulk, COST, body};
use crate::novu::{Account, Outcome};
use crate::settings::{Retry, Settings};
use crate::store::{Claimed, Step};
use crate::units::{Millis, hex, now};

impl Deliverer {
    /// The whole life of one call for many.
    pub(super) async fn deliver_bulk(self, claimed: Vec<Claimed>, account: Arc<Account>, settings: Arc<Settings>) {
        let moment = now();
        let (expired, mut members): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|claimed| is_expired(claimed, moment));
        let mut ends: Vec<End> = expired.into_iter().map(|claimed| (claimed, Step::Expired, "expired")).collect();
        if members.is_empty() {
            self.lanes.released(&account, COST, moment);
        } else {
            let outcome = self.call(&mut members, &account, &settings).await;
            ends.extend(self.ends(members, outcome, &account, settings.retry));
        }
        self.lanes.bulk_ended(&account);
        let mut recording = JoinSet::new();
        for (claimed, step, outcome) in ends {
            let deliverer = self.clone();
            recording.spawn(async move { deliverer.record(&claimed, step, outcome).await });
        }
        while recording.join_next().await.is_some() {}
    }

    async fn call(&self, members: &mut [Claimed], account: &Arc<Account>, settings: &Settings) -> Bulk {
        let requests: Vec<Vec<u8>> = members.iter_mut().map(|claimed| std::mem::take(&mut claimed.request)).collect();
        let body = body(&requests);
        // They wait for the answer only once in memory.
        drop(requests);
        let transactions: Vec<&str> = members.iter().map(|claimed| &*claimed.transaction_id).collect();
        let started = Instant::now();
        let response = self.novu.trigger_bulk(account, &key(members), body, &transactions, settings.timeout).await;
        let results: Vec<&str> = match &response.outcome {
            Bulk::Each(outcomes) => outcomes.iter().map(attempt_result).collect(),
            Bulk::All(outcome) => vec![attempt_result(outcome); members.len()],
            Bulk::Absent => Vec::new(),
        };
        self.metrics.bulk_attempt(results, started.elapsed().as_secs_f64());
        self.lanes.learned_in_bulk(account, &response, now());
        response.outcome
    }

    /// What follows for each, and for the key.
    fn ends(&self, members: Vec<Claimed>, outcome: Bulk, account: &Arc<Account>, retry: Retry) -> Vec<End> {
        let moment = now();
        let Some(source) = members.first().map(|claimed| claimed.source.clone()) else { return Vec::new() };
        let (whole, outcomes) = match outcome {
            Bulk::Each(outcomes) => (Outcome::Delivered, outcomes),
            Bulk::All(outcome) => (outcome.clone(), vec![outcome; members.len()]),
            Bulk::Absent => {
                self.lanes.released(account, COST, moment);
                let back = |claimed: Claimed| {
                    let step = Step::GivenBack { due: claimed.accepted_at };
                    (claimed, step, "")
                };
                return members.into_iter().map(back).collect();
            }
        };
        let steps: Vec<Step> =
            members.iter().zip(&outcomes).map(|(claimed, outcome)| step(outcome, claimed, retry, moment)).collect();
        let until = steps.first().and_then(|step| throttled_until(&whole, step));
        for change in self.lanes.ended(account, &source, &whole, until, moment) {
            change.report(&self.metrics, moment);
        }
        let names = outcomes.iter().map(delivery_outcome);
        members.into_iter().zip(steps).zip(names).map(|((claimed, step), name)| (claimed, step, name)).collect()
    }
}

/// How a delivery leaves a call.
type End = (Claimed, Step, &'static str);

/// What is turned down in company may be so for the sake of another: it goes alone, and first of all.
fn step(outcome: &Outcome, claimed: &Claimed, retry: Retry, now: Millis) -> Step {
    match outcome {
        Outcome::Rejected(_) => {
            let reason = "rejected_in_bulk".to_owned();
            Step::Again { due: claimed.accepted_at, pause: 0, definite: false, reason }
        }
        outcome => next_step(outcome, claimed, false, retry, now),
    }
}

/// The same for the same attempts in the same order.
fn key(members: &[Claimed]) -> String {
    let keys: Vec<String> = members.iter().map(idempotency_key).collect();
    format!("deskbell_bulk_{}", hex(&Sha256::digest(keys.join("\n"))))
}
