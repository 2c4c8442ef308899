//! A peer that plays Novu: it records what it gets, and can be told to misbehave.

#[path = "novu/faults.rs"]
pub mod faults;
#[path = "novu/judge.rs"]
pub mod judge;
#[path = "novu/limited.rs"]
mod limited;
#[path = "novu/service.rs"]
pub mod service;

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

use crate::harness::{PATIENCE, read_headers};
#[allow(unused_imports)]
pub use limited::limited;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub body: Value,
    pub at: Instant,
    /// Whether Novu has let the workflow run.
    pub processed: bool,
}

impl Request {
    pub fn transaction_id(&self) -> &str {
        transaction_id(&self.body)
    }

    pub fn key(&self) -> &str {
        &self.headers["idempotency-key"]
    }

    pub fn workflow(&self) -> &str {
        self.body["name"].as_str().expect("a workflow")
    }

    pub fn is_bulk(&self) -> bool {
        self.line == "POST /v1/events/trigger/bulk HTTP/1.1"
    }

    /// What it asks for: of a call for many, each.
    pub fn events(&self) -> &[Value] {
        if self.is_bulk() { self.body["events"].as_array().expect("events") } else { std::slice::from_ref(&self.body) }
    }

    /// The answer if all of it is processed.
    pub fn processed(&self) -> Value {
        let processed = |event: &Value| json!({"acknowledged": true, "status": "processed", "transactionId": event["transactionId"]});
        let each: Vec<Value> = self.events().iter().map(processed).collect();
        json!({"data": if self.is_bulk() { Value::from(each) } else { each[0].clone() }})
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Process,
    /// An answer that is not 201 `processed`: status, headers, body.
    Answer(u16, &'static str, &'static str),
    /// The same, made for this request. A 201 says that the workflow runs.
    Reply(u16, String, String),
    /// The connection is cut before anything is done.
    Reset,
    /// The workflow runs, and the answer is lost.
    ProcessThenReset,
    /// Nothing is ever answered.
    Hang,
    /// Processed after a while.
    Slow(Duration),
}

type Plan = dyn Fn(&Request, usize) -> Behaviour + Send + Sync;

/// A running peer.
#[derive(Clone)]
pub struct Novu {
    pub address: SocketAddr,
    seen: Arc<(Mutex<Vec<Request>>, Condvar)>,
    plan: Arc<Mutex<Box<Plan>>>,
    connections: Arc<AtomicUsize>,
}

/// An address at which Novu is not yet: connections are refused, and nobody else can take it.
pub struct Closed {
    socket: TcpSocket,
    pub address: SocketAddr,
}

impl Closed {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let address = socket.local_addr().expect("an address");
        Self { socket, address }
    }

    /// From now on there is one that processes everything.
    pub fn open(self) -> Novu {
        self.open_that(|_, _| Behaviour::Process)
    }

    /// From now on there is one that does what the plan says.
    pub fn open_that(self, plan: impl Fn(&Request, usize) -> Behaviour + Send + Sync + 'static) -> Novu {
        Novu::at(self.listen(), plan)
    }

    /// From now on somebody listens.
    pub fn listen(self) -> TcpListener {
        let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _inside = runtime.enter();
        let listener = self.socket.listen(128).and_then(|listener| listener.into_std()).expect("a listener");
        listener.set_nonblocking(false).expect("a listener that blocks");
        listener
    }
}

impl Novu {
    /// One that processes everything.
    pub fn start() -> Self {
        Self::that(|_, _| Behaviour::Process)
    }

    /// One that does what the plan says, given a request and how many came before it.
    pub fn that(plan: impl Fn(&Request, usize) -> Behaviour + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a port"), plan)
    }

    fn at(listener: TcpListener, plan: impl Fn(&Request, usize) -> Behaviour + Send + Sync + 'static) -> Self {
        let novu = Self {
            address: listener.local_addr().expect("an address"),
            seen: Arc::default(),
            plan: Arc::new(Mutex::new(Box::new(plan))),
            connections: Arc::default(),
        };
        let server = novu.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                server.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || server.serve(stream));
            }
        });
        novu
    }

    /// Changes what it does from now on.
    pub fn now(&self, plan: impl Fn(&Request, usize) -> Behaviour + Send + Sync + 'static) {
        *self.plan.lock().expect("the plan") = Box::new(plan);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.seen.0.lock().expect("the requests").clone()
    }

    /// Those that came since the last time, which are forgotten here: for what runs long.
    #[allow(dead_code)]
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.0.lock().expect("the requests"))
    }

    /// Those that ran a workflow.
    pub fn processed(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.processed).collect()
    }

    /// How many connections have been made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits for so many requests.
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let (seen, changed) = &*self.seen;
        let guard = seen.lock().expect("the requests");
        let (guard, waited) =
            changed.wait_timeout_while(guard, PATIENCE, |seen| seen.len() < count).expect("the requests");
        assert!(!waited.timed_out(), "{} requests came, {count} were expected", guard.len());
        guard.clone()
    }

    fn serve(&self, stream: TcpStream) {
        let mut writer = stream.try_clone().expect("a stream");
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let behaviour = self.take(request.clone());
            let processed = request.processed();
            let answered = match behaviour {
                Behaviour::Process => answer(&mut writer, 201, "", &processed.to_string()),
                Behaviour::Answer(status, headers, body) => answer(&mut writer, status, headers, body),
                Behaviour::Reply(status, headers, body) => answer(&mut writer, status, &headers, &body),
                Behaviour::Slow(pause) => {
                    std::thread::sleep(pause);
                    answer(&mut writer, 201, "", &processed.to_string())
                }
                Behaviour::Hang => {
                    // Until the gateway gives up.
                    let _ = reader.read(&mut [0]);
                    return;
                }
                Behaviour::Reset | Behaviour::ProcessThenReset => return,
            };
            if answered.is_err() {
                return;
            }
        }
    }

    fn take(&self, mut request: Request) -> Behaviour {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().expect("the requests");
        let behaviour = (self.plan.lock().expect("the plan"))(&request, seen.len());
        request.processed = matches!(
            behaviour,
            Behaviour::Process | Behaviour::ProcessThenReset | Behaviour::Slow(_) | Behaviour::Reply(201, ..)
        );
        seen.push(request);
        changed.notify_all();
        behaviour
    }
}

fn transaction_id(event: &Value) -> &str {
    event["transactionId"].as_str().expect("a transaction id")
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    use std::io::BufRead;
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let headers = read_headers(reader).ok()?;
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).expect("a body in JSON");
    Some(Request { line: line.trim_end().to_owned(), headers, body, at: Instant::now(), processed: false })
}

fn answer(writer: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} Novu\r\nContent-Type: application/json\r\n{headers}");
    write!(writer, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}
