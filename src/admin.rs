//! The address for the operator: metrics, health and the API. It does not face the internet.

mod criteria;
mod events;
mod explain;
mod refusal;
mod steer;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode, Uri};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::deliver::Lanes;
use crate::http::{self, Answer};
use crate::observe::Metrics;
use crate::rules::Rules;
use crate::store::{Queue, Replica, Store};
use crate::units::now;
use crate::watcher::{LastReload, ReloadRequest, Reloaded};
use refusal::Refusal;
use steer::Lever;

/// How long one who asks waits for others.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the operator can see and ask for.
#[derive(Clone)]
pub struct Admin {
    pub rules: watch::Receiver<Arc<Rules>>,
    /// None with `--store none`.
    pub store: Option<Store>,
    pub metrics: Arc<Metrics>,
    pub lanes: Arc<Lanes>,
    pub last_reload: Arc<Mutex<LastReload>>,
    pub reload: mpsc::Sender<ReloadRequest>,
    pub draining: Arc<AtomicBool>,
    pub token: Option<Arc<str>>,
    /// One explanation is made at a time.
    pub explaining: Arc<Semaphore>,
    /// A few look into the store at a time.
    pub looking: Arc<Semaphore>,
}

impl Admin {
    /// The admin address.
    pub async fn answer(self, address: SocketAddr, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = refuse_foreign(address, request.headers()) {
            return refusal;
        }
        let path = request.uri().path();
        if let Some(answer) = self.open(request.method(), path) {
            return answer;
        }
        if let Some(refusal) = self.refuse_stranger(request.headers()) {
            return refusal;
        }
        let path = path.to_owned();
        let answer = match (&*path, request.method()) {
            ("/-/reload", &Method::POST) => Ok(self.reload().await),
            ("/api/rules", &Method::GET) => Ok(http::json_answer(StatusCode::OK, &self.rules_page())),
            ("/api/explain", &Method::POST) => Ok(self.explain(request).await),
            ("/api/events", &Method::GET) => self.find(request.uri()).await,
            ("/api/replay", &Method::POST) => self.steer(Lever::Replay, request).await,
            ("/api/drop", &Method::POST) => self.steer(Lever::Drop, request).await,
            ("/api/pause", &Method::POST) => self.steer(Lever::Pause, request).await,
            ("/api/resume", &Method::POST) => self.steer(Lever::Resume, request).await,
            ("/-/reload" | "/api/explain" | "/api/replay" | "/api/drop" | "/api/pause" | "/api/resume", _) => {
                Ok(http::method_not_allowed("POST"))
            }
            ("/api/rules" | "/api/events", _) => Ok(http::method_not_allowed("GET")),
            (path, method) => match (path.strip_prefix("/api/events/"), method) {
                (Some(id), &Method::GET) => self.show(id, request.uri()).await,
                (Some(_), _) => Ok(http::method_not_allowed("GET")),
                (None, _) => Ok(not_found()),
            },
        };
        answer.unwrap_or_else(Refusal::answer)
    }

    /// The metrics address: metrics and health, and nothing else.
    pub async fn answer_metrics(self, request: Request<Incoming>) -> Answer {
        self.open(request.method(), request.uri().path()).unwrap_or_else(not_found)
    }

    /// What needs no token.
    fn open(&self, method: &Method, path: &str) -> Option<Answer> {
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            return None;
        }
        if method != Method::GET {
            return Some(http::method_not_allowed("GET"));
        }
        Some(match path {
            "/metrics" => {
                let held = self.lanes.held(&self.rules.borrow().settings);
                let page = self.metrics.page(self.queue(), &held, &self.replicas(), now());
                http::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
            }
            "/healthz" => http::answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            _ => self.ready(),
        })
    }

    /// Only what keeps webhooks from being kept takes the gateway out of its balancer.
    fn ready(&self) -> Answer {
        let queue = self.queue();
        let queue_limit = self.rules.borrow().settings.queue_limit;
        let reasons: Vec<&str> = [
            (self.draining.load(Ordering::Relaxed), "shutting down"),
            (!queue.writable, "the store cannot be written"),
            (queue.disk_full, "the disk is almost full"),
            (queue.waiting().unsigned_abs() >= queue_limit, "the queue is full"),
        ]
        .into_iter()
        .filter_map(|(applies, reason)| applies.then_some(reason))
        .collect();
        let degraded = self.degraded();
        match reasons.is_empty() {
            true => http::json_answer(StatusCode::OK, &json!({"ready": true, "degraded": degraded})),
            false => http::json_answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"ready": false, "reasons": reasons, "degraded": degraded}),
            ),
        }
    }

    fn queue(&self) -> Queue {
        self.store.as_ref().map_or(Queue { writable: true, ..Queue::default() }, Store::queue)
    }

    /// The gateways that share the store.
    fn replicas(&self) -> Vec<Replica> {
        self.store.as_ref().map(Store::replicas).unwrap_or_default()
    }

    /// For whatever looks into what is kept, or changes it.
    fn store(&self) -> Result<&Store, Refusal> {
        self.store.as_ref().ok_or_else(|| {
            let message = "the gateway runs with `--store none`, so it keeps no events";
            Refusal::new(StatusCode::CONFLICT, "no_store", message)
        })
    }

    fn degraded(&self) -> Vec<String> {
        let mut degraded = self.lanes.degraded(now());
        let rules = self.rules.borrow().clone();
        if let Some(store) = &self.store {
            for source in store.waiting_sources().iter().filter(|source| rules.source(source).is_none()) {
                degraded.push(format!("deliveries of `{source}`, which is no source any more, wait"));
            }
            degraded.extend(store.pauses().iter().map(|pause| format!("{pause} is paused")));
            if store.queue().damaged {
                degraded.push("a part of the store is damaged; the log says what to do".to_owned());
            }
        }
        if self.last().result == Reloaded::Rejected {
            degraded.push("the last change of the rules was rejected; the last good ones run".to_owned());
        }
        degraded
    }

    fn last(&self) -> LastReload {
        self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rules_page(&self) -> Value {
        let rules = self.rules.borrow().clone();
        let routes: Vec<&str> = rules.routes().iter().map(|route| &*route.name).collect();
        let sources: Vec<&str> = rules.source_names().map(|name| &**name).collect();
        let mut page =
            json!({"revision": rules.revision, "sources": sources, "routes": routes, "last_reload": self.last()});
        let replicas = self.replicas();
        if !replicas.is_empty() {
            page["replicas"] = json!(replicas);
        }
        page
    }

    async fn reload(&self) -> Answer {
        let (request, ended) = oneshot::channel();
        if self.reload.send(request).await.is_err() {
            return http::refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is shutting down");
        }
        let Ok(last) = ended.await else {
            return http::refusal(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the gateway is shutting down");
        };
        let status = match last.result {
            Reloaded::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::OK,
        };
        let running = self.rules.borrow().revision.clone();
        http::json_answer(status, &json!({"result": last.result, "revision": running, "problems": last.problems}))
    }

    fn refuse_stranger(&self, headers: &HeaderMap) -> Option<Answer> {
        let token = self.token.as_ref()?;
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // Digests are compared, so that the time says nothing about the token.
        if given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(&**token)) {
            return None;
        }
        let mut answer = http::refusal(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this address needs `Authorization: Bearer $DESKBELL_ADMIN_TOKEN`",
        );
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(answer)
    }
}

fn not_found() -> Answer {
    http::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
}

/// A page that someone has open in a browser must not reach the gateway behind their back: by a
/// foreign origin, or by a name that has been made to point here.
fn refuse_foreign(address: SocketAddr, headers: &HeaderMap) -> Option<Answer> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
    let own_host = !address.ip().is_loopback() || host.is_some_and(is_loopback_name);
    let own_origin = origin.is_none_or(|origin| {
        let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
        authority.is_some_and(|authority| Some(authority.as_str()) == host)
    });
    match own_host && own_origin {
        true => None,
        false => Some(http::refusal(StatusCode::FORBIDDEN, "foreign_origin", "this address is for this machine alone")),
    }
}

fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<hyper::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
