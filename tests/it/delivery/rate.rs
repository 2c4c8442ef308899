//! How fast it goes: as Novu's answers say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Gateway, Place, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu, Request, limited};

const ROUTES: &str = "  - { event: user.created, workflow: low, priority: low, each: \"$.data.email_addresses[*]\", \
                        subscriber: { subscriberId: \"{{item.id}}\" } }\n  \
                        - { event: session.created, workflow: high, priority: high, payload: { id: \"{{webhook.id}}\" } }\n";

/// Rules for a Novu that is slow to nobody, with a rate of their own or none.
fn place(novu: &Novu, rate: &str) -> Place {
    let place = Place::new(novu.address, ROUTES);
    place.write_rules(&rules(novu.address, ROUTES).replace("timeout: 2s", &format!("timeout: 5s, rate: {rate}")));
    place
}

/// Makes so many deliveries at once, with one event.
fn backlog(gateway: &Gateway, count: usize) {
    let items: Vec<_> = (0..count).map(|number| json!({"id": format!("person_{number}")})).collect();
    let answer = gateway.send("msg_0", &sample_with("user.created", &[("data.email_addresses", json!(items))]));
    assert_eq!(answer.outcome(), "accepted");
}

/// The median of how many came in a second, over all stretches of so many.
fn pace(requests: &[Request], stretch: usize) -> f64 {
    let spans = requests.windows(stretch + 1).map(|part| part[stretch].at.duration_since(part[0].at));
    let mut spans: Vec<Duration> = spans.collect();
    spans.sort();
    stretch as f64 / spans[spans.len() / 2].as_secs_f64()
}

#[test]
fn a_backlog_goes_at_the_limit_that_novu_names_and_what_is_urgent_does_not_wait() {
    let novu = Novu::that(limited(60));
    let place = place(&novu, "auto");
    let gateway = place.start();
    backlog(&gateway, 600);
    let mut sent: HashMap<String, Instant> = HashMap::new();
    while novu.requests().len() < 600 {
        let id = format!("msg_{}", sent.len() + 1);
        sent.insert(id.clone(), Instant::now());
        assert_eq!(gateway.send(&id, &sample("session.created")).outcome(), "accepted");
        // The trickle itself; nothing is waited for.
        std::thread::sleep(Duration::from_millis(300));
    }
    gateway.drain();
    let requests = novu.requests();
    assert_eq!(requests.len(), 600 + sent.len());
    assert!(requests.iter().all(|request| request.processed), "Novu never had to say that it is too much");
    // What went before the first answer was known is not counted.
    let pace = pace(&requests[40..600], 120);
    assert!((57.0..60.0).contains(&pace), "{pace} a second");
    for request in requests.iter().filter(|request| request.workflow() == "high") {
        let waited = request.at.duration_since(sent[request.body["payload"]["id"].as_str().expect("an id")]);
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }
    assert!(sent.len() > 10, "{} urgent ones", sent.len());
}

#[test]
fn the_lower_of_both_limits_holds() {
    for (novus, own, expected) in [(200, "40/s", 40.0), (40, "200/s", 39.2)] {
        let novu = Novu::that(limited(novus));
        let place = place(&novu, own);
        let gateway = place.start();
        backlog(&gateway, 160);
        gateway.drain();
        let pace = pace(&novu.requests()[40..], 60);
        assert!((expected * 0.9..expected * 1.05).contains(&pace), "{novus} and {own}: {pace} a second");
    }
}

#[test]
fn where_others_use_the_key_as_well_it_goes_slower() {
    let limited = limited(60);
    let novu = Novu::that(move |request, before| match before {
        // Others have emptied the bucket.
        100 => Behaviour::Answer(429, "Retry-After: 1\r\n", r#"{"statusCode":429}"#),
        _ => limited(request, before),
    });
    let place = place(&novu, "auto");
    let gateway = place.start();
    backlog(&gateway, 200);
    gateway.drain();
    let requests = novu.requests();
    assert_eq!(requests.len(), 201);
    let from = requests.iter().rposition(|request| !request.processed).expect("a refusal") + 1;
    let pace = pace(&requests[from + 20..], 40);
    assert!((35.0..50.0).contains(&pace), "{pace} a second after it was too much");
}
