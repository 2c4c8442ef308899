//! What concerns everything that goes with one Novu key: a hold, a throttle, a rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::harness::{Gateway, Place, SECRET, Signed, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

const UNAUTHORIZED: Behaviour = Behaviour::Answer(401, "", r#"{"statusCode":401,"message":"API Key not found"}"#);
const HELD: &str = "deskbell_novu_held{source=\"clerk\"}";

fn send(gateway: &Gateway, ids: std::ops::Range<usize>) {
    for number in ids {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
}

#[test]
fn a_refused_key_holds_everything_and_recovers_by_itself() {
    let novu = Novu::that(|_, _| UNAUTHORIZED);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    assert_eq!(gateway.degraded(), [""; 0]);
    send(&gateway, 0..1);
    gateway.wait_for(HELD, 1.0);
    send(&gateway, 1..21);
    let degraded = gateway.degraded();
    assert!(degraded.len() == 1 && degraded[0].contains("status_401"), "{degraded:?}");
    assert_eq!(novu.requests().len(), 1, "what comes while it is held is not tried");

    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    let requests = novu.requests();
    let pause = requests[1].at.duration_since(requests[0].at);
    assert!(pause >= Duration::from_millis(4_900), "the probe is gentle: {pause:?}");
    assert_eq!(requests.len(), 22, "nothing is lost, and nothing doubled");
    gateway.wait_for(HELD, 0.0);
    assert_eq!(gateway.degraded(), [""; 0]);
    assert_eq!(gateway.metric("deskbell_attempts_total{result=\"held\"}"), Some(1.0));
}

#[test]
fn a_new_key_in_the_file_ends_the_hold_at_once() {
    let novu = Novu::that(|request, _| match request.headers["authorization"].as_str() {
        "ApiKey the-new-key" => Behaviour::Process,
        _ => UNAUTHORIZED,
    });
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    send(&gateway, 0..5);
    gateway.wait_for(HELD, 1.0);
    place.write_rules(&rules(novu.address, WELCOME).replace("key-of-the-tests", "the-new-key"));
    assert_eq!(gateway.post("/-/reload").status, 200);
    gateway.drain();
    assert_eq!(novu.processed().len(), 5);
    gateway.wait_for(HELD, 0.0);
    assert_eq!(gateway.degraded(), [""; 0]);
}

/// Something that is not Novu: it reads a little, and says this.
fn stranger(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 65_536]);
            let _ = stream.write_all(says.as_bytes());
        }
    });
    address
}

#[test]
fn whatever_is_wrong_with_one_set_up_holds_that_one_alone() {
    let answers = [
        ("unpaid", Novu::that(|_, _| Behaviour::Answer(402, "", "{}"))),
        ("forbidden", Novu::that(|_, _| Behaviour::Answer(403, "", "{}"))),
        ("absent", Novu::that(|_, _| Behaviour::Answer(404, "", r#"{"message":"Cannot POST /v1/events/trigger"}"#))),
        ("moved", Novu::that(|_, _| Behaviour::Answer(307, "Location: /v1/events/trigger\r\n", ""))),
        ("website", Novu::that(|_, _| Behaviour::Answer(200, "", "<html>welcome</html>"))),
        ("proxy", Novu::that(|_, _| Behaviour::Answer(400, "", "<html>bad request</html>"))),
    ];
    let good = Novu::start();
    let no_tls = stranger("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    let mut sources = String::new();
    let mut addresses: Vec<(&str, String)> =
        answers.iter().map(|(name, novu)| (*name, format!("http://{}", novu.address))).collect();
    addresses.push(("no-tls", format!("https://{no_tls}")));
    for (name, url) in &addresses {
        let novu = format!("{{ api_url: \"{url}\", secret_key: key-of-{name} }}");
        sources.push_str(&format!("  {name}: {{ signing_secrets: [{SECRET}], novu: {novu} }}\n"));
    }
    let place = Place::new(good.address, WELCOME);
    place.write_rules(&rules(good.address, WELCOME).replace("sources:\n", &format!("sources:\n{sources}")));
    let gateway = place.start();
    let post = |source: &str, id: &str| {
        let signed = Signed::new(id, sample("user.created").as_bytes());
        gateway.request(&Signed { source: source.to_owned(), ..signed }.request()).outcome()
    };
    for (name, _) in &addresses {
        assert_eq!(post(name, "msg_1"), "accepted");
        gateway.wait_for(&format!("deskbell_novu_held{{source=\"{name}\"}}"), 1.0);
        assert_eq!(post(name, "msg_2"), "accepted", "{name}");
    }
    assert_eq!(gateway.degraded().len(), addresses.len());

    assert_eq!(post("clerk", "msg_1"), "accepted");
    assert_eq!(good.wait_for(1)[0].headers["authorization"], "ApiKey key-of-the-tests");
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
    assert_eq!(gateway.metric(HELD), Some(0.0));
    let waiting = ["new", "retrying", "sending"]
        .map(|state| gateway.metric(&format!("deskbell_queue_deliveries{{state=\"{state}\"}}")).unwrap_or_default());
    assert_eq!(waiting.iter().sum::<f64>(), 2.0 * addresses.len() as f64, "nothing is thrown away");
}

#[test]
fn a_novu_that_hangs_does_not_starve_that_of_another_source() {
    let hangs = Novu::that(|_, _| Behaviour::Hang);
    let good = Novu::start();
    let place = Place::new(good.address, WELCOME);
    let novu = format!("{{ api_url: \"http://{}\", secret_key: another-key }}", hangs.address);
    let another = format!("sources:\n  another: {{ signing_secrets: [{SECRET}], novu: {novu} }}\n");
    let text = rules(good.address, WELCOME).replace("sources:\n", &another);
    place.write_rules(&text.replace("timeout: 2s", "timeout: 2s, concurrency: 2"));
    let gateway = place.start();
    for number in 0..50 {
        let signed = Signed::new(&format!("msg_{number}"), sample("user.created").as_bytes());
        let signed = Signed { source: "another".to_owned(), ..signed };
        assert_eq!(gateway.request(&signed.request()).outcome(), "accepted");
    }
    hangs.wait_for(2);
    send(&gateway, 0..3);
    good.wait_for(3);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Novu::start();
    // The headers of an answer live as long as the test process.
    let location: &'static str = format!("Location: http://{}/v1/events/trigger\r\n", elsewhere.address).leak();
    for status in [301, 302, 307, 308] {
        let novu = Novu::that(move |_, _| Behaviour::Answer(status, location, ""));
        let place = Place::new(novu.address, WELCOME);
        let gateway = place.start();
        send(&gateway, 0..1);
        gateway.wait_for(HELD, 1.0);
        assert_eq!((novu.requests().len(), elsewhere.connections()), (1, 0), "{status}");
    }
}

#[test]
fn nothing_is_sent_before_novu_wants_more() {
    const THROTTLED: Behaviour = Behaviour::Answer(429, "Retry-After: 2\r\n", r#"{"statusCode":429}"#);
    let novu = Novu::that(|_, before| if before == 0 { THROTTLED } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    send(&gateway, 0..1);
    gateway.wait_for("deskbell_attempts_total{result=\"throttled\"}", 1.0);
    eventually("it says so", || (!gateway.degraded().is_empty()).then_some(()));
    send(&gateway, 1..6);
    gateway.drain();
    let requests = novu.requests();
    assert_eq!(requests.len(), 7);
    for request in &requests[1..] {
        // The clock of the gateway counts whole milliseconds.
        let passed = request.at.duration_since(requests[0].at) + Duration::from_millis(2);
        assert!(passed >= Duration::from_secs(2), "{passed:?}");
    }
    let again = requests[1..].iter().find(|request| request.transaction_id() == requests[0].transaction_id());
    assert_eq!(again.expect("it was sent again").key(), requests[0].key(), "Novu remembers nothing of a 429");
    let asked = gateway.metric("deskbell_novu_throttled_seconds_total{source=\"clerk\"}");
    assert!(asked.is_some_and(|seconds| (1.9..2.1).contains(&seconds)), "{asked:?}");
    assert_eq!(gateway.metric(HELD), Some(0.0));
}

/// Sends some events against a rate of 20 a second, and looks at when Novu got them.
#[track_caller]
fn at_twenty_a_second(behaviour: Behaviour, count: usize) -> Duration {
    let novu = Novu::that(move |_, _| behaviour.clone());
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("timeout: 2s", "timeout: 20s, rate: 20/s"));
    let gateway = place.start();
    send(&gateway, 0..count);
    let requests = novu.wait_for(count);
    for (position, first) in requests.iter().enumerate() {
        for (later, last) in requests.iter().enumerate().skip(position) {
            let passed = last.at.duration_since(first.at).as_secs_f64();
            // A tenth of a second's worth at once, and a few that were held up on their way.
            let allowed = 20.0 * passed + 2.0 + 8.0;
            assert!(((later - position) as f64) < allowed, "{} in {passed} s", later - position);
        }
    }
    requests[count - 1].at.duration_since(requests[0].at)
}

#[test]
fn a_rate_is_kept() {
    at_twenty_a_second(Behaviour::Process, 30);
}

#[test]
fn a_rate_is_reached_though_novu_is_slow() {
    let answered_after = Duration::from_secs(3);
    let taken = at_twenty_a_second(Behaviour::Slow(answered_after), 12);
    assert!(taken < answered_after, "the last was sent {taken:?} after the first");
}

#[test]
fn what_is_urgent_and_turned_down_on_the_way_does_not_hold_the_rest_for_ever() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "blocked" => Behaviour::Answer(403, "", "<html>forbidden</html>"),
        _ => Behaviour::Process,
    });
    let routes = format!("  - {{ event: session.created, workflow: blocked, priority: high }}\n{WELCOME}");
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    gateway.send("msg_blocked", &sample("session.created"));
    gateway.wait_for(HELD, 1.0);
    gateway.send("msg_1", &sample("user.created"));
    gateway.wait_for("deskbell_deliveries_total{outcome=\"delivered\",route=\"welcome\"}", 1.0);
}
