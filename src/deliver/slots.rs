//! How many attempts there are at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

#[derive(Clone, Default)]
pub struct Slots(Arc<Inner>);

#[derive(Default)]
struct Inner {
    taken: AtomicUsize,
    freed: Notify,
}

/// The place of one attempt, until it is dropped.
pub struct Slot(Arc<Inner>);

impl Slots {
    pub fn take(&self) -> Slot {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        Slot(self.0.clone())
    }

    /// How many of so many are free.
    pub fn free(&self, concurrency: usize) -> usize {
        concurrency.saturating_sub(self.0.taken.load(Ordering::Relaxed))
    }

    /// Resolves when one has become free.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
