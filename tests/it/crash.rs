//! What survives: a crash, a stop, a restart, a second process. Crash after crash under load is in `ordeals.rs`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Client, Ending, Gateway, Place, Signed, WELCOME, connect, eventually, exchange, rules, sample};
use crate::novu::{Behaviour, Novu};

#[test]
fn an_attempt_that_a_crash_cut_off_is_made_again_after_a_pause_and_under_the_same_key() {
    let novu = Novu::that(|_, before| if before == 0 { Behaviour::Hang } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("unknown: 100ms", "unknown: 1s"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    novu.wait_for(1);
    gateway.kill();
    let started_again = Instant::now();
    let gateway = place.start();
    let requests = novu.wait_for(2);
    let pause = requests[1].at.duration_since(started_again);
    assert!(pause >= Duration::from_secs(1), "Novu may still be at it: {pause:?}");
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].key(), requests[1].key());
    gateway.drain();
    assert_eq!(novu.requests().len(), 2);
}

#[test]
fn a_store_has_one_owner_and_a_second_gateway_gives_up() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let started = Instant::now();
    let (status, said) = place.refuses_to_start(|command| {
        command.arg("--shutdown-grace=500ms");
    });
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("deskbell.db` belongs to another process"), "{said}");
    assert!(started.elapsed() >= Duration::from_millis(500), "it waits for the other to go");
    assert_eq!(gateway.send("msg_1", &sample("user.created")).status, 200, "the first is not disturbed");
    gateway.kill();
    // The lock goes with its process, so there is nothing to wait for.
    place.start_with(|command| {
        command.arg("--shutdown-grace=0");
    });
}

/// A second gateway with the store and the addresses of the first, which it waits for to go.
fn second_gateway(place: &Place, first: &Gateway) -> Ending {
    let mut second = place.command();
    second.env("DESKBELL_LISTEN", first.webhooks.to_string()).env("DESKBELL_ADMIN", first.admin.to_string());
    second.stderr(File::create(place.path("second.log")).expect("a log"));
    let second = Ending(second.spawn().expect("it starts"));
    second_says(place, "belongs to another process");
    second
}

fn second_says(place: &Place, what: &str) {
    eventually(what, || std::fs::read_to_string(place.path("second.log")).ok()?.contains(what).then_some(()));
}

#[test]
fn a_second_gateway_takes_over_when_the_first_has_gone() {
    let novu = Novu::that(|_, _| Behaviour::Answer(500, "", "{}"));
    let place = Place::new(novu.address, WELCOME);
    let first = place.start();
    assert_eq!(first.send("msg_1", &sample("user.created")).status, 200);
    let _second = second_gateway(&place, &first);
    let address = first.webhooks;
    assert_eq!(first.send("msg_2", &sample("user.created")).status, 200);
    assert_eq!(first.stop(), Some(0));
    second_says(&place, "listening");
    novu.now(|_, _| Behaviour::Process);
    let delivered = eventually("both are delivered", || Some(novu.processed()).filter(|requests| requests.len() >= 2));
    assert_ne!(delivered[0].transaction_id(), delivered[1].transaction_id());
    let again = exchange(address, &Signed::new("msg_2", sample("user.created").as_bytes()).request());
    assert_eq!(again.outcome(), "duplicate");
}

#[test]
fn a_gateway_that_waits_for_its_store_can_be_stopped() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let first = place.start();
    let mut second = second_gateway(&place, &first);
    let status = std::process::Command::new("kill").arg(second.0.id().to_string()).status().expect("kill");
    assert!(status.success());
    assert_eq!(eventually("it ends", || second.0.try_wait().expect("a status")).code(), Some(0));
    assert_eq!(first.send("msg_1", &sample("user.created")).status, 200);
}

#[test]
fn a_stop_lets_running_attempts_end_and_keeps_the_rest() {
    for signal in ["TERM", "INT"] {
        let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(700)));
        let place = Place::new(novu.address, WELCOME);
        place.write_rules(&rules(novu.address, WELCOME).replace("timeout: 2s", "timeout: 5s, concurrency: 3"));
        let gateway = place.start();
        for number in 0..10 {
            assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).status, 200);
        }
        novu.wait_for(3);
        gateway.signal(signal);
        assert_eq!(gateway.wait(), Some(0));
        let started = novu.requests().len();
        assert!((3..10).contains(&started), "{started}");

        novu.now(|_, _| Behaviour::Process);
        let gateway = place.start();
        gateway.drain();
        let requests = novu.requests();
        let transactions: HashSet<&str> = requests.iter().map(|request| request.transaction_id()).collect();
        assert_eq!((requests.len(), transactions.len()), (10, 10), "what had ended was not sent again");
    }
}

#[test]
fn after_a_stop_no_webhook_is_taken_and_idle_connections_are_closed() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(1_500)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let mut unused = connect(gateway.webhooks);
    let mut used = Client::new(gateway.webhooks).expect("a connection");
    assert_eq!(used.send("msg_1", &sample("user.created")).expect("an answer").status, 200);
    novu.wait_for(1);
    gateway.signal("TERM");
    let refused = |error: std::io::Error| (error.kind() == ErrorKind::ConnectionRefused).then_some(());
    eventually("no new connection", || TcpStream::connect(gateway.webhooks).err().and_then(refused));
    assert_eq!(unused.read(&mut [0]).expect("an end"), 0);
    assert!(used.send("msg_2", &sample("user.created")).is_err());
    let ready = gateway.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()), "the attempt still runs");
    assert_eq!(gateway.wait(), Some(0));
    assert_eq!(novu.processed().len(), 1);
}

#[test]
fn while_balancers_take_notice_webhooks_are_taken_and_a_second_signal_ends_it_at_once() {
    let novu = Novu::that(|_, _| Behaviour::Hang);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start_with(|command| {
        command.args(["--drain-delay=1h", "--shutdown-grace=1h"]);
    });
    assert_eq!(gateway.get("/readyz").status, 200);
    gateway.signal("TERM");
    eventually("it is not ready", || (gateway.get("/readyz").status == 503).then_some(()));
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.get("/healthz").status, 200);
    novu.wait_for(1);
    assert_ne!(gateway.stop(), Some(0));

    novu.now(|_, _| Behaviour::Process);
    let gateway = place.start();
    gateway.drain();
    assert_eq!(novu.processed().len(), 1);
}

#[test]
fn without_a_store_that_works_it_does_not_start() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    std::fs::write(place.path("damaged.db"), "not a database, but long enough to look like one".repeat(100))
        .expect("a file");
    let newer = place.path("newer.db");
    let once = place.start_with(|command| {
        command.arg("--store=sqlite:newer.db");
    });
    assert_eq!(once.stop(), Some(0));
    let mut bytes = std::fs::read(&newer).expect("a database");
    // The version of the schema stands at 60 (SQLite's file format, 1.3).
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    std::fs::write(&newer, bytes).expect("a file");
    for (store, why) in [
        ("sqlite:missing/deskbell.db", "the store `missing/deskbell.db` cannot be opened"),
        ("sqlite:routes.yaml/deskbell.db", "the store `routes.yaml/deskbell.db` cannot be opened"),
        ("sqlite:damaged.db", "file is not a database"),
        ("sqlite:newer.db", "written by a newer deskbell (schema 99)"),
        ("sqlite:", "expected `sqlite:PATH`"),
        ("mysql://localhost/deskbell", "`mysql://localhost/deskbell` is not a store"),
        ("postgres://localhost/deskbell?sslmode=maybe", "`sslmode` is one of"),
        ("postgres://", "expected `postgres://USER:PASSWORD@HOST:PORT/DATABASE`"),
    ] {
        let (status, said) = place.refuses_to_start(|command| {
            command.arg(format!("--store={store}"));
        });
        assert_eq!(status, Some(78), "{store}: {said}");
        assert!(said.contains(why), "{store}: {said}");
    }
}
