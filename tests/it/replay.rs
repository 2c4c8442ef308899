//! `replay` and `drop`: what failed is mended, what worked is never doubled, and what is not wanted ends.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::events::{ask, show, states};
use crate::harness::{Client, Gateway, Place, WELCOME, eventually, rules, sample, sample_with};
use crate::novu::{Behaviour, Novu};

const NO_WORKFLOW: Behaviour = Behaviour::Answer(422, "", r#"{"message":"workflow_not_found"}"#);
const REFUSED: Behaviour = Behaviour::Answer(400, "", r#"{"statusCode":400}"#);

fn reload(place: &Place, gateway: &Gateway, novu: &Novu, routes: &str) {
    place.write_rules(&rules(novu.address, routes));
    gateway.reload();
}

/// What a replay by the API has counted, without the zeros.
fn replayed(gateway: &Gateway, filter: &Value) -> Value {
    let answer = gateway.ask("/api/replay", &filter.to_string());
    assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
    let mut totals = answer.json();
    totals.as_object_mut().expect("totals").retain(|_, count| *count != json!(0) && !count.is_null());
    totals
}

fn state(gateway: &Gateway, id: &str, route: &str) -> String {
    let of_route = states(gateway, id).into_iter().filter(|(name, _)| name == route);
    of_route.map(|(_, state)| state).collect::<Vec<_>>().join(" ")
}

fn wait_for_state(gateway: &Gateway, id: &str, route: &str, wanted: &str) {
    eventually(wanted, || (state(gateway, id, route) == wanted).then_some(()));
}

/// The transaction ids that went to a workflow.
fn transactions(novu: &Novu, workflow: &str) -> Vec<String> {
    let requests = novu.processed().into_iter().filter(|request| request.workflow() == workflow);
    requests.map(|request| request.transaction_id().to_owned()).collect()
}

#[test]
fn each_end_that_is_no_success_is_found_understood_mended_and_sent() {
    let novu = Novu::that(|request, _| match request.workflow() {
        "welcome" => Behaviour::Process,
        "wrong" => NO_WORKFLOW,
        "turned-down" => REFUSED,
        _ => Behaviour::Answer(500, "", "{}"),
    });
    let routes = "  - { event: user.created, workflow: welcome }
  - { name: wrong, event: user.created, workflow: wrong }
  - { name: turned-down, event: user.created, workflow: turned-down }
  - { name: nobody, event: user.created, workflow: nobody, subscriber: { subscriberId: '{{data.nope}}' } }
  - { name: late, event: user.created, workflow: late, max_age: 1m }
  - { name: unwanted, event: user.created, workflow: unwanted }\n";
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    for (route, end) in [
        ("welcome", "delivered"),
        ("wrong", "dead"),
        ("turned-down", "dead"),
        ("late", "expired"),
        ("unwanted", "retrying"),
    ] {
        wait_for_state(&gateway, "msg_1", route, end);
    }
    eventually("it is dropped", || {
        assert_eq!(ask(&gateway, "drop --route unwanted").status, 0);
        (state(&gateway, "msg_1", "unwanted") == "cancelled").then_some(())
    });
    assert_eq!(gateway.ended("unwanted", "cancelled"), 1.0);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(3.0));
    gateway.drain();

    for (state, parts) in [
        ("delivered", vec!["welcome delivered\n"]),
        (
            "dead",
            vec!["wrong dead workflow_not_found\n", "nobody dead no_subscriber_id\n", "turned-down dead status_400\n"],
        ),
        ("expired", vec!["late expired\n"]),
        ("cancelled", vec!["unwanted cancelled dropped\n"]),
    ] {
        let found = ask(&gateway, &format!("events --state {state}")).fine().stdout;
        for part in parts {
            assert!(found.contains(part), "{state}: {found}");
        }
    }
    let shown = ask(&gateway, "show msg_1").fine().stdout;
    for part in [
        "msg_1: user.created from clerk\nreceived 20",
        "\nwelcome: delivered, 1 attempt, ended 20",
        "\nwrong: dead, 4 attempts, ended 20",
        "\n  workflow_not_found: Novu has no workflow of that id in this environment; create it or mend `workflow`, then `deskbell replay msg_1`\n",
        "\nnobody: dead, not attempted, ended 20",
        "\n  no_subscriber_id: the event has nothing to fill `subscriberId` with; `deskbell explain --id msg_1` says why",
        "\nlate: expired, 1 attempt, ended 20",
        "`max_age`",
        "\nunwanted: cancelled, ",
        "\n  dropped: it was cancelled by `deskbell drop`; `deskbell replay msg_1` sends it after all\n",
        "`deskbell explain --id msg_1` shows what today's rules make of it\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let before = show(&gateway, "msg_1");

    novu.now(|_, _| Behaviour::Process);
    let mended = routes.replace("workflow: wrong", "workflow: right").replace("data.nope", "data.id");
    reload(&place, &gateway, &novu, &mended.replace("max_age: 1m", "max_age: 9999d"));
    let said = ask(&gateway, "replay msg_1").fine().stdout;
    assert_eq!(said, "1 event: 5 on the way again, 1 delivered before\n");
    gateway.drain();
    for (workflow, position) in
        [("welcome", 0), ("right", 1), ("turned-down", 2), ("nobody", 3), ("late", 4), ("unwanted", 5)]
    {
        let id = before["deliveries"][position]["transaction_id"].as_str().expect("an id");
        assert_eq!(transactions(&novu, workflow), [id], "{workflow}");
    }
    assert_eq!(ask(&gateway, "replay msg_1").fine().stdout, "1 event: 6 delivered before\n");
    assert_eq!(novu.processed().len(), 6);
    for metric in ["new", "retrying", "sending", "dead"] {
        let metric = format!("deskbell_queue_deliveries{{state=\"{metric}\"}}");
        assert_eq!(gateway.metric(&metric), Some(0.0), "{metric}");
    }
}

#[test]
fn another_request_goes_under_another_key_and_the_same_transaction() {
    let novu = Novu::that(|_, _| Behaviour::Answer(502, "", "<html>bad gateway</html>"));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    novu.wait_for(1);
    eventually("it is dropped", || {
        gateway.ask("/api/drop", r#"{"all": true}"#);
        (state(&gateway, "msg_1", "welcome") == "cancelled").then_some(())
    });
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(replayed(&gateway, &json!({"state": "cancelled"})), json!({"events": 1, "sent": 1}));
    gateway.drain();
    reload(&place, &gateway, &novu, &WELCOME.replace(" }", ", payload: { a: b } }"));
    let requests = novu.requests();
    assert_eq!(requests[0].key(), requests[requests.len() - 1].key(), "the outcome of the first is not known");

    novu.now(|_, _| Behaviour::Answer(502, "", "<html>bad gateway</html>"));
    let before = novu.requests().len();
    gateway.send("msg_2", &sample("user.created"));
    novu.wait_for(before + 1);
    eventually("it is dropped", || {
        gateway.ask("/api/drop", r#"{"all": true}"#);
        (state(&gateway, "msg_2", "welcome") == "cancelled").then_some(())
    });
    let before = novu.requests().len();
    novu.now(|_, _| Behaviour::Process);
    reload(&place, &gateway, &novu, WELCOME);
    replayed(&gateway, &json!({"state": "cancelled"}));
    let requests = novu.wait_for(before + 1);
    let (tried, replayed) = (&requests[before - 1], &requests[before]);
    assert_eq!(tried.transaction_id(), replayed.transaction_id());
    assert_ne!(tried.key(), replayed.key(), "Novu refuses another body under the same key");
}

#[test]
fn after_an_outcome_that_stayed_unknown_a_replay_waits_as_a_retry_would() {
    let novu = Novu::that(|_, _| Behaviour::Reset);
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("unknown: 100ms", "unknown: 3s"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    wait_for_state(&gateway, "msg_1", "welcome", "retrying");
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(ask(&gateway, "drop msg_1").fine().stdout, "1 delivery is cancelled\n");
    assert_eq!(ask(&gateway, "replay msg_1").fine().stdout, "1 event: 1 on the way again\n");
    let requests = novu.wait_for(2);
    let pause = requests[1].at.duration_since(requests[0].at);
    assert!(pause >= Duration::from_millis(2_900), "Novu may still have been at it: {pause:?}");
}

#[test]
fn what_was_given_up_after_an_outcome_that_stayed_unknown_waits_before_it_is_sent_again() {
    let novu = Novu::that(|_, _| Behaviour::Reset);
    let place = Place::new(novu.address, WELCOME);
    let impatient = "unknown: 3s, give_up_after: 1s";
    place.write_rules(&rules(novu.address, WELCOME).replace("unknown: 100ms", impatient));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    wait_for_state(&gateway, "msg_1", "welcome", "dead");
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    let requests = novu.wait_for(2);
    let pause = requests[1].at.duration_since(requests[0].at);
    assert!(pause >= Duration::from_millis(2_900), "Novu may still have been at it: {pause:?}");
}

#[test]
fn an_event_that_no_route_wanted_is_sent_once_one_wants_it() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for id in ["msg_1", "msg_2"] {
        assert_eq!(gateway.send(id, &sample("user.updated")).outcome(), "unrouted");
    }
    gateway.send("msg_3", &sample("session.created"));
    let shown = ask(&gateway, "show msg_1").fine().stdout;
    assert!(shown.contains("\nunrouted: no route wanted it\n"), "{shown}");
    let still = ask(&gateway, "replay msg_1").says(&["`deskbell explain --id msg_1` says why"]);
    assert_eq!((still.status, still.stdout.as_str()), (1, "1 event: 1 that no route wants\n"));
    assert_eq!(replayed(&gateway, &json!({"all": true})), json!({}), "nothing is dead");

    reload(&place, &gateway, &novu, &format!("{WELCOME}  - {{ event: user.updated, workflow: changed }}\n"));
    assert_eq!(ask(&gateway, "replay msg_1").fine().stdout, "1 event: 1 on the way again\n");
    let said = ask(&gateway, "replay --state unrouted").fine().stdout;
    assert_eq!(said, "2 events: 1 on the way again, 1 that no route wants\n");
    gateway.drain();
    assert_eq!(transactions(&novu, "changed").len(), 2);
    assert_eq!(ask(&gateway, "replay --state unrouted").fine().stdout, "1 event: 1 that no route wants\n");
    assert_eq!(gateway.send("msg_1", &sample("user.updated")).outcome(), "duplicate");
    assert_eq!(novu.requests().len(), 2);
}

#[test]
fn again_sends_everything_under_new_ids_and_a_later_replay_mends_what_failed_of_it() {
    let novu = Novu::start();
    let place = Place::new(novu.address, &format!("{WELCOME}  - {{ event: user.created, workflow: audit }}\n"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    assert_eq!(ask(&gateway, "replay msg_1 --again").fine().stdout, "1 event: 2 on the way again\n");
    gateway.drain();
    novu.now(|request, _| if request.workflow() == "welcome" { REFUSED } else { Behaviour::Process });
    assert_eq!(ask(&gateway, "replay --state delivered --route welcome --again").status, 0);
    gateway.drain();
    let welcome = |position: usize| novu.requests()[position].transaction_id().to_owned();
    let ids: HashSet<String> = (0..5).map(welcome).collect();
    assert_eq!((novu.requests().len(), ids.len()), (5, 5), "each has a transaction of its own");
    assert_eq!(state(&gateway, "msg_1", "welcome"), "delivered delivered dead");

    novu.now(|_, _| Behaviour::Process);
    assert_eq!(ask(&gateway, "replay --state dead").fine().stdout, "1 event: 1 on the way again, 1 delivered before\n");
    gateway.drain();
    assert_eq!(welcome(5), welcome(4));
    let body = &novu.requests()[5].body;
    assert_eq!((novu.requests().len(), &body["name"]), (6, &json!("welcome")));
    assert_eq!(ask(&gateway, "replay msg_1").fine().stdout, "1 event: 2 delivered before\n");
    assert_eq!(novu.requests().len(), 6);
}

#[test]
fn what_was_sent_anew_takes_the_place_of_what_was_dead() {
    let novu = Novu::that(|_, _| REFUSED);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    novu.now(|_, _| Behaviour::Process);
    replayed(&gateway, &json!({"id": "msg_1", "again": true}));
    gateway.drain();
    assert_eq!(state(&gateway, "msg_1", "welcome"), "cancelled delivered");
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(0.0));
    assert_eq!(replayed(&gateway, &json!({"id": "msg_1"})), json!({"events": 1, "delivered": 1}));
    assert_eq!(novu.processed().len(), 1);
}

#[test]
fn what_cannot_be_sent_is_told() {
    let novu = Novu::that(|_, _| REFUSED);
    let routes = "  - { event: user.created, workflow: gone }
  - { event: user.created, workflow: late }
  - { event: user.created, workflow: nobody }
  - { event: email.created, workflow: code, sensitive: true }\n";
    let place = Place::new(novu.address, routes);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    novu.now(|_, _| Behaviour::Process);
    gateway.send("msg_2", &sample("email.created"));
    gateway.drain();
    let changed = "  - { event: user.created, workflow: late, max_age: 1m }
  - { event: user.created, workflow: nobody, subscriber: { subscriberId: '{{data.nope}}' } }\n";
    reload(&place, &gateway, &novu, changed);
    let said = ask(&gateway, "replay --state dead").says(&["`deskbell drop`"]);
    let told = "1 event: 1 too old to be sent, 1 dead again, 1 dead, and no route makes it any more\n";
    assert_eq!((said.status, said.stdout.as_str()), (1, told));
    assert_eq!(gateway.ended("nobody", "render_failed"), 1.0);
    wait_for_state(&gateway, "msg_1", "late", "expired");
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(2.0));

    let erased = ask(&gateway, "replay msg_2");
    assert_eq!((erased.status, erased.stdout.as_str()), (1, "1 event: 1 of which the body is erased\n"));
    assert!(ask(&gateway, "show msg_2").fine().stdout.contains("its body is erased"));

    assert_eq!(
        ask(&gateway, "drop --all").fine().stdout,
        "0 deliveries are cancelled\n",
        "it takes nothing that is dead"
    );
    assert_eq!(ask(&gateway, "drop --state dead --route gone").fine().stdout, "1 delivery is cancelled\n");
    assert_eq!(ask(&gateway, "drop msg_1").fine().stdout, "1 delivery is cancelled\n");
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some(0.0));
    assert_eq!((gateway.ended("gone", "cancelled"), gateway.ended("nobody", "cancelled")), (1.0, 1.0));
    assert_eq!(novu.processed().len(), 1);
}

#[test]
fn a_resend_of_what_is_dead_does_the_same_as_a_replay() {
    let novu = Novu::that(|request, _| if request.workflow() == "audit" { REFUSED } else { Behaviour::Process });
    let place = Place::new(novu.address, &format!("{WELCOME}  - {{ event: user.created, workflow: audit }}\n"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    gateway.drain();
    let routes = format!("{WELCOME}  - {{ name: audit, event: user.created, workflow: log }}\n");
    reload(&place, &gateway, &novu, &routes);
    let answer = gateway.send("msg_1", &sample("user.created"));
    assert_eq!((answer.outcome(), &answer.json()["routes"]), ("duplicate".to_owned(), &json!(["welcome", "audit"])));
    gateway.drain();
    let requests = novu.requests();
    let workflows: Vec<&str> =
        requests.iter().map(|request| request.workflow()).filter(|name| *name != "welcome").collect();
    assert_eq!((requests.len(), workflows), (4, vec!["audit", "audit", "log"]));
    assert_eq!(state(&gateway, "msg_1", "audit"), "delivered");
    gateway.has_logged("\"replayed\"");

    reload(&place, &gateway, &novu, &WELCOME.replace(" }", ", subscriber: { subscriberId: '{{data.nope}}' } }"));
    gateway.send("msg_2", &sample("user.created"));
    gateway.send("msg_2", &sample("user.created"));
    assert_eq!(gateway.ended("welcome", "render_failed"), 2.0, "dead, and dead again");
}

#[test]
fn a_full_queue_is_told_and_what_was_done_before_is_kept() {
    let novu = Novu::that(|_, _| REFUSED);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    for number in 0..6 {
        gateway.send(&format!("msg_{number}"), &sample("user.created"));
    }
    gateway.drain();
    assert_eq!(gateway.ask("/api/pause", r#"{"all": true}"#).status, 200);
    place.write_rules(&format!("limits: {{ queue: 4 }}\n{}", rules(novu.address, WELCOME)));
    gateway.reload();
    let said = ask(&gateway, "replay --state dead").says(&["the queue is full"]);
    assert_eq!((said.status, said.stdout.as_str()), (1, "4 events: 4 on the way again\n"));
    assert_eq!(gateway.ask("/api/replay", r#"{"state": "dead"}"#).status, 503);
    novu.now(|_, _| Behaviour::Process);
    assert_eq!(gateway.ask("/api/resume", r#"{"all": true}"#).status, 200);
    gateway.drain();
    assert_eq!(ask(&gateway, "replay --state dead").fine().stdout, "2 events: 2 on the way again\n");
    gateway.drain();
    assert_eq!(transactions(&novu, "welcome").into_iter().collect::<HashSet<_>>().len(), 6);
}

#[test]
fn a_source_that_is_gone_is_not_sent_to() {
    let novu = Novu::that(|_, _| REFUSED);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.drain();
    place.write_rules(&rules(novu.address, WELCOME).replace("clerk:", "other:"));
    gateway.reload();
    assert_eq!(replayed(&gateway, &json!({"id": "msg_1"})), json!({"events": 1, "left": 1}));
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"new\"}"), Some(0.0), "nobody could deliver it");
}

#[test]
fn a_long_replay_is_whole_and_delays_nothing_that_is_urgent() {
    const EVENTS: usize = 300;
    const PEOPLE: usize = 10;
    const AT_ONCE: usize = 4;
    let novu = Novu::that(|_, _| REFUSED);
    let routes = format!("{}  - {{ event: session.created, workflow: urgent, priority: high }}\n", EACH);
    let place = Place::new(novu.address, &routes);
    let gateway = place.start();
    let mut client = Client::new(gateway.webhooks).expect("a connection");
    let body = people(PEOPLE);
    for number in 0..EVENTS {
        client.send(&format!("msg_{number}"), &body).expect("an answer");
    }
    gateway.drain();
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"dead\"}"), Some((EVENTS * PEOPLE) as f64));

    novu.now(|_, _| Behaviour::Slow(Duration::from_millis(20)));
    let slow = rules(novu.address, &routes).replace("timeout: 2s", &format!("timeout: 5s, concurrency: {AT_ONCE}"));
    place.write_rules(&slow);
    gateway.reload();
    let replayed = std::thread::scope(|scope| {
        let replay = scope.spawn(|| ask(&gateway, "replay --state dead --rate 1000/s"));
        eventually("many wait", || {
            gateway.metric("deskbell_queue_deliveries{state=\"new\"}").filter(|waiting| *waiting > 300.0)
        });
        assert_eq!(gateway.send("msg_urgent", &sample("session.created")).outcome(), "accepted");
        let accepted = novu.requests().len();
        let urgent = eventually("it is sent", || {
            novu.requests()[accepted.saturating_sub(AT_ONCE)..]
                .iter()
                .position(|request| request.workflow() == "urgent")
        });
        assert!(urgent <= 3 * AT_ONCE, "{urgent} others went before it");
        place.write_rules(&rules(novu.address, &routes));
        novu.now(|_, _| Behaviour::Process);
        replay.join().expect("it ends")
    });
    assert_eq!(replayed.fine().stdout, format!("{EVENTS} events: {} on the way again\n", EVENTS * PEOPLE));
    gateway.drain();
    let ids = transactions(&novu, "mail");
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (EVENTS * PEOPLE, EVENTS * PEOPLE));
}

#[test]
fn one_event_goes_before_the_many_of_a_filter() {
    let novu = Novu::that(|_, _| REFUSED);
    let routes = format!("{WELCOME}  - {{ event: [session.created, user.updated], workflow: one }}\n");
    let place = Place::new(novu.address, &routes);
    place.write_rules(&rules(novu.address, &routes).replace("timeout: 2s", "timeout: 5s, concurrency: 1"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    gateway.send("msg_2", &sample("session.created"));
    gateway.drain();
    novu.now(|_, before| if before == 2 { Behaviour::Slow(Duration::from_secs(2)) } else { Behaviour::Process });
    gateway.send("msg_3", &sample("user.updated"));
    novu.wait_for(3);
    for filter in [json!({"type": "user.created"}), json!({"id": "msg_2"})] {
        assert_eq!(replayed(&gateway, &filter), json!({"events": 1, "sent": 1}));
    }
    let order: Vec<String> = novu.wait_for(5).iter().map(|request| request.workflow().to_owned()).collect();
    assert_eq!(order[3..], ["one", "welcome"]);
}

/// A delivery for each of the people of an event.
const EACH: &str = "  - { event: user.created, workflow: mail, each: \"$.data.people[*]\", subscriber: { subscriberId: \"{{item}}\" } }\n";

fn people(count: usize) -> String {
    let people: Vec<String> = (0..count).map(|person| format!("person-{person}")).collect();
    sample_with("user.created", &[("data.people", json!(people))])
}

#[test]
fn many_are_dropped_step_by_step_and_listed_page_by_page() {
    let novu = Novu::that(|_, _| Behaviour::Hang);
    let place = Place::new(novu.address, EACH);
    place.write_rules(&rules(novu.address, EACH).replace("timeout: 2s", "timeout: 60s, concurrency: 2"));
    let gateway = place.start();
    for number in 0..11 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &people(1_000)).outcome(), "accepted");
    }
    novu.wait_for(2);
    // They wait for those two, and are paused all the same.
    gateway.ask("/api/pause", r#"{"all": true}"#);
    let dropped = gateway.ask("/api/drop", r#"{"state": "new"}"#).json();
    assert_eq!(dropped, json!({"dropped": 0, "sending": 2}));
    let dropped = gateway.ask("/api/drop", r#"{"state": "paused", "route": "mail"}"#).json();
    assert_eq!(dropped, json!({"dropped": 10_998, "sending": 2}), "step after step");
    assert_eq!(gateway.ended("mail", "cancelled"), 10_998.0);
    assert_eq!(gateway.metric("deskbell_queue_deliveries{state=\"new\"}"), Some(0.0));
    gateway.has_logged("\"dropped\":10998");
    let log = gateway.log();
    assert_eq!(log.lines().filter(|line| line.contains("\"dropped\"")).count(), 2, "one line for all of them");

    let page = gateway.get("/api/events?limit=500").json();
    assert!(
        page["next"].is_i64() && page["events"].as_array().is_some_and(|events| events.len() < 11),
        "it is bounded"
    );
    let table = ask(&gateway, "events").fine().stdout;
    assert_eq!(table.matches("mail cancelled dropped (").count(), 11, "page after page: {table}");
    assert!(table.contains("mail cancelled dropped (1000 times)"), "{table}");
}
