//! Deskbell through its front door: real processes, real sockets, real files.

mod harness;
mod novu;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod preload;
mod shell;

mod admin;
mod attacks;
mod commands;
mod crash;
mod delivery;
mod dev;
mod direct;
mod examples;
mod explain;
mod explain_running;
mod init;
mod lint;
mod novu_guide;
mod problems;
mod quickstart;
mod reference;
mod reload;
mod schema;
mod signatures;
mod terminal;
mod tidy;
mod webhooks;
