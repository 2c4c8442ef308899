//! Without a store: an event is delivered before it is answered, and what was done is remembered in
//! memory, so that nothing is sent twice when its sender comes back.

mod delivering;
mod memory;
mod patience;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::deliver::Attempts;
use crate::rules::Decision;
use crate::settings::Settings;
use crate::store::Receipt;
use crate::units::{Millis, now};
use crate::verify::Event;
use delivering::{Delivering, Ended, Ending, Ready};
use memory::{Decided, Known, Memory};
use patience::Patience;
use turns::Turns;

/// What events that are being delivered may take together, in bytes.
const ROOM: usize = 64 << 20;
/// How much longer than the attempts the answer may take.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// The most deliveries that a refusal names.
const MOST_NAMED: usize = 3;

/// Why an event is not delivered. The text names routes and reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Time, Novu or an edit of the rules may mend it.
    Later { why: String, retry_after: Option<Millis> },
    /// Novu never takes what the rules make of it.
    Rejected { why: String },
}

impl Undelivered {
    fn later(why: &str) -> Self {
        Self::Later { why: why.to_owned(), retry_after: None }
    }
}

/// Delivers events while their senders wait. Cheap to clone.
#[derive(Clone)]
pub struct Direct(Arc<Shared>);

struct Shared {
    attempts: Attempts,
    turns: Turns,
    memory: Memory,
    /// For events that are being delivered, in bytes.
    room: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

/// What is known of an event besides its deliveries.
struct About {
    source: Arc<str>,
    id: String,
    kind: Option<String>,
    /// When it came for the first time.
    accepted_at: Millis,
}

impl Direct {
    pub fn new(attempts: Attempts) -> Self {
        Self(Arc::new(Shared {
            turns: Turns::new(attempts.lanes.clone()),
            attempts,
            memory: Memory::default(),
            room: Arc::new(Semaphore::new(ROOM)),
            stopping: watch::Sender::new(false),
        }))
    }

    /// Lets attempts begin, the most urgent first, until `stop` says so; then lets those that run
    /// end, for as long as `grace`.
    pub async fn run(self, settings: watch::Receiver<Arc<Settings>>, stop: watch::Receiver<bool>, grace: Duration) {
        self.0.turns.give(settings, stop).await;
        self.0.stopping.send_replace(true);
        let nothing_runs = self.0.room.acquire_many(ROOM as u32);
        if timeout(grace, nothing_runs).await.is_err() {
            tracing::warn!("attempts were still running; their outcome is unknown");
        }
    }

    /// Delivers what has not been delivered of an event. It begins no attempt after the deadline.
    ///
    /// # Errors
    /// Something of it is not delivered.
    pub async fn deliver(&self, event: Event, decision: Decision, deadline: Instant) -> Result<Receipt, Undelivered> {
        let Decision { deliveries, routes, revision } = decision;
        let deliveries: Vec<Ready> = deliveries.into_iter().map(Ready::from).collect();
        let size = event.body.len() + deliveries.iter().map(Ready::size).sum::<usize>();
        let room = self.0.room.clone().try_acquire_many_owned(size.min(ROOM) as u32);
        let room = room.map_err(|_| Undelivered::later("too many webhooks are being delivered"))?;
        let known = self.0.memory.of(&event.source, &event.id, event.received_at);
        // One webhook at a time works on an event; the others get to see what it has done.
        let Ok(mut known) = timeout_at(deadline, known.lock_owned()).await else { return Err(under_way()) };
        if let Some(Decided { routes, revision }) = &known.decided {
            let routes = routes.iter().map(|route| route.to_string()).collect();
            return Ok(Receipt::Duplicate { routes, revision: revision.clone(), replayed: None });
        }
        let about = About {
            kind: event.kind().map(str::to_owned),
            source: event.source,
            id: event.id,
            accepted_at: *known.accepted_at.get_or_insert(event.received_at),
        };
        // The sender may hang up, and what was begun is to be remembered.
        let work = self.clone().work(known, about.into(), deliveries, Decided { routes, revision }, deadline, room);
        let ended = timeout_at(deadline + ANSWER_TIME, tokio::spawn(work)).await;
        ended.ok().and_then(Result::ok).unwrap_or(Err(under_way()))
    }

    /// All deliveries of an event at the same time.
    async fn work(
        self,
        mut known: OwnedMutexGuard<Known>,
        about: Arc<About>,
        deliveries: Vec<Ready>,
        decided: Decided,
        deadline: Instant,
        _room: OwnedSemaphorePermit,
    ) -> Result<Receipt, Undelivered> {
        let mut running = JoinSet::new();
        for delivery in deliveries {
            let tried = known.tried(&delivery.transaction_id);
            let patience = Patience::new(deadline, self.0.stopping.subscribe());
            running.spawn(Delivering::new(self.0.clone(), about.clone(), delivery, tried, patience).run());
        }
        let mut endings = Vec::with_capacity(running.len());
        while let Some(ended) = running.join_next().await {
            let Ok(Ended { route, transaction_id, tried, ending }) = ended else { return Err(under_way()) };
            known.remember(transaction_id, tried);
            endings.push((route, ending));
        }
        let metrics = &self.0.attempts.metrics;
        let judged = judge(&endings);
        match judged {
            Ok(()) => {
                metrics.event(&about.source, about.kind.as_deref(), &decided.routes);
                known.complete(decided);
            }
            // Only now has what was rejected ended.
            Err(Undelivered::Rejected { .. }) => {
                let rejected = endings.iter().filter(|(_, ending)| matches!(ending, Ending::Rejected { .. }));
                rejected.for_each(|(route, _)| metrics.delivery(route, "rejected"));
            }
            Err(Undelivered::Later { .. }) => {}
        }
        self.0.memory.weigh(known.weight());
        judged.map(|()| Receipt::Accepted)
    }
}

/// Whatever may still be mended comes before what is refused for good.
fn judge(endings: &[(Arc<str>, Ending)]) -> Result<(), Undelivered> {
    let (mut later, mut latest, mut rejected) = (Vec::new(), None, Vec::new());
    for (route, ending) in endings {
        match ending {
            Ending::Done => {}
            Ending::Rejected { reason } => rejected.push(format!("`{route}` ({reason})")),
            Ending::Later { reason, due } => {
                later.push(format!("`{route}` ({reason})"));
                latest = latest.max(*due);
            }
        }
    }
    if !later.is_empty() {
        let retry_after = latest.map(|due| due - now()).filter(|pause| *pause > 0);
        return Err(Undelivered::Later { why: name(&later), retry_after });
    }
    if !rejected.is_empty() {
        return Err(Undelivered::Rejected { why: name(&rejected) });
    }
    Ok(())
}

fn name(undelivered: &[String]) -> String {
    let named = &undelivered[..undelivered.len().min(MOST_NAMED)];
    match undelivered.len() - named.len() {
        0 => format!("not delivered: {}", named.join(", ")),
        more => format!("not delivered: {} and {more} more", named.join(", ")),
    }
}

fn under_way() -> Undelivered {
    Undelivered::later("it is still being delivered")
}
