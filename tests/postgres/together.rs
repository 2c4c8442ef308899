//! Several gateways on one server, while they are killed, the server loses its power, and connections are cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Gateway, Place, drawn, eventually, sample};
use crate::novu::faults::Faults;
use crate::novu::service::{Service, Setup};
use crate::ordeal::{Over, Svix, TWO_ROUTES, WORKFLOWS, drain, in_queue, rules};
use crate::server::Server;

/// After an attempt whose outcome is not known nothing is sent for a second and a half.
const DELIVERY: &str = "timeout: 300ms, concurrency: 64, retry: { first: 20ms, longest: 400ms, unknown: 1500ms }";
const GATEWAYS: usize = 3;
const CONNECTIONS: usize = 2;
/// A dead gateway's attempts are taken over within ten seconds, if the server is there for that long.
const PATIENCE: Duration = Duration::from_secs(60);
const DATABASE: &str = "deskbell";

pub struct Together {
    pub rounds: usize,
    pub seed: u64,
    /// Whether Novu looks at `Idempotency-Key`.
    pub idempotency: bool,
}

pub struct Ran {
    pub events: usize,
    pub requests: usize,
    /// What Novu got again although it had run, and dropped.
    pub duplicates: usize,
    /// Webhooks that were to come again.
    pub refused: usize,
    pub seconds: f64,
}

impl Together {
    pub fn run(&self) -> Ran {
        let started = Instant::now();
        let service = Service::with(Setup {
            faults: Faults { percent: 20, seed: self.seed },
            idempotency: self.idempotency,
            per_second: None,
        });
        let mut server = Server::start();
        server.create(DATABASE);
        let place = Place::new(service.address, TWO_ROUTES);
        place.write_rules(&rules(service.address, DELIVERY, TWO_ROUTES));
        let mut gateways: Vec<Gateway> = (0..GATEWAYS).map(|_| start(&place, &server)).collect();
        let svix = Svix::new(usize::MAX, Duration::from_millis(10));
        for round in 0..self.rounds {
            self.disturb(&place, &mut server, &mut gateways, &svix, round);
        }
        svix.finish(gateways[0].webhooks, CONNECTIONS);
        // Each knows at once of what it has taken itself, and within a second of the rest.
        gateways.iter().for_each(|gateway| drain(gateway, PATIENCE));

        let events = svix.accepted();
        assert_eq!(in_queue(&gateways[0], "dead"), 0.0, "seed {}", self.seed);
        for gateway in &gateways {
            assert_eq!(gateway.send(&events[0], &sample("user.created")).outcome(), "duplicate");
        }
        let judge = service.judge();
        judge.assert_once(&events, &WORKFLOWS);
        assert_eq!(judge.overlaps, 0, "two attempts of one delivery at the same time, with the seed {}", self.seed);
        Ran {
            events: events.len(),
            requests: judge.requests(),
            duplicates: judge.duplicates,
            refused: svix.unavailable.load(Ordering::Relaxed),
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    /// One of the three that can go wrong, while webhooks come to all gateways.
    fn disturb(&self, place: &Place, server: &mut Server, gateways: &mut Vec<Gateway>, svix: &Svix, round: usize) {
        let over = AtomicBool::new(false);
        let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.webhooks).collect();
        let over = &over;
        std::thread::scope(|scope| {
            let end = Over(over);
            for address in addresses {
                scope.spawn(move || svix.send(address, CONNECTIONS, over));
            }
            std::thread::sleep(Duration::from_millis(200 + drawn(self.seed, round) % 600));
            match round % 3 {
                0 => {
                    let which = drawn(self.seed, ("which", round)) as usize % gateways.len();
                    gateways.remove(which).kill();
                }
                1 => {
                    server.kill();
                    server.restart();
                }
                _ => server.cut_connections(DATABASE),
            }
            let before = svix.accepted_count();
            eventually("something is accepted again", || (svix.accepted_count() > before).then_some(()));
            drop(end);
        });
        while gateways.len() < GATEWAYS {
            gateways.push(start(place, server));
        }
    }
}

fn start(place: &Place, server: &Server) -> Gateway {
    place.start_with(|command| {
        command.env("DESKBELL_STORE", server.url(DATABASE)).env("DESKBELL_LOG", "info");
    })
}
