//! A disk that takes its time, and a disk that is full.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::time::Duration;

use crate::harness::{PATIENCE, Place, Signed, WELCOME, connect, read_answer, sample};
use crate::novu::Novu;
use crate::ordeal::disk::Disk;
use crate::preload;

#[test]
fn nothing_is_answered_or_sent_before_it_is_on_the_disk() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let stuck = place.path("stuck");
    let gateway = place.start_with(|command| preload::let_hang(command, &stuck));
    assert_eq!(gateway.send("msg_1", &sample("user.created")).status, 200);
    gateway.drain();
    File::create(&stuck).expect("a sign");
    let mut client = connect(gateway.webhooks);
    client.write_all(&Signed::new("msg_2", sample("user.created").as_bytes()).request()).expect("it is sent");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let early = client.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(early, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{early:?}");
    assert_eq!(novu.requests().len(), 1);
    std::fs::remove_file(&stuck).expect("the disk is done");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(read_answer(&mut BufReader::new(client)).status, 200);
    novu.wait_for(2);
}

#[test]
fn while_the_disk_is_full_nothing_is_lost_and_nothing_doubled_and_then_it_goes_on_by_itself() {
    Disk::Preloaded.run(2, 20);
}
