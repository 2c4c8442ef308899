//! One delivery of an event, until it is done or there is no more time for it.

use std::sync::Arc;

use super::memory::Tried;
use super::patience::Patience;
use super::turns::Turn;
use super::{About, Shared};
use crate::deliver::Progress;
use crate::novu::Outcome;
use crate::render::{Delivery, Priority};
use crate::store::Step;
use crate::units::{Millis, now};

/// What a delivery takes besides its request, in bytes.
const OVERHEAD: usize = 1 << 10;

/// A delivery that is ready to be sent.
pub struct Ready {
    pub route: Arc<str>,
    pub transaction_id: String,
    priority: Priority,
    expires_at: Option<Millis>,
    /// The body for Novu, or why there is none.
    request: Result<Vec<u8>, &'static str>,
}

impl From<Delivery> for Ready {
    fn from(delivery: Delivery) -> Self {
        let Delivery { route, transaction_id, priority, expires_at, request, .. } = delivery;
        let request = match request {
            Ok(request) => Ok(request.to_string().into_bytes()),
            Err(unsendable) => Err(unsendable.code()),
        };
        Self { route, transaction_id, priority, expires_at, request }
    }
}

impl Ready {
    /// What it takes, in bytes.
    pub fn size(&self) -> usize {
        OVERHEAD + self.request.as_ref().map_or(0, Vec::len)
    }
}

pub struct Delivering {
    shared: Arc<Shared>,
    about: Arc<About>,
    delivery: Ready,
    tried: Tried,
    patience: Patience,
    /// For this webhook.
    attempts: u32,
}

/// What became of a delivery, for now.
pub struct Ended {
    pub route: Arc<str>,
    pub transaction_id: String,
    pub tried: Tried,
    pub ending: Ending,
}

pub enum Ending {
    /// Delivered, or expired: now, or for a webhook before.
    Done,
    /// Novu never takes it as it is.
    Rejected { reason: String },
    /// It may be mended. Before it is due, nothing is attempted.
    Later { reason: String, due: Option<Millis> },
}

/// What follows from an attempt, if not another one.
type Next = Option<Ending>;

impl Delivering {
    pub fn new(shared: Arc<Shared>, about: Arc<About>, delivery: Ready, tried: Tried, patience: Patience) -> Self {
        Self { shared, about, delivery, tried, patience, attempts: 0 }
    }

    pub async fn run(mut self) -> Ended {
        let ending = if self.tried.done { Ending::Done } else { self.attempt_all().await };
        let (About { source, id: event, .. }, Self { attempts: attempt, delivery, tried, .. }) = (&*self.about, &self);
        let Ready { route, transaction_id, .. } = delivery;
        if let Ending::Rejected { reason } | Ending::Later { reason, .. } = &ending {
            tracing::warn!(%source, event, %route, attempt, reason, "not delivered");
        }
        Ended { route: route.clone(), transaction_id: transaction_id.clone(), tried: *tried, ending }
    }

    /// Attempts it until it has ended, or the patience has.
    async fn attempt_all(&mut self) -> Ending {
        let request = match std::mem::replace(&mut self.delivery.request, Ok(Vec::new())) {
            Ok(request) => request,
            Err(reason) => return Ending::Later { reason: reason.to_owned(), due: None },
        };
        let mut reason = "waiting".to_owned();
        loop {
            if self.is_expired() {
                return self.expired();
            }
            let due = self.tried.due;
            if !self.patience.wait_until(due).await {
                return Ending::Later { reason, due: Some(due) };
            }
            let Some(turn) = self.turn().await else {
                let due = self.shared.attempts.lanes.reopens(&self.about.source, now());
                return Ending::Later { reason, due };
            };
            if self.is_expired() {
                return self.expired();
            }
            if let Some(ending) = self.attempt(turn, &request, &mut reason).await {
                return ending;
            }
        }
    }

    async fn turn(&mut self) -> Option<Turn> {
        let latest = self.patience.latest();
        let given = self.shared.turns.take(&self.about.source, self.delivery.priority, latest);
        self.patience.within(given).await?.ok()
    }

    async fn attempt(&mut self, mut turn: Turn, request: &[u8], why: &mut String) -> Next {
        turn.use_up();
        self.attempts += 1;
        let progress = Progress {
            transaction_id: &self.delivery.transaction_id,
            attempts: self.attempts,
            definite_errors: self.tried.definite_errors,
            // It is for its sender to give up.
            waited: Millis::MIN,
        };
        let source = &self.about.source;
        let made =
            self.shared.attempts.make(source, &turn.account, turn.probe, progress, request, &turn.settings).await;
        drop(turn);
        self.follow(made, why)
    }

    fn follow(&mut self, (outcome, step): (Outcome, Step), why: &mut String) -> Next {
        match step {
            Step::Delivered => Some(self.delivered()),
            Step::Expired => Some(self.expired()),
            Step::GivenBack { .. } => {
                self.attempts -= 1;
                "held".clone_into(why);
                None
            }
            Step::Again { due, definite, reason, pause, .. } => {
                let (About { source, id: event, .. }, route) = (&*self.about, &self.delivery.route);
                tracing::debug!(%source, event, %route, attempt = self.attempts, reason, pause, "again");
                self.tried.definite_errors += u32::from(definite);
                self.tried.due = due;
                *why = reason;
                None
            }
            Step::Dead { reason, definite, .. } => {
                self.tried.definite_errors += u32::from(definite);
                Some(match outcome {
                    Outcome::Rejected(_) => Ending::Rejected { reason },
                    _ => Ending::Later { reason, due: None },
                })
            }
        }
    }

    fn delivered(&mut self) -> Ending {
        self.tried.done = true;
        let (About { source, id: event, accepted_at, .. }, route) = (&*self.about, &self.delivery.route);
        self.shared.attempts.metrics.delivered(route, now() - accepted_at);
        tracing::info!(%source, event, %route, attempt = self.attempts, "delivered");
        Ending::Done
    }

    fn is_expired(&self) -> bool {
        self.delivery.expires_at.is_some_and(|at| at <= now())
    }

    fn expired(&mut self) -> Ending {
        self.tried.done = true;
        let (About { source, id: event, .. }, route) = (&*self.about, &self.delivery.route);
        self.shared.attempts.metrics.delivery(route, "expired");
        tracing::info!(%source, event, %route, "expired");
        Ending::Done
    }
}
