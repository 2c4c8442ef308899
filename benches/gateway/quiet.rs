//! A machine that does something else besides says nothing. So it is looked at, and waited for if there is time.

use std::thread;
use std::time::{Duration, Instant};

use crate::bench::{Bench, Figures};
use crate::machine;
use crate::measurements::Measurement;

/// How much of the processors other programs had meanwhile, in percent.
pub const OTHERS: &str = "% others";
/// What they may have of them. The kernel has its share in what is written to a disk.
pub const QUIET: f64 = 10.0;
const LOOK: Duration = Duration::from_millis(500);

/// Measures while the machine is quiet, if it becomes so within that time, and else as it is.
pub fn measure(bench: &Bench, measurement: &Measurement, patience: Duration) -> Figures {
    let deadline = Instant::now() + patience;
    loop {
        while Instant::now() < deadline && share_of_others(bench, || thread::sleep(LOOK)).0 > QUIET {}
        let (others, mut figures) = share_of_others(bench, || (measurement.run)(bench));
        if others <= QUIET || Instant::now() >= deadline {
            figures.push((OTHERS, others));
            return figures;
        }
    }
}

fn share_of_others<T>(bench: &Bench, work: impl FnOnce() -> T) -> (f64, T) {
    let (started, before) = (Instant::now(), machine::processor_time_of_others());
    let done = work();
    let others = machine::processor_time_of_others().saturating_sub(before);
    (others.as_secs_f64() * 100.0 / started.elapsed().as_secs_f64() / bench.cores.count() as f64, done)
}
