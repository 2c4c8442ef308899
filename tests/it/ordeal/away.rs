//! Novu cannot be reached while webhooks come, and then it can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{ONE_ROUTE, Over, Svix, drain, memory, rules};
use crate::harness::{Gateway, Place};
use crate::novu::Closed;
use crate::novu::service::{Service, Setup};

const DELIVERY: &str = "timeout: 2s, retry: { first: 1s, longest: 5s, unknown: 1s }";
const CONNECTIONS: usize = 8;
/// A Novu that is away is asked once a minute at last.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Away {
    /// Events that are sent before, while Novu is there.
    pub before: usize,
    pub backlog: usize,
}

pub struct Ran {
    /// Events a second: while Novu was there, and of each twentieth of the backlog.
    pub rate_before: f64,
    pub rates: Vec<f64>,
    /// Of the gateway, in MiB: at the start of the backlog, and the most from there on.
    pub memory_before: f64,
    pub memory_most: f64,
    /// Attempts that found nobody.
    pub attempts: f64,
    /// From the moment when Novu is there until all is delivered.
    pub delivered_in: Duration,
}

impl Away {
    pub fn run(&self) -> Ran {
        let there = Service::start();
        let place = Place::new(there.address, ONE_ROUTE);
        place.write_rules(&rules(there.address, DELIVERY, ONE_ROUTE));
        let gateway = place.start_with(|command| {
            command.env("DESKBELL_LOG", "info");
        });
        let svix = Svix::new(self.before, Duration::ZERO);
        let rate_before = self.before as f64 / seconds_to_send(&svix, &gateway);
        drain(&gateway, PATIENCE);
        there.judge().assert_once(&svix.accepted(), &["welcome"]);

        let away = Closed::new();
        place.write_rules(&rules(away.address, DELIVERY, ONE_ROUTE));
        gateway.wait_for("deskbell_rules_reloads_total{result=\"applied\"}", 1.0);
        let memory_before = memory(&gateway);
        let mut memory_most = memory_before;
        let rates = (0..20).map(|_| {
            svix.extend(self.backlog / 20);
            let rate = (self.backlog / 20) as f64 / seconds_to_send(&svix, &gateway);
            memory_most = memory_most.max(memory(&gateway));
            rate
        });
        let rates = rates.collect();
        let attempts = gateway.metric("deskbell_attempts_total{result=\"connection\"}").unwrap_or_default();

        let opened = Instant::now();
        let service = Service::at(away.listen(), Setup::default());
        let over = AtomicBool::new(false);
        let memory_while_delivering = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = 0.0_f64;
                while !over.load(Ordering::Relaxed) {
                    most = most.max(memory(&gateway));
                    std::thread::sleep(Duration::from_millis(50));
                }
                most
            });
            let ended = Over(&over);
            drain(&gateway, PATIENCE);
            drop(ended);
            watching.join().expect("the memory")
        });
        let delivered_in = opened.elapsed();
        let judge = service.judge();
        assert_eq!(svix.accepted_count(), self.before + self.backlog);
        judge.assert_once(&svix.accepted()[self.before..], &["welcome"]);
        assert_eq!(judge.requests(), self.backlog, "nothing is sent twice");
        Ran {
            rate_before,
            rates,
            memory_before,
            memory_most: memory_most.max(memory_while_delivering),
            attempts,
            delivered_in,
        }
    }
}

fn seconds_to_send(svix: &Svix, gateway: &Gateway) -> f64 {
    let started = Instant::now();
    svix.send(gateway.webhooks, CONNECTIONS, &AtomicBool::new(false));
    assert_eq!(svix.unavailable.load(Ordering::Relaxed), 0, "Novu is no reason to refuse a webhook");
    started.elapsed().as_secs_f64()
}
