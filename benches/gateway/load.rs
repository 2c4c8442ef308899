//! Webhooks from many connections: as fast as they are answered, or at a fixed rate.
//!
//! A thread for each connection: it costs no more than a runtime, and sleeps to the microsecond.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine;
use crate::webhook::Webhooks;
use crate::wire::Messages;

/// No server here takes this long.
const PATIENCE: Duration = Duration::from_secs(20);
const STACK: usize = 128 * 1024;
/// So many webhooks go to one server, and then to the next.
pub const TURN: u32 = 500;
/// What a server has left to do is done before the next one has its turn.
const SETTLE: Duration = Duration::from_millis(200);

/// A connection that is kept, as Svix keeps its own.
struct Client {
    stream: TcpStream,
    answers: Messages,
    webhooks: Webhooks,
}

impl Client {
    fn new(server: SocketAddr, webhooks: Webhooks) -> Self {
        let stream = TcpStream::connect(server).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, answers: Messages::default(), webhooks }
    }

    /// Sends the webhook that was signed last, and waits until it is taken.
    fn send(&mut self) {
        self.stream.write_all(self.webhooks.signed()).expect("a server that reads");
        let answer = self.answers.next(&mut self.stream).expect("an answer").expect("a server that is still there");
        let said = || format!("{}{}", String::from_utf8_lossy(answer.head), String::from_utf8_lossy(answer.body));
        assert!(answer.head.starts_with(b"HTTP/1.1 200 "), "a webhook is not taken: {}", said());
    }
}

/// What was sent, and taken.
pub struct Sent {
    pub started: Instant,
    pub count: usize,
    pub took: Duration,
}

/// Sends the next webhook on each connection as soon as the last one is answered.
pub fn as_fast_as_possible(server: SocketAddr, connections: usize, webhooks: &Webhooks, time: Duration) -> Sent {
    let counts = on_each(&[server], connections, webhooks, |clients, start| {
        let (client, mut count) = (&mut clients[0], 0);
        while start.elapsed() < time {
            client.webhooks.sign();
            client.send();
            count += 1;
        }
        (start, count, Instant::now())
    });
    let started = counts.iter().map(|(start, ..)| *start).min().expect("a connection");
    let ended = counts.iter().map(|(.., end)| *end).max().expect("a connection");
    Sent { started, count: counts.iter().map(|(_, count, _)| count).sum(), took: ended - started }
}

/// Sends so many webhooks a second, whatever becomes of those before, to servers that take turns: what else the machine does
/// meets them alike. How long each webhook took, for each of the servers and counted from when it was due: one that waits
/// for a free connection is late as well.
pub fn at_a_rate(
    servers: &[SocketAddr],
    connections: usize,
    webhooks: &Webhooks,
    rate: u32,
    turns: u32,
) -> Vec<Vec<Duration>> {
    let (next, step) = (AtomicU32::new(0), Duration::from_secs(1) / rate);
    let of_each = on_each(servers, connections, webhooks, |clients, start| {
        machine::wake_on_time();
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); clients.len()];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let turn = number / TURN;
            if turn as usize / clients.len() >= turns as usize {
                return times;
            }
            let server = turn as usize % clients.len();
            let due = step * number + SETTLE * turn;
            clients[server].webhooks.sign();
            thread::sleep(due.saturating_sub(start.elapsed()));
            clients[server].send();
            times[server].push(start.elapsed() - due);
        }
    });
    let of_server = |server: usize| of_each.iter().flat_map(|times| times[server].clone()).collect();
    (0..servers.len()).map(of_server).collect()
}

/// Does this so many times at once, each with a connection to each of the servers. All start at the same moment.
fn on_each<T: Send>(
    servers: &[SocketAddr],
    connections: usize,
    webhooks: &Webhooks,
    work: impl Fn(&mut [Client], Instant) -> T + Sync,
) -> Vec<T> {
    let (connected, begun) = (Barrier::new(connections + 1), Barrier::new(connections + 1));
    let start = std::sync::OnceLock::new();
    thread::scope(|scope| {
        let run = || {
            let mut clients: Vec<_> = servers.iter().map(|server| Client::new(*server, webhooks.another())).collect();
            connected.wait();
            begun.wait();
            work(&mut clients, *start.get().expect("the start"))
        };
        let spawn = |_| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).expect("a thread");
        let threads: Vec<_> = (0..connections).map(spawn).collect();
        connected.wait();
        start.get_or_init(Instant::now);
        begun.wait();
        threads.into_iter().map(|thread| thread.join().expect("a client that succeeds")).collect()
    })
}
