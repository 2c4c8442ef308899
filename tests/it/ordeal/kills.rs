//! SIGKILL, again and again, at any moment, while webhooks come and Novu fails in every way.

use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::{Svix, TWO_ROUTES, WORKFLOWS, drain, in_queue, rules};
use crate::harness::{Ending, Place, drawn, sample};
use crate::novu::faults::Faults;
use crate::novu::service::{Service, Setup};

/// After an attempt whose outcome is not known nothing is sent for a second and a half: by then it is over
/// at the service, even on a machine that has much else to do.
const DELIVERY: &str = "timeout: 300ms, concurrency: 64, retry: { first: 20ms, longest: 400ms, unknown: 1500ms }";
const CONNECTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Kills {
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
    pub seconds: f64,
}

impl Kills {
    pub fn run(&self) -> Ran {
        let started = Instant::now();
        let service = Service::with(Setup {
            faults: Faults { percent: 20, seed: self.seed },
            idempotency: self.idempotency,
            per_second: None,
        });
        let place = Place::new(service.address, TWO_ROUTES);
        place.write_rules(&rules(service.address, DELIVERY, TWO_ROUTES));
        let svix = Svix::new(usize::MAX, Duration::from_millis(10));
        for round in 0..self.rounds {
            self.kill_while_it_runs(&place, &svix, round);
            if round % 5 == 4 {
                self.kill_while_it_starts(&place, round);
            }
        }
        let gateway = place.start();
        svix.finish(gateway.webhooks, CONNECTIONS);
        drain(&gateway, PATIENCE);

        let events = svix.accepted();
        assert_eq!(in_queue(&gateway, "dead"), 0.0, "seed {}", self.seed);
        assert_eq!(gateway.send(&events[0], &sample("user.created")).outcome(), "duplicate");
        let judge = service.judge();
        judge.assert_once(&events, &WORKFLOWS);
        assert_eq!(judge.overlaps, 0, "two attempts of one delivery at the same time, with the seed {}", self.seed);
        Ran {
            events: events.len(),
            requests: judge.requests(),
            duplicates: judge.duplicates,
            seconds: started.elapsed().as_secs_f64(),
        }
    }

    fn kill_while_it_runs(&self, place: &Place, svix: &Svix, round: usize) {
        let gateway = place.start_with(|command| {
            command.env("DESKBELL_LOG", "info");
        });
        let address = gateway.webhooks;
        let moment = Duration::from_millis(200 + drawn(self.seed, round) % 800);
        std::thread::scope(|scope| {
            scope.spawn(|| svix.send(address, CONNECTIONS, &AtomicBool::new(false)));
            std::thread::sleep(moment);
            if round % 2 == 1 {
                await_answer(svix);
            }
            gateway.kill();
        });
    }

    /// Before it has all that it needs.
    fn kill_while_it_starts(&self, place: &Place, round: usize) {
        let moment = Duration::from_millis(drawn(self.seed, ("start", round)) % 60);
        let starting = place.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let starting = Ending(starting.expect("it starts"));
        std::thread::sleep(moment);
        drop(starting);
    }
}

/// What is answered before it is kept is lost by a kill right after the answer.
fn await_answer(svix: &Svix) {
    let (before, since) = (svix.accepted_count(), Instant::now());
    while svix.accepted_count() == before && since.elapsed() < Duration::from_millis(200) {
        std::hint::spin_loop();
    }
}
