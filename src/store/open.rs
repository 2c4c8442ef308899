//! From the address of a store to a file that this process alone has, or to a server that others use as well.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::database;
use super::postgres::Address;
use super::sql::Error;
use super::sqlite::Sqlite;

/// Why a store cannot be opened.
#[derive(Debug)]
pub struct OpenError {
    pub message: String,
    pub hint: Option<String>,
    /// Another process has it: it may go away.
    pub in_use: bool,
}

impl OpenError {
    pub fn new(name: impl fmt::Display, why: impl fmt::Display, hint: &str) -> Self {
        let message = format!("the store `{name}` cannot be opened: {why}");
        Self { message, hint: Some(hint.to_owned()), in_use: false }
    }

    pub fn of(name: impl fmt::Display, error: &Error) -> Self {
        Self { in_use: matches!(error, Error::Away(_)), ..Self::new(name, error, database::hint(error)) }
    }

    pub fn too_new(name: impl fmt::Display, version: i64) -> Self {
        let why = format!("it was written by a newer deskbell (schema {version})");
        let hint = "run that version again, or start with a new store; what waits in this one stays in it";
        Self::new(name, why, hint)
    }
}

/// Where a store is.
pub enum Place {
    File(PathBuf),
    Server(Arc<Address>),
}

/// The file in `sqlite:PATH`, or the server in `postgres://…`.
pub fn place_of(url: &str) -> Result<Place, OpenError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let address = Address::parse(url).map_err(|why| OpenError {
            message: format!("the address of the store is wrong: {why}"),
            hint: Some("such as `postgres://deskbell@db.example.com/deskbell?sslmode=verify-full`".to_owned()),
            in_use: false,
        })?;
        return Ok(Place::Server(Arc::new(address)));
    }
    match url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path)) {
        Some(path) if !path.is_empty() && !path.starts_with(':') => Ok(Place::File(PathBuf::from(path))),
        _ => Err(OpenError {
            message: format!(
                "`{}` is not a store, expected `sqlite:PATH` such as `sqlite:deskbell.db`, `postgres://…`, or `none`",
                without_secret(url)
            ),
            hint: Some("name it with `--store URL`".to_owned()),
            in_use: false,
        }),
    }
}

/// An address of any kind without user, password and options.
fn without_secret(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
            format!("{scheme}://{}", place.split('?').next().unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

/// A store has one owner. The lock goes with the process, however it ends.
pub fn take_lock(path: &Path) -> Result<File, OpenError> {
    if path.is_dir() {
        return Err(OpenError::new(
            path.display(),
            "it is a folder",
            "name a file in it, such as `sqlite:FOLDER/deskbell.db`",
        ));
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

pub fn open(path: &Path) -> Result<Sqlite, OpenError> {
    make_private(path).map_err(|error| unusable(path, &error))?;
    let mut database = Sqlite::open(path).map_err(|error| OpenError::of(path.display(), &error))?;
    database
        .migrate()
        .map_err(|error| OpenError::of(path.display(), &error))?
        .map_err(|version| OpenError::too_new(path.display(), version.into()))?;
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
    OpenError::new(path.display(), error, hint)
}
