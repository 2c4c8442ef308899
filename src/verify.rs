//! Is a request really from its source? HMAC-SHA256 over the raw bytes, as Svix signs them.
//!
//! The rules are those of Svix's Rust library (`svix` crate, `webhooks.rs`), except that the
//! timestamp is signed as the text that arrived, so that no changed byte of it is ever accepted.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;
use sha2::Sha256;

use crate::clerk;
use crate::units::Millis;

/// How far a timestamp may be from now, in seconds, inclusive (Svix: five minutes).
const TOLERANCE_SECONDS: i64 = 300;

/// The bytes of a request. A clone of them is no copy.
pub type Body = Bytes;

/// A request on a webhook address, before anything is believed of it.
pub struct Received {
    pub source: String,
    pub headers: HeaderMap,
    pub body: Body,
}

/// A webhook that its source has signed (or a sample, where nothing is sent).
#[derive(Clone, Debug)]
pub struct Event {
    /// The name of the source.
    pub source: Arc<str>,
    /// The `svix-id`: the same on every retry, resend and endpoint.
    pub id: String,
    /// The bytes as they were signed.
    pub body: Body,
    /// What the bytes say.
    pub json: Value,
    kind: Option<String>,
    pub received_at: Millis,
    /// Only this file can make one.
    seal: PhantomData<()>,
}

impl Event {
    /// An event that nobody signed, for explaining and testing rules. Never for delivering.
    pub fn unsigned(source: &str, id: &str, json: Value, received_at: Millis) -> Self {
        let body = Bytes::from(json.to_string());
        Self::new(source.into(), id, body, json, received_at)
    }

    /// An event that was verified when it was kept. None if its body is not JSON any more.
    pub fn kept(source: &str, id: &str, body: Vec<u8>, received_at: Millis) -> Option<Self> {
        let json = serde_json::from_slice(&body).ok()?;
        Some(Self::new(source.into(), id, body.into(), json, received_at))
    }

    fn new(source: Arc<str>, id: &str, body: Bytes, json: Value, received_at: Millis) -> Self {
        let kind = json.get("type").and_then(Value::as_str).map(str::to_owned);
        Self { source, id: id.to_owned(), body, json, kind, received_at, seal: PhantomData }
    }

    /// Forgets what the bytes say, once it is decided: that takes ten times their room, and a disk takes its time.
    pub fn forget_json(&mut self) {
        self.json = Value::Null;
    }

    /// Clerk's event type. Svix's own test message (`svix.ping`) has none.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// When it happened: the event's own timestamp, else when it came.
    pub fn occurred_at(&self) -> Millis {
        clerk::occurred_at(&self.json).unwrap_or(self.received_at)
    }
}

/// Why a request was not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    MissingHeaders(Vec<&'static str>),
    InvalidSignature(&'static str),
    TooOld,
    TooNew,
    InvalidBody,
}

/// A signing secret. Never shown.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// The secret of `deskbell dev` and `deskbell send`. Everybody has it, so `serve` refuses it.
pub const LOCAL_SECRET: &str = "whsec_ZGVza2JlbGwgbG9jYWwgc2VjcmV0LCBwdWJsaWM=";

/// The shortest secret that is taken, in bytes. Svix's own have 24.
const MIN_SECRET_BYTES: usize = 16;

/// Secrets are copied by hand, and the padding gets lost.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Secret {
    /// Reads `whsec_` and base64. The error says what is wrong without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let text = text.strip_prefix("v1,").unwrap_or(text);
        let bytes = LENIENT_BASE64
            .decode(text.strip_prefix("whsec_").unwrap_or(text))
            .map_err(|_| "the signing secret is not base64".to_owned())?;
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(format!(
                "the signing secret has {} bytes, and at least {MIN_SECRET_BYTES} are safe",
                bytes.len()
            ));
        }
        let mac = Hmac::new_from_slice(&bytes).map_err(|_| "the signing secret is not usable".to_owned())?;
        Ok(Self(mac))
    }

    fn mac(&self, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        mac
    }

    /// The entry of the signature header, as Svix would send it.
    pub fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.mac(id, timestamp, body).finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Turns a request into an event, if one of the secrets has signed it.
pub fn verify(source: &Arc<str>, secrets: &[Secret], received: Received, now: Millis) -> Result<Event, Rejection> {
    let signed = Signed::read(&received.headers)?;
    signed.check_age(now)?;
    signed.check_signature(secrets, &received.body)?;
    // The whole text is checked at once: the parser would check each string.
    let text = std::str::from_utf8(&received.body).map_err(|_| Rejection::InvalidBody)?;
    let json = serde_json::from_str(text).map_err(|_| Rejection::InvalidBody)?;
    Ok(Event::new(source.clone(), signed.id, received.body, json, now))
}

const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];
/// The unbranded names of the same headers (Standard Webhooks).
const WEBHOOK: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// The three headers of a signed request.
struct Signed<'a> {
    id: &'a str,
    timestamp: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let missing = |names: [&'static str; 3]| -> Vec<&'static str> {
            names.into_iter().filter(|name| headers.get(*name).is_none_or(|value| value.is_empty())).collect()
        };
        let svix = missing(SVIX);
        let names = match svix.is_empty() {
            true => SVIX,
            false => match missing(WEBHOOK) {
                webhook if webhook.is_empty() => WEBHOOK,
                webhook if webhook.len() < svix.len() => return Err(Rejection::MissingHeaders(webhook)),
                _ => return Err(Rejection::MissingHeaders(svix)),
            },
        };
        let [id, timestamp, signature] = names.map(|name| single(headers, name));
        Ok(Self { id: id?, timestamp: timestamp?, signature: signature? })
    }

    fn check_age(&self, now: Millis) -> Result<(), Rejection> {
        let digits = self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.timestamp.parse::<i64>().ok().filter(|_| digits);
        let seconds = seconds.ok_or(Rejection::InvalidSignature("the timestamp is not a number of seconds"))?;
        let now = now.div_euclid(1000);
        match seconds.saturating_sub(now) {
            ahead if ahead > TOLERANCE_SECONDS => Err(Rejection::TooNew),
            ahead if ahead < -TOLERANCE_SECONDS => Err(Rejection::TooOld),
            _ => Ok(()),
        }
    }

    fn check_signature(&self, secrets: &[Secret], body: &[u8]) -> Result<(), Rejection> {
        let entries = || {
            self.signature
                .split(' ')
                .filter_map(|entry| entry.strip_prefix("v1,"))
                .filter_map(|signature| STANDARD.decode(signature).ok())
        };
        let matches = secrets.iter().any(|secret| {
            let mac = secret.mac(self.id, self.timestamp, body);
            // `verify_slice` compares in constant time.
            entries().any(|signature| mac.clone().verify_slice(&signature).is_ok())
        });
        if matches { Ok(()) } else { Err(Rejection::InvalidSignature("no signature matches a signing secret")) }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Rejection> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    match (value, values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Rejection::InvalidSignature("a header is not plain text")),
        (_, Some(_)) => Err(Rejection::InvalidSignature("a header stands twice")),
    }
}
