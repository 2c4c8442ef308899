//! A request becomes a stored event, or a refusal: every step in order, in one function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::direct::{Direct, Undelivered};
use crate::observe::Metrics;
use crate::render::{Delivery, Unsendable};
use crate::rules::{Decision, Rules};
use crate::store::{self, Replayed, Store};
use crate::units::Millis;
use crate::verify::{self, Event, Received, Rejection};

/// An answer must be there before Svix gives up after 15 s.
const KEEP_TIME: Duration = Duration::from_secs(12);

/// What the sender is told of an event that is safe.
#[derive(Debug)]
pub struct Receipt {
    pub event_id: String,
    pub outcome: Kept,
    pub routes: Vec<String>,
    pub revision: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Accepted,
    Duplicate,
    Unrouted,
}

impl Kept {
    pub fn as_str(self) -> &'static str {
        match self {
            Kept::Accepted => "accepted",
            Kept::Duplicate => "duplicate",
            Kept::Unrouted => "unrouted",
        }
    }
}

/// Why a webhook is not taken. The message helps its owner and tells a stranger nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    UnknownSource,
    Rejected(Rejection),
    TooLarge {
        limit: usize,
    },
    Timeout,
    Unavailable(&'static str),
    /// Without a store: it is not delivered.
    Undelivered(Undelivered),
}

/// What is to have happened to an event before it is answered.
#[derive(Clone)]
pub enum Before {
    /// It is on disk.
    Kept(Store),
    /// It is delivered (`--store none`).
    Delivered(Direct),
}

/// Verify, decide, keep. When this returns a receipt, the event and its deliveries are on disk, or
/// Novu has them.
pub async fn receive(
    rules: &Rules,
    before: &Before,
    metrics: &Metrics,
    received: Received,
    now: Millis,
) -> Result<Receipt, Refusal> {
    let deadline = Instant::now() + KEEP_TIME;
    let (source, secrets) = rules.source(&received.source).ok_or(Refusal::UnknownSource)?;
    let mut event = verify::verify(source, secrets, received, now).map_err(Refusal::Rejected)?;
    let decision = rules.decide(&event);
    event.forget_json();

    let event_id = event.id.clone();
    let (routes, revision) = (decision.routes.clone(), decision.revision.clone());
    let receipt = match before {
        Before::Kept(store) => {
            let kept = keep(store, metrics, &event, &decision, rules.settings.queue_limit);
            // Kept or not is not known then, and a resend will find out.
            timeout_at(deadline, kept).await.unwrap_or(Err(Refusal::Unavailable("the store is too slow")))?
        }
        Before::Delivered(direct) => direct.deliver(event, decision, deadline).await.map_err(Refusal::Undelivered)?,
    };
    Ok(match receipt {
        store::Receipt::Duplicate { routes, revision, .. } => {
            Receipt { event_id, outcome: Kept::Duplicate, routes, revision }
        }
        store::Receipt::Accepted => {
            let outcome = if routes.is_empty() { Kept::Unrouted } else { Kept::Accepted };
            let routes = routes.iter().map(|route| route.to_string()).collect();
            Receipt { event_id, outcome, routes, revision }
        }
    })
}

async fn keep(
    store: &Store,
    metrics: &Metrics,
    event: &Event,
    decision: &Decision,
    queue_limit: u64,
) -> Result<store::Receipt, Refusal> {
    let Event { source, id, .. } = event;
    let receipt = store.accept(event, decision, queue_limit).await?;
    match &receipt {
        store::Receipt::Accepted => {
            metrics.event(source, event.kind(), &decision.routes);
            metrics.unsendable(source, id, &unsendable(&decision.deliveries));
        }
        store::Receipt::Duplicate { replayed: Some(Replayed { sent, expired, dead, left, .. }), .. } => {
            tracing::info!(%source, event = id, sent, expired, dead = dead.len(), left, "replayed");
            metrics.unsendable(source, id, dead);
        }
        store::Receipt::Duplicate { .. } => {}
    }
    Ok(receipt)
}

/// The deliveries that are dead from the start, by route, and why.
fn unsendable(deliveries: &[Delivery]) -> Vec<(Arc<str>, &'static str)> {
    let reason = |delivery: &Delivery| delivery.request.as_ref().err().map(Unsendable::code);
    deliveries.iter().filter_map(|delivery| Some((delivery.route.clone(), reason(delivery)?))).collect()
}

impl From<store::Unavailable> for Refusal {
    fn from(unavailable: store::Unavailable) -> Self {
        Refusal::Unavailable(match unavailable {
            store::Unavailable::QueueFull => "the queue is full",
            store::Unavailable::DiskFull => "the disk is almost full",
            store::Unavailable::NotWritable => "the store cannot be written",
        })
    }
}

impl Refusal {
    /// A stable word, for the answer and the metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownSource => "unknown_source",
            Refusal::Rejected(Rejection::MissingHeaders(_)) => "missing_headers",
            Refusal::Rejected(Rejection::InvalidSignature(_)) => "invalid_signature",
            Refusal::Rejected(Rejection::TooOld | Rejection::TooNew) => "stale_timestamp",
            Refusal::Rejected(Rejection::InvalidBody) => "invalid_body",
            Refusal::TooLarge { .. } => "too_large",
            Refusal::Timeout => "timeout",
            Refusal::Unavailable(_) | Refusal::Undelivered(Undelivered::Later { .. }) => "unavailable",
            Refusal::Undelivered(Undelivered::Rejected { .. }) => "rejected",
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Refusal::UnknownSource => 404,
            Refusal::Rejected(_) => 400,
            Refusal::Timeout => 408,
            Refusal::TooLarge { .. } => 413,
            Refusal::Undelivered(Undelivered::Rejected { .. }) => 422,
            Refusal::Unavailable(_) | Refusal::Undelivered(Undelivered::Later { .. }) => 503,
        }
    }

    /// When to come again, if that is known.
    pub fn retry_after(&self) -> Option<Millis> {
        match self {
            Refusal::Undelivered(Undelivered::Later { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Whether it would be of no use to send it again as it is.
    pub fn is_final(&self) -> bool {
        matches!(self, Refusal::Undelivered(Undelivered::Rejected { .. }))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::UnknownSource => {
                formatter.write_str("there is no such source; `sources` in routes.yaml names them")
            }
            Refusal::Rejected(Rejection::MissingHeaders(names)) => write!(formatter, "missing {}", names.join(", ")),
            Refusal::Rejected(Rejection::InvalidSignature(why)) => write!(
                formatter,
                "{why}; compare the signing secret with the one of this endpoint in Clerk's dashboard, and pass the body on unchanged"
            ),
            Refusal::Rejected(Rejection::TooOld) => {
                formatter.write_str("the timestamp is more than 300 s in the past; check the clock of this machine")
            }
            Refusal::Rejected(Rejection::TooNew) => {
                formatter.write_str("the timestamp is more than 300 s in the future; check the clock of this machine")
            }
            Refusal::Rejected(Rejection::InvalidBody) => {
                formatter.write_str("the body is signed, but it is not a JSON document")
            }
            Refusal::TooLarge { limit } => write!(formatter, "the body has more than {limit} bytes"),
            Refusal::Timeout => formatter.write_str("the request came too slowly"),
            Refusal::Undelivered(Undelivered::Later { why, .. }) => write!(formatter, "{why}; send it again later"),
            Refusal::Undelivered(Undelivered::Rejected { why }) => {
                write!(formatter, "{why}; Novu never takes it as it is, so send it again once the rules are changed")
            }
            Refusal::Unavailable(why) => write!(formatter, "{why}; send it again later"),
        }
    }
}
