//! How much room there is for the store.

use std::io;
use std::path::Path;

/// The bytes that may still be written to the disk of this file.
pub fn free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
