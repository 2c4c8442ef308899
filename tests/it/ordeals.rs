//! What a gateway has to endure, in short. `make soak` has the long forms; Novu's limit is in `delivery/rate.rs`.

use crate::ordeal::away::Away;
use crate::ordeal::kills::Kills;
use crate::ordeal::levers::Levers;

#[test]
fn killed_at_any_moment_while_novu_fails_in_every_way_each_event_runs_once_for_each_route() {
    let ran = Kills { rounds: 6, seed: 1, idempotency: false }.run();
    assert!(ran.requests > 2 * ran.events, "something was sent again: {} of {}", ran.requests, ran.events);
    assert!(ran.duplicates > 0, "Novu has dropped something");
}

#[test]
fn killed_at_any_moment_while_novu_looks_at_keys_each_event_runs_once_for_each_route() {
    Kills { rounds: 6, seed: 2, idempotency: true }.run();
}

#[test]
fn what_came_while_novu_was_away_is_delivered_when_it_is_there() {
    let ran = Away { before: 200, backlog: 3_000 }.run();
    assert!(ran.attempts < 100.0, "it was looked for {} times", ran.attempts);
}

#[test]
fn whatever_an_operator_does_each_event_runs_once_for_each_route_and_the_gauges_tell_the_truth() {
    Levers { rounds: 6, seed: 1 }.run();
}
