//! How much room there is for the store.

use std::io;
use std::path::Path;

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

/// How many bytes are to stay free: these `on_any_disk`, or else no more than a tenth of it.
pub fn least_free(bytes: u64, on_any_disk: bool, total: u64) -> u64 {
    if on_any_disk { bytes } else { bytes.min(total / 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_is_of_use_too() {
        for (bytes, on_any_disk, total, expected) in
            [(64, false, 10_000, 64), (64, false, 100, 10), (64, true, 100, 64), (0, false, 100, 0)]
        {
            assert_eq!(least_free(bytes, on_any_disk, total), expected, "{bytes} of {total}");
        }
    }
}
