//! What we know of Novu: where it is, how it is asked, and what its answers mean.

mod answer;
pub mod bulk;
mod limits;
mod reason;
mod said;

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Request, Url, redirect};
use sha2::{Digest, Sha256};

use crate::units::{Millis, hex};
use answer::Answer;
pub use answer::Outcome;
use bulk::Bulk;
pub use limits::Limit;
pub use reason::Reason;

/// Where a workflow is triggered (OpenAPI 3.18: `POST /v1/events/trigger`).
pub const TRIGGER_PATH: &str = "/v1/events/trigger";
/// Novu's servers close idle connections after 61 s; ours are gone before.
const IDLE: Duration = Duration::from_secs(50);
/// Less than the time for an attempt (10 s), so that a Novu that cannot be reached is told from one
/// that does not answer.
const CONNECT: Duration = Duration::from_secs(5);
/// The most that is read of an answer, in bytes. An error echoes a payload, which has up to 512 KiB.
const MAX_ANSWER: usize = 1024 * 1024;

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

    /// The same for each gateway that uses this key at this address, and nobody else learns the key from it.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.trigger.as_str());
        hash.update([0]);
        hash.update(self.authorization.as_bytes());
        hex(&hash.finalize()[..16])
    }

    /// The `Idempotency-Key` of an attempt. Novu remembers for 24 h what it answered under one, errors
    /// too, for all environments of an organization. So another environment, another body, and an
    /// attempt after a definite error each have a key of their own.
    pub fn idempotency_key(&self, transaction_id: &str, body: &[u8], definite_errors: u32) -> String {
        let mut hash = Sha256::new();
        hash.update(self.authorization.as_bytes());
        hash.update([0]);
        hash.update(body);
        format!("{transaction_id}-{}-{definite_errors}", hex(&hash.finalize()[..4]))
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

/// How an attempt ended, and what its answer says.
#[derive(Debug)]
pub struct Response<T = Outcome> {
    pub outcome: T,
    /// One line for the operator, without any value of the request.
    pub answer: Option<String>,
    /// The limit of this key; none if it is off, or there is no answer of Novu's.
    pub limit: Option<Limit>,
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
    pub async fn trigger(&self, account: &Account, idempotency_key: &str, body: &[u8], timeout: Millis) -> Response {
        let request = request(account, account.trigger.clone(), idempotency_key, body.to_vec(), timeout);
        match self.exchange(request).await {
            Ok((status, headers, answer)) => {
                let answer = Answer::new(status, &headers, &answer);
                let outcome = answer.outcome();
                Response { outcome, answer: said::said(&answer, outcome, body), limit: Limit::of(&headers) }
            }
            Err(error) => Response { outcome: Outcome::of_error(&error), answer: None, limit: None },
        }
    }

    /// Makes one attempt to trigger many, which have these transaction ids, in one call.
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
        match self.exchange(request).await {
            Ok((status, headers, answer)) => {
                let outcome = bulk::outcome(status, &headers, &answer, transactions);
                Response { outcome, answer: None, limit: Limit::of(&headers) }
            }
            Err(error) => Response { outcome: Bulk::All(Outcome::of_error(&error)), answer: None, limit: None },
        }
    }

    async fn exchange(&self, request: Request) -> Result<(u16, HeaderMap, Vec<u8>), reqwest::Error> {
        let mut response = self.client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > MAX_ANSWER {
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
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .user_agent(concat!("deskbell/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_one_environment_one_body_and_the_attempts_up_to_a_definite_error() {
        let account = |url, key| Account::new(url, key).expect("an account");
        let one = account("https://api.novu.co", "key-1");
        let key = one.idempotency_key("deskbell_1", b"{}", 0);
        assert!(key.starts_with("deskbell_1-") && key.ends_with("-0") && key.len() == 21, "{key}");
        assert_eq!(key, account("https://api.novu.co", " key-1 ").idempotency_key("deskbell_1", b"{}", 0));
        let others = [
            one.idempotency_key("deskbell_1", b"{}", 1),
            one.idempotency_key("deskbell_1", b"{ }", 0),
            one.idempotency_key("deskbell_2", b"{}", 0),
            account("https://api.novu.co", "key-2").idempotency_key("deskbell_1", b"{}", 0),
        ];
        assert!(others.iter().all(|other| *other != key), "{key} {others:?}");
        assert!(one.idempotency_key(&format!("deskbell_{}", "0".repeat(32)), b"{}", u32::MAX).len() <= 255);
    }
}
