//! The file changes again and again while webhooks come all the time.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use serde_json::json;

use crate::harness::{Client, Gateway, Place, eventually, rules, sample};
use crate::novu::Novu;
use crate::setting;

const CLIENTS: usize = 8;

#[test]
fn a_thousand_reloads_beside_a_thousand_webhooks_a_second() {
    let ran = Soak::new(|_| {}).run(setting("SOAK_RELOADS", 1_000), setting("SOAK_RATE", 1_000));
    ran.print("reloads by file events");
    assert!(ran.slowest() < Duration::from_secs(1), "a reload took {:?} from the file event", ran.slowest());
    ran.assert_flat_memory();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn reloads_without_file_events() {
    let soak = Soak::new(|command| crate::preload::let_fail(command, "inotify_init1"));
    let ran = soak.run(setting("SOAK_RELOADS", 1_000).div_ceil(40), setting("SOAK_RATE", 1_000));
    ran.print("reloads without file events");
    assert!(ran.slowest() < Duration::from_secs(3), "a reload took {:?}", ran.slowest());
}

struct Soak {
    novu: Novu,
    place: Place,
    gateway: Gateway,
    /// The route of each revision that has been written.
    written: Mutex<HashMap<String, String>>,
    /// When each revision first decided an event.
    decided: Mutex<HashMap<String, Instant>>,
    sent: AtomicUsize,
    over: AtomicBool,
}

struct Ran {
    took: Vec<Duration>,
    sent: usize,
    seconds: f64,
    /// Of the gateway, in MiB: at the start, and after each tenth of the reloads.
    memory: Vec<f64>,
}

impl Soak {
    fn new(change: impl FnOnce(&mut Command)) -> Self {
        let novu = Novu::start();
        let place = Place::new(novu.address, "  - { event: user.created, workflow: v0 }\n");
        let revision = revision(&std::fs::read_to_string(place.path("routes.yaml")).expect("rules"));
        let gateway = place.start_with(|command| {
            command.env("DESKBELL_LOG", "info");
            change(command);
        });
        Self {
            novu,
            place,
            gateway,
            written: Mutex::new(HashMap::from([(revision, "v0".to_owned())])),
            decided: Mutex::default(),
            sent: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn run(self, reloads: usize, rate: usize) -> Ran {
        let started = Instant::now();
        let mut delivered = HashSet::new();
        let (took, memory) = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let soak = &self;
                scope.spawn(move || soak.send(client, started, Duration::from_secs(CLIENTS as u64) / rate as u32));
            }
            let _over = Over(&self.over);
            eventually("webhooks are decided", || (!self.decided.lock().expect("times").is_empty()).then_some(()));
            let (mut took, mut memory) = (Vec::new(), vec![self.memory()]);
            for reload in 1..=reloads {
                took.push(self.reload(reload));
                self.collect(&mut delivered);
                if reload * 10 % reloads < 10 {
                    memory.push(self.memory());
                }
            }
            (took, memory)
        });
        let seconds = started.elapsed().as_secs_f64();
        let sent = self.sent.load(Ordering::Relaxed);
        while delivered.len() < sent {
            let before = delivered.len();
            eventually("Novu gets more of what waits", || {
                self.collect(&mut delivered);
                (delivered.len() > before).then_some(())
            });
        }
        self.gateway.drain();
        self.collect(&mut delivered);
        assert_eq!(delivered.len(), sent, "each webhook reaches Novu");
        let applied = self.gateway.metric("deskbell_rules_reloads_total{result=\"applied\"}");
        assert_eq!(applied, Some(reloads as f64));
        assert_eq!(self.gateway.metric("deskbell_rules_reloads_total{result=\"rejected\"}").unwrap_or_default(), 0.0);
        Ran { took, sent, seconds, memory }
    }

    /// Sends steadily, and expects of each answer that one revision has decided it.
    fn send(&self, client: usize, started: Instant, pause: Duration) {
        let body = sample("user.created");
        let mut connection = Client::new(self.gateway.webhooks).expect("a connection");
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) {
            let due = pause * number + pause * client as u32 / CLIENTS as u32;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
            let answer = connection.send(&format!("msg_{client}_{number}"), &body).expect("an answer");
            number += 1;
            assert_eq!((answer.status, answer.outcome().as_str()), (200, "accepted"), "{}", answer.body);
            self.sent.fetch_add(1, Ordering::Relaxed);
            let answer = answer.json();
            let revision = answer["revision"].as_str().expect("a revision");
            let route = self.written.lock().expect("revisions")[revision].clone();
            assert_eq!(answer["routes"], json!([route]));
            self.decided.lock().expect("times").entry(revision.to_owned()).or_insert_with(Instant::now);
        }
    }

    /// Changes the file, in place or by a rename: how long until an event is decided by it.
    fn reload(&self, number: usize) -> Duration {
        // Few names, because each has its metrics for good.
        let route = format!("v{}", number % 10);
        let routes = format!("  - {{ event: user.created, workflow: {route}, payload: {{ number: {number} }} }}\n");
        let text = rules(self.novu.address, &routes);
        let revision = revision(&text);
        self.written.lock().expect("revisions").insert(revision.clone(), route);
        let changed = Instant::now();
        match number % 2 {
            0 => self.place.write_rules(&text),
            _ => {
                std::fs::write(self.place.path("new"), text).expect("a file");
                std::fs::rename(self.place.path("new"), self.place.path("routes.yaml")).expect("it is renamed");
            }
        }
        let decided = eventually("the new rules decide", || {
            assert!(!self.over.load(Ordering::Relaxed), "a client has failed");
            self.decided.lock().expect("times").get(&revision).copied()
        });
        decided.duration_since(changed)
    }

    fn collect(&self, delivered: &mut HashSet<String>) {
        for request in self.novu.take_requests() {
            assert!(delivered.insert(request.transaction_id().to_owned()), "twice: {}", request.body);
        }
    }

    fn memory(&self) -> f64 {
        self.gateway.metric("process_resident_memory_bytes").expect("the memory") / f64::from(1 << 20)
    }
}

/// Ends the clients, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Ran {
    fn slowest(&self) -> Duration {
        self.took.iter().copied().max().unwrap_or_default()
    }

    /// The memory in the middle is what it needs; from there on it grows no more.
    fn assert_flat_memory(&self) {
        let (middle, end) = (self.memory[self.memory.len() / 2], self.memory[self.memory.len() - 1]);
        assert!(end < middle * 1.1 + 4.0, "the memory grows from {middle:.1} to {end:.1} MiB");
    }

    fn print(&self, what: &str) {
        let mut took: Vec<_> = self.took.iter().map(Duration::as_millis).collect();
        took.sort_unstable();
        let at = |share: usize| took[(took.len() - 1) * share / 100];
        println!(
            "\n{what}: {} of them beside {} webhooks, {:.0} a second",
            took.len(),
            self.sent,
            self.sent as f64 / self.seconds
        );
        println!(
            "  from the change to an event decided by it, in ms: median {}, 90 % {}, 99 % {}, slowest {}",
            at(50),
            at(90),
            at(99),
            at(100)
        );
        let memory: Vec<_> = self.memory.iter().map(|memory| format!("{memory:.1}")).collect();
        println!("  memory from start to end, in MiB: {}", memory.join(" "));
    }
}

fn revision(text: &str) -> String {
    Compiled::of(text.as_bytes(), Outside::Optional).revision
}
