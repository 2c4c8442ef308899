//! What we know of Novu: where it is, how it is asked, and what its answers mean.

pub mod bulk;
mod limits;

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, Request, StatusCode, Url, redirect};
use serde_json::Value;

use crate::units::Millis;
use bulk::Bulk;
pub use limits::Limit;

/// Where a workflow is triggered (OpenAPI 3.18: `POST /v1/events/trigger`).
pub const TRIGGER_PATH: &str = "/v1/events/trigger";
/// Novu's servers close idle connections after 61 s; ours are gone before.
const IDLE: Duration = Duration::from_secs(50);
/// The most that is read of an answer, in bytes. Novu's are a few hundred, for each event.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_BULK_ANSWER: usize = 1024 * 1024;

/// A Novu environment: where it is and the key to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    trigger: Url,
    authorization: HeaderValue,
}

impl Account {
    /// # Errors
    /// What was expected of the URL or the key.
    pub fn new(api_url: &str, secret_key: &str) -> Result<Self, &'static str> {
        Ok(Self { trigger: trigger_url(api_url)?, authorization: authorization(secret_key)? })
    }

    /// The address that workflows are triggered at.
    pub fn trigger_url(&self) -> &str {
        self.trigger.as_str()
    }
}

/// The address that workflows are triggered at, or what was expected.
pub fn trigger_url(api_url: &str) -> Result<Url, &'static str> {
    const URL: &str = "a web address such as `https://api.novu.co`";
    let base = Url::parse(api_url.trim()).map_err(|_| URL)?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() || base.query().is_some() {
        return Err(URL);
    }
    Url::parse(&format!("{}{TRIGGER_PATH}", base.as_str().trim_end_matches('/'))).map_err(|_| URL)
}

/// The header that a key is sent in, or what was expected.
pub fn authorization(secret_key: &str) -> Result<HeaderValue, &'static str> {
    const KEY: &str = "a Novu secret key: letters, digits and punctuation";
    let key = Some(secret_key.trim()).filter(|key| !key.is_empty()).ok_or(KEY)?;
    let mut header = HeaderValue::from_str(&format!("ApiKey {key}")).map_err(|_| KEY)?;
    header.set_sensitive(true);
    Ok(header)
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Account({})", self.trigger)
    }
}

/// How one attempt ended, by Novu's answer or the lack of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Novu has queued it (`processed`).
    Delivered,
    /// Novu took it and will do nothing (`trigger_not_active`, …).
    Refused(Reason),
    /// Novu does not take this request, now or later.
    Rejected(Reason),
    /// The workflow is not there. It may be about to be: Novu reads it from a replica.
    UnknownWorkflow,
    /// Too many requests for this key.
    Throttled { retry_after: Option<Millis> },
    /// The set-up is wrong: no delivery with this key can succeed.
    Held(Reason),
    /// Novu has failed, and surely did nothing.
    ServerError(Reason),
    /// Another attempt of the same delivery is under way at Novu, or a gateway has failed: it
    /// may have been done.
    Unsure(Reason),
    /// No answer within the time for one attempt. It may have been done.
    Timeout,
    /// The connection was lost on the way. It may have been done.
    ConnectionLost,
    /// There was no connection: it was surely not done.
    Unreachable(Reason),
}

/// How one attempt ended, and what else its answer says.
#[derive(Clone, Debug)]
pub struct Response<T = Outcome> {
    pub outcome: T,
    /// The limit of this key; none if it is off, or there is no answer of Novu's.
    pub limit: Option<Limit>,
}

/// Why, in a stable word that never holds a value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The one HTTP client for all of Novu.
#[derive(Clone, Debug)]
pub struct Novu {
    client: Client,
}

impl Novu {
    /// # Errors
    /// The system offers no certificates to check Novu's with.
    pub fn new() -> Result<Self, reqwest::Error> {
        Ok(Self { client: client_builder().build()? })
    }

    /// Makes one attempt to trigger a workflow.
    pub async fn trigger(&self, account: &Account, idempotency_key: &str, body: Vec<u8>, timeout: Millis) -> Response {
        let request = request(account, account.trigger.clone(), idempotency_key, body, timeout);
        match self.exchange(request, MAX_ANSWER).await {
            Ok((status, headers, answer)) => {
                Response { outcome: classify(status, &headers, &answer), limit: Limit::of(&headers) }
            }
            Err(error) => Response { outcome: classify_error(&error), limit: None },
        }
    }

    /// Makes one attempt to trigger many in one call: `body` is theirs ([`bulk::body`]), and these are their ids.
    pub async fn trigger_bulk(
        &self,
        account: &Account,
        idempotency_key: &str,
        body: Vec<u8>,
        transactions: &[&str],
        timeout: Millis,
    ) -> Response<Bulk> {
        let mut url = account.trigger.clone();
        url.set_path(&format!("{}/bulk", url.path()));
        let request = request(account, url, idempotency_key, body, timeout);
        match self.exchange(request, MAX_BULK_ANSWER).await {
            Ok((status, headers, answer)) => {
                let outcome = bulk::classify_bulk(status, &headers, &answer, transactions);
                Response { outcome, limit: Limit::of(&headers) }
            }
            Err(error) => Response { outcome: Bulk::All(classify_error(&error)), limit: None },
        }
    }

    async fn exchange(
        &self,
        request: Request,
        most: usize,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), reqwest::Error> {
        let mut response = self.client.execute(request).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > most {
                break;
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((status, headers, answer))
    }
}

fn request(account: &Account, url: Url, idempotency_key: &str, body: Vec<u8>, timeout: Millis) -> Request {
    let mut request = Request::new(Method::POST, url);
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, account.authorization.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(key) = HeaderValue::from_str(idempotency_key) {
        headers.insert("idempotency-key", key);
    }
    *request.body_mut() = Some(body.into());
    *request.timeout_mut() = Some(Duration::from_millis(timeout.unsigned_abs()));
    request
}

/// An HTTP client that follows no redirect and repeats nothing by itself.
pub fn client_builder() -> ClientBuilder {
    // Only fails if another part of the process has installed a provider, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_idle_timeout(IDLE)
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .user_agent(concat!("deskbell/", env!("CARGO_PKG_VERSION")))
}

fn classify_error(error: &reqwest::Error) -> Outcome {
    match error.is_connect() {
        true if is_tls_failure(error) => Outcome::Held(Reason::new("tls_failed")),
        true => Outcome::Unreachable(Reason::new("unreachable")),
        false if error.is_timeout() => Outcome::Timeout,
        false => Outcome::ConnectionLost,
    }
}

/// An I/O error may carry another error without naming it as its source.
fn is_tls_failure(error: &(dyn Error + 'static)) -> bool {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inner| inner as &dyn Error);
    error.is::<rustls::Error>() || carried.or(error.source()).is_some_and(is_tls_failure)
}

/// What an answer of Novu's means (checked against its server's code, 2024–2026). Pure.
pub fn classify(status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> Outcome {
    let json: Option<Value> = serde_json::from_slice(answer).ok();
    let json = json.filter(Value::is_object);
    match status.as_u16() {
        200..=299 => classify_success(json.as_ref()),
        429 => Outcome::Throttled { retry_after: retry_after(headers) },
        // 404 is that of a path: a trigger has no other.
        code @ (300..=399 | 401..=404) => Outcome::Held(Reason::new(format!("status_{code}"))),
        409 => Outcome::Unsure(Reason::new("in_progress")),
        code @ 500..=599 => classify_failure(code, headers, json.is_some()),
        422 if message(json.as_ref()).contains("workflow_not_found") => Outcome::UnknownWorkflow,
        // Too large is too large, whoever on the way says it.
        code @ 400..=499 if json.is_some() || code == 413 => {
            Outcome::Rejected(Reason::new(rejection(code, json.as_ref())))
        }
        code => Outcome::Held(Reason::new(format!("not_novu_{code}"))),
    }
}

/// Novu wraps every answer in `data` (its `ResponseInterceptor`); only `processed` means queued.
fn classify_success(json: Option<&Value>) -> Outcome {
    let status = json.and_then(|json| json.pointer("/data/status").or_else(|| json.get("status")));
    match status.and_then(Value::as_str) {
        Some("processed") => Outcome::Delivered,
        Some(status) if is_word(status) => Outcome::Refused(Reason::new(status)),
        _ => Outcome::Held(Reason::new("not_novu")),
    }
}

/// A 5xx in Novu's own JSON is a definite error; a load balancer's page leaves it open. A
/// replayed error (`Idempotency-Replay`) would be replayed for 24 h under the same key.
fn classify_failure(code: u16, headers: &HeaderMap, is_json: bool) -> Outcome {
    let reason = Reason::new(format!("status_{code}"));
    match is_json || headers.contains_key("idempotency-replay") {
        true => Outcome::ServerError(reason),
        false => Outcome::Unsure(reason),
    }
}

/// Novu's reason without any value that it echoes.
fn rejection(code: u16, json: Option<&Value>) -> String {
    let kind = json.and_then(|json| json.get("type")).and_then(Value::as_str).filter(|kind| is_word(kind));
    match kind {
        Some(kind) => format!("status_{code}_{}", kind.to_lowercase()),
        None if message(json).contains("being reused for a different body") => "idempotency_key_reused".to_owned(),
        None => format!("status_{code}"),
    }
}

fn message(json: Option<&Value>) -> String {
    json.and_then(|json| json.get("message")).map(Value::to_string).unwrap_or_default()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn retry_after(headers: &HeaderMap) -> Option<Millis> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some((seconds.min(86_400.0) * 1000.0) as Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, headers: &[(&'static str, &str)], answer: &str, expected: Outcome) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value")))
            .collect();
        let found = classify(StatusCode::from_u16(status).expect("status"), &headers, answer.as_bytes());
        assert_eq!(found, expected, "{status} {answer}");
    }

    fn reason(word: &str) -> Reason {
        Reason::new(word)
    }

    #[test]
    fn only_processed_is_delivered() {
        let answer = |status: &str| format!(r#"{{"data":{{"acknowledged":true,"status":"{status}"}}}}"#);
        check(201, &[], &answer("processed"), Outcome::Delivered);
        check(201, &[], r#"{"acknowledged":true,"status":"processed"}"#, Outcome::Delivered);
        for status in ["trigger_not_active", "no_tenant_found", "invalid_recipients", "error"] {
            check(201, &[], &answer(status), Outcome::Refused(reason(status)));
        }
        check(200, &[], "<html>welcome</html>", Outcome::Held(reason("not_novu")));
        check(201, &[], r#"{"data":{"status":"ada@example.com"}}"#, Outcome::Held(reason("not_novu")));
        check(204, &[], "", Outcome::Held(reason("not_novu")));
    }

    #[test]
    fn a_fault_of_the_delivery_is_told_without_its_values() {
        let echo = r#"{"statusCode":400,"type":"PAYLOAD_VALIDATION_ERROR","errors":[{"value":"402913"}]}"#;
        check(400, &[], echo, Outcome::Rejected(reason("status_400_payload_validation_error")));
        check(422, &[], r#"{"message":"Validation Error"}"#, Outcome::Rejected(reason("status_422")));
        check(422, &[], r#"{"message":"workflow_not_found"}"#, Outcome::UnknownWorkflow);
        for body in [r#"{"message":"Payload Too Large"}"#, "<html>413 Request Entity Too Large</html>"] {
            check(413, &[], body, Outcome::Rejected(reason("status_413")));
        }
        let reused = r#"{"message":"Request with key \"k\" is being reused for a different body"}"#;
        check(422, &[], reused, Outcome::Rejected(reason("idempotency_key_reused")));
    }

    #[test]
    fn a_fault_of_the_set_up_holds_everything() {
        for status in [401, 402, 403, 404] {
            check(status, &[], r#"{"message":"no"}"#, Outcome::Held(reason(&format!("status_{status}"))));
        }
        check(302, &[], "", Outcome::Held(reason("status_302")));
        check(400, &[], "<html>proxy</html>", Outcome::Held(reason("not_novu_400")));
    }

    #[test]
    fn what_passes_is_tried_again() {
        check(429, &[("retry-after", "3")], "{}", Outcome::Throttled { retry_after: Some(3_000) });
        check(429, &[], "{}", Outcome::Throttled { retry_after: None });
        check(409, &[], "{}", Outcome::Unsure(reason("in_progress")));
        check(500, &[], r#"{"statusCode":500}"#, Outcome::ServerError(reason("status_500")));
        check(502, &[], "<html>bad gateway</html>", Outcome::Unsure(reason("status_502")));
        check(503, &[("idempotency-replay", "true")], "", Outcome::ServerError(reason("status_503")));
    }
}
