//! What a gateway has to endure, at any size: small ones are in `ordeals.rs`, large ones in `tests/soak/`.

#[path = "ordeal/away.rs"]
pub mod away;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "ordeal/disk.rs"]
pub mod disk;
#[path = "ordeal/kills.rs"]
pub mod kills;
#[path = "ordeal/levers.rs"]
pub mod levers;
#[path = "ordeal/quota.rs"]
pub mod quota;
#[path = "ordeal/waiting.rs"]
pub mod waiting;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Gateway, SECRET, sample};

/// The workflows of `TWO_ROUTES`.
pub const WORKFLOWS: [&str; 2] = ["welcome", "audit"];
/// The judge of the service wants to know whose a delivery is.
pub const TWO_ROUTES: &str = "  - { event: user.created, workflow: welcome, payload: { event: \"{{webhook.id}}\" } }\n  \
                                - { event: user.created, workflow: audit, payload: { event: \"{{webhook.id}}\" } }\n";
pub const ONE_ROUTE: &str = "  - { event: user.created, workflow: welcome, payload: { event: \"{{webhook.id}}\" } }\n";

/// A whole file of rules, with what `delivery` says.
pub fn rules(novu: SocketAddr, delivery: &str, routes: &str) -> String {
    format!(
        "sources:\n  clerk: {{ signing_secrets: [{SECRET}] }}\n\
         novu: {{ api_url: \"http://{novu}\", secret_key: key-of-the-tests }}\n\
         delivery: {{ {delivery} }}\n\
         routes:\n{routes}"
    )
}

/// Ends what goes on beside a test, however the test ends.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends events as Svix does: what was not answered with 200 comes again.
pub struct Svix {
    body: String,
    /// Between the webhooks of one connection.
    pause: Duration,
    next: AtomicUsize,
    most: AtomicUsize,
    again: Mutex<Vec<usize>>,
    accepted: Mutex<Vec<String>>,
    /// How often it was told to come back later.
    pub unavailable: AtomicUsize,
    /// Connections that were lost with a webhook on them.
    pub broken: AtomicUsize,
}

impl Svix {
    /// One with so many events to send.
    pub fn new(most: usize, pause: Duration) -> Self {
        Self {
            body: sample("user.created"),
            pause,
            next: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            again: Mutex::default(),
            accepted: Mutex::default(),
            unavailable: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
        }
    }

    /// Sends over several connections until all is accepted, or it is over, or the gateway is gone.
    pub fn send(&self, address: SocketAddr, connections: usize, over: &AtomicBool) {
        let send = || {
            let Ok(mut client) = Client::new(address) else { return };
            while let Some(number) = self.take() {
                if over.load(Ordering::Relaxed) {
                    return self.put_back(number);
                }
                let id = id(number);
                match client.send(&id, &self.body) {
                    Ok(answer) if answer.status == 200 => self.accepted.lock().expect("events").push(id),
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{}", answer.body);
                        self.unavailable.fetch_add(1, Ordering::Relaxed);
                        self.put_back(number);
                    }
                    Err(_) => {
                        self.broken.fetch_add(1, Ordering::Relaxed);
                        return self.put_back(number);
                    }
                }
                std::thread::sleep(self.pause);
            }
        };
        std::thread::scope(|scope| (0..connections).for_each(|_| drop(scope.spawn(send))));
    }

    /// Sends what was begun, and nothing new, until all of it is accepted.
    pub fn finish(&self, address: SocketAddr, connections: usize) {
        self.most.fetch_min(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
        self.send(address, connections, &AtomicBool::new(false));
        assert!(self.again.lock().expect("events").is_empty(), "the gateway is gone");
    }

    /// More events to send.
    pub fn extend(&self, more: usize) {
        self.most.fetch_add(more, Ordering::Relaxed);
    }

    pub fn accepted(&self) -> Vec<String> {
        self.accepted.lock().expect("events").clone()
    }

    pub fn accepted_count(&self) -> usize {
        self.accepted.lock().expect("events").len()
    }

    fn take(&self) -> Option<usize> {
        self.again.lock().expect("events").pop().or_else(|| {
            let most = self.most.load(Ordering::Relaxed);
            let next = |next| (next < most).then_some(next + 1);
            self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
        })
    }

    fn put_back(&self, number: usize) {
        self.again.lock().expect("events").push(number);
    }
}

fn id(number: usize) -> String {
    format!("msg_{number}")
}

/// Waits until nothing is left to deliver, for as long as it gets less within `patience`.
pub fn drain(gateway: &Gateway, patience: Duration) {
    let (mut least, mut at) = (f64::INFINITY, Instant::now());
    loop {
        let left = ["new", "retrying", "sending"].map(|state| in_queue(gateway, state)).iter().sum();
        if left == 0.0 {
            return;
        }
        if left < least {
            (least, at) = (left, Instant::now());
        }
        assert!(at.elapsed() < patience, "{left} deliveries are left, and for {patience:?} there were no fewer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn in_queue(gateway: &Gateway, state: &str) -> f64 {
    gateway.metric(&format!("deskbell_queue_deliveries{{state=\"{state}\"}}")).expect("a gauge")
}

/// What the gateway has in memory, in MiB. Only Linux tells; elsewhere it is nothing.
pub fn memory(gateway: &Gateway) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}
