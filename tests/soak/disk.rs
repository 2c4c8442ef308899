//! A disk that fills and is freed, on a real file system.

use crate::ordeal::disk::Disk;
use crate::setting;

#[test]
fn a_disk_that_fills_again_and_again() {
    let rounds = setting("SOAK_DISKS", 30);
    let ran = Disk::Mounted.run(rounds, 500);
    println!("\na disk that was full {rounds} times");
    println!("  {} events, {} webhooks refused meanwhile; every delivery was sent once", ran.events, ran.unavailable);
}
