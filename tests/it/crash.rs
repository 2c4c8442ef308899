//! What survives: a crash, a stop, a restart. Crash after crash under load is in `ordeals.rs`.

use std::collections::HashSet;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Client, Place, WELCOME, connect, eventually, rules, sample};
use crate::novu::{Behaviour, Novu};

#[test]
fn an_attempt_that_a_crash_cut_off_is_made_again_after_a_pause_and_under_the_same_key() {
    let novu = Novu::that(|_, before| if before == 0 { Behaviour::Hang } else { Behaviour::Process });
    let place = Place::new(novu.address, WELCOME);
    place.write_rules(&rules(novu.address, WELCOME).replace("unknown: 100ms", "unknown: 1s"));
    let gateway = place.start();
    gateway.send("msg_1", &sample("user.created"));
    novu.wait_for(1);
    gateway.kill();
    let started_again = Instant::now();
    let gateway = place.start();
    let requests = novu.wait_for(2);
    let pause = requests[1].at.duration_since(started_again);
    assert!(pause >= Duration::from_secs(1), "Novu may still be at it: {pause:?}");
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].key(), requests[1].key());
    gateway.drain();
    assert_eq!(novu.requests().len(), 2);
}

#[test]
fn a_stop_lets_running_attempts_end_and_keeps_the_rest() {
    for signal in ["TERM", "INT"] {
        let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(700)));
        let place = Place::new(novu.address, WELCOME);
        place.write_rules(&rules(novu.address, WELCOME).replace("timeout: 2s", "timeout: 5s, concurrency: 3"));
        let gateway = place.start();
        for number in 0..10 {
            assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).status, 200);
        }
        novu.wait_for(3);
        gateway.signal(signal);
        assert_eq!(gateway.wait(), Some(0));
        let started = novu.requests().len();
        assert!((3..10).contains(&started), "{started}");

        novu.now(|_, _| Behaviour::Process);
        let gateway = place.start();
        gateway.drain();
        let requests = novu.requests();
        let transactions: HashSet<&str> = requests.iter().map(|request| request.transaction_id()).collect();
        assert_eq!((requests.len(), transactions.len()), (10, 10), "what had ended was not sent again");
    }
}

#[test]
fn after_a_stop_no_webhook_is_taken_and_idle_connections_are_closed() {
    let novu = Novu::that(|_, _| Behaviour::Slow(Duration::from_millis(1_500)));
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start();
    let mut unused = connect(gateway.webhooks);
    let mut used = Client::new(gateway.webhooks).expect("a connection");
    assert_eq!(used.send("msg_1", &sample("user.created")).expect("an answer").status, 200);
    novu.wait_for(1);
    gateway.signal("TERM");
    let refused = |error: std::io::Error| (error.kind() == ErrorKind::ConnectionRefused).then_some(());
    eventually("no new connection", || TcpStream::connect(gateway.webhooks).err().and_then(refused));
    assert_eq!(unused.read(&mut [0]).expect("an end"), 0);
    assert!(used.send("msg_2", &sample("user.created")).is_err());
    let ready = gateway.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()), "the attempt still runs");
    assert_eq!(gateway.wait(), Some(0));
    assert_eq!(novu.processed().len(), 1);
}

#[test]
fn while_balancers_take_notice_webhooks_are_taken_and_a_second_signal_ends_it_at_once() {
    let novu = Novu::that(|_, _| Behaviour::Hang);
    let place = Place::new(novu.address, WELCOME);
    let gateway = place.start_with(|command| {
        command.args(["--drain-delay=1h", "--shutdown-grace=1h"]);
    });
    assert_eq!(gateway.get("/readyz").status, 200);
    gateway.signal("TERM");
    eventually("it is not ready", || (gateway.get("/readyz").status == 503).then_some(()));
    assert_eq!(gateway.send("msg_1", &sample("user.created")).outcome(), "accepted");
    assert_eq!(gateway.get("/healthz").status, 200);
    novu.wait_for(1);
    assert_ne!(gateway.stop(), Some(0));

    novu.now(|_, _| Behaviour::Process);
    let gateway = place.start();
    gateway.drain();
    assert_eq!(novu.processed().len(), 1);
}
