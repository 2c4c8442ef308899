//! What an answer of Novu's means, or the lack of one (checked against its server's code, 2024–2026). Pure.

use std::error::Error;
use std::io;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::Reason;
use crate::units::Millis;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Novu has failed and surely did nothing. It would repeat this under the same idempotency key.
    ServerError(Reason),
    /// Nothing was done with this attempt. An earlier one under the same idempotency key may still
    /// be running, or have succeeded.
    NotNow { reason: Reason, retry_after: Option<Millis> },
    /// Something on the way has failed: it may have been done.
    Unsure(Reason),
    /// No answer within the time for one attempt. It may have been done.
    Timeout,
    /// The connection was lost on the way. It may have been done.
    ConnectionLost,
    /// There was no connection: it was surely not done.
    Unreachable,
}

impl Outcome {
    /// Whether Novu has judged the request itself, so that it took the key.
    pub fn is_judgement(self) -> bool {
        matches!(self, Self::Delivered | Self::Refused(_) | Self::Rejected(_) | Self::UnknownWorkflow)
    }

    /// Whether something has answered, whoever it was.
    pub fn is_answer(self) -> bool {
        !matches!(self, Self::Timeout | Self::ConnectionLost | Self::Unreachable)
    }

    /// What a request without an answer means.
    pub fn of_error(error: &reqwest::Error) -> Self {
        match error.is_connect() {
            true if is_tls_failure(error) => Self::Held(Reason::TlsFailed),
            true => Self::Unreachable,
            false if error.is_timeout() => Self::Timeout,
            false => Self::ConnectionLost,
        }
    }
}

/// An I/O error may carry another error without naming it as its source.
fn is_tls_failure(error: &(dyn Error + 'static)) -> bool {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inner| inner as &dyn Error);
    error.is::<rustls::Error>() || carried.or(error.source()).is_some_and(is_tls_failure)
}

/// An answer as it came.
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    /// The body, if it is an object.
    pub json: Value,
}

impl<'a> Answer<'a> {
    pub fn new(status: u16, headers: &'a HeaderMap, body: &[u8]) -> Self {
        let json = serde_json::from_slice(body).ok().filter(Value::is_object).unwrap_or_default();
        Self { status, headers, json }
    }

    pub fn outcome(&self) -> Outcome {
        let reason = Reason::Status(self.status);
        match self.status {
            200..=299 => success(self.json.get("data").filter(|data| data.is_object()).unwrap_or(&self.json)),
            429 => Outcome::Throttled { retry_after: self.retry_after() },
            // It was said of an earlier attempt, and would be for 24 h under the same key.
            400..=599 if self.headers.contains_key("idempotency-replay") => Outcome::ServerError(reason),
            300..=399 | 401..=403 => Outcome::Held(reason),
            // Who says this, and of what, is not known.
            408 => Outcome::Unsure(reason),
            // Something on the way does not want to pass it on yet.
            425 => Outcome::NotNow { reason, retry_after: self.retry_after() },
            // Too large is too large, whoever on the way says it.
            413 => Outcome::Rejected(reason),
            404 if !self.is_novus() || self.message().starts_with("Cannot ") => Outcome::Held(reason),
            400..=499 if self.may_be_novus() => self.rejection(),
            500 if self.may_be_novus() => Outcome::ServerError(reason),
            // Gateways have JSON too, and may have given up what Novu goes on with.
            500..=599 if self.is_novus() => self.failure(),
            500..=599 => Outcome::Unsure(reason),
            code => Outcome::Held(Reason::NotNovuStatus(code)),
        }
    }

    fn rejection(&self) -> Outcome {
        match (self.status, self.message()) {
            (409, _) => Outcome::NotNow { reason: Reason::InProgress, retry_after: self.retry_after() },
            (422, "workflow_not_found") => Outcome::UnknownWorkflow,
            // It says nothing of the request, which another key lets through.
            (422, message) if message.contains(KEY_REUSED) => Outcome::ServerError(Reason::KeyReused),
            (400, _) if self.json["type"] == INVALID_PAYLOAD => Outcome::Rejected(Reason::InvalidPayload),
            (code, _) => Outcome::Rejected(Reason::Status(code)),
        }
    }

    /// A 503 comes before Novu looks at the idempotency key (its limiter or its cache is down), so it
    /// says nothing of an earlier attempt under that key.
    fn failure(&self) -> Outcome {
        let reason = Reason::Status(self.status);
        match self.status {
            503 => Outcome::NotNow { reason, retry_after: self.retry_after() },
            _ => Outcome::ServerError(reason),
        }
    }

    /// Novu's own errors repeat their status (its `AllExceptionsFilter`); those of a proxy do not.
    pub fn is_novus(&self) -> bool {
        self.json["statusCode"] == self.status
    }

    /// Older and newer ones may not.
    fn may_be_novus(&self) -> bool {
        self.is_novus() || (self.json.is_object() && self.json["statusCode"].is_null())
    }

    pub fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or_default()
    }

    fn retry_after(&self) -> Option<Millis> {
        let seconds: f64 = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        (seconds.is_finite() && seconds >= 0.0).then_some((seconds.min(86_400.0) * 1000.0) as Millis)
    }
}

/// What is said of one event in a success, which Novu wraps in `data` (its `ResponseInterceptor`). Only `processed`
/// means queued.
pub fn success(data: &Value) -> Outcome {
    match data["status"].as_str() {
        Some("processed") => Outcome::Delivered,
        Some(status) => match Reason::of_refusal(status) {
            Some(reason) => Outcome::Refused(reason),
            None if data["acknowledged"].is_boolean() => Outcome::Refused(Reason::UnknownStatus),
            None => Outcome::Held(Reason::NotNovu),
        },
        None => Outcome::Held(Reason::NotNovu),
    }
}

/// In the message of a 422 about the idempotency key.
pub const KEY_REUSED: &str = "being reused for a different body";
/// The `type` of a 400 about the payload.
pub const INVALID_PAYLOAD: &str = "PAYLOAD_VALIDATION_ERROR";

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, headers: &[(&'static str, &str)], body: &str) -> Outcome {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value")))
            .collect();
        Answer::new(status, &headers, body.as_bytes()).outcome()
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: Outcome) {
        assert_eq!(outcome(status, &[], body), expected, "{status} {body}");
    }

    /// An error in Novu's form.
    fn error(status: u16, message: &str) -> String {
        format!(r#"{{"statusCode":{status},"timestamp":"…","path":"/v1/events/trigger","message":"{message}"}}"#)
    }

    #[test]
    fn only_processed_is_delivered() {
        let answer = |status: &str| format!(r#"{{"data":{{"acknowledged":true,"status":"{status}"}}}}"#);
        check(201, &answer("processed"), Outcome::Delivered);
        check(200, r#"{"acknowledged":true,"status":"processed"}"#, Outcome::Delivered);
        for (status, reason) in [
            ("trigger_not_active", Reason::TriggerNotActive),
            ("no_tenant_found", Reason::NoTenantFound),
            ("invalid_recipients", Reason::InvalidRecipients),
            ("no_workflow_steps_defined", Reason::NoWorkflowSteps),
            ("no_workflow_active_steps_defined", Reason::NoActiveWorkflowSteps),
            ("subscriber_id_missing", Reason::SubscriberIdMissing),
            ("error", Reason::Error),
        ] {
            check(201, &answer(status), Outcome::Refused(reason));
        }
        for status in ["ada@example.com", "402913", "PROCESSED", ""] {
            check(201, &answer(status), Outcome::Refused(Reason::UnknownStatus));
        }
        for strange in ["<html>welcome</html>", "", "[]", r#"{"status":"ok"}"#, r#"{"data":{"status":1}}"#] {
            check(200, strange, Outcome::Held(Reason::NotNovu));
        }
    }

    #[test]
    fn a_fault_of_the_delivery_is_told_without_its_values() {
        let payload = r#"{"statusCode":400,"type":"PAYLOAD_VALIDATION_ERROR","errors":[{"value":"402913"}]}"#;
        check(400, payload, Outcome::Rejected(Reason::InvalidPayload));
        let general = r#"{"statusCode":422,"message":"Validation Error","errors":{"general":{"messages":["x"]}}}"#;
        check(422, general, Outcome::Rejected(Reason::Status(422)));
        check(422, &error(422, "workflow_not_found"), Outcome::UnknownWorkflow);
        check(422, &error(422, "no workflow_not_found"), Outcome::Rejected(Reason::Status(422)));
        for status in [400, 404, 405, 410, 415, 418, 451] {
            check(status, &error(status, "no"), Outcome::Rejected(Reason::Status(status)));
        }
        for body in [r#"{"message":"no"}"#, "{}"] {
            check(400, body, Outcome::Rejected(Reason::Status(400)));
        }
        for body in [&error(413, "Payload Too Large"), "<html>413 Request Entity Too Large</html>", ""] {
            check(413, body, Outcome::Rejected(Reason::Status(413)));
        }
    }

    #[test]
    fn a_fault_of_the_set_up_holds_everything() {
        for status in [301, 302, 307, 308, 401, 402, 403, 404] {
            check(status, "", Outcome::Held(Reason::Status(status)));
        }
        for (status, message) in [
            (401, "API Key not found"),
            (402, "Payment Required"),
            (403, "Forbidden"),
            (404, "Cannot POST /v1/events/trigger"),
        ] {
            check(status, &error(status, message), Outcome::Held(Reason::Status(status)));
        }
        for status in [400, 405, 407, 409, 418, 422, 431, 451, 499] {
            for body in ["<html>proxy</html>", "", r#"{"statusCode":400.5,"message":"no"}"#, "[400]"] {
                check(status, body, Outcome::Held(Reason::NotNovuStatus(status)));
            }
        }
        check(600, "", Outcome::Held(Reason::NotNovuStatus(600)));
    }

    #[test]
    fn what_passes_is_tried_again() {
        let throttled = error(429, "API rate limit exceeded");
        for (value, retry_after) in [("3", Some(3_000)), ("0.5", Some(500)), ("1e9", Some(86_400_000)), ("-1", None)] {
            assert_eq!(outcome(429, &[("retry-after", value)], &throttled), Outcome::Throttled { retry_after });
        }
        check(429, "<html>slow down</html>", Outcome::Throttled { retry_after: None });
        check(408, "", Outcome::Unsure(Reason::Status(408)));
        check(408, &error(408, "Request Timeout"), Outcome::Unsure(Reason::Status(408)));
        check(425, "", Outcome::NotNow { reason: Reason::Status(425), retry_after: None });
        let in_progress = Outcome::NotNow { reason: Reason::InProgress, retry_after: Some(1_000) };
        assert_eq!(outcome(409, &[("retry-after", "1")], &error(409, "in progress")), in_progress);
        for status in [500, 501, 502, 504] {
            check(status, &error(status, "Internal server error"), Outcome::ServerError(Reason::Status(status)));
        }
        check(500, r#"{"message":"Internal server error"}"#, Outcome::ServerError(Reason::Status(500)));
        let unavailable = Outcome::NotNow { reason: Reason::Status(503), retry_after: None };
        check(503, &error(503, "Service Unavailable"), unavailable);
        check(500, "<html>error</html>", Outcome::Unsure(Reason::Status(500)));
        for status in [502, 503, 504, 521] {
            for body in ["<html>bad gateway</html>", "", r#"{"message":"upstream timed out"}"#] {
                check(status, body, Outcome::Unsure(Reason::Status(status)));
            }
        }
    }

    #[test]
    fn what_novu_remembers_under_a_key_is_no_judgement_of_the_request() {
        let replayed = |status, body: &str| outcome(status, &[("idempotency-replay", "true")], body);
        for status in [400, 403, 404, 413, 422, 500, 503] {
            let expected = Outcome::ServerError(Reason::Status(status));
            assert_eq!(replayed(status, &error(status, "workflow_not_found")), expected);
            assert_eq!(replayed(status, ""), expected);
        }
        assert_eq!(replayed(201, r#"{"data":{"acknowledged":true,"status":"processed"}}"#), Outcome::Delivered);
        let reused = error(422, r#"Request with key \"k\" is being reused for a different body"#);
        check(422, &reused, Outcome::ServerError(Reason::KeyReused));
    }
}
