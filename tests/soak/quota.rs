//! Novu's limit of its free plan before a long queue.

use std::time::Duration;

use crate::ordeal::quota::Quota;
use crate::setting;

#[test]
fn ten_thousand_that_are_not_urgent_before_a_limit_of_sixty_a_second() {
    let (backlog, per_second) = (setting("SOAK_QUEUE", 10_000), setting("SOAK_LIMIT", 60) as u32);
    let ran = Quota { backlog, per_second }.run();
    println!("\n{backlog} before a limit of {per_second} a second, in {:.0} s", ran.seconds);
    println!("  {:.1} % of the limit is used, {} answers asked to wait", ran.share * 100.0, ran.throttled);
    println!("  {} urgent ones beside them, each sent within {:?}", ran.urgent, ran.slowest);
    assert!(ran.share >= 0.95, "the limit is not used");
    assert!(ran.throttled < 5, "Novu had to say that it is too much");
    assert!(ran.slowest < Duration::from_secs(2), "what is urgent waits");
}
