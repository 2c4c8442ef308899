//! A long queue of what is not urgent before Novu's limit, and now and then something that is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Over, Svix, drain, rules};
use crate::harness::{Client, Place, sample};
use crate::novu::service::{Service, Setup};

const ROUTES: &str = "  - { event: user.created, workflow: welcome, priority: low, payload: { event: \"{{webhook.id}}\" } }\n  \
                        - { event: session.created, workflow: urgent, priority: high, payload: { event: \"{{webhook.id}}\" } }\n";
/// Between two that are urgent.
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Quota {
    pub backlog: usize,
    pub per_second: u32,
}

pub struct Ran {
    /// What ran a second after the first burst, of what the limit allows.
    pub share: f64,
    /// Answers that asked to wait.
    pub throttled: usize,
    pub urgent: usize,
    /// From accepted until it ran, of the urgent ones.
    pub slowest: Duration,
    pub seconds: f64,
}

impl Quota {
    pub fn run(&self) -> Ran {
        let service = Service::with(Setup { per_second: Some(self.per_second), ..Setup::default() });
        let place = Place::new(service.address, ROUTES);
        place.write_rules(&rules(service.address, "timeout: 5s", ROUTES));
        let gateway = place.start_with(|command| {
            command.env("DESKBELL_LOG", "info");
        });
        let svix = Svix::new(self.backlog, Duration::ZERO);
        let (started, over) = (Instant::now(), AtomicBool::new(false));
        let urgent = std::thread::scope(|scope| {
            let urgent = scope.spawn(|| send_urgent(&gateway, &over));
            let _over = Over(&over);
            svix.send(gateway.webhooks, 4, &over);
            drain(&gateway, PATIENCE);
            over.store(true, Ordering::Relaxed);
            urgent.join().expect("what is urgent")
        });
        drain(&gateway, PATIENCE);

        let seconds = started.elapsed().as_secs_f64();
        let judge = service.judge();
        let ids: Vec<String> = urgent.iter().map(|(id, _)| id.clone()).collect();
        let (low, high): (Vec<_>, Vec<_>) =
            judge.transactions().partition(|transaction| transaction.workflow == "welcome");
        assert_eq!((low.len(), high.len()), (svix.accepted_count(), ids.len()));
        assert!(judge.transactions().all(|transaction| transaction.runs == 1), "each has run once");
        let waited = urgent.iter().map(|(id, accepted)| {
            let transaction = high.iter().find(|transaction| transaction.event == *id).expect("it has run");
            transaction.ran_at().saturating_duration_since(*accepted)
        });
        let slowest = waited.max().expect("one that is urgent");

        let mut ran: Vec<Instant> = judge.transactions().map(|transaction| transaction.ran_at()).collect();
        ran.sort_unstable();
        let steady = &ran[service.burst() as usize..];
        let took = steady[steady.len() - 1].duration_since(steady[0]).as_secs_f64();
        let share = (steady.len() - 1) as f64 / took / f64::from(self.per_second);
        Ran { share, throttled: service.throttled(), urgent: ids.len(), slowest, seconds }
    }
}

/// Sends what is urgent until it is over: what was sent, and when it was accepted.
fn send_urgent(gateway: &crate::harness::Gateway, over: &AtomicBool) -> Vec<(String, Instant)> {
    let (body, mut sent) = (sample("session.created"), Vec::new());
    let mut client = Client::new(gateway.webhooks).expect("a connection");
    while !over.load(Ordering::Relaxed) {
        let id = format!("msg_urgent_{}", sent.len());
        assert_eq!(client.send(&id, &body).expect("an answer").status, 200);
        sent.push((id, Instant::now()));
        std::thread::sleep(PAUSE);
    }
    sent
}
