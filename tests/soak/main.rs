//! What only shows after minutes. `make soak` runs all of it and prints the figures.

#[path = "../postgres/together.rs"]
mod gateways;
#[allow(dead_code)]
#[path = "../it/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../it/novu.rs"]
mod novu;
#[allow(dead_code)]
#[path = "../it/ordeal.rs"]
mod ordeal;
#[allow(dead_code)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "../it/preload.rs"]
mod preload;
#[allow(dead_code)]
#[path = "../postgres/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../it/store.rs"]
mod store;

mod away;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod disk;
mod kills;
mod quota;
mod reloads;
mod together;
mod waiting;

/// A figure of the environment, for a shorter or longer run.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
