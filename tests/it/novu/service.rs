//! Novu with what is behind its answers: a worker, keys of idempotency, and a way there that fails.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::json;

use super::faults::{Failure, Fault, Faults};
use super::judge::Judge;
use super::limited::{Bucket, TOO_MANY};
use super::{Request, answer, read_request};
use crate::harness::drawn;

/// How long a request takes inside.
const LATENCY: Duration = Duration::from_millis(5);
/// How long a slow one takes: a gateway can be killed and be back before it is over.
const SLOW: Duration = Duration::from_millis(200);

/// A running peer. It judges what it is sent, and forgets the requests themselves.
#[derive(Clone)]
pub struct Service {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// How Novu is today.
#[derive(Default)]
pub struct Setup {
    pub faults: Faults,
    /// Whether it has switched on `Idempotency-Key` for this organization.
    pub idempotency: bool,
    /// Requests a second, if there is a limit.
    pub per_second: Option<u32>,
}

struct Shared {
    setup: Setup,
    bucket: Option<Mutex<Bucket>>,
    judge: Mutex<Judge>,
    keys: Mutex<HashMap<String, Key>>,
    /// Whether answers are kept back.
    held: (Mutex<bool>, Condvar),
}

/// What is known of an idempotency key: which body it came with, and the answer once there is one.
struct Key {
    body: u64,
    answer: Option<(u16, String)>,
}

/// An answer of Novu itself.
struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn new(status: u16, headers: impl Into<String>, body: impl ToString) -> Self {
        Self { status, headers: headers.into(), body: body.to_string() }
    }
}

impl Service {
    /// One without faults and limits.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a port"), setup)
    }

    pub fn at(listener: TcpListener, setup: Setup) -> Self {
        let shared = Shared {
            bucket: setup.per_second.map(|per_second| Mutex::new(Bucket::new(per_second))),
            setup,
            judge: Mutex::default(),
            keys: Mutex::default(),
            held: (Mutex::new(false), Condvar::new()),
        };
        let service = Self { address: listener.local_addr().expect("an address"), shared: Arc::new(shared) };
        let server = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = server.shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        service
    }

    /// What it has seen.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        self.shared.judge.lock().expect("the judge")
    }

    /// Requests that may come at once before its limit.
    pub fn burst(&self) -> u32 {
        self.shared.bucket.as_ref().map_or(0, |bucket| bucket.lock().expect("the limit").most())
    }

    /// Requests that were over its limit.
    pub fn throttled(&self) -> usize {
        self.shared.bucket.as_ref().map_or(0, |bucket| bucket.lock().expect("the limit").refused)
    }

    /// From now on workflows run, and nobody is told.
    pub fn hold_answers(&self) {
        *self.shared.held.0.lock().expect("the answers") = true;
    }

    pub fn release_answers(&self) {
        *self.shared.held.0.lock().expect("the answers") = false;
        self.shared.held.1.notify_all();
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut writer = stream.try_clone().expect("a stream");
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let events = request.events();
            let attempt = self.judge().begin(events);
            let outcome = self.meet(self.setup.faults.draw(super::transaction_id(&events[0]), attempt), &request);
            // It is over before the gateway can know, or what follows would seem to overlap.
            let over = || self.judge().end(events);
            let answered = match outcome {
                Ok(given) => {
                    over();
                    answer(&mut writer, given.status, &given.headers, &given.body)
                }
                Err(Failure::Reset) => return over(),
                Err(Failure::Hang) => {
                    // Until the gateway gives up.
                    let _ = reader.read(&mut [0]);
                    return over();
                }
                Err(Failure::Page(status)) => {
                    over();
                    answer(&mut writer, status, "", "<html><h1>The load balancer is sorry</h1></html>")
                }
            };
            if answered.is_err() {
                return;
            }
        }
    }

    /// The way to Novu, Novu, and the way back.
    fn meet(&self, fault: Fault, request: &Request) -> Result<Answer, Failure> {
        match fault {
            Fault::OnTheWay(failure) => Err(failure),
            Fault::Throttled => Ok(Answer::new(429, "Retry-After: 1\r\n", TOO_MANY)),
            Fault::InProgress => Ok(Answer::new(409, "Retry-After: 1\r\n", IN_PROGRESS)),
            Fault::Inside => Ok(self.take(request, true)),
            Fault::OnTheWayBack(failure) => {
                self.take(request, false);
                Err(failure)
            }
            Fault::Slow => {
                std::thread::sleep(SLOW);
                Ok(self.take(request, false))
            }
            Fault::None => Ok(self.take(request, false)),
        }
    }

    /// What is inside: the limit first, then the key and the workflow.
    fn take(&self, request: &Request, fails: bool) -> Answer {
        let Some(bucket) = &self.bucket else { return self.look_up(request, fails) };
        let taken = bucket.lock().expect("the limit").take(request.is_bulk());
        match taken {
            Ok(headers) => {
                let mut answer = self.look_up(request, fails);
                answer.headers.push_str(&headers);
                answer
            }
            Err(headers) => Answer::new(429, headers, TOO_MANY),
        }
    }

    fn look_up(&self, request: &Request, fails: bool) -> Answer {
        let key = request.headers.get("idempotency-key").filter(|_| self.setup.idempotency);
        let Some(key) = key else {
            let (status, body) = self.run(request, fails);
            return Answer::new(status, "", body);
        };
        let echo = format!("Idempotency-Key: {key}\r\n");
        let body = drawn(0, request.body.to_string());
        let mut keys = self.keys.lock().expect("the keys");
        match keys.get(key) {
            Some(known) if known.body != body => {
                let message = format!("Request with key \"{key}\" is being reused for a different body");
                return Answer::new(422, echo, json!({"statusCode": 422, "message": message}));
            }
            Some(Key { answer: None, .. }) => {
                return Answer::new(409, format!("{echo}Retry-After: 1\r\n"), IN_PROGRESS);
            }
            Some(Key { answer: Some((status, text)), .. }) => {
                // An error comes as it was from older servers, and as a 503 from newer ones.
                let status = if *status >= 400 && body.is_multiple_of(2) { 503 } else { *status };
                return Answer::new(status, format!("{echo}Idempotency-Replay: true\r\n"), text);
            }
            None => keys.insert(key.clone(), Key { body, answer: None }),
        };
        drop(keys);
        let (status, text) = self.run(request, fails);
        let given = Some((status, text.clone()));
        self.keys.lock().expect("the keys").insert(key.clone(), Key { body, answer: given });
        Answer::new(status, echo, text)
    }

    fn run(&self, request: &Request, fails: bool) -> (u16, String) {
        std::thread::sleep(LATENCY);
        if fails {
            return (500, json!({"statusCode": 500, "message": "Internal server error", "errorId": "0af"}).to_string());
        }
        self.judge().run(request.events());
        let (held, released) = &self.held;
        drop(released.wait_while(held.lock().expect("the answers"), |held| *held).expect("the answers"));
        (201, request.processed().to_string())
    }

    fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().expect("the judge")
    }
}

const IN_PROGRESS: &str = r#"{"statusCode":409,"message":"Request with this key is in progress"}"#;
