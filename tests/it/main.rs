//! Deskbell through its front door: real processes, real sockets, real files.

mod harness;
mod novu;
// Figures are for the long forms.
#[allow(dead_code)]
mod ordeal;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod preload;
#[allow(dead_code)]
#[path = "../postgres/server.rs"]
mod server;
mod shell;
mod store;

mod admin;
mod attacks;
mod bounds;
mod commands;
mod copy;
mod crash;
mod delivery;
mod dev;
mod direct;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod disk;
mod events;
mod examples;
mod explain;
mod explain_running;
mod file;
mod freshness;
mod init;
mod lint;
mod novu_guide;
mod ordeals;
mod pause;
mod problems;
mod quickstart;
mod reference;
mod refused;
mod reload;
mod replay;
mod retention;
mod schema;
mod signatures;
mod terminal;
mod tidy;
mod upgrade;
mod webhooks;
