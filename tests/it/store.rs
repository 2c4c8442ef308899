//! Where the gateways of these tests keep what they take: in a file in the folder of their place.

use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

pub struct Store {
    file: PathBuf,
}

impl Store {
    /// Whether it may be too slow for a webhook, for a moment.
    pub const MAY_BE_SLOW: bool = false;

    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join("deskbell.db") }
    }

    /// It is where a gateway looks by itself.
    pub fn choose(&self, _: &mut Command) {}

    /// What a query finds.
    pub fn number(&self, sql: &str) -> i64 {
        let file = Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store");
        file.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    /// Whether a text stands anywhere, erased or not: in the file, or in its log of changes.
    pub fn holds(&self, text: &str) -> bool {
        let log = self.file.with_extension("db-wal");
        let files = [&self.file, &log].map(|file| std::fs::read(file).unwrap_or_default());
        files.concat().windows(text.len()).any(|window| window == text.as_bytes())
    }
}
