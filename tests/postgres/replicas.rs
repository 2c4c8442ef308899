//! Several gateways share a store: what one of them knows, all of them keep to.

use serde_json::Value;

use crate::harness::{Gateway, Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};
use crate::server::ask;
use crate::together::Together;

#[test]
fn whatever_goes_wrong_each_event_runs_once_for_each_route() {
    let ran = Together { rounds: 6, seed: 1, idempotency: true }.run();
    assert!(ran.requests > 2 * ran.events, "something was sent again: {} of {}", ran.requests, ran.events);
}

/// The names of the gateways that one of them knows, and the revisions that they run.
fn known(gateway: &Gateway) -> Vec<(String, String)> {
    let page = gateway.get("/api/rules").json();
    let replicas = page["replicas"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    replicas.iter().map(|replica| (text(&replica["name"]), text(&replica["revision"]))).collect()
}

/// Waits until all of them know each other.
fn meet(gateways: &[&Gateway]) {
    for gateway in gateways {
        eventually("they know each other", || (known(gateway).len() == gateways.len()).then_some(()));
    }
}

#[test]
fn an_event_that_comes_to_two_of_them_is_one() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (one, other) = (place.start(), place.start());
    for number in 0..20 {
        let id = format!("msg_{number}");
        let body = sample("user.created");
        let mut outcomes = std::thread::scope(|scope| {
            let sends = [&one, &other].map(|gateway| scope.spawn(|| gateway.send(&id, &body).outcome()));
            sends.map(|send| send.join().expect("an answer"))
        });
        outcomes.sort();
        assert_eq!(outcomes, ["accepted", "duplicate"]);
    }
    one.drain();
    other.drain();
    assert_eq!(novu.requests().len(), 20);
}

#[test]
fn what_a_dead_one_was_attempting_goes_on_elsewhere() {
    // What comes first is never answered.
    let novu = Novu::that(|_, number| if number == 0 { Behaviour::Hang } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("timeout: 2s", "timeout: 60s"));
    let dead = place.start();
    dead.send("msg_1", &sample("user.created"));
    novu.wait_for(1);
    let alive = place.start();
    meet(&[&dead, &alive]);
    dead.kill();
    novu.wait_for(2);
    alive.drain();
    alive.has_logged("another gateway gives no sign of life");
    assert_eq!(alive.ended("welcome", "delivered"), 1.0);
    let requests = novu.requests();
    assert_eq!(requests[0].transaction_id(), requests[1].transaction_id());
}

#[test]
fn a_key_that_one_of_them_finds_wrong_is_held_by_all_and_so_is_a_429() {
    let wrong = r#"{"statusCode":401,"message":"API Key not found"}"#;
    for (status, body, sentence) in
        [(401, wrong, "deliveries are held"), (429, r#"{"statusCode":429}"#, "asks to wait")]
    {
        let novu = Novu::that(move |_, _| Behaviour::Answer(status, "Retry-After: 60\r\n", body));
        let place = Place::new(novu.address, WELCOME);
        let (one, other) = (place.start(), place.start());
        meet(&[&one, &other]);
        one.send("msg_1", &sample("user.created"));
        for gateway in [&one, &other] {
            eventually("it is held", || gateway.degraded().iter().any(|said| said.contains(sentence)).then_some(()));
        }
        let before = novu.requests().len();
        assert_eq!(other.send("msg_2", &sample("user.created")).outcome(), "accepted");
        assert_eq!(one.send("msg_3", &sample("user.created")).outcome(), "accepted");
        eventually("both are kept", || {
            (other.metric("deskbell_queue_deliveries{state=\"new\"}") == Some(2.0)).then_some(())
        });
        assert!(novu.requests().len() <= before + 1, "a probe, and nothing else");
    }
}

#[test]
fn a_pause_at_one_of_them_is_a_pause_at_all() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (one, other) = (place.start(), place.start());
    assert_eq!(one.ask("/api/pause", "{\"route\":\"welcome\"}").status, 200);
    eventually("the other knows it", || other.degraded().iter().any(|said| said.contains("paused")).then_some(()));
    assert_eq!(other.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(novu.requests().len(), 0);
    assert_eq!(other.ask("/api/resume", r#"{"route":"welcome"}"#).status, 200);
    // Whoever has taken it knows that it waits; the other counts it within a second.
    other.drain();
    assert_eq!(novu.requests().len(), 1);
    eventually("the first knows it", || one.degraded().is_empty().then_some(()));
}

#[test]
fn what_one_lays_aside_while_another_ends_the_pause_is_not_left_behind() {
    let novu = Novu::start();
    let (place, elsewhere) = (Place::new(novu.address, WELCOME), Place::new(novu.address, WELCOME));
    // It ends the pause, and has nothing to deliver.
    elsewhere.write_rules(&rules(novu.address, WELCOME).replace("clerk:", "staging:"));
    let one = place.start();
    let other = elsewhere.start_with(|command| {
        command.env("DESKBELL_STORE", place.store.url());
    });
    meet(&[&one, &other]);
    assert_eq!(one.ask("/api/pause", r#"{"all":true}"#).status, 200);
    let url = place.store.url();
    ask(
        &url,
        "SET search_path TO deskbell;
         CREATE TABLE held AS SELECT 1;
         CREATE FUNCTION hold() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
             WHILE EXISTS (SELECT 1 FROM deskbell.held) LOOP PERFORM pg_sleep(0.01); END LOOP;
             RETURN NEW;
         END $$;
         CREATE TRIGGER hold BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (NEW.state = -1) EXECUTE FUNCTION hold()",
    );
    assert_eq!(one.send("msg_1", &sample("user.created")).outcome(), "accepted");
    let holds = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    eventually("it is being laid aside", || (ask(&url, holds) == ["1"]).then_some(()));
    assert_eq!(other.ask("/api/resume", r#"{"all":true}"#).status, 200);
    ask(&url, "DELETE FROM deskbell.held");
    novu.wait_for(1);
}

#[test]
fn each_of_them_shows_which_rules_all_of_them_run_and_a_split_is_told() {
    let novu = Novu::start();
    let (place, elsewhere) = (Place::new(novu.address, WELCOME), Place::new(novu.address, WELCOME));
    let one = place.start();
    let other = elsewhere.start_with(|command| {
        command.env("DESKBELL_STORE", place.store.url());
    });
    meet(&[&one, &other]);
    let revisions = |gateway: &Gateway| known(gateway).into_iter().map(|(_, revision)| revision).collect::<Vec<_>>();
    assert_eq!(revisions(&one)[0], revisions(&one)[1]);
    elsewhere.write_rules(&rules(novu.address, "  - { event: user.updated, workflow: changed }\n"));
    other.reload();
    eventually("the split is seen", || {
        let revisions = revisions(&one);
        (revisions[0] != revisions[1]).then_some(())
    });
    for (name, revision) in known(&one) {
        let metric = format!("deskbell_rules_info{{replica=\"{name}\",revision=\"{revision}\"}}");
        eventually(&metric, || (one.metric(&metric) == Some(1.0)).then_some(()));
    }
    one.has_logged("run different rules");
    place.write_rules(&rules(novu.address, "  - { event: user.updated, workflow: changed }\n"));
    one.reload();
    one.has_logged("run the same rules again");
}

#[test]
fn one_that_ends_leaves_no_trace_and_nothing_undone() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (one, other) = (place.start(), place.start());
    meet(&[&one, &other]);
    one.send("msg_1", &sample("user.created"));
    one.drain();
    assert_eq!(one.stop(), Some(0));
    meet(&[&other]);
    assert_eq!(other.send("msg_1", &sample("user.created")).outcome(), "duplicate");
    other.drain();
    assert_eq!(novu.requests().len(), 1);
}
