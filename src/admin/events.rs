//! `GET /api/events`: what the gateway holds, and what becomes of it. Never a body, a request or an address.

use hyper::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::criteria::Criteria;
use super::refusal::{Refusal, single};
use super::{Admin, PATIENCE};
use crate::http::{self, Answer};
use crate::store::{Filter, Found, Recorded};

const DEFAULT_LIMIT: u64 = 50;
const MOST: u64 = 500;

impl Admin {
    /// Those that are wanted, the newest first.
    pub(super) async fn find(&self, uri: &Uri) -> Result<Answer, Refusal> {
        const TAKES: [&str; 7] = ["id", "state", "type", "route", "source", "before", "limit"];
        let criteria = Criteria::of_query(uri.query().unwrap_or_default(), &TAKES)?;
        let limit = criteria.limit(DEFAULT_LIMIT, MOST)?;
        let found = self.look(criteria.filter, limit).await?;
        Ok(http::json_answer(StatusCode::OK, &json!(found)))
    }

    /// One of them.
    pub(super) async fn show(&self, id: &str, uri: &Uri) -> Result<Answer, Refusal> {
        let criteria = Criteria::of_query(uri.query().unwrap_or_default(), &["source"])?;
        let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
        let event = self.one(&id, criteria.filter.source).await?;
        Ok(http::json_answer(StatusCode::OK, &json!(event)))
    }

    /// The event of this id, if no two sources have sent one.
    pub(super) async fn one(&self, id: &str, source: Option<String>) -> Result<Recorded, Refusal> {
        let filter = Filter { id: Some(id.to_owned()), source, ..Filter::default() };
        single(id, self.look(filter, MOST as usize).await?.events, |event| &event.source)
    }

    /// A few at a time, and not on a thread that must not wait.
    async fn look(&self, filter: Filter, limit: usize) -> Result<Found, Refusal> {
        let turn = tokio::time::timeout(PATIENCE, self.looking.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(Refusal::unavailable("too many look into the store"));
        };
        let store = self.store()?.clone();
        let look = tokio::task::spawn_blocking(move || {
            let found = store.find(&filter, limit);
            drop(turn);
            found
        });
        Ok(look.await.map_err(|_| Refusal::unavailable("the store cannot be read"))??)
    }
}
