//! Where the gateways of these tests keep what they take: in a database of their place, on a server that all tests share.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::{Server, ask};

pub struct Store {
    database: String,
}

impl Store {
    /// Whether it may be too slow for a webhook, for a moment.
    pub const MAY_BE_SLOW: bool = true;

    pub fn new(_: &Path) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let database = format!("place_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        server().create(&database);
        Self { database }
    }

    pub fn choose(&self, command: &mut Command) {
        command.env("DESKBELL_STORE", server().url(&self.database));
    }

    pub fn url(&self) -> String {
        server().url(&self.database)
    }

    /// What a query finds.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = ask(&server().url(&self.database), &format!("SET search_path TO deskbell; {sql}"));
        rows.first().expect("a row").parse().expect("a number")
    }

    /// Whether a text stands in any row. What the server keeps of rows that are gone is the server's.
    pub fn holds(&self, text: &str) -> bool {
        // Bytes are shown in hexadecimal digits.
        let bytes: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        ["events", "deliveries", "remembered"].iter().any(|table| {
            let rows =
                ask(&server().url(&self.database), &format!("SELECT found::text FROM deskbell.{table} AS found"));
            rows.iter().any(|row| row.contains(text) || row.contains(&bytes))
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        server().remove(&self.database);
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}
