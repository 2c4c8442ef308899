//! The address that faces the internet: webhooks, and nothing else.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::sync::watch;

use crate::http::{self, Answer, BodyError};
use crate::observe::Metrics;
use crate::receive::{Before, Receipt, Refusal, receive};
use crate::rules::Rules;
use crate::units::{Millis, now};
use crate::verify::Received;

/// When Svix may come back after a 503, if nothing better is known.
const RETRY_AFTER_MILLIS: Millis = 10_000;
/// The header, and its value, by which Svix stops to send a webhook again.
const ABORT: (&str, &str) = ("webhook-delivery", "abort-message");

/// What is answered to whoever sent a webhook that is taken.
#[derive(Serialize)]
struct Taken<'a> {
    event: &'a str,
    outcome: &'a str,
    revision: &'a str,
    routes: &'a [String],
}

/// What it takes to answer a webhook.
#[derive(Clone)]
pub struct Webhooks {
    pub rules: watch::Receiver<Arc<Rules>>,
    pub before: Before,
    pub metrics: Arc<Metrics>,
}

impl Webhooks {
    pub async fn answer(self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let Some(source) = path.strip_prefix("/webhooks/") else {
            return match (path, request.method()) {
                ("/healthz", &Method::GET) => http::answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
                ("/healthz", _) => http::method_not_allowed("GET"),
                _ => http::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address"),
            };
        };
        // One revision decides the whole event.
        let rules = self.rules.borrow().clone();
        let Some((source, _)) = rules.source(source) else { return refuse(&Refusal::UnknownSource) };
        match *request.method() {
            Method::POST => self.take(&rules, source, request).await,
            Method::GET => http::answer(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                "Deskbell can be reached here, and waits for webhooks to be sent with POST.\n",
            ),
            _ => http::method_not_allowed("GET, POST"),
        }
    }

    async fn take(&self, rules: &Rules, source: &Arc<str>, request: Request<Incoming>) -> Answer {
        let started = Instant::now();
        let taken = self.receive(rules, source, request).await;
        let result = match &taken {
            Ok(receipt) => receipt.outcome.as_str(),
            Err(refusal) => refusal.code(),
        };
        self.metrics.webhook(source, result, started.elapsed().as_secs_f64());
        match taken {
            Ok(receipt) => {
                let Receipt { event_id, routes, revision, .. } = receipt;
                tracing::info!(%source, event = event_id, outcome = result, routes = routes.join(","), revision, "webhook");
                http::json_answer(
                    StatusCode::OK,
                    &Taken { event: &event_id, outcome: result, revision: &revision, routes: &routes },
                )
            }
            Err(refusal) => {
                tracing::warn!(%source, code = result, "webhook refused");
                refuse(&refusal)
            }
        }
    }

    async fn receive(&self, rules: &Rules, source: &Arc<str>, request: Request<Incoming>) -> Result<Receipt, Refusal> {
        let limit = rules.settings.body_limit;
        let (head, body) = request.into_parts();
        let body = http::read_body_of(&head, body, limit).await.map_err(|error| match error {
            BodyError::TooLarge => Refusal::TooLarge { limit },
            BodyError::Timeout | BodyError::Lost => Refusal::Timeout,
            BodyError::Busy => Refusal::Unavailable("too many webhooks are being read"),
        })?;
        let received = Received { source: source.to_string(), headers: head.headers, body };
        receive(rules, &self.before, &self.metrics, received, now()).await
    }
}

fn refuse(refusal: &Refusal) -> Answer {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = http::refusal(status, refusal.code(), &refusal.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let pause = refusal.retry_after().unwrap_or(RETRY_AFTER_MILLIS);
        // Whole seconds, and never too early.
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from((pause + 999) / 1000));
    }
    if refusal.is_final() {
        answer.headers_mut().insert(ABORT.0, HeaderValue::from_static(ABORT.1));
    }
    answer
}
