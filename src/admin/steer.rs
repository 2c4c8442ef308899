//! `POST /api/replay`, `/api/drop`, `/api/pause` and `/api/resume`: what the gateway holds goes on, ends or waits.

use std::collections::BTreeMap;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::Admin;
use super::criteria::Criteria;
use super::refusal::Refusal;
use crate::clerk;
use crate::http::{self, Answer};
use crate::replay::{Replayer, Trouble};
use crate::store::{Again, Chunk, Filter, Pause, State};
use crate::units::now;

/// A filter has a few hundred bytes.
const MOST_BYTES: usize = 64 << 10;
const DEFAULT_REPLAYED: u64 = 100;
const MOST_REPLAYED: u64 = 1_000;

/// What can be done with it.
pub enum Lever {
    Replay,
    Drop,
    Pause,
    Resume,
}

impl Admin {
    /// Runs to its end, even if nobody waits for the answer any more: half of it would be told by nothing.
    pub(super) async fn steer(self, lever: Lever, request: Request<Incoming>) -> Result<Answer, Refusal> {
        self.store()?;
        let body = http::read_body(request, MOST_BYTES).await;
        let body = body.map_err(|error| Refusal::unread(&error, MOST_BYTES))?;
        let steered = tokio::spawn(async move {
            match lever {
                Lever::Replay => self.replay(&body).await,
                Lever::Drop => self.cancel(&body).await,
                Lever::Pause => self.pause(&body).await,
                Lever::Resume => self.resume(&body).await,
            }
        });
        let answer = steered.await.map_err(|_| Refusal::unavailable("it was not done"))??;
        Ok(http::json_answer(StatusCode::OK, &answer))
    }

    async fn replay(&self, body: &[u8]) -> Result<Value, Refusal> {
        const TAKES: [&str; 9] = ["id", "state", "type", "route", "source", "before", "limit", "again", "all"];
        let mut criteria = Criteria::of_body(body, &TAKES)?;
        criteria.require_some()?;
        let limit = criteria.limit(DEFAULT_REPLAYED, MOST_REPLAYED)?;
        let again = again(&mut criteria)?;
        self.require_one(&criteria.filter).await?;
        let replayer = Replayer {
            rules: self.rules.borrow().clone(),
            store: self.store()?.clone(),
            metrics: self.metrics.clone(),
        };
        let totals = replayer.replay(criteria.filter, again, limit).await.map_err(|trouble| match trouble {
            Trouble::Unreadable(error) => error.into(),
            Trouble::Unavailable(unavailable) => Refusal::from(unavailable),
        })?;
        Ok(json!(totals))
    }

    /// Step by step, so that webhooks do not wait for the end of it.
    async fn cancel(&self, body: &[u8]) -> Result<Value, Refusal> {
        let criteria = Criteria::of_body(body, &["id", "state", "type", "route", "source", "all"])?;
        criteria.require_some()?;
        criteria.require_state(&["new", "retrying", "paused", "dead"])?;
        self.require_one(&criteria.filter).await?;
        let (mut dropped, mut sending, mut next) = (BTreeMap::new(), 0, Some((0, 0)));
        let mut ended = Ok(());
        while let Some(after) = next {
            let metrics = self.metrics.clone();
            let count =
                move |chunk: &Chunk| chunk.dropped.iter().for_each(|(route, count)| metrics.cancelled(route, *count));
            match self.store()?.drop_chunk(criteria.filter.clone(), after, now(), count).await {
                Ok(chunk) => {
                    for (route, count) in chunk.dropped {
                        *dropped.entry(route).or_insert(0) += count;
                    }
                    sending += chunk.sending;
                    next = chunk.next;
                }
                Err(unavailable) => {
                    ended = Err(unavailable.into());
                    break;
                }
            }
        }
        let count: u64 = dropped.values().sum();
        tracing::info!(dropped = count, sending, routes = ?dropped, "dropped");
        ended.map(|()| json!({"dropped": count, "sending": sending}))
    }

    /// Where an id is given, it is that of one event.
    async fn require_one(&self, filter: &Filter) -> Result<(), Refusal> {
        match &filter.id {
            Some(id) => self.one(id, filter.source.clone()).await.map(drop),
            None => Ok(()),
        }
    }

    async fn pause(&self, body: &[u8]) -> Result<Value, Refusal> {
        let pause = pause(body)?;
        let rules = self.rules.borrow().clone();
        let routes: Vec<&str> = rules.routes().iter().map(|route| &*route.name).collect();
        let sources: Vec<&str> = rules.source_names().map(|name| &**name).collect();
        require("route", "unknown_route", pause.route.as_deref(), &routes)?;
        require("source", "unknown_source", pause.source.as_deref(), &sources)?;
        let store = self.store()?;
        store.pause(pause.clone(), now()).await?;
        tracing::info!(what = %pause, "paused");
        Ok(json!({"paused": store.pauses()}))
    }

    async fn resume(&self, body: &[u8]) -> Result<Value, Refusal> {
        let pause = pause(body)?;
        let store = self.store()?;
        let resumed = store.resume(pause.clone()).await?;
        tracing::info!(what = %pause, pauses = resumed, "resumed");
        Ok(json!({"resumed": resumed, "paused": store.pauses()}))
    }
}

/// What is to be done with the events that are found. Without an id, and unless they say otherwise, those of which
/// something is dead are meant.
fn again(criteria: &mut Criteria) -> Result<Again, Refusal> {
    let Criteria { filter, again: anew, .. } = criteria;
    let Filter { id, state, unrouted, route, .. } = filter;
    let by_id = id.is_some();
    match (by_id || state.is_some() || *unrouted, *anew) {
        (false, true) => return Err(Refusal::bad_request("`again` needs an `id`, or a `state` such as `delivered`")),
        (false, false) => *state = Some(State::Dead),
        _ => {}
    }
    let again = Again { state: *state, route: route.clone(), anew: *anew, low: !by_id };
    let delivered = Some("delivered").filter(|_| again.anew);
    let states: Vec<&str> = ["dead", "expired", "cancelled", "unrouted"].into_iter().chain(delivered).collect();
    criteria.require_state(&states)?;
    Ok(again)
}

fn pause(body: &[u8]) -> Result<Pause, Refusal> {
    let criteria = Criteria::of_body(body, &["route", "source", "all"])?;
    criteria.require_some()?;
    let Filter { route, source, .. } = criteria.filter;
    Ok(Pause { route: route.map(|route| route.to_string()), source })
}

/// A pause that is misspelt would keep back nothing.
fn require(what: &str, code: &'static str, name: Option<&str>, known: &[&str]) -> Result<(), Refusal> {
    let Some(name) = name.filter(|name| !known.contains(name)) else { return Ok(()) };
    let near = clerk::nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    Err(Refusal::not_found(code, format!("the rules have no {what} `{name}`{}", near.unwrap_or_default())))
}
