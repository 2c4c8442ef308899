//! What stands in the log of changes beside the file.

use std::fs;
use std::time::{Duration, Instant};

use crate::delivery::{CODE_ROUTE, is_stored};
use crate::harness::{Place, WELCOME, eventually, sample};
use crate::novu::Novu;

/// Of the log of changes, and of each page in it, in bytes.
const LOG_HEADER: usize = 32;
const PAGE_HEADER: usize = 24;

#[test]
fn who_reads_the_store_keeps_nobody_waiting() {
    let sensitive = CODE_ROUTE.replace("workflow: code", "workflow: code, sensitive: true");
    let novu = Novu::start();
    let place = Place::new(novu.address, &sensitive);
    let gateway = place.start();
    gateway.send("msg_1", &sample("email.created"));
    let reader = rusqlite::Connection::open(place.path("deskbell.db")).expect("the store");
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").expect("a look at it");
    let before = Instant::now();
    // What was erased is to leave the log of changes, which the reader still needs.
    for number in 2..6 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("email.created")).status, 200);
        gateway.drain();
    }
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    drop(reader);
    eventually("it is gone once nobody reads", || (!is_stored(&place)).then_some(()));
}

/// How many transactions stand in the log of changes (https://sqlite.org/fileformat2.html#walformat): the last page of
/// each has the size of the file beside it.
fn transactions(place: &Place) -> usize {
    let log = fs::read(place.path("deskbell.db-wal")).expect("the log of changes");
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().expect("four bytes")) as usize;
    let pages = (LOG_HEADER..log.len()).step_by(PAGE_HEADER + number(8));
    pages.filter(|page| log[page + 8..page + 16] == log[16..24] && number(page + 4) > 0).count()
}

#[test]
fn a_lone_delivery_begins_in_the_write_that_keeps_its_event() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let mut number = 0;
    eventually("two writes: its event with its beginning, and its end", || {
        let before = transactions(&place);
        number += 1;
        gateway.send(&format!("msg_{number}"), &sample("user.created"));
        gateway.drain();
        (transactions(&place) - before == 2).then_some(())
    });
}
