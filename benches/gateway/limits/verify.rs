//! Believes a webhook, and forgets it: what HTTP, the signature and JSON cost.

use super::Start;
use super::server::{on_one_thread, serve};

pub fn run(start: Start) {
    on_one_thread(serve(start.webhooks, async || async |_| {}));
}
