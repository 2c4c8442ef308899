//! The webhook address: every refusal.

use std::io::{BufReader, Write};

use crate::harness::{Place, SECRET, Signed, WELCOME, connect, get, read_answer, sample};
use crate::novu::Novu;

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
