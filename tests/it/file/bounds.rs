//! What a gateway does when its file cannot be used: it says no, keeps what it has, and recovers by itself.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::bounds::{failing, refuses, told, wait_for_reason};
use crate::harness::{Place, WELCOME, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

/// More than any disk has.
const TOO_MUCH: &str = "limits: { free_disk: 1048576GiB }\n";
const DISK_FULL: &str = "the disk is almost full";
const NOT_WRITABLE: &str = "the store cannot be written";

#[test]
fn before_the_disk_is_full_webhooks_are_refused_and_deliveries_go_on() {
    let novu = failing();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    wait_for_reason(&gateway, None);
    place.write_rules(&format!("{}{TOO_MUCH}", rules(novu.address, WELCOME)));
    wait_for_reason(&gateway, Some(DISK_FULL));
    refuses(&gateway, "msg_2", DISK_FULL);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "duplicate", "it is kept already");
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(gateway.ended("welcome", "delivered"), 1.0);

    place.write_rules(&rules(novu.address, WELCOME));
    wait_for_reason(&gateway, None);
    assert_eq!(gateway.send("msg_2", &sample("user.created")).outcome(), "accepted");
    eventually("it is told", || (told(&gateway, "the disk has room again") == 1).then_some(()));
    assert_eq!(told(&gateway, DISK_FULL), 1, "once, however many are refused");
    gateway.has_logged("limits.free_disk");
}

#[test]
fn a_store_that_another_program_has_locked_is_waited_for_and_then_webhooks_are_refused() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let other = Connection::open(place.path("deskbell.db")).expect("the store");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let started = Instant::now();
    refuses(&gateway, "msg_1", NOT_WRITABLE);
    assert!(started.elapsed() > Duration::from_secs(3), "the other may soon be done: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(12), "Svix waits for 15 s: {:?}", started.elapsed());
    wait_for_reason(&gateway, Some(NOT_WRITABLE));
    let started = Instant::now();
    for id in ["msg_1", "msg_2", "msg_3"] {
        refuses(&gateway, id, NOT_WRITABLE);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "nobody waits again: {:?}", started.elapsed());
    other.execute_batch("ROLLBACK").expect("no lock");
    wait_for_reason(&gateway, None);
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    gateway.drain();
    assert_eq!(novu.processed().len(), 1);
    gateway.has_logged("the store can be written again");
    assert_eq!((told(&gateway, NOT_WRITABLE), told(&gateway, "the store can be written again")), (1, 1));
    gateway.has_logged("another program writes to the file");
}

/// Writes nonsense over the first page of an index or a table.
fn spoil(place: &Place, name: &str) {
    let connection = Connection::open(place.path("deskbell.db")).expect("the store");
    let page = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [name], |row| {
            row.get::<_, u32>(0).map(|page| page as usize)
        })
        .expect("a page");
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("an empty log");
    drop(connection);
    let mut bytes = fs::read(place.path("deskbell.db")).expect("the store");
    bytes[(page - 1) * 4096..page * 4096].fill(0xff);
    fs::write(place.path("deskbell.db"), bytes).expect("a damaged store");
}

const DAMAGED: &str = "a part of the store is damaged; the log says what to do";

#[test]
fn with_a_damaged_page_webhooks_that_need_it_are_refused_and_deliveries_go_on() {
    let novu = failing();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.stop(), Some(0));
    spoil(&place, "events_identity");

    let gateway = place.start();
    for id in ["msg_1", "msg_2"] {
        refuses(&gateway, id, NOT_WRITABLE);
    }
    novu.now(|_, _| Behaviour::Process);
    gateway.drain();
    assert_eq!(gateway.ended("welcome", "delivered"), 1.0, "it was accepted before");
    refuses(&gateway, "msg_3", NOT_WRITABLE);
    assert_eq!(gateway.degraded(), [DAMAGED]);
    gateway.has_logged("move the file away and start with a new one");
    assert_eq!(told(&gateway, "the store is damaged"), 1, "once");
    assert!(!gateway.log().contains("panicked"));
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn with_a_damaged_page_webhooks_that_do_not_need_it_are_taken() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    assert_eq!(place.start().stop(), Some(0));
    spoil(&place, "deliveries_expiring");
    let gateway = place.start();
    // What looks for deliveries that expire does so again and again, in vain.
    eventually("it is told", || (gateway.degraded() == [DAMAGED]).then_some(()));
    for number in 0..200 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
    gateway.drain();
    assert_eq!(novu.processed().len(), 200);
    gateway.has_logged("the store is damaged");
    assert_eq!((told(&gateway, NOT_WRITABLE), told(&gateway, "the store is damaged")), (0, 1));
}

#[test]
fn a_store_that_cannot_be_opened_is_told_with_a_hint() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    assert_eq!(place.start().stop(), Some(0));
    let whole = place.path("deskbell.db");
    fs::copy(&whole, place.path("newer.db")).expect("a copy");
    let newer = Connection::open(place.path("newer.db")).expect("the copy");
    newer.pragma_update(None, "user_version", 99).expect("a version");
    drop(newer);
    spoil(&place, "deliveries_unfinished");
    fs::rename(&whole, place.path("damaged.db")).expect("another name");
    fs::write(place.path("other.db"), "no database, and long enough not to be an empty one ".repeat(100))
        .expect("a file");
    fs::create_dir(place.path("folder")).expect("a folder");
    for (store, why, hint) in [
        ("other.db", "file is not a database", "name another file with `--store URL`"),
        ("damaged.db", "database disk image is malformed", "move the file away and start with a new one"),
        ("newer.db", "written by a newer deskbell (schema 99)", "run that version again"),
        ("missing/deskbell.db", "No such file or directory", "make its folder first"),
        ("routes.yaml/deskbell.db", "Not a directory", "have to be writable"),
        ("folder", "it is a folder", "name a file in it"),
        // Nobody may make a file there, whoever runs the tests.
        #[cfg(target_os = "linux")]
        ("/sys/deskbell.db", "denied", "have to be writable"),
    ] {
        let (status, said) = place.refuses_to_start(|command| {
            command.arg(format!("--store=sqlite:{store}"));
        });
        assert_eq!(status, Some(78), "{store}: {said}");
        for part in [&format!("the store `{store}` cannot be opened"), why, hint] {
            assert!(said.contains(part), "{store}: {part:?} is not in {said}");
        }
    }
}
