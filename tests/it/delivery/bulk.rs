//! Many deliveries in one call.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deskbell::units::now;
use serde_json::{Value, json};

use crate::harness::{Gateway, Place, rules, sample_with};
use crate::novu::{Behaviour, Novu, Request, limited};

/// One event becomes many deliveries of `many`, and the last of them all is `bad`.
const ROUTES: &str = "  - { event: user.created, workflow: many, each: \"$.data.email_addresses[*]\", \
                        subscriber: { subscriberId: \"{{item.id}}\" } }\n  \
                        - { event: user.created, workflow: bad }\n";
const URGENT: &str = "  - { event: user.created, workflow: urgent, priority: high, each: \"$.data.email_addresses[*]\", \
                        subscriber: { subscriberId: \"{{item.id}}\" } }\n";

/// An event that becomes so many deliveries of `many`.
fn event(count: usize) -> String {
    let items: Vec<_> = (0..count).map(|number| json!({"id": format!("person_{number}")})).collect();
    let changes = [("data.email_addresses", json!(items)), ("timestamp", json!(now()))];
    sample_with("user.created", &changes)
}

/// A gateway that may send in bulk, with so many deliveries of one event.
fn backlog(novu: &Novu, routes: &str, count: usize) -> (Place, Gateway) {
    let place = Place::new(novu.address, routes);
    let text = rules(novu.address, routes).replace("bulk: off, ", "").replace("unknown: 100ms", "unknown: 700ms");
    place.write_rules(&text);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &event(count)).outcome(), "accepted");
    gateway.drain();
    (place, gateway)
}

/// Waits until so many deliveries of a route have ended so.
fn wait(gateway: &Gateway, route: &str, outcome: &str, count: f64) {
    gateway.wait_for(&format!("deskbell_deliveries_total{{outcome=\"{outcome}\",route=\"{route}\"}}"), count);
}

fn bulks(novu: &Novu) -> Vec<Request> {
    novu.requests().into_iter().filter(Request::is_bulk).collect()
}

/// How often each transaction was sent.
fn sent(requests: &[Request]) -> HashMap<String, usize> {
    let mut sent = HashMap::new();
    for event in requests.iter().flat_map(Request::events) {
        *sent.entry(event["transactionId"].as_str().expect("a transaction").to_owned()).or_default() += 1;
    }
    sent
}

fn names_bad(request: &Request) -> bool {
    request.events().iter().any(|event| event["name"] == "bad")
}

#[test]
fn a_backlog_goes_in_few_calls_where_novu_has_no_limit() {
    let novu = Novu::start();
    let (_place, gateway) = backlog(&novu, ROUTES, 500);
    let (requests, sent) = (novu.requests(), sent(&novu.requests()));
    assert!(requests.len() < 100, "{} calls", requests.len());
    assert!(sent.len() == 501 && sent.values().all(|count| *count == 1), "each is sent once");
    assert!(bulks(&novu).iter().all(|request| (2..=100).contains(&request.events().len())));
    assert!(!requests[0].is_bulk(), "whether there is a limit is only known after an answer");
    wait(&gateway, "many", "delivered", 500.0);
    assert_eq!(gateway.metric("deskbell_attempts_total{result=\"ok\"}"), Some(501.0));
    assert_eq!(gateway.metric("deskbell_attempt_seconds_count"), Some(requests.len() as f64));
}

#[test]
fn what_is_urgent_goes_alone() {
    let novu = Novu::start();
    let (_place, gateway) = backlog(&novu, &format!("{URGENT}{ROUTES}"), 300);
    assert!(!bulks(&novu).is_empty());
    for request in bulks(&novu) {
        assert!(request.events().iter().all(|event| event["name"] != "urgent"));
    }
    wait(&gateway, "urgent", "delivered", 300.0);
}

#[test]
fn the_places_that_a_slow_novu_has_left_are_for_many() {
    let novu = Novu::start();
    let few = "  - { event: user.updated, workflow: few, each: \"$.data.email_addresses[*]\", \
               subscriber: { subscriberId: \"{{item.id}}\" } }\n";
    let routes = format!("{URGENT}{few}");
    let place = Place::new(novu.address, &routes);
    place.write_rules(&rules(novu.address, &routes).replace("bulk: off, ", "").replace("timeout: 2s", "timeout: 30s"));
    let gateway = place.start();
    gateway.send("msg_1", &event(1));
    gateway.drain();
    novu.now(|_, _| Behaviour::Hang);
    gateway.send("msg_2", &event(16));
    novu.wait_for(17);
    gateway.send("msg_3", &event(6).replace("user.created", "user.updated"));
    assert_eq!(novu.wait_for(18)[17].events().len(), 6, "they take one of sixteen places");
}

#[test]
fn it_can_be_switched_off() {
    let novu = Novu::start();
    let place = Place::new(novu.address, ROUTES);
    assert!(rules(novu.address, ROUTES).contains("bulk: off"));
    let gateway = place.start();
    gateway.send("msg_1", &event(200));
    gateway.drain();
    assert_eq!((novu.requests().len(), bulks(&novu).len()), (201, 0));
}

#[test]
fn under_a_limit_only_full_calls_are_made_and_novu_never_finds_them_too_many() {
    let novu = Novu::that(limited(240));
    let (_place, gateway) = backlog(&novu, ROUTES, 950);
    // More in all than Novu's bucket holds.
    gateway.send("msg_2", &event(950));
    gateway.drain();
    assert!(novu.requests().iter().all(|request| request.processed));
    let sizes: Vec<usize> = bulks(&novu).iter().map(|request| request.events().len()).collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|size| *size == 100), "{sizes:?}");
    wait(&gateway, "many", "delivered", 1_900.0);

    let novu = Novu::that(limited(240));
    backlog(&novu, ROUTES, 90);
    assert_eq!((novu.requests().len(), bulks(&novu).len()), (91, 0), "a call would cost as much as a hundred");
}

#[test]
fn under_a_low_limit_each_goes_alone() {
    let novu = Novu::that(limited(120));
    let (_place, _gateway) = backlog(&novu, ROUTES, 250);
    assert_eq!((novu.requests().len(), bulks(&novu).len()), (251, 0));
}

#[test]
fn an_unknown_workflow_in_a_call_is_its_own_fault_alone() {
    let novu = Novu::that(|request, _| {
        let each = |event: &Value| match event["name"] == "bad" {
            true => json!({"acknowledged": true, "status": "error", "error": ["workflow_not_found"]}),
            false => json!({"acknowledged": true, "status": "processed", "transactionId": event["transactionId"]}),
        };
        match request.is_bulk() {
            true => {
                let each: Vec<Value> = request.events().iter().map(each).collect();
                Behaviour::Reply(201, String::new(), json!({"data": each}).to_string())
            }
            false if names_bad(request) => Behaviour::Answer(422, "", r#"{"message":"workflow_not_found"}"#),
            false => Behaviour::Process,
        }
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 200);
    assert!(bulks(&novu).iter().any(names_bad), "the bad one was in a call with others");
    wait(&gateway, "many", "delivered", 200.0);
    wait(&gateway, "bad", "rejected", 1.0);
    let again = sent(&novu.requests()).into_values().filter(|count| *count > 1).collect::<Vec<_>>();
    assert_eq!(again, [4], "it alone is tried again, as it would be alone");
}

#[test]
fn a_refusal_of_one_in_a_call_is_final_and_its_own() {
    let novu = Novu::that(|request, _| {
        let answer = request.processed().to_string();
        let last = request.events().len() - 1;
        match names_bad(request) && request.events()[last]["name"] == "bad" {
            true => {
                let at = answer.rfind("\"processed\"").expect("the last status");
                let (before, after) = answer.split_at(at);
                let refused = after.replacen("processed", "trigger_not_active", 1);
                Behaviour::Reply(201, String::new(), format!("{before}{refused}"))
            }
            false => Behaviour::Process,
        }
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 200);
    assert!(bulks(&novu).iter().any(names_bad), "the bad one was in a call with others");
    wait(&gateway, "many", "delivered", 200.0);
    wait(&gateway, "bad", "refused", 1.0);
    assert!(sent(&novu.requests()).values().all(|count| *count == 1));
}

#[test]
fn one_that_spoils_a_whole_call_does_not_spoil_the_others() {
    let invalid = |request: &Request| match names_bad(request) {
        true => Behaviour::Answer(422, "", r#"{"statusCode":422,"message":"Validation Error"}"#),
        false => Behaviour::Process,
    };
    let novu = Novu::that(move |request, _| invalid(request));
    let (_place, gateway) = backlog(&novu, ROUTES, 200);
    wait(&gateway, "many", "delivered", 200.0);
    wait(&gateway, "bad", "rejected", 1.0);
    let spoiled: Vec<Request> = bulks(&novu).into_iter().filter(names_bad).collect();
    assert_eq!(spoiled.len(), 1, "nobody in it is sent with others again");
    let sent = sent(&novu.requests());
    for event in spoiled[0].events() {
        assert_eq!(sent[event["transactionId"].as_str().expect("a transaction")], 2);
    }
    assert_eq!(sent.values().sum::<usize>(), 201 + spoiled[0].events().len());
    assert_eq!(gateway.degraded(), [""; 0]);
}

#[test]
fn after_a_lost_answer_each_waits_and_then_goes_alone_in_the_same_transaction() {
    let novu = Novu::that(|request, _| match request.is_bulk() {
        true => Behaviour::ProcessThenReset,
        false => Behaviour::Process,
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 200);
    wait(&gateway, "many", "delivered", 200.0);
    let requests = novu.requests();
    let sent = sent(&requests);
    assert_eq!(sent.len(), 201, "Novu runs a transaction once, however often it comes");
    let lost = bulks(&novu);
    assert!(!lost.is_empty());
    let mut keys: Vec<&str> = requests.iter().map(Request::key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), requests.len(), "no key is used for two calls");
    for event in lost.iter().flat_map(Request::events) {
        let transaction = event["transactionId"].as_str().expect("a transaction");
        assert_eq!(sent[transaction], 2);
        let alone = requests.iter().find(|request| !request.is_bulk() && request.transaction_id() == transaction);
        // The clock of the gateway counts whole milliseconds.
        let passed = alone.expect("alone").at.duration_since(lost[0].at) + Duration::from_millis(2);
        assert!(passed >= Duration::from_millis(700), "{passed:?}");
    }
}

#[test]
fn an_answer_that_leaves_some_out_leaves_all_of_it_open() {
    let novu = Novu::that(|request, _| {
        let mut answer = request.processed();
        match answer["data"].as_array_mut() {
            Some(each) => {
                each.pop();
                Behaviour::Reply(201, String::new(), answer.to_string())
            }
            None => Behaviour::Process,
        }
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 100);
    wait(&gateway, "many", "delivered", 100.0);
    let sent = sent(&novu.requests());
    let in_bulk: usize = bulks(&novu).iter().map(|request| request.events().len()).sum();
    assert!(in_bulk > 10 && sent.values().sum::<usize>() == 101 + in_bulk, "each of them goes again");
}

#[test]
fn a_novu_that_does_not_know_bulk_is_asked_once_and_is_not_held_for_it() {
    let novu = Novu::that(|request, _| match request.is_bulk() {
        true => Behaviour::Answer(404, "", r#"{"statusCode":404,"message":"Cannot POST /v1/events/trigger/bulk"}"#),
        false => Behaviour::Process,
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 500);
    wait(&gateway, "many", "delivered", 500.0);
    // Those that were under way when the first answer came.
    assert!((1..=4).contains(&bulks(&novu).len()), "{} calls", bulks(&novu).len());
    assert_eq!(gateway.metric("deskbell_attempts_total{result=\"held\"}"), None);
    assert_eq!(gateway.metric("deskbell_attempts_total{result=\"ok\"}"), Some(501.0));
    assert_eq!(gateway.degraded(), [""; 0]);
}

#[test]
fn an_error_of_a_whole_call_is_that_of_each() {
    let failed = AtomicBool::new(false);
    let novu = Novu::that(move |request, _| match request.is_bulk() && !failed.swap(true, Ordering::Relaxed) {
        true => Behaviour::Answer(500, "", r#"{"statusCode":500,"message":"Internal server error"}"#),
        false => Behaviour::Process,
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 200);
    wait(&gateway, "many", "delivered", 200.0);
    let first = &bulks(&novu)[0];
    let errors = gateway.metric("deskbell_attempts_total{result=\"server_error\"}");
    assert_eq!(errors, Some(first.events().len() as f64), "each has failed once");
    let requests = novu.requests();
    let keys: HashSet<&str> = requests.iter().map(Request::key).collect();
    assert_eq!(keys.len(), requests.len(), "Novu would repeat the error under the same key");
}

#[test]
fn a_refused_key_holds_what_was_in_a_call_as_well() {
    let refused = AtomicBool::new(false);
    let novu = Novu::that(move |request, _| match request.is_bulk() && !refused.swap(true, Ordering::Relaxed) {
        true => Behaviour::Answer(401, "", r#"{"statusCode":401,"message":"API Key not found"}"#),
        false => Behaviour::Process,
    });
    let (_place, gateway) = backlog(&novu, ROUTES, 60);
    wait(&gateway, "many", "delivered", 60.0);
    let requests = novu.requests();
    let at = requests.iter().position(Request::is_bulk).expect("a call for many");
    let held = gateway.metric("deskbell_attempts_total{result=\"held\"}");
    assert_eq!(held, Some(requests[at].events().len() as f64));
    assert!(!requests[at + 1..].iter().any(Request::is_bulk), "they go alone from then on");
    gateway.has_logged("status_401");
}

#[test]
fn what_has_grown_too_old_is_taken_out_of_a_call() {
    let novu = Novu::that(move |_, before| match before {
        // As many calls as may be made at once: all others wait for them.
        0..32 => Behaviour::Slow(Duration::from_millis(1_500)),
        _ => Behaviour::Process,
    });
    let (_place, gateway) = backlog(&novu, &ROUTES.replace("workflow: bad }", "workflow: bad, max_age: 1s }"), 60);
    wait(&gateway, "many", "delivered", 60.0);
    wait(&gateway, "bad", "expired", 1.0);
    let bulks: Vec<usize> = bulks(&novu).iter().map(|request| request.events().len()).collect();
    assert_eq!(bulks.iter().sum::<usize>(), 28, "{bulks:?}");
    assert!(!novu.requests().iter().any(names_bad));
}

#[test]
fn a_call_holds_no_more_than_two_mebibytes() {
    let novu = Novu::start();
    let large = ROUTES.replace("\"{{item.id}}\" }", "\"{{item.id}}\" }, payload: { text: \"{{data.username}}\" }");
    let place = Place::new(novu.address, &large);
    place.write_rules(&rules(novu.address, &large).replace("bulk: off, ", ""));
    let gateway = place.start();
    let items: Vec<_> = (0..90).map(|number| json!({"id": format!("person_{number}")})).collect();
    let changes = [("data.email_addresses", json!(items)), ("data.username", json!("x".repeat(100_000)))];
    assert_eq!(gateway.send("msg_1", &sample_with("user.created", &changes)).outcome(), "accepted");
    gateway.drain();
    wait(&gateway, "many", "delivered", 90.0);
    let bulks = bulks(&novu);
    assert!(bulks.len() > 1);
    for request in bulks {
        let length: usize = request.headers["content-length"].parse().expect("a length");
        assert!(length < (2 << 20) + 1_000, "{length} bytes");
    }
}

#[test]
fn what_was_turned_down_in_company_goes_alone_after_a_replay_too() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", r#"{"statusCode":500}"#));
    let place = Place::new(novu.address, ROUTES);
    let text = rules(novu.address, ROUTES).replace("longest: 200ms", "longest: 20ms, give_up_after: 200ms");
    place.write_rules(&text);
    let gateway = place.start();
    gateway.send("msg_1", &event(50));
    gateway.wait_for("deskbell_queue_deliveries{state=\"dead\"}", 51.0);
    let before = novu.requests().len();
    novu.now(|request, _| match names_bad(request) {
        true => Behaviour::Answer(422, "", r#"{"statusCode":422,"message":"events.1.name must be a string"}"#),
        false => Behaviour::Process,
    });
    place.write_rules(&text.replace("bulk: off, ", ""));
    gateway.reload();
    // Whether there is a limit is only known after an answer.
    gateway.send("msg_2", &event(1));
    gateway.drain();
    assert_eq!(gateway.ask("/api/replay", r#"{"id": "msg_1"}"#).json()["sent"], 51);
    gateway.drain();
    wait(&gateway, "many", "delivered", 51.0);
    wait(&gateway, "bad", "rejected", 2.0);
    let requests = novu.requests().split_off(before);
    assert!(requests.iter().any(|request| request.is_bulk() && names_bad(request)), "it was in a call with others");
    let most = sent(&requests).into_values().max();
    assert!(most <= Some(3), "one of them was sent {most:?} times");
}
