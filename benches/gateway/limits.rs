//! What this machine allows: programs of a few lines that do a part of the gateway's work and nothing else, each as fast
//! as it reasonably can on one core.

mod journal;
mod novu;
mod proxy;
mod server;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;

/// What a program is told when it starts.
pub struct Start {
    /// Where it takes webhooks.
    pub webhooks: SocketAddr,
    pub novu: SocketAddr,
    /// A folder of its own.
    pub folder: PathBuf,
}

type Program = fn(Start);

/// The programs by their names.
pub const PROGRAMS: [(&str, Program); 3] = [("verify", verify::run), ("proxy", proxy::run), ("journal", journal::run)];
