//! Triggers the workflow before it answers, and keeps nothing: what passing on costs.

use tokio::sync::Mutex;

use super::Start;
use super::novu::Connection;
use super::server::{on_one_thread, serve};

pub fn run(Start { webhooks, novu, .. }: Start) {
    on_one_thread(serve(webhooks, async || {
        let connection = Mutex::new(Connection::to(novu).await);
        async move |webhook| connection.lock().await.trigger(&webhook).await
    }));
}
