//! A gateway that is killed again and again.

use crate::ordeal::kills::Kills;
use crate::setting;

#[test]
fn two_hundred_kills_while_novu_fails_in_every_way() {
    run(false);
}

#[test]
fn two_hundred_kills_while_novu_looks_at_keys() {
    run(true);
}

fn run(idempotency: bool) {
    let (rounds, seed) = (setting("SOAK_KILLS", 200), setting("SOAK_SEED", 1) as u64);
    let ran = Kills { rounds, seed, idempotency }.run();
    println!(
        "\n{rounds} times killed, keys {}, seed {seed}, in {:.0} s",
        if idempotency { "on" } else { "off" },
        ran.seconds
    );
    println!(
        "  {} events for two routes; {} requests, {} of them dropped by Novu as duplicates; every delivery ran once",
        ran.events, ran.requests, ran.duplicates
    );
}
