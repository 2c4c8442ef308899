//! The file has one owner, and has to be one that can be used.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::harness::{Ending, Gateway, Place, Signed, WELCOME, eventually, exchange, sample};
use crate::novu::{Behaviour, Novu};

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
