//! Every lever of an operator, at any moment, while webhooks come, come again, Novu fails in every way, and the gateway
//! is killed or stopped now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Over, Svix, WORKFLOWS, drain, in_queue, rules};
use crate::harness::{Gateway, Place, drawn, eventually, sample};
use crate::novu::faults::Faults;
use crate::novu::service::{Service, Setup};
use crate::store::Store;

const DELIVERY: &str = "timeout: 300ms, concurrency: 32, \
                        retry: { first: 20ms, longest: 400ms, unknown: 500ms, give_up_after: 300ms }";
const ROUTES: &str = "  - { event: user.created, workflow: welcome, priority: high, payload: { event: \"{{webhook.id}}\" } }\n  \
                      - { event: user.created, workflow: audit, payload: { event: \"{{webhook.id}}\" } }\n";
const CONNECTIONS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const STATES: [&str; 4] = ["new", "retrying", "sending", "dead"];
/// So many levers are pulled between two looks.
const PULLED: usize = 8;
/// What is asked of the admin address.
const LEVERS: [(&str, &str); 14] = [
    ("pause", r#"{"route": "welcome"}"#),
    ("pause", r#"{"route": "audit", "source": "clerk"}"#),
    ("pause", r#"{"all": true}"#),
    ("resume", r#"{"route": "welcome"}"#),
    ("resume", r#"{"source": "clerk"}"#),
    ("resume", r#"{"all": true}"#),
    ("drop", r#"{"route": "audit"}"#),
    ("drop", r#"{"state": "retrying"}"#),
    ("drop", r#"{"state": "paused"}"#),
    ("drop", r#"{"state": "dead"}"#),
    ("replay", r#"{"state": "dead", "limit": 1000}"#),
    ("replay", r#"{"state": "cancelled", "limit": 1000}"#),
    ("replay", r#"{"state": "cancelled", "route": "audit", "limit": 1000}"#),
    ("reload", ""),
];

pub struct Levers {
    pub rounds: usize,
    pub seed: u64,
}

impl Levers {
    pub fn run(&self) {
        let service = Service::with(Setup {
            faults: Faults { percent: 30, seed: self.seed },
            idempotency: self.seed.is_multiple_of(2),
            per_second: None,
        });
        let place = Place::new(service.address, ROUTES);
        self.write_rules(&place, &service, 0);
        let svix = Svix::new(usize::MAX, Duration::from_millis(20));
        let mut gateway = place.start_with(quiet);
        for round in 0..self.rounds {
            self.pull(&gateway, &place, &service, &svix, round);
            gateway = self.look(gateway, &place, round);
        }
        self.write_rules(&place, &service, 0);
        gateway.reload();
        svix.finish(gateway.webhooks, CONNECTIONS);
        self.mend(&gateway);
        gateway = self.look(gateway, &place, 0);
        assert_eq!(gateway.stop(), Some(0));
        let judge = service.judge();
        judge.assert_once(&svix.accepted(), &WORKFLOWS);
        assert_eq!(judge.overlaps, 0, "two attempts of one delivery at the same time, with the seed {}", self.seed);
    }

    fn write_rules(&self, place: &Place, service: &Service, number: usize) {
        let delivery = DELIVERY.replace("concurrency: 32", &format!("concurrency: {}", [32, 1, 4][number % 3]));
        let bulk = ["auto", "off"][number % 2];
        place.write_rules(&rules(service.address, &format!("{delivery}, bulk: {bulk}"), ROUTES));
    }

    fn pull(&self, gateway: &Gateway, place: &Place, service: &Service, svix: &Svix, round: usize) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _over = Over(&over);
            scope.spawn(|| svix.send(gateway.webhooks, CONNECTIONS, &over));
            scope.spawn(|| self.resend(gateway, svix, &over));
            for number in (round * PULLED..).take(PULLED) {
                std::thread::sleep(Duration::from_millis(drawn(self.seed, number) % 120));
                // Each in its turn, in an order of this seed.
                let turn = number * [3, 5, 9, 11][self.seed as usize % 4];
                match LEVERS[(turn + self.seed as usize) % LEVERS.len()] {
                    ("reload", _) => {
                        self.write_rules(place, service, number / LEVERS.len() + 1);
                        gateway.reload();
                    }
                    (lever, body) => drop(ask(gateway, lever, body)),
                }
            }
        });
    }

    /// What was accepted comes again.
    fn resend(&self, gateway: &Gateway, svix: &Svix, over: &AtomicBool) {
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            let accepted = svix.accepted();
            if !accepted.is_empty() {
                number += 1;
                let id = &accepted[drawn(self.seed, ("resend", number)) as usize % accepted.len()];
                eventually("it is known", || {
                    let answer = gateway.send(id, &sample("user.created"));
                    // It comes again, as from Svix.
                    let is_too_slow = Store::MAY_BE_SLOW && answer.status == 503;
                    (!is_too_slow).then(|| assert_eq!(answer.outcome(), "duplicate", "{}", answer.body))
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Counts; now and then again after a kill or a stop while everything is on its way.
    fn look(&self, mut gateway: Gateway, place: &Place, round: usize) -> Gateway {
        self.count(&gateway, place);
        match drawn(self.seed, ("look", round)) % 3 {
            0 => gateway.kill(),
            1 => assert_eq!(gateway.stop(), Some(0)),
            _ => return gateway,
        }
        gateway = place.start_with(quiet);
        self.count(&gateway, place);
        gateway
    }

    /// Holds everything still, and compares the gauges with the store.
    fn count(&self, gateway: &Gateway, place: &Place) {
        ask(gateway, "pause", r#"{"all": true}"#);
        eventually("nothing is under way", || (in_queue(gateway, "sending") == 0.0).then_some(()));
        let told = STATES.map(|state| in_queue(gateway, state) as i64);
        assert_eq!(told, count(place), "{STATES:?}, with the seed {}", self.seed);
        ask(gateway, "resume", r#"{"all": true}"#);
    }

    /// Until all of it is delivered.
    fn mend(&self, gateway: &Gateway) {
        eventually("all is delivered", || {
            drain(gateway, PATIENCE);
            let sent = ["dead", "cancelled"].map(|state| {
                let replayed = ask(gateway, "replay", &format!(r#"{{"state": "{state}", "limit": 1000}}"#));
                replayed["sent"].as_u64().expect("a number")
            });
            (sent == [0, 0]).then_some(())
        });
    }
}

fn quiet(command: &mut std::process::Command) {
    command.env("DESKBELL_LOG", "info");
}

fn ask(gateway: &Gateway, lever: &str, body: &str) -> Value {
    let answer = gateway.ask(&format!("/api/{lever}"), body);
    assert_eq!(answer.status, 200, "{lever} {body}: {}", answer.body);
    answer.json()
}

/// What the gauges are to say, by the store.
fn count(place: &Place) -> [i64; 4] {
    let count = |what: &str| place.store.number(&format!("SELECT count(*) FROM deliveries WHERE {what}"));
    ["state < 1 AND attempts = 0", "state < 1 AND attempts > 0", "state = 1", "state = 3"].map(count)
}
