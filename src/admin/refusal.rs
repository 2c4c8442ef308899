//! Why a question to the API has no answer.

use hyper::StatusCode;
use serde_json::json;

use crate::http::{self, Answer, BodyError};
use crate::problem::Problem;
use crate::store::{ReadError, Unavailable};

pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// What is wrong with a draft of rules, if it is that.
    pub problems: Option<Vec<Problem>>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), problems: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The body did not come in whole.
    pub fn unread(error: &BodyError, limit: usize) -> Self {
        match error {
            BodyError::TooLarge => {
                let message = format!("the body has more than {limit} bytes");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
            }
            BodyError::Timeout | BodyError::Lost => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request came too slowly")
            }
            BodyError::Busy => Self::unavailable("too many requests are being read"),
        }
    }

    pub fn answer(self) -> Answer {
        let mut body = json!({"error": {"code": self.code, "message": self.message}});
        if let Some(problems) = self.problems {
            body["problems"] = json!(problems);
        }
        http::json_answer(self.status, &body)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "the store cannot be read");
        Self::unavailable("the store cannot be read")
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Self {
        Self::unavailable(match unavailable {
            Unavailable::QueueFull => "the queue is full; go on when it has room",
            Unavailable::DiskFull => "the disk is almost full; go on when it has room",
            Unavailable::NotWritable => "the store cannot be written",
        })
    }
}

/// The one event of this id.
pub fn single<T>(id: &str, mut found: Vec<T>, source: impl Fn(&T) -> &str) -> Result<T, Refusal> {
    match (found.pop(), found.pop()) {
        (Some(event), None) => Ok(event),
        (Some(one), Some(other)) => {
            let mut sources = [source(&one), source(&other)];
            sources.sort_unstable();
            let [one, other] = sources;
            Err(Refusal::bad_request(format!("`{id}` came from `{one}` and from `{other}`; name the `source`")))
        }
        (None, _) => Err(Refusal::not_found("unknown_event", format!("the gateway holds no event `{id}`"))),
    }
}
