//! Many deliveries in one call.
//!
//! Each keeps its own transaction id and comes to its own end. After a call whose outcome is not known they go one by one
//! and under keys of their own, which Novu has not seen; that nothing runs twice is then up to the transaction ids, by
//! which Novu drops what it has run.

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::next::{Standing, attempt_result, delivery_outcome, next_step};
use super::slots::Slot;
use super::{Deliverer, Ended, Progress};
use crate::novu::bulk::{Bulk, COST, body};
use crate::novu::{Account, Outcome, Reason};
use crate::settings::{Retry, Settings};
use crate::store::{Claimed, Step};
use crate::units::{Millis, hex, now};

impl Deliverer {
    /// The whole life of one call for many.
    pub(super) async fn deliver_bulk(
        self,
        claimed: Vec<Claimed>,
        account: Arc<Account>,
        settings: Arc<Settings>,
        slot: Slot,
    ) {
        let (moment, count) = (now(), claimed.len());
        let (mut ends, mut members) = (Vec::new(), Vec::with_capacity(claimed.len()));
        for claimed in claimed {
            match self.not_now(&claimed, &account, &settings, moment) {
                Some((step, outcome)) => ends.push((claimed, step, outcome)),
                None => members.push(claimed),
            }
        }
        if members.is_empty() {
            self.attempts.lanes.released(&account, COST, false, moment);
        } else {
            ends.extend(self.call(members, &account, &settings).await);
        }
        self.attempts.lanes.bulk_ended(&account, count);
        drop(slot);
        self.record(ends).await;
    }

    async fn call(&self, mut members: Vec<Claimed>, account: &Arc<Account>, settings: &Settings) -> Vec<Ended> {
        let key = key(account, &members);
        let requests: Vec<Vec<u8>> = members.iter_mut().map(|claimed| std::mem::take(&mut claimed.request)).collect();
        let body = body(&requests);
        // They wait for the answer only once in memory.
        drop(requests);
        let transactions: Vec<&str> = members.iter().map(|claimed| &*claimed.transaction_id).collect();
        let started = Instant::now();
        let novu = &self.attempts.novu;
        let response = novu.trigger_bulk(account, &key, body, &transactions, settings.timeout).await;
        let results: Vec<&str> = match &response.outcome {
            Bulk::Each(outcomes) => outcomes.iter().copied().map(attempt_result).collect(),
            Bulk::All(outcome) => vec![attempt_result(*outcome); members.len()],
            Bulk::Absent => Vec::new(),
        };
        self.attempts.metrics.bulk_attempt(results, started.elapsed().as_secs_f64());
        self.attempts.lanes.learned_in_bulk(account, &response, now());
        self.ends(members, response.outcome, account, settings.retry)
    }

    /// What follows for each, and for the key.
    fn ends(&self, members: Vec<Claimed>, outcome: Bulk, account: &Arc<Account>, retry: Retry) -> Vec<Ended> {
        let moment = now();
        let Some(source) = members.first().map(|claimed| claimed.source.clone()) else { return Vec::new() };
        let (whole, outcomes) = match outcome {
            Bulk::Each(outcomes) => (Outcome::Delivered, outcomes),
            Bulk::All(outcome) => (outcome, vec![outcome; members.len()]),
            Bulk::Absent => {
                self.attempts.lanes.released(account, COST, false, moment);
                let back = |claimed: Claimed| {
                    let step = Step::GivenBack { due: claimed.accepted_at };
                    (claimed, step, "")
                };
                return members.into_iter().map(back).collect();
            }
        };
        self.attempts.tell_lane(account, &source, whole, false, moment);
        let standing = self.attempts.standing(account, false);
        let end = |(claimed, outcome): (Claimed, Outcome)| {
            let step = step(outcome, &claimed, standing, retry, moment);
            (claimed, step, delivery_outcome(outcome))
        };
        members.into_iter().zip(outcomes).map(end).collect()
    }
}

/// What is turned down in company may be so for the sake of another: it goes alone, and first of all.
fn step(outcome: Outcome, claimed: &Claimed, standing: Standing, retry: Retry, now: Millis) -> Step {
    match outcome {
        Outcome::Rejected(_) => Step::Again {
            due: claimed.accepted_at,
            pause: 0,
            definite: false,
            reason: Reason::RejectedInBulk.to_string(),
            answer: None,
        },
        outcome => next_step(outcome, &None, Progress::from(claimed), standing, retry, now),
    }
}

/// The same for the same attempts in the same order.
fn key(account: &Account, members: &[Claimed]) -> String {
    let mut hash = Sha256::new();
    for claimed in members {
        let Claimed { transaction_id, request, definite_errors, .. } = claimed;
        hash.update(account.idempotency_key(transaction_id, request, *definite_errors));
    }
    format!("deskbell_bulk_{}", hex(&hash.finalize()[..16]))
}
