//! The webhook address: what is taken, and every refusal.

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

/// Sends what was made of a good webhook, and expects a refusal and a gateway that still works.
#[track_caller]
fn refused(spoil: impl FnOnce(Signed) -> Signed, status: u16, code: &str) {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let spoiled = spoil(Signed::new("msg_1", sample("user.created").as_bytes()));
    let answer = gateway.request(&spoiled.request());
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.body);
    assert_eq!(gateway.send("msg_2", &sample("user.created")).status, 200);
    gateway.drain();
    assert_eq!(novu.requests().len(), 1, "nothing came of what was refused");
    let labels = format!("deskbell_webhooks_total{{result=\"{code}\",source=\"clerk\"}}");
    assert_eq!(gateway.metric(&labels), (code != "unknown_source").then_some(1.0));
}

#[test]
fn missing_headers_are_named() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let signed = || Signed::new("msg_1", b"{}");
    for (spoiled, missing) in [
        (signed().without("svix-id"), "svix-id"),
        (signed().without("svix-timestamp").without("svix-signature"), "svix-timestamp, svix-signature"),
        (signed().set("svix-id", "  "), "svix-id"),
        (Signed { headers: Vec::new(), ..signed() }, "svix-id, svix-timestamp, svix-signature"),
        (Signed { headers: Vec::new(), ..signed() }.add("webhook-id", "msg_1"), "webhook-timestamp, webhook-signature"),
    ] {
        let answer = gateway.request(&spoiled.request());
        assert_eq!((answer.status, answer.code().as_str()), (400, "missing_headers"));
        assert_eq!(answer.json()["error"]["message"], format!("missing {missing}"));
    }
}

#[test]
fn a_wrong_secret_is_refused() {
    let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let now = (deskbell::units::now() / 1000).to_string();
    refused(|good| Signed::with(other, "msg_1", &good.body, &now), 400, "invalid_signature");
}

#[test]
fn a_changed_body_is_refused() {
    refused(|good| Signed { body: [&good.body[..], b"\n"].concat(), ..good }, 400, "invalid_signature");
}

#[test]
fn a_truncated_body_is_refused() {
    refused(|good| Signed { body: good.body[..100].to_vec(), ..good }, 400, "invalid_signature");
}

#[test]
fn headers_that_stand_twice_are_refused() {
    refused(|good| good.add("svix-id", "msg_2"), 400, "invalid_signature");
    refused(|good| good.add("svix-signature", "v1,AAAA"), 400, "invalid_signature");
}

#[test]
fn other_signature_versions_alone_are_refused() {
    refused(
        |good| {
            let entry = good.headers[2].1.replace("v1,", "v1a,");
            good.set("svix-signature", &entry)
        },
        400,
        "invalid_signature",
    );
}

#[test]
fn timestamps_are_taken_up_to_five_minutes_off() {
    let now = deskbell::units::now() / 1000;
    refused(|good| Signed::at("msg_1", &good.body, now - 310), 400, "stale_timestamp");
    refused(|good| Signed::at("msg_1", &good.body, now + 320), 400, "stale_timestamp");
    refused(|good| Signed::at("msg_1", &good.body, now * 1000), 400, "stale_timestamp");
    refused(|good| Signed::with(SECRET, "msg_1", &good.body, "soon"), 400, "invalid_signature");
    refused(|good| Signed::with(SECRET, "msg_1", &good.body, "-1"), 400, "invalid_signature");
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for (id, at) in [("msg_1", now - 290), ("msg_2", now + 290)] {
        assert_eq!(gateway.request(&Signed::at(id, b"{}", at).request()).status, 200);
    }
}

#[test]
fn a_signed_body_has_to_be_json() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [b"not json".as_slice(), b"", b"{\"a\":\"\xff\xfe\"}", b"{} {}", deep.as_bytes()] {
        refused(|_| Signed::new("msg_1", body), 400, "invalid_body");
    }
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let large = vec![b' '; 2 << 20];
    refused(|_| Signed::new("msg_1", &large), 413, "too_large");
}

#[test]
fn a_chunked_body_is_taken_and_a_large_one_refused() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let chunked = |signed: &Signed| {
        let request = String::from_utf8(signed.request()).expect("text");
        let (head, body) = request.split_once("\r\n\r\n").expect("a body");
        let head = head.replace(&format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked");
        let chunks: String = body
            .as_bytes()
            .chunks(4096)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        format!("{head}\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
    };
    let good = Signed::new("msg_1", sample("user.created").as_bytes());
    assert_eq!(gateway.request(&chunked(&good)).outcome(), "accepted");
    let large = Signed::new("msg_2", &vec![b' '; 2 << 20]);
    assert_eq!(gateway.request(&chunked(&large)).code(), "too_large");
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
fn other_addresses_and_methods_are_refused() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let request =
        |line: &str| gateway.request(format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").as_bytes());
    for (line, status, code) in [
        ("GET /", 404, "not_found"),
        ("GET /metrics", 404, "not_found"),
        ("GET /readyz", 404, "not_found"),
        ("GET /api/rules", 404, "not_found"),
        ("POST /webhooks", 404, "not_found"),
        ("POST /webhooks/nobody", 404, "unknown_source"),
        ("POST /webhooks/clerk/more", 404, "unknown_source"),
        ("PUT /webhooks/clerk", 405, "method_not_allowed"),
        ("DELETE /webhooks/clerk", 405, "method_not_allowed"),
    ] {
        let answer = request(line);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{line}");
    }
    assert_eq!(request("PUT /webhooks/clerk").headers["allow"], "GET, POST");
    assert_eq!(gateway.request(&get("/healthz", "x", "")).status, 200);
    let reachable = gateway.request(&get("/webhooks/clerk", "x", ""));
    assert_eq!(reachable.status, 200);
    assert!(reachable.body.contains("POST"), "{}", reachable.body);
}

#[test]
fn slow_requests_are_refused_and_idle_connections_are_not() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let signed = Signed::new("msg_1", sample("user.created").as_bytes()).request();
    let idle = connect(gateway.webhooks);
    let [mut slow_headers, mut slow_body] = [40, signed.len() - 10].map(|length| {
        let mut stream = connect(gateway.webhooks);
        stream.write_all(&signed[..length]).expect("a part is sent");
        BufReader::new(stream)
    });
    for stream in [&mut slow_headers, &mut slow_body] {
        let answer = read_answer(stream);
        assert_eq!((answer.status, answer.code().as_str()), (408, "timeout"));
    }
    let mut idle = idle;
    idle.write_all(&signed).expect("an idle connection is still open");
    assert_eq!(read_answer(&mut BufReader::new(idle)).status, 200);
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
