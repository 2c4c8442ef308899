//! A Novu that costs almost nothing: it takes what comes, and counts the transactions, each once.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{Message, Messages};

/// Whoever delivers has stopped if nothing comes for so long.
const PATIENCE: Duration = Duration::from_secs(30);
const TRANSACTION: &str = "\"transactionId\":\"";

pub struct Novu {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How long it takes to answer, in milliseconds.
    delay: AtomicU64,
    seen: Mutex<Seen>,
    hash: RandomState,
}

/// The transactions since the last look.
#[derive(Clone, Default)]
struct Seen {
    ids: HashSet<u64>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// How many transactions came, and when the first and the last of them.
#[derive(Clone, Copy)]
pub struct Taken {
    pub count: usize,
    pub first: Instant,
    pub last: Instant,
}

impl Taken {
    pub fn per_second(&self) -> f64 {
        self.count as f64 / (self.last - self.first).as_secs_f64()
    }
}

impl Novu {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let novu = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let state = novu.state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = state.clone();
                // Who calls may be killed on the way.
                thread::spawn(move || drop(state.serve(stream)));
            }
        });
        novu
    }

    /// Forgets all, and takes this long for each answer.
    pub fn reset(&self, delay: Duration) {
        self.state.delay.store(delay.as_millis() as u64, Ordering::Relaxed);
        *self.state.seen() = Seen::default();
    }

    /// Waits until so many transactions have come.
    pub fn wait_for(&self, count: usize) -> Taken {
        let mut progress = (0, Instant::now());
        loop {
            let taken = self.taken();
            let so_far = taken.map_or(0, |taken| taken.count);
            if let Some(taken) = taken.filter(|taken| taken.count >= count) {
                return taken;
            }
            if so_far > progress.0 {
                progress = (so_far, Instant::now());
            }
            assert!(progress.1.elapsed() < PATIENCE, "only {so_far} of {count} came to Novu");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// None if nothing has come.
    pub fn taken(&self) -> Option<Taken> {
        let seen = self.state.seen();
        Some(Taken { count: seen.ids.len(), first: seen.first?, last: seen.last? })
    }
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("what was seen")
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut messages, mut answer) = (Messages::default(), Vec::new());
        while let Some(Message { head, body }) = messages.next(&mut stream)? {
            let text = std::str::from_utf8(body).expect("JSON");
            let ids: Vec<&str> = text
                .match_indices(TRANSACTION)
                .filter_map(|(at, _)| text[at + TRANSACTION.len()..].split('"').next())
                .collect();
            write_answer(&mut answer, &ids, head.starts_with(b"POST /v1/events/trigger/bulk "));
            self.note(&ids);
            let delay = self.delay.load(Ordering::Relaxed);
            if delay > 0 {
                thread::sleep(Duration::from_millis(delay));
            }
            stream.write_all(&answer)?;
        }
        Ok(())
    }

    fn note(&self, ids: &[&str]) {
        let ids: Vec<u64> = ids.iter().map(|id| self.hash.hash_one(id)).collect();
        let mut seen = self.seen();
        let before = seen.ids.len();
        seen.ids.extend(ids);
        if seen.ids.len() > before {
            let moment = Instant::now();
            seen.first.get_or_insert(moment);
            seen.last = Some(moment);
        }
    }
}

fn write_answer(answer: &mut Vec<u8>, ids: &[&str], bulk: bool) {
    let each: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"acknowledged":true,"status":"processed","transactionId":"{id}"}}"#))
        .collect();
    let (open, close) = if bulk { ("[", "]") } else { ("", "") };
    let body = format!(r#"{{"data":{open}{}{close}}}"#, each.join(","));
    answer.clear();
    let length = body.len();
    let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json; charset=utf-8\r\n";
    write!(answer, "{head}content-length: {length}\r\n\r\n{body}").expect("memory");
}
