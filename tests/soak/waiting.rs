//! A start with a large store.

use std::time::Duration;

use crate::ordeal::waiting::Waiting;
use crate::setting;

#[test]
fn a_start_with_a_million_that_wait() {
    let events = setting("SOAK_WAITING", 1_000_000);
    let ran = Waiting { events }.run();
    println!("\na start with {events} that wait, in a store of {} MiB", ran.size >> 20);
    println!("  ready after {:?}; its metrics are read in {:?}", ran.ready, ran.scrape);
    assert!(ran.ready < Duration::from_secs(2), "it was ready after {:?}", ran.ready);
}
