//! `POST /api/explain`: one event through the rules that run, or through a draft of others.

use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::refusal::{Refusal, single};
use super::{Admin, PATIENCE};
use crate::clerk;
use crate::compiled::Compiled;
use crate::config::MAX_FILE_BYTES;
use crate::explain::{self, Explanation, Question};
use crate::http::{self, Answer};
use crate::outside::Outside;
use crate::rules::Rules;
use crate::store::Store;
use crate::verify::Event;

/// The most changes to one event. Each costs a copy of it.
const MOST_CHANGES: usize = 1_000;
impl Admin {
    /// One at a time, on a thread of its own: neither webhooks nor the end of the process wait for it.
    pub(super) async fn explain(self, request: Request<Incoming>) -> Answer {
        let store = self.store().cloned();
        let turn = tokio::time::timeout(PATIENCE, self.explaining.acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Refusal::unavailable("another explanation is being made").answer();
        };
        let rules = self.rules.borrow().clone();
        // An event, and a file of rules beside it.
        let limit = rules.settings.body_limit + MAX_FILE_BYTES;
        let body = match http::read_body(request, limit).await {
            Ok(body) => body,
            Err(error) => return Refusal::unread(&error, limit).answer(),
        };
        match think(move || answer(&body, &rules, store), turn).await {
            Some(Ok(explanation)) => http::answer(StatusCode::OK, "application/json", explanation),
            Some(Err(refusal)) => refusal.answer(),
            None => Refusal::unavailable("the explanation was not made").answer(),
        }
    }
}

/// Runs something long on a thread of its own, which ends the turn.
async fn think<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static, turn: OwnedSemaphorePermit) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("explain".to_owned()).spawn(move || {
        // Nobody may wait for it any more.
        let _ = reply.send(work());
        drop(turn);
    });
    drop(thread.ok()?);
    answer.await.ok()
}

fn answer(body: &Bytes, running: &Arc<Rules>, store: Result<Store, Refusal>) -> Result<String, Refusal> {
    let question = read(body)?;
    let draft = question.routes.as_deref().map(compile).transpose()?;
    let rules = draft.as_ref().unwrap_or(running);
    let event = find(question, rules, store)?;
    let explanation = Explanation::of(rules, &event);
    Ok(json!(explanation).to_string())
}

fn read(body: &[u8]) -> Result<Question, Refusal> {
    // A list would pass as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad_request("the body is no JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not what is expected: {error}")))
}

/// The rules of a draft. Nothing outside its own text is looked at, and its tests are not run.
fn compile(routes: &str) -> Result<Rules, Refusal> {
    let compiled = Compiled::of(routes.as_bytes(), Outside::Sealed);
    compiled.rules.ok_or_else(|| Refusal {
        problems: Some(compiled.problems),
        ..Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_rules", "`routes` has errors")
    })
}

/// The event that is asked about, changed as it is wished.
fn find(question: Question, rules: &Rules, store: Result<Store, Refusal>) -> Result<Event, Refusal> {
    let Question { event, sample, id, source, set, unset, .. } = question;
    if set.0.len() + unset.len() > MOST_CHANGES {
        return Err(Refusal::bad_request(format!("an event is changed in {MOST_CHANGES} places at most")));
    }
    let change = |json: &mut Value| explain::change(json, &set, &unset).map_err(Refusal::bad_request);
    let mut json = match (event, sample, id) {
        (Some(event), None, None) => event,
        (None, Some(name), None) => clerk::sample(&name).ok_or_else(|| {
            Refusal::bad_request(format!("there is no sample `{name}`; {}", clerk::hint_for_sample(&name)))
        })?,
        (None, None, Some(id)) => return stored(&id, source.as_deref(), rules, &store?, change),
        _ => return Err(Refusal::bad_request("name one of `event`, `sample` and `id`")),
    };
    change(&mut json)?;
    explain::event(rules, source.as_deref(), json).map_err(Refusal::bad_request)
}

/// An event that the store holds.
fn stored(
    id: &str,
    source: Option<&str>,
    rules: &Rules,
    store: &Store,
    change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
) -> Result<Event, Refusal> {
    let event = single(id, store.events(id, source)?, |event| &event.source)?;
    if rules.source(&event.source).is_none() {
        let message = format!("`{id}` came from `{}`, and the rules have no such source", event.source);
        return Err(Refusal::bad_request(message));
    }
    let erased = || {
        let message =
            format!("the body of `{id}` was erased: `retention` is over, or a route that took it is `sensitive`");
        Refusal::new(StatusCode::GONE, "erased", message)
    };
    let mut json = serde_json::from_slice(&event.body.ok_or_else(erased)?)
        .map_err(|_| Refusal::unavailable("the event in the store is not readable"))?;
    change(&mut json)?;
    Ok(Event::unsigned(&event.source, id, json, event.received_at))
}
