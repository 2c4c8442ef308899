use proptest::prelude::*;
use proptest::sample::select;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::said;
use crate::novu::answer::Answer;

fn line(status: u16, body: &str, request: &Value) -> Option<String> {
    let headers = HeaderMap::new();
    let answer = Answer::new(status, &headers, body.as_bytes());
    said(&answer, answer.outcome(), request.to_string().as_bytes())
}

fn request() -> Value {
    json!({
        "name": "code", "transactionId": "deskbell_0123456789abcdef0123456789abcdef",
        "to": {"subscriberId": "user_29w", "email": "ada@example.com", "firstName": "Ada", "phone": "+15550100"},
        "payload": {"code": "402913", "app": "Acme", "count": 7, "attempts": 88123, "html": "<p>your code is 402913</p>"},
    })
}

#[track_caller]
fn check(status: u16, body: Value, expected: &str) {
    assert_eq!(line(status, &body.to_string(), &request()).as_deref(), Some(expected), "{body}");
}

#[test]
fn what_novu_says_is_told_in_one_line() {
    let data = |status: &str| json!({"data": {"acknowledged": true, "status": status}});
    assert_eq!(line(201, &data("processed").to_string(), &request()), None);
    check(201, data("trigger_not_active"), "201 trigger_not_active");
    check(201, data("402913"), "201");
    check(
        401,
        json!({"statusCode": 401, "message": "API Key not found", "error": "Unauthorized"}),
        "401 API Key not found",
    );
    check(404, json!({"statusCode": 404, "message": "Cannot POST /v1/events/trigger"}), "404 Cannot POST");
    check(422, json!({"statusCode": 422, "message": "workflow_not_found"}), "422 workflow_not_found");
    let reused =
        json!({"statusCode": 422, "message": "Request with key \"k-402913\" is being reused for a different body"});
    check(422, reused, "422 being reused for a different body");
    let message = "Internal server error, contact support and provide them with the errorId";
    let failed = |id: &str| json!({"statusCode": 500, "message": message, "errorId": id});
    check(500, failed("abc123"), "500 Internal server error (error id abc123)");
    let uuid = "7d1f6a52-1111-4c3e-9a51-0f6bb1e2a9c0";
    check(500, failed(uuid), &format!("500 Internal server error (error id {uuid})"));
    for status in [302, 502] {
        assert_eq!(line(status, "<html>402913</html>", &request()), Some(status.to_string()));
    }
}

#[test]
fn what_is_wrong_with_which_field_is_told() {
    let general = |messages: &[&str]| {
        json!({"statusCode": 422, "message": "Validation Error",
            "errors": {"general": {"messages": messages, "value": "No Value Recorded"}}})
    };
    check(
        422,
        general(&["to.subscriberId must be a string"]),
        "422 Validation Error: to.subscriberId must be a string",
    );
    let many = ["name should not be empty", "name must be a string", "tenant must be an object", "actor must be valid"];
    let expected = "422 Validation Error: name should not be empty; name must be a string; tenant must be an object";
    check(422, general(&many), expected);
    check(422, general(&["it went wrong with 402913", "wrong"]), "422 Validation Error");

    let of_field = |field: &str, message: &str, value: &str| json!({"statusCode": 422, "message": "Validation Error", "errors": {field: {"messages": [message], "value": value}}});
    check(422, of_field("to", "to should not be empty", "Ada"), "422 Validation Error: to should not be empty");
    check(422, of_field("actor", "must be an email", "Ada"), "422 Validation Error: actor must be an email");

    let of_payload = |field: &str, message: &str| {
        json!({"statusCode": 400, "message": "Payload validation failed: code: 402913", "type": "PAYLOAD_VALIDATION_ERROR",
            "errors": [{"field": field, "message": message, "value": "402913", "schemaPath": "#/402913"}]})
    };
    for (field, message, expected) in [
        ("payload.code", "must be string", ": payload.code must be string"),
        ("/items/0", "must have required property 'sku'", ": /items/0 must have required property 'sku'"),
        ("code", "must NOT have fewer than 3 characters", ": code must NOT have fewer than 3 characters"),
        ("code", "must match pattern \"^[0-9]+$\"", ": code"),
        ("ada@example.com", "must be string", ": must be string"),
        ("payload.402913", "must be string", ": must be string"),
        ("payload.Ada", "must be string", ": must be string"),
        ("code", "must not be 402913", ": code"),
        ("code", "must not be 88123", ": code"),
        ("code", "must be Ada", ": code"),
        ("code", "must be at most 7", ": code"),
        ("Ada", "ada@example.com must be string", ": must be string"),
        ("Ada", "is not Ada", ""),
    ] {
        check(400, of_payload(field, message), &format!("400 PAYLOAD_VALIDATION_ERROR{expected}"));
    }
}

#[test]
fn an_error_id_that_could_be_a_value_is_not_shown() {
    for id in ["402913", "15550100", "Ada", "user_29w", "0123456789abcdef", "short", "not hexadecimal", &"a".repeat(65)]
    {
        check(500, json!({"statusCode": 500, "message": "", "errorId": id}), "500");
    }
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{4,8}",
        "[A-Z][a-z]{1,6}[qxz]{2}",
        "[a-z]{2,6}[qxz]{2}@[a-z]{2,6}\\.com",
        "[0-9a-f]{6,32}",
        "\\+[0-9]{8,12}",
        "(must|should) be [a-z]{2,6}[qxz]{2}",
        "[qxz]{2}[ -~]{3,20}",
        "payload\\.[a-z]{2,6}[qxz]{2}",
    ]
    .prop_map(|leaf| leaf.trim().to_owned())
    // Of a shorter one, no more can be said than that it is not told as a word of its own.
    .prop_filter("a value is longer", |leaf| leaf.len() >= 4)
}

proptest! {
    /// Wherever Novu may echo a value, and whatever stands around it.
    #[test]
    fn no_value_of_the_request_is_ever_told(
        leaves in prop::collection::vec(leaf(), 1..4),
        frame in select(&["@", "@ must be string", "must be @", "should not contain @", "payload.@", "x.@ must be a string",
            "must not be '@'", "must be one of the allowed values: @", "x@y must be a string", "must equal x@y"][..]),
        status in select(&[400u16, 404, 409, 422, 500][..]),
        place in 0..8usize,
        pick in any::<prop::sample::Index>(),
    ) {
        let request = json!({"name": "hello", "to": {"subscriberId": leaves[0]}, "payload": {"all": leaves}});
        let leaf = pick.get(&leaves);
        let echo = frame.replace('@', leaf);
        let mut body = json!({"statusCode": status, "message": "Validation Error"});
        match place {
            0 => body["message"] = json!(echo),
            1 => body["type"] = json!(echo),
            2 => body["errorId"] = json!(leaf),
            3 => body["errors"] = json!([{"field": echo, "message": "must be string", "value": leaf}]),
            4 => body["errors"] = json!([{"field": "payload.all", "message": echo, "value": leaf}]),
            5 => body["errors"] = json!({"general": {"messages": [echo], "value": leaf}}),
            6 => body["errors"] = json!({echo: {"messages": ["must be a string"], "value": leaf}}),
            _ => body["errors"] = json!({"to": {"messages": [echo], "value": leaf}}),
        }
        let told = line(status, &body.to_string(), &request).unwrap_or_default();
        prop_assert!(!told.to_lowercase().contains(&leaf.to_lowercase()), "{told}");
        prop_assert!(told.len() < 700, "{told}");
    }
}
