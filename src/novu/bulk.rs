//! Many workflows in one call: `POST /v1/events/trigger/bulk`.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{Outcome, Reason, classify, classify_success};

/// The most events that one call may have (OpenAPI 3.18).
pub const MOST: usize = 100;
/// What a call costs of the rate limit, whatever its size.
pub const COST: usize = 100;
/// The most bytes of events in one call. Novu takes 20 MB; what stands before it, and memory, may not.
pub const MOST_BYTES: usize = 2 << 20;

/// How one call for many deliveries ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Novu has looked at each, in the order in which they were sent.
    Each(Vec<Outcome>),
    /// The same holds for all of them.
    All(Outcome),
    /// There is no such address at this Novu.
    Absent,
}

/// The body of a call, out of requests as they would be sent alone.
pub fn body(requests: &[Vec<u8>]) -> Vec<u8> {
    [b"{\"events\":[".as_slice(), &requests.join(&b','), b"]}"].concat()
}

/// What an answer to a call means for its events, which have these transaction ids. Pure.
///
/// An event that is malformed makes Novu turn down the whole call. So does `Rejected` here only say that an event is
/// to be sent alone, and judged then.
pub fn classify_bulk(status: StatusCode, headers: &HeaderMap, answer: &[u8], transactions: &[&str]) -> Bulk {
    match status.as_u16() {
        404 | 405 | 501 => Bulk::Absent,
        200..=299 => classify_each(answer, transactions),
        _ => match classify(status, headers, answer) {
            Outcome::UnknownWorkflow => Bulk::All(Outcome::Rejected(Reason::new("workflow_not_found"))),
            outcome => Bulk::All(outcome),
        },
    }
}

fn classify_each(answer: &[u8], transactions: &[&str]) -> Bulk {
    let json: Value = serde_json::from_slice(answer).unwrap_or_default();
    let Some(elements) = json.get("data").and_then(Value::as_array) else {
        return Bulk::All(Outcome::Held(Reason::new("not_novu")));
    };
    let outcomes: Option<Vec<Outcome>> = elements
        .iter()
        .zip(transactions)
        .map(|(element, transaction)| classify_element(element, transaction))
        .collect();
    match outcomes {
        Some(outcomes) if elements.len() == transactions.len() => Bulk::Each(outcomes),
        // Which is which cannot be told, and some of them will have been done.
        _ => Bulk::All(Outcome::Unsure(Reason::new("bulk_mismatch"))),
    }
}

/// None if it is not about this delivery.
fn classify_element(element: &Value, transaction: &str) -> Option<Outcome> {
    if element.get("transactionId").is_some_and(|id| id != transaction) {
        return None;
    }
    if element.get("status")? == "error" {
        let errors = element.get("error").map(Value::to_string).unwrap_or_default();
        return Some(match errors.contains("workflow_not_found") {
            true => Outcome::UnknownWorkflow,
            false => Outcome::Rejected(Reason::new("error")),
        });
    }
    Some(classify_success(Some(element))).filter(|outcome| !matches!(outcome, Outcome::Held(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, answer: &str, expected: &Bulk) {
        let status = StatusCode::from_u16(status).expect("status");
        assert_eq!(classify_bulk(status, &HeaderMap::new(), answer.as_bytes(), &["a", "b"]), *expected, "{answer}");
    }

    fn held() -> Bulk {
        Bulk::All(Outcome::Held(Reason::new("not_novu")))
    }

    #[test]
    fn a_body_has_the_events_as_they_are() {
        assert_eq!(body(&[br#"{"a":1}"#.to_vec(), br#"{"b":2}"#.to_vec()]), br#"{"events":[{"a":1},{"b":2}]}"#);
    }

    #[test]
    fn each_has_an_outcome_of_its_own() {
        let of_second = |element: &str, outcome| {
            let answer = format!(r#"{{"data":[{{"status":"processed","transactionId":"a"}},{element}]}}"#);
            check(201, &answer, &Bulk::Each(vec![Outcome::Delivered, outcome]));
        };
        of_second(r#"{"status":"processed","transactionId":"b"}"#, Outcome::Delivered);
        of_second(r#"{"status":"trigger_not_active"}"#, Outcome::Refused(Reason::new("trigger_not_active")));
        of_second(r#"{"status":"error","error":["workflow_not_found"]}"#, Outcome::UnknownWorkflow);
        of_second(r#"{"status":"error","error":["402913 is no code"]}"#, Outcome::Rejected(Reason::new("error")));
    }

    #[test]
    fn an_answer_that_does_not_match_leaves_all_of_it_open() {
        let mismatch = Bulk::All(Outcome::Unsure(Reason::new("bulk_mismatch")));
        for elements in [
            "",
            r#"{"status":"processed"}"#,
            r#"{"status":"processed"},{"status":"processed"},{"status":"processed"}"#,
            r#"{"status":"processed","transactionId":"b"},{"status":"processed","transactionId":"a"}"#,
            r#"{"status":"processed"},{}"#,
            r#"{"status":"processed"},{"status":"a value, not a word"}"#,
        ] {
            check(201, &format!(r#"{{"data":[{elements}]}}"#), &mismatch);
        }
        check(201, r#"{"data":{"status":"processed"}}"#, &held());
        check(200, "<html>welcome</html>", &held());
    }

    #[test]
    fn what_concerns_the_whole_call_concerns_each() {
        for status in [400, 413, 422] {
            let rejected = Outcome::Rejected(Reason::new(format!("status_{status}")));
            check(status, r#"{"message":"events.1.name must be a string"}"#, &Bulk::All(rejected));
        }
        check(429, "{}", &Bulk::All(Outcome::Throttled { retry_after: None }));
        check(401, "{}", &Bulk::All(Outcome::Held(Reason::new("status_401"))));
        check(500, "{}", &Bulk::All(Outcome::ServerError(Reason::new("status_500"))));
        check(502, "<html>", &Bulk::All(Outcome::Unsure(Reason::new("status_502"))));
        check(404, r#"{"message":"Cannot POST /v1/events/trigger/bulk"}"#, &Bulk::Absent);
    }
}
