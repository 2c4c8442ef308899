//! A Novu that cannot be reached for long.

use crate::ordeal::away::Away;
use crate::setting;

#[test]
fn a_hundred_thousand_events_while_novu_is_away() {
    let backlog = setting("SOAK_BACKLOG", 100_000);
    let ran = Away { before: backlog / 5, backlog }.run();
    let slowest = ran.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let rates: Vec<_> = ran.rates.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("\nNovu away for {backlog} events, asked {} times in that time", ran.attempts);
    println!("  accepted a second: {:.0} before; {}", ran.rate_before, rates.join(" "));
    println!("  memory in MiB: {:.1} before, {:.1} at most", ran.memory_before, ran.memory_most);
    let seconds = ran.delivered_in.as_secs_f64();
    println!("  all delivered {seconds:.1} s after it was there, {:.0} a second", backlog as f64 / seconds);
    assert!(ran.attempts < 100.0, "Novu is looked for too often");
    assert!(slowest >= ran.rate_before / 2.0, "webhooks are taken slower while Novu is away");
    assert!(ran.memory_most <= ran.memory_before + 20.0, "the memory grows with the backlog");
}
