//! How long something is waited for: until a deadline, and never while the gateway stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::units::{Millis, now};

pub struct Patience {
    deadline: Instant,
    stopping: watch::Receiver<bool>,
}

impl Patience {
    pub fn new(deadline: Instant, stopping: watch::Receiver<bool>) -> Self {
        Self { deadline, stopping }
    }

    /// The moment at which it ends.
    pub fn latest(&self) -> Millis {
        now() + self.left().as_millis() as Millis
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What comes while there is time.
    pub async fn within<T>(&mut self, coming: impl Future<Output = T>) -> Option<T> {
        if self.left().is_zero() {
            return None;
        }
        tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
            came = coming => Some(came),
            () = sleep_until(self.deadline) => None,
        }
    }

    /// Waits for a moment. False, and at once, if there is not that much time.
    pub async fn wait_until(&mut self, moment: Millis) -> bool {
        let pause = Duration::from_millis(moment.saturating_sub(now()).max(0).unsigned_abs());
        pause <= self.left() && self.within(sleep(pause)).await.is_some()
    }
}
