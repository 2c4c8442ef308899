//! Several gateways on one PostgreSQL server.

use crate::gateways::Together;
use crate::setting;

#[test]
fn three_gateways_while_they_are_killed_the_server_restarts_and_connections_are_cut() {
    let (rounds, seed) = (setting("SOAK_TOGETHER", 150), setting("SOAK_SEED", 1) as u64);
    let ran = Together { rounds, seed, idempotency: true }.run();
    println!(
        "\nthree gateways, {rounds} times one of them was killed, the server restarted or all connections were cut, seed \
         {seed}, in {:.0} s",
        ran.seconds
    );
    println!(
        "  {} events for two routes, {} refused for a while; {} requests, {} of them dropped by Novu as duplicates; every \
         delivery ran once",
        ran.events, ran.refused, ran.requests, ran.duplicates
    );
}
