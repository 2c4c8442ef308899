//! From the address of a store to a file that this process alone has.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::sqlite::{self, Database};

/// Why a store cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    pub message: String,
    pub hint: Option<String>,
    /// Another process has it: it may go away.
    pub in_use: bool,
}

impl OpenError {
    pub fn new(path: &Path, why: impl fmt::Display, hint: &str) -> Self {
        let message = format!("the store `{}` cannot be opened: {why}", path.display());
        Self { message, hint: Some(hint.to_owned()), in_use: false }
    }

    pub fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        Self::new(path, error, sqlite::hint(error))
    }
}

/// The path in `sqlite:PATH`.
pub fn path_of(url: &str) -> Result<PathBuf, OpenError> {
    match url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
        Some(path) if !path.is_empty() && !path.starts_with(':') => Ok(PathBuf::from(path)),
        _ => Err(OpenError {
            message: format!("`{url}` is not a store, expected `sqlite:PATH` such as `sqlite:deskbell.db`, or `none`"),
            hint: Some("name it with `--store URL`".to_owned()),
            in_use: false,
        }),
    }
}

/// A store has one owner. The lock goes with the process, however it ends.
pub fn take_lock(path: &Path) -> Result<File, OpenError> {
    if path.is_dir() {
        return Err(OpenError::new(path, "it is a folder", "name a file in it, such as `sqlite:FOLDER/deskbell.db`"));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&name);
    let lock = lock.map_err(|error| unusable(path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(OpenError {
            message: format!("the store `{}` belongs to another process", path.display()),
            hint: Some("stop that one, or give each a store of its own with `--store URL`".to_owned()),
            in_use: true,
        }),
    }
}

pub fn open(path: &Path) -> Result<Database, OpenError> {
    make_private(path).map_err(|error| unusable(path, &error))?;
    let mut database = Database::open(path).map_err(|error| OpenError::of_sqlite(path, &error))?;
    database.migrate().map_err(|error| OpenError::of_sqlite(path, &error))?.map_err(|version| {
        let why = format!("it was written by a newer deskbell (schema {version})");
        OpenError::new(
            path,
            why,
            "run that version again, or start with a new store; what waits in this one stays in it",
        )
    })?;
    Ok(database)
}

/// Bodies hold codes and addresses: only the owner reads the file. SQLite gives its other files the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn unusable(path: &Path, error: &std::io::Error) -> OpenError {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "make its folder first, or name another file with `--store URL`",
        std::io::ErrorKind::StorageFull => "make room on the disk",
        _ => "its folder and its file have to be writable for the user that the gateway runs as",
    };
    OpenError::new(path, error, hint)
}
