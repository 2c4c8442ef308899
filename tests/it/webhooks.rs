//! The webhook address: what is taken, and what becomes of it. What is refused is in `refused.rs`.

use std::io::{BufReader, Write};

use serde_json::json;

use crate::harness::{Place, SECRET, Signed, WELCOME, connect, exchange, get, read_answer, sample};
use crate::novu::{Behaviour, Novu};

#[test]
fn a_signed_webhook_becomes_one_novu_trigger() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let answer = gateway.send("msg_1", &sample("user.created"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!(
        (&answer["event"], &answer["outcome"], &answer["routes"]),
        (&json!("msg_1"), &json!("accepted"), &json!(["welcome"]))
    );
    assert_eq!(answer["revision"].as_str().expect("a revision").len(), 12);

    let request = novu.wait_for(1).remove(0);
    assert_eq!(request.line, "POST /v1/events/trigger HTTP/1.1");
    assert_eq!(request.headers["authorization"], "ApiKey key-of-the-tests");
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.workflow(), "welcome");
    assert_eq!(request.body["to"]["email"], "ada.lovelace@example.com");
    let key = request.key();
    assert!(key.starts_with(&format!("{}-", request.transaction_id())) && key.ends_with("-0"), "{key}");
}

#[test]
fn the_same_webhook_is_one_event_however_often_it_comes() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let first = gateway.send("msg_1", &sample("user.created"));
    let second = gateway.send("msg_1", &sample("user.created"));
    assert_eq!((first.outcome(), second.outcome()), ("accepted".into(), "duplicate".into()));
    assert_eq!(second.json()["routes"], json!(["welcome"]));
    gateway.drain();
    drop(gateway);

    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    assert_eq!(gateway.send("msg_2", &sample("user.created")).outcome(), "accepted");
    gateway.drain();
    assert_eq!(novu.requests().len(), 2);
}

#[test]
fn what_no_route_wants_is_kept_and_unrouted() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for (id, body) in [
        ("msg_1", sample("user.deleted")),
        ("msg_2", r#"{"success": true}"#.to_owned()),
        ("msg_3", r#"{"type":"something.new","data":{}}"#.to_owned()),
        ("msg_4", "[]".to_owned()),
        ("msg_5", format!(r#"{{"type":"deep","data":{}1{}}}"#, "[".repeat(10), "]".repeat(10))),
    ] {
        let answer = gateway.send(id, &body);
        assert_eq!((answer.status, answer.outcome().as_str()), (200, "unrouted"), "{body}");
        assert_eq!(gateway.send(id, &body).outcome(), "duplicate");
    }
}

#[test]
fn a_full_queue_is_told_and_what_is_kept_already_is_still_a_duplicate() {
    let novu = Novu::that(|_, _| Behaviour::Answer(401, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&format!("{}limits: {{ queue: 1 }}\n", crate::harness::rules(novu.address, WELCOME)));
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let full = gateway.send("msg_2", &sample("user.created"));
    assert_eq!((full.status, full.code().as_str()), (503, "unavailable"));
    assert!(full.headers.contains_key("retry-after"));
    assert_eq!(gateway.get("/readyz").status, 503);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");

    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(gateway.get("/readyz").status, 200);
    assert_eq!(gateway.send("msg_2", &sample("user.created")).outcome(), "accepted");
}

#[test]
fn unbranded_headers_and_rotated_secrets_are_taken() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let rules =
        crate::harness::rules(novu.address, WELCOME).replace(&format!("[{SECRET}]"), &format!("[{SECRET}, {old}]"));
    place.write_rules(&rules);
    let gateway = place.start();
    let now = (deskbell::units::now() / 1000).to_string();
    let body = sample("user.created");

    let with_old = Signed::with(old, "msg_1", body.as_bytes(), &now);
    assert_eq!(gateway.request(&with_old.request()).outcome(), "accepted");
    let with_new = Signed::with(SECRET, "msg_1", body.as_bytes(), &now);
    assert_eq!(gateway.request(&with_new.request()).outcome(), "duplicate");

    let signed = Signed::with(old, "msg_2", body.as_bytes(), &now);
    let headers = signed.headers.iter().map(|(name, value)| (name.replace("Svix", "Webhook"), value.clone())).collect();
    assert_eq!(gateway.request(&Signed { headers, ..signed }.request()).outcome(), "accepted");

    let signed = Signed::with(SECRET, "msg_3", body.as_bytes(), &now);
    let entries = format!("v1a,AAAA v1,{} v2,x {}", "A".repeat(44), signed.headers[2].1);
    assert_eq!(gateway.request(&signed.set("svix-signature", &entries).request()).outcome(), "accepted");
}

#[test]
fn a_connection_serves_many_requests() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let mut stream = connect(gateway.webhooks);
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    for number in 0..5 {
        let signed = Signed::new(&format!("msg_{number}"), sample("user.created").as_bytes());
        stream.write_all(&signed.request()).expect("it is sent");
        assert_eq!(read_answer(&mut reader).outcome(), "accepted");
    }
    assert_eq!(novu.wait_for(5).len(), 5);
}

#[test]
fn nothing_personal_is_logged_or_answered() {
    let novu = Novu::start();
    let routes = "  - { event: email.created, workflow: code, payload: { code: \"{{data.data.otp_code}}\" } }\n";
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    let mut shown = String::new();
    shown.push_str(&gateway.send("msg_1", &sample("email.created")).body);
    shown.push_str(
        &gateway
            .request(&Signed::new("msg_2", sample("email.created").as_bytes()).set("svix-signature", "v1,x").request())
            .body,
    );
    gateway.drain();
    shown.push_str(&gateway.get("/metrics").body);
    shown.push_str(&gateway.get("/api/rules").body);
    gateway.has_logged("msg_1");
    shown.push_str(&gateway.log());
    for personal in ["402913", "ada.lovelace", "user_3JK7", "203.0.113", SECRET, "key-of-the-tests", "MfKQ9r8"] {
        assert!(!shown.contains(personal), "{personal} is shown");
    }
    drop(exchange(gateway.admin, &get("/healthz", "127.0.0.1", "")));
}
