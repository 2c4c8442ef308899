//! What is sent to Novu, when, and how a delivery ends.

#[path = "delivery/bulk.rs"]
mod bulk;
#[path = "delivery/key.rs"]
mod key;
#[path = "delivery/rate.rs"]
mod rate;
#[path = "delivery/retries.rs"]
mod retries;
#[path = "delivery/unreachable.rs"]
mod unreachable;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use deskbell::units::now;
use serde_json::json;

use crate::harness::{Gateway, Place, SECRET, Signed, WELCOME, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu};

const TRIGGER: &str = "POST /v1/events/trigger HTTP/1.1";

#[test]
fn only_processed_is_delivered_and_what_novu_never_takes_is_sent_once() {
    const INACTIVE: &str = r#"{"data":{"acknowledged":true,"status":"trigger_not_active","transactionId":"t"}}"#;
    const ECHO: &str = r#"{"statusCode":400,"type":"PAYLOAD_VALIDATION_ERROR","errors":[{"value":"402913"}]}"#;
    const INVALID: &str = r#"{"statusCode":422,"message":"Validation Error","errors":{"to":{"value":"402913"}}}"#;
    let novu = Novu::that(|request, _| match request.workflow() {
        "inactive" => Behaviour::Answer(201, "", INACTIVE),
        "bad" => Behaviour::Answer(400, "", ECHO),
        "large" => Behaviour::Answer(413, "", r#"{"statusCode":413,"message":"Payload Too Large"}"#),
        "invalid" => Behaviour::Answer(422, "", INVALID),
        _ => Behaviour::Process,
    });
    let routes = ["inactive", "bad", "large", "invalid", "good"]
        .map(|workflow| format!("  - {{ event: user.created, workflow: {workflow} }}\n"))
        .concat();
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    for (route, outcome) in [
        ("inactive", "refused"),
        ("bad", "rejected"),
        ("large", "rejected"),
        ("invalid", "rejected"),
        ("good", "delivered"),
    ] {
        gateway.wait_for(&format!("deskbell_deliveries_total{{outcome=\"{outcome}\",route=\"{route}\"}}"), 1.0);
    }
    gateway.drain();
    assert_eq!(novu.requests().len(), 5, "nothing is sent again");
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(4.0));
    for (result, count) in [("ok", 1.0), ("refused", 1.0), ("rejected", 3.0)] {
        assert_eq!(gateway.metric(&format!("deskbell_attempts_total{{result=\"{result}\"}}")), Some(count), "{result}");
    }
    for reason in ["status_400_payload_validation_error", "status_422"] {
        gateway.has_logged(reason);
    }
    assert!(!gateway.log().contains("402913"), "the log does not repeat what Novu echoes");
    assert_eq!(gateway.degraded(), [""; 0], "a fault of a delivery is none of the set-up");
}

#[test]
fn what_is_too_old_is_never_sent() {
    let novu = Novu::start();
    let place = Place::new(novu.address, "  - { event: user.created, workflow: code, max_age: 10m }\n");
    let gateway = place.start();
    let at = |age: i64| sample_with("user.created", &[("timestamp", json!(now() - age * 1000))]);
    assert_eq!(gateway.send("msg_old", &at(601)).outcome(), "accepted");
    assert_eq!(gateway.send("msg_young", &at(540)).outcome(), "accepted");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"expired\",route=\"code\"}", 1.0);
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"code\"}", 1.0);
    assert_eq!(novu.requests().len(), 1);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(0.0), "expired is not dead");
}

#[test]
fn what_grows_too_old_while_novu_fails_is_not_sent_any_more() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", r#"{"statusCode":500}"#));
    let place = Place::new(novu.address, "  - { event: user.created, workflow: code, max_age: 1s }\n");
    let gateway = place.start();
    let sent_at = Instant::now();
    gateway.send("msg_1", &sample_with("user.created", &[("timestamp", json!(now()))]));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"expired\",route=\"code\"}", 1.0);
    let requests = novu.requests();
    assert!(requests.len() > 1, "it was tried while there was time");
    let last = requests.last().expect("a request").at;
    assert!(last.duration_since(sent_at) < Duration::from_millis(1_500), "{:?}", last.duration_since(sent_at));
}

#[test]
fn what_lacks_a_subscriber_is_kept_as_dead() {
    let novu = Novu::start();
    let route =
        "  - { event: user.created, workflow: hello, subscriber: { subscriberId: \"{{data.external_id}}\" } }\n";
    let place = Place::new(novu.address, &format!("{route}{WELCOME}"));
    let gateway = place.start();
    let answer = gateway.send("msg_1", &sample_with("user.created", &[("data.external_id", json!(null))]));
    assert_eq!((answer.status, answer.json()["routes"].clone()), (200, json!(["hello", "welcome"])));
    gateway.drain();
    assert_eq!(gateway.ended("hello", "render_failed"), 1.0);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(1.0));
    assert_eq!(novu.wait_for(1).len(), 1);
    assert_eq!(novu.requests()[0].workflow(), "welcome", "the other route is not held up");
}

#[test]
fn what_is_urgent_goes_first() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "first" => Behaviour::Slow(Duration::from_secs(1)),
        _ => Behaviour::Process,
    });
    let routes = "  - { event: user.deleted, workflow: first }\n  \
                    - { event: user.created, workflow: low, priority: low }\n  \
                    - { event: user.updated, workflow: normal }\n  \
                    - { event: session.created, workflow: high, priority: high }\n";
    let place = Place::new(novu.address, routes);
    place.write_rules(&rules(novu.address, routes).replace("timeout: 2s", "timeout: 5s, concurrency: 1"));
    let gateway = place.start();
    gateway.send("msg_0", &sample("user.deleted"));
    novu.wait_for(1);
    for event in ["user.created", "user.updated", "session.created"] {
        gateway.send(event, &sample(event));
    }
    let order: Vec<String> = novu.wait_for(4).iter().map(|request| request.workflow().to_owned()).collect();
    assert_eq!(order, ["first", "high", "normal", "low"]);
}

#[test]
fn each_route_and_each_item_has_a_transaction_of_its_own() {
    let novu = Novu::start();
    let routes = "  - { name: people, event: user.created, workflow: mail, each: \"$.data.email_addresses[*]\", \
                    subscriber: { subscriberId: \"{{item.email_address}}\" } }\n  \
                    - { name: one, event: user.created, workflow: mail }\n  \
                    - { name: two, event: user.created, workflow: mail }\n";
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    let address = |name: &str| json!({"email_address": format!("{name}@example.com")});
    let addresses = json!([address("ada"), address("grace"), address("ada")]);
    let answer = gateway.send("msg_1", &sample_with("user.created", &[("data.email_addresses", addresses)]));
    assert_eq!(answer.json()["routes"], json!(["people", "one", "two"]));
    gateway.drain();
    let requests = novu.requests();
    let mut people: Vec<&str> =
        requests.iter().filter_map(|request| request.body["to"]["subscriberId"].as_str()).collect();
    people.retain(|person| person.contains('@'));
    people.sort_unstable();
    assert_eq!(people, ["ada@example.com", "grace@example.com"], "the same item twice is one delivery");
    let transactions: HashSet<&str> = requests.iter().map(|request| request.transaction_id()).collect();
    assert_eq!((requests.len(), transactions.len()), (4, 4));
}

const CODE: &str = "402913";
pub const CODE_ROUTE: &str =
    "  - { event: email.created, workflow: code, payload: { code: \"{{data.data.otp_code}}\" } }\n";

/// Whether the store holds the code.
pub fn is_stored(place: &Place) -> bool {
    assert!(place.store.holds("msg_1"), "the event itself is remembered");
    place.store.holds(CODE)
}

/// Delivers a code, and gives the place and the gateway to look at.
fn delivered(routes: &str, body: &str) -> (Place, Gateway) {
    let novu = Novu::start();
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", body).outcome(), "accepted");
    gateway.drain();
    (place, gateway)
}

#[test]
fn what_is_sensitive_is_erased_after_success() {
    let sensitive = CODE_ROUTE.replace("workflow: code", "workflow: code, sensitive: true");
    // More than one page of the file, packed or not.
    let different: String = (0..4_000).map(|number: u32| format!("{:x}", number.wrapping_mul(2_654_435_761))).collect();
    let long = format!("<html>{CODE}{different}{CODE}</html>");
    for body in [sample("email.created"), sample_with("email.created", &[("data.body", json!(long))])] {
        let (place, gateway) = delivered(CODE_ROUTE, &body);
        assert!(is_stored(&place), "without `sensitive` it is kept");
        assert_eq!(gateway.stop(), Some(0));
        assert!(is_stored(&place), "without `sensitive` it is kept");

        let (place, gateway) = delivered(&sensitive, &body);
        assert_eq!(gateway.stop(), Some(0));
        assert!(!is_stored(&place), "with `sensitive` it is gone");
    }
}

#[test]
fn what_is_sensitive_is_gone_before_the_gateway_is() {
    let sensitive = CODE_ROUTE.replace("workflow: code", "workflow: code, sensitive: true");
    let (place, _gateway) = delivered(&sensitive, &sample("email.created"));
    eventually("it is gone", || (!is_stored(&place)).then_some(()));
}

#[test]
fn a_sensitive_body_goes_when_the_last_delivery_of_the_event_has_succeeded() {
    let sensitive = CODE_ROUTE.replace("workflow: code", "workflow: code, sensitive: true");
    let novu = Novu::that(|request, _| match request.workflow() {
        "copy" => Behaviour::Answer(500, "", "{}"),
        _ => Behaviour::Process,
    });
    let place = Place::new(novu.address, &format!("{sensitive}  - {{ event: email.created, workflow: copy }}\n"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("email.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"code\"}", 1.0);
    assert!(is_stored(&place), "the other delivery may need the body");
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(gateway.stop(), Some(0));
    assert!(!is_stored(&place));
}

#[test]
fn a_sensitive_body_goes_when_what_else_needed_it_is_dropped() {
    let sensitive = CODE_ROUTE.replace("workflow: code", "workflow: code, sensitive: true");
    let novu = Novu::that(|request, _| match request.workflow() {
        "copy" => Behaviour::Answer(400, "", r#"{"statusCode":400}"#),
        _ => Behaviour::Process,
    });
    let place = Place::new(novu.address, &format!("{sensitive}  - {{ event: email.created, workflow: copy }}\n"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("email.created"));
    gateway.drain();
    assert!(is_stored(&place), "what is dead may need the body");
    assert_eq!(gateway.ask("/api/drop", r#"{"state": "dead"}"#).json()["dropped"], 1);
    assert_eq!(gateway.stop(), Some(0));
    assert!(!is_stored(&place));
}

#[test]
fn a_body_that_has_become_sensitive_goes_with_the_end_of_what_was_under_way() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "copy" => Behaviour::Slow(Duration::from_secs(1)),
        _ => Behaviour::Answer(400, "", r#"{"statusCode":400}"#),
    });
    let routes = format!("{CODE_ROUTE}  - {{ event: email.created, workflow: copy }}\n");
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    gateway.send("msg_1", &sample("email.created"));
    gateway.wait_for("deskbell_queue_deliveries{state=\"dead\"}", 1.0);
    place.write_rules(&rules(novu.address, &routes.replace("workflow: code", "workflow: code, sensitive: true")));
    gateway.reload();
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.ask("/api/replay", r#"{"id": "msg_1"}"#).json()["sent"], 1);
    gateway.drain();
    assert_eq!(gateway.stop(), Some(0));
    assert!(!is_stored(&place));
}

#[test]
fn connections_to_novu_are_kept() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for number in 0..20 {
        gateway.send(&format!("msg_{number}"), &sample("user.created"));
        novu.wait_for(number + 1);
        gateway.drain();
    }
    assert!(novu.connections() < 5, "{} connections for 20 requests", novu.connections());
    assert!(novu.requests().iter().all(|request| request.line == TRIGGER));
}

#[test]
fn every_step_is_counted_once() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.send("msg_1", &sample("user.created"));
    gateway.send("msg_2", &sample("user.deleted"));
    gateway.send("msg_3", r#"{"type":"nobody.knows","data":{}}"#);
    gateway.request(&Signed::new("msg_4", b"{}").without("svix-id").request());
    gateway.request(&Signed::new("msg_5", b"{}").set("svix-signature", "v1,AAAA").request());
    gateway.drain();
    for (name, value) in [
        ("deskbell_webhooks_total{result=\"accepted\",source=\"clerk\"}", 1.0),
        ("deskbell_webhooks_total{result=\"duplicate\",source=\"clerk\"}", 1.0),
        ("deskbell_webhooks_total{result=\"unrouted\",source=\"clerk\"}", 2.0),
        ("deskbell_webhooks_total{result=\"missing_headers\",source=\"clerk\"}", 1.0),
        ("deskbell_webhooks_total{result=\"invalid_signature\",source=\"clerk\"}", 1.0),
        ("deskbell_webhook_seconds_count{source=\"clerk\"}", 6.0),
        ("deskbell_events_total{source=\"clerk\",type=\"user.created\"}", 1.0),
        ("deskbell_events_total{source=\"clerk\",type=\"user.deleted\"}", 1.0),
        ("deskbell_events_total{source=\"clerk\",type=\"other\"}", 1.0),
        ("deskbell_route_matches_total{route=\"welcome\"}", 1.0),
        ("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0),
        ("deskbell_delivery_delay_seconds_count{route=\"welcome\"}", 1.0),
        ("deskbell_attempts_total{result=\"ok\"}", 1.0),
        ("deskbell_attempt_seconds_count", 1.0),
        ("deskbell_queue_oldest_seconds", 0.0),
        ("deskbell_rules_last_reload_successful", 1.0),
        ("deskbell_novu_held{source=\"clerk\"}", 0.0),
        (concat!("deskbell_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        assert_eq!(gateway.metric(name), Some(value), "{name}");
    }
}

#[test]
fn a_delivery_is_in_the_queue_or_counted_whenever_one_looks() {
    const EVENTS: usize = 300;
    let novu = Novu::that(|request, _| match request.workflow() {
        "welcome" => Behaviour::Process,
        _ => Behaviour::Answer(422, "", r#"{"statusCode":422}"#),
    });
    let routes = format!("{WELCOME}  - {{ event: user.created, workflow: wrong }}\n");
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    assert_eq!(gateway.ask("/api/pause", r#"{"all":true}"#).status, 200);
    for number in 0..EVENTS {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
    assert_eq!(gateway.ask("/api/resume", r#"{"all":true}"#).status, 200);
    let mut ended = 0.0;
    eventually("the queue is empty", || {
        let page = gateway.get("/metrics").body;
        let sum = |name: &str, parts: &[&str]| -> f64 {
            let lines =
                page.lines().filter(|line| line.starts_with(name) && parts.iter().any(|part| line.contains(part)));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let waiting = sum("deskbell_queue_deliveries{", &["new", "retrying", "sending"]);
        assert!(ended + waiting <= 2.0 * EVENTS as f64, "{ended} were counted, and {waiting} wait");
        ended = sum("deskbell_deliveries_total{", &["delivered", "rejected"]);
        assert!(ended + waiting >= 2.0 * EVENTS as f64, "{waiting} wait, and {ended} are counted");
        (waiting == 0.0).then_some(())
    });
    assert_eq!(ended, 2.0 * EVENTS as f64);
}

#[test]
fn the_oldest_unfinished_delivery_has_its_age() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    eventually("it grows old", || (gateway.metric("deskbell_queue_oldest_seconds")? > 0.5).then_some(()));
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(gateway.metric("deskbell_queue_oldest_seconds"), Some(0.0));
}

#[test]
fn sources_are_told_apart() {
    let novu = Novu::start();
    let routes = "  - { event: user.created, source: staging, workflow: hello }\n  - { event: user.created, workflow: welcome }\n";
    let place = Place::new(novu.address, routes);
    let second = format!("[{SECRET}] }}\n  staging: {{ signing_secrets: [{SECRET}] }}\n");
    place.write_rules(&rules(novu.address, routes).replace(&format!("[{SECRET}] }}\n"), &second));
    let gateway = place.start();
    let post = |source: &str| {
        let signed = Signed::new("msg_1", sample("user.created").as_bytes());
        gateway.request(&Signed { source: source.to_owned(), ..signed }.request()).json()
    };
    assert_eq!(post("clerk")["routes"], json!(["welcome"]));
    let staging = post("staging");
    assert_eq!((&staging["outcome"], &staging["routes"]), (&json!("accepted"), &json!(["hello", "welcome"])));
    gateway.drain();
    let transactions: HashSet<String> =
        novu.requests().iter().map(|request| request.transaction_id().to_owned()).collect();
    assert_eq!(transactions.len(), 3, "the same id from another source is another event");
}
