//! A server that goes away and comes back while a gateway runs.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::bounds::{refuses, told};
use crate::harness::{Gateway, Place, WELCOME, eventually, sample};
use crate::novu::Novu;
use crate::server::Server;

const NOT_WRITABLE: &str = "the store cannot be written";
const DATABASE: &str = "deskbell";

/// A server with a database, and a gateway that keeps its events there.
fn start(place: &Place) -> (Server, Gateway) {
    let server = Server::start();
    server.create(DATABASE);
    let gateway = place.start_with(|command| {
        command.env("DESKBELL_STORE", server.url(DATABASE));
    });
    (server, gateway)
}

/// Sends an event as Svix does: until it is taken.
fn send(gateway: &Gateway, id: &str) {
    eventually(&format!("{id} is taken"), || {
        let answer = gateway.send(id, &sample("user.created"));
        assert!([200, 503].contains(&answer.status), "{}", answer.body);
        (answer.status == 200).then_some(())
    });
}

/// So many events were each sent once.
fn assert_sent(novu: &Novu, gateway: &Gateway, count: usize) {
    gateway.drain();
    let requests = novu.requests();
    let transactions: HashSet<&str> = requests.iter().map(|request| request.transaction_id()).collect();
    assert_eq!((requests.len(), transactions.len()), (count, count));
    // Whether the end of an attempt is kept may not be known where a connection is lost: it is counted with the next try.
    eventually("each is counted", || (gateway.ended("welcome", "delivered") == count as f64).then_some(()));
}

#[test]
fn a_server_that_loses_its_power_loses_nothing_that_was_accepted() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (mut server, gateway) = start(&place);
    for number in 0..20 {
        assert_eq!(gateway.send(&format!("msg_{number}"), &sample("user.created")).outcome(), "accepted");
    }
    // Some attempts have just ended, and some have not.
    server.kill();
    refuses(&gateway, "msg_20", NOT_WRITABLE);
    gateway.has_logged("see whether the PostgreSQL server runs");
    server.restart();
    send(&gateway, "msg_20");
    assert_sent(&novu, &gateway, 21);
    eventually("it is told", || (told(&gateway, "the store can be written again") > 0).then_some(()));
}

#[test]
fn while_a_server_stands_still_webhooks_are_refused_in_time() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (server, gateway) = start(&place);
    send(&gateway, "msg_0");
    gateway.drain();
    server.freeze();
    let started = Instant::now();
    refuses(&gateway, "msg_1", NOT_WRITABLE);
    // After a second and a half, and not when the server is given up, after five.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    server.thaw();
    send(&gateway, "msg_1");
    assert_sent(&novu, &gateway, 2);
}

#[test]
fn connections_that_are_cut_are_made_anew() {
    let novu = Novu::start();
    let place = Place::new(novu.address, WELCOME);
    let (server, gateway) = start(&place);
    for number in 0..10 {
        send(&gateway, &format!("msg_{number}"));
        server.cut_connections(DATABASE);
    }
    assert_sent(&novu, &gateway, 10);
}
