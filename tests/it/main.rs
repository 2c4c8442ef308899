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
mod examples;
mod explain;
mod problems;
mod reload;
mod signatures;
mod tidy;
mod webhooks;
