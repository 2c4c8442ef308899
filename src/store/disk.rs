//! How much room there is for the store.

use std::io;
use std::path::Path;

/// In bytes. A second of full load writes about half of it, and the rest is for how attempts end.
const LEAST_FREE: u64 = 64 << 20;

/// The room of a disk, in bytes.
pub struct Room {
    /// What may still be written.
    pub free: u64,
    pub total: u64,
}

/// The room of the disk that this file is on.
pub fn room(path: &Path) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Room { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
}

/// How many bytes are to stay free, unless they are set: a fixed room, or a tenth of a disk that is small.
pub fn least_free(set: Option<u64>, total: u64) -> u64 {
    set.unwrap_or(LEAST_FREE.min(total / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_of_use_too() {
        for (set, total, expected) in [
            (None, 1 << 40, 64 << 20),
            (None, 20 << 20, 2 << 20),
            (Some(1 << 30), 20 << 20, 1 << 30),
            (Some(1), 1 << 40, 1),
        ] {
            assert_eq!(least_free(set, total), expected, "{set:?} of {total}");
        }
    }
}
