//! A file that is full of what waits. `make soak` has the long form.

use crate::ordeal::waiting::Waiting;

#[test]
fn a_start_counts_what_waits_and_goes_on() {
    Waiting { events: 50_000 }.run();
}
