//! The address for the operator, and the page for Prometheus.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{Answer, Gateway, Place, Signed, WELCOME, exchange, get, sample};
use crate::novu::{Behaviour, Novu};

const TOKEN: &str = "a-token-of-the-tests";

fn place() -> (Novu, Place) {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    (novu, place)
}

/// A request without a body to an address of the operator's.
fn ask(address: SocketAddr, line: &str, headers: &str) -> Answer {
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    exchange(address, format!("{line} HTTP/1.1\r\n{host}{headers}Content-Length: 0\r\n\r\n").as_bytes())
}

#[test]
fn with_a_token_only_metrics_and_health_are_open() {
    let (_novu, place) = place();
    let gateway = place.start_with(|command| {
        command.env("DESKBELL_ADMIN_TOKEN", TOKEN);
    });
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(ask(gateway.admin, &format!("GET {path}"), "").status, 200, "{path}");
    }
    let closed = [
        "GET /api/rules",
        "POST /api/explain",
        "POST /-/reload",
        "GET /",
        "GET /api/events",
        "GET /api/events/msg_1",
        "POST /api/replay",
        "POST /api/drop",
        "POST /api/pause",
        "POST /api/resume",
        "GET /nowhere",
        "PUT /api/rules",
    ];
    for line in closed {
        for header in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer a-token-of-the-test\r\n",
            "Authorization: Basic a-token-of-the-tests\r\n",
            "Authorization: a-token-of-the-tests\r\n",
        ] {
            let answer = ask(gateway.admin, line, header);
            assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"), "{line} {header}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(gateway.admin, "GET /api/rules", &token).json()["routes"], json!(["welcome"]));
    assert_eq!(ask(gateway.admin, "POST /-/reload", &token).json()["result"], "unchanged");
    assert!(!gateway.log().contains(TOKEN), "the log does not hold the token");
}

#[test]
fn beyond_this_machine_there_is_no_admin_address_without_a_token() {
    let (_novu, place) = place();
    for token in [None, Some("")] {
        let (status, said) = place.refuses_to_start(|command| {
            command.arg("--admin=0.0.0.0:0").envs(token.map(|token| ("DESKBELL_ADMIN_TOKEN", token)));
        });
        assert_eq!(status, Some(78), "{said}");
        assert!(said.contains("DESKBELL_ADMIN_TOKEN"), "{said}");
    }
    let gateway = place.start_with(|command| {
        command.arg("--admin=0.0.0.0:0").env("DESKBELL_ADMIN_TOKEN", TOKEN);
    });
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.admin.port()));
    let host = "Host: gateway.internal:9464\r\n";
    assert_eq!(ask(address, "GET /readyz", host).status, 200);
    assert_eq!(ask(address, "GET /api/rules", host).status, 401);
    let token = format!("{host}Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(address, "GET /api/rules", &token).status, 200);
    assert_eq!(ask(address, "GET /api/rules", &format!("{token}Origin: https://evil.example\r\n")).status, 403);
}

#[test]
fn a_page_of_somebody_else_cannot_reach_it_through_a_browser() {
    let (_novu, place) = place();
    let gateway = place.start();
    let port = gateway.admin.port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        "10.0.0.1".to_owned(),
        String::new(),
    ] {
        for line in ["GET /metrics", "GET /readyz", "GET /api/rules", "POST /-/reload", "POST /api/explain"] {
            let answer = ask(gateway.admin, line, &format!("Host: {host}\r\n"));
            // What is no host at all never reaches the address.
            assert!(matches!(answer.status, 400 | 403), "{host} {line}: {}", answer.status);
        }
    }
    for origin in [
        "https://evil.example".to_owned(),
        "null".to_owned(),
        format!("http://localhost.evil.example:{port}"),
        format!("http://localhost:{}", port.wrapping_add(1)),
        String::new(),
    ] {
        let headers = format!("Host: localhost:{port}\r\nOrigin: {origin}\r\n");
        for line in ["GET /api/rules", "POST /-/reload", "POST /api/explain"] {
            assert_eq!(ask(gateway.admin, line, &headers).code(), "foreign_origin", "{origin} {line}");
        }
    }
    for host in
        [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}"), "LocalHost".to_owned()]
    {
        assert_eq!(ask(gateway.admin, "GET /api/rules", &format!("Host: {host}\r\n")).status, 200, "{host}");
        let own = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        assert_eq!(ask(gateway.admin, "POST /-/reload", &own).status, 200, "{host}");
    }
}

#[test]
fn wrong_methods_and_addresses_are_told_apart() {
    let (_novu, place) = place();
    let gateway = place.start();
    for (line, status, code, allow) in [
        ("POST /metrics", 405, "method_not_allowed", Some("GET")),
        ("DELETE /readyz", 405, "method_not_allowed", Some("GET")),
        ("GET /-/reload", 405, "method_not_allowed", Some("POST")),
        ("POST /api/rules", 405, "method_not_allowed", Some("GET")),
        ("GET /api/explain", 405, "method_not_allowed", Some("POST")),
        ("POST /api/events", 405, "method_not_allowed", Some("GET")),
        ("DELETE /api/events/msg_1", 405, "method_not_allowed", Some("GET")),
        ("GET /api/replay", 405, "method_not_allowed", Some("POST")),
        ("GET /api/drop", 405, "method_not_allowed", Some("POST")),
        ("GET /api/pause", 405, "method_not_allowed", Some("POST")),
        ("GET /api/resume", 405, "method_not_allowed", Some("POST")),
        ("GET /nowhere", 404, "not_found", None),
        ("GET /metrics/more", 404, "not_found", None),
        ("POST /webhooks/clerk", 404, "not_found", None),
    ] {
        let answer = ask(gateway.admin, line, "");
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{line}");
        assert_eq!(answer.headers.get("allow").map(String::as_str), allow, "{line}");
    }
}

#[test]
fn the_metrics_address_serves_metrics_and_health_and_nothing_else() {
    let (_novu, place) = place();
    let gateway = place.start_with(|command| {
        command.args(["--metrics=0.0.0.0:0"]).env("DESKBELL_ADMIN_TOKEN", TOKEN);
    });
    let metrics: Value = serde_json::from_str(gateway.log().lines().next().expect("a line")).expect("JSON");
    let metrics: SocketAddr = metrics["metrics"].as_str().expect("an address").parse().expect("an address");
    let metrics = SocketAddr::from(([127, 0, 0, 1], metrics.port()));
    for path in ["/metrics", "/healthz", "/readyz"] {
        let (here, there) =
            [metrics, gateway.admin].map(|address| exchange(address, &get(path, "127.0.0.1", ""))).into();
        assert_eq!((here.status, there.status), (200, 200), "{path}");
        assert_eq!(here.headers["content-type"], there.headers["content-type"], "{path}");
        assert_eq!(ask(metrics, &format!("GET {path}"), "Host: prometheus.internal\r\n").status, 200, "{path}");
    }
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    for line in
        ["GET /", "GET /api/rules", "POST /api/explain", "POST /-/reload", "POST /webhooks/clerk", "GET /nowhere"]
    {
        assert_eq!(ask(metrics, line, &token).status, 404, "{line}");
    }
    assert_eq!(ask(metrics, "POST /metrics", &token).status, 405);
}

/// A gateway that has seen something of everything.
fn busy(place: &Place, novu: &Novu) -> Gateway {
    novu.now(|_, before| match before {
        0 => Behaviour::Answer(500, "", "{}"),
        1 => Behaviour::Answer(429, "Retry-After: 0\r\n", "{}"),
        _ => Behaviour::Process,
    });
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.send("msg_2", r#"{"type":"nobody.knows","data":{}}"#);
    gateway.send("msg_3", r#"{"type":"nor.this","data":{}}"#);
    gateway.send("msg_4", r#"{"success":true}"#);
    let stranger = Signed { source: "stranger-with-a-name".to_owned(), ..Signed::new("msg_5", b"{}") };
    assert_eq!(gateway.request(&stranger.request()).status, 404);
    gateway.post("/-/reload");
    gateway.drain();
    gateway.wait_for("deskbell_delivery_delay_seconds_count{route=\"welcome\"}", 1.0);
    gateway
}

/// Name, labels and value of a line of the page.
fn sample_of(line: &str) -> (&str, Vec<(&str, &str)>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let Some((name, labels)) = series.split_once('{') else { return (series, Vec::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("open labels: {line}"));
    let labels = labels.split(',').map(|label| {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
        (name, &value[1..value.len() - 1])
    });
    (name, labels.collect(), value)
}

#[test]
fn the_page_for_prometheus_is_well_formed() {
    let (novu, place) = place();
    let gateway = busy(&place, &novu);
    let answer = gateway.get("/metrics");
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.body.ends_with('\n'));
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let (mut helped, mut typed, mut seen) = (HashSet::new(), HashSet::new(), HashSet::new());
    for line in answer.body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a help");
            assert!(is_name(name) && help.len() > 10 && helped.insert(name), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind) && typed.insert(name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, labels, value) = sample_of(line);
            assert!(
                is_name(name) && value.is_finite() && seen.insert(line.rsplit_once(' ').expect("a value").0),
                "{line}"
            );
            assert!(labels.iter().all(|(name, value)| is_name(name) && !value.is_empty()), "{line}");
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = family.filter(|family| typed.contains(family)).unwrap_or(name);
            assert!(helped.contains(family) && typed.contains(family), "{line} has no HELP or TYPE");
        }
    }
    assert_eq!(helped, typed);
    assert!(helped.contains("process_resident_memory_bytes"), "the usual ones of a process are there");
}

#[test]
fn labels_are_those_that_are_known() {
    let (novu, place) = place();
    let gateway = busy(&place, &novu);
    let page = gateway.get("/metrics").body;
    let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).map(sample_of).collect();
    let values = |name: &str, label: &str| -> HashSet<&str> {
        let of_name = lines.iter().filter(|line| line.0 == name);
        of_name.flat_map(|line| line.1.iter().filter(|pair| pair.0 == label).map(|pair| pair.1)).collect()
    };
    assert_eq!(values("deskbell_events_total", "type"), HashSet::from(["user.created", "other"]));
    assert_eq!(gateway.metric("deskbell_events_total{source=\"clerk\",type=\"other\"}"), Some(3.0));
    for (name, _, _) in &lines {
        assert!(values(name, "source").is_subset(&HashSet::from(["clerk"])), "{name}");
        assert!(values(name, "route").is_subset(&HashSet::from(["welcome"])), "{name}");
    }
    let states = HashSet::from(["new", "retrying", "sending", "dead"]);
    assert_eq!(values("deskbell_queue_deliveries", "state"), states);
    assert_eq!(values("deskbell_attempts_total", "result"), HashSet::from(["ok", "server_error", "throttled"]));
    assert_eq!(values("deskbell_rules_reloads_total", "result"), HashSet::from(["unchanged"]));
    let running = gateway.get("/api/rules").json()["revision"].clone();
    assert_eq!(values("deskbell_rules_info", "revision"), HashSet::from([running.as_str().expect("a revision")]));
    for personal in ["msg_1", "ada.lovelace", "user_3JK7", "stranger"] {
        assert!(!page.contains(personal), "{personal}");
    }
}

#[test]
fn every_queue_state_is_there_before_anything_has_happened() {
    let (_novu, place) = place();
    let gateway = place.start();
    for state in ["new", "retrying", "sending", "dead"] {
        assert_eq!(gateway.metric(&format!("deskbell_queue_deliveries{{state=\"{state}\"}}")), Some(0.0), "{state}");
    }
    for name in ["deskbell_queue_oldest_seconds", "deskbell_novu_held{source=\"clerk\"}"] {
        assert_eq!(gateway.metric(name), Some(0.0), "{name}");
    }
    assert_eq!(gateway.metric("deskbell_rules_last_reload_successful"), Some(1.0));
}
