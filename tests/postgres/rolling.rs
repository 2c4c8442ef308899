//! All gateways are replaced one after another behind a real balancer that watches `/readyz`, under load.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Ending, Gateway, Place, eventually, exchange, get, read_answer};
use crate::novu::faults::Faults;
use crate::novu::service::{Service, Setup};
use crate::ordeal::{Over, Svix, TWO_ROUTES, WORKFLOWS, drain, rules};

const DELIVERY: &str = "timeout: 2s, retry: { first: 20ms, longest: 400ms, unknown: 1500ms }";
/// HAProxy looks five times a second, and this is ten times as long.
const DRAIN_DELAY: &str = "2s";
const PATIENCE: Duration = Duration::from_secs(60);

/// The addresses of one gateway, which the next one in its place has as well.
struct Seat {
    webhooks: SocketAddr,
    admin: SocketAddr,
}

impl Seat {
    fn new() -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [webhooks, admin] = listeners.map(|listener| listener.local_addr().expect("an address"));
        Self { webhooks, admin }
    }

    fn start(&self, place: &Place) -> Gateway {
        place.start_with(|command| {
            command
                .env("DESKBELL_LISTEN", self.webhooks.to_string())
                .env("DESKBELL_ADMIN", self.admin.to_string())
                .env("DESKBELL_DRAIN_DELAY", DRAIN_DELAY)
                .env("DESKBELL_LOG", "info");
        })
    }
}

/// HAProxy, with no more of its own than the README says.
fn balancer(place: &Place, seats: &[Seat]) -> (Ending, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let servers: String = seats
        .iter()
        .enumerate()
        .map(|(number, Seat { webhooks, admin })| {
            format!(
                "    server deskbell{number} {webhooks} check addr {} port {} inter 200ms fall 1 rise 1\n",
                admin.ip(),
                admin.port()
            )
        })
        .collect();
    let config = place.path("haproxy.cfg");
    let text = format!(
        "defaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n    option redispatch\n\
         listen webhooks\n    bind {address}\n    option httpchk\n    \
         http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost\n{servers}"
    );
    fs::write(&config, text).expect("a configuration");
    // Debian keeps it out of the `PATH` of whoever is not root.
    let installed = Path::new("/usr/sbin/haproxy");
    let mut command = Command::new(if installed.exists() { installed } else { Path::new("haproxy") });
    command.arg("-q").arg("-db").arg("-f").arg(config).stdin(Stdio::null());
    (Ending(command.spawn().expect("haproxy")), address)
}

/// Waits until so many gateways are behind the balancer: it says so by an answer that is not its own.
fn wait_for(balancer: SocketAddr) {
    eventually("the balancer lets through", || {
        // Before that there is nobody at all.
        let mut client = TcpStream::connect(balancer).ok()?;
        client.write_all(&get("/webhooks/clerk", "gateway", "")).ok()?;
        (read_answer(&mut BufReader::new(client)).status != 503).then_some(())
    });
}

#[test]
fn while_all_gateways_are_replaced_behind_a_balancer_not_one_webhook_is_refused() {
    let service = Service::with(Setup { faults: Faults { percent: 0, seed: 1 }, idempotency: true, per_second: None });
    let place = Place::new(service.address, TWO_ROUTES);
    place.write_rules(&rules(service.address, DELIVERY, TWO_ROUTES));
    let seats = [Seat::new(), Seat::new(), Seat::new()];
    let mut gateways: Vec<Gateway> = seats.iter().map(|seat| seat.start(&place)).collect();
    let (_haproxy, address) = balancer(&place, &seats);
    wait_for(address);
    let svix = Svix::new(usize::MAX, Duration::from_millis(2));
    let over = &AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        let sending = scope.spawn(|| svix.send(address, 8, over));
        let end = Over(over);
        for seat in &seats {
            let before = svix.accepted_count();
            eventually("webhooks come", || (svix.accepted_count() > before + 200).then_some(()));
            assert_eq!(gateways.remove(0).stop(), Some(0));
            gateways.push(seat.start(&place));
            eventually("it is ready", || {
                let ready = exchange(seat.admin, &get("/readyz", "127.0.0.1", ""));
                (ready.status == 200).then_some(())
            });
        }
        let lost = sending.is_finished();
        drop(end);
        lost
    });
    assert!(!lost, "every connection was lost");
    assert_eq!(svix.unavailable.load(Ordering::Relaxed), 0, "webhooks were refused");
    assert_eq!(svix.broken.load(Ordering::Relaxed), 0, "connections broke");
    gateways.iter().for_each(|gateway| drain(gateway, PATIENCE));
    service.judge().assert_once(&svix.accepted(), &WORKFLOWS);
}
