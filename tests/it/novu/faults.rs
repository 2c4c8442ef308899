//! Everything that can go wrong between a gateway and Novu.

use crate::harness::drawn;

/// How many requests of a hundred fail, and which: the same for each attempt of a delivery every time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub percent: u64,
    pub seed: u64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// It never gets to Novu.
    OnTheWay(Failure),
    /// Novu says that there were too many, and does nothing.
    Throttled,
    /// Novu says that it is at it already, and does nothing.
    InProgress,
    /// Novu fails, and does nothing.
    Inside,
    /// The workflow runs, and nobody is told.
    OnTheWayBack(Failure),
    /// It takes long, and is well.
    Slow,
}

/// What the gateway sees of it.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// A page of the load balancer.
    Page(u16),
    /// The connection is cut.
    Reset,
    /// There is never an answer.
    Hang,
}

/// Each as likely as the others.
const FAULTS: [Fault; 12] = [
    Fault::OnTheWay(Failure::Page(502)),
    Fault::OnTheWay(Failure::Page(503)),
    Fault::OnTheWay(Failure::Page(504)),
    Fault::OnTheWay(Failure::Reset),
    Fault::OnTheWay(Failure::Hang),
    Fault::InProgress,
    Fault::Inside,
    Fault::OnTheWayBack(Failure::Page(502)),
    Fault::OnTheWayBack(Failure::Page(504)),
    Fault::OnTheWayBack(Failure::Reset),
    Fault::OnTheWayBack(Failure::Hang),
    Fault::Slow,
];
/// One fault in so many asks the gateway to wait a second with everything.
const THROTTLED: u64 = 100;

impl Faults {
    pub fn draw(&self, transaction: &str, attempt: usize) -> Fault {
        let drawn = drawn(self.seed, (transaction, attempt));
        let (percent, which) = (drawn % 100, drawn / 100);
        if percent >= self.percent {
            Fault::None
        } else if which % THROTTLED == 0 {
            Fault::Throttled
        } else {
            FAULTS[(which / THROTTLED) as usize % FAULTS.len()]
        }
    }
}
