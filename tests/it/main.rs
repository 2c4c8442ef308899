//! Deskbell through its front door: real processes, real sockets, real files.

mod harness;
mod novu;
mod shell;

mod admin;
mod commands;
mod crash;
mod delivery;
mod dev;
mod examples;
mod explain;
mod lint;
mod problems;
mod reload;
mod signatures;
mod tidy;
mod webhooks;
