//! What `tests/it` says of a store, with PostgreSQL as the store: the same tests, and a server of their own.

#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/novu.rs"]
mod novu;
// Figures are for the long forms, and some ordeals are for a file.
#[allow(dead_code)]
#[path = "../it/ordeal.rs"]
mod ordeal;
#[allow(dead_code)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "../it/preload.rs"]
mod preload;
#[allow(dead_code)]
mod server;
#[allow(dead_code)]
#[path = "../it/shell.rs"]
mod shell;
mod start;
mod store;
mod tls;
// Figures are for the long form.
#[allow(dead_code)]
mod together;

#[path = "../it/bounds.rs"]
mod bounds;
mod chaos;
#[path = "../it/crash.rs"]
mod crash;
#[path = "../it/delivery.rs"]
mod delivery;
#[path = "../it/events.rs"]
mod events;
#[path = "../it/explain_running.rs"]
mod explain_running;
#[path = "../it/freshness.rs"]
mod freshness;
#[path = "../it/ordeals.rs"]
mod ordeals;
#[path = "../it/pause.rs"]
mod pause;
#[path = "../it/replay.rs"]
mod replay;
mod replicas;
#[path = "../it/retention.rs"]
mod retention;
mod rolling;
#[path = "../it/webhooks.rs"]
mod webhooks;
