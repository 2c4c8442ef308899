//! A gateway as a process of its own, and a client that can send anything.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deskbell::units::now;
use deskbell::verify::Secret;
use serde_json::Value;
use tempfile::TempDir;

use crate::store::Store;

/// No condition of these tests takes this long on a machine that works.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Waits until something is there.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number that looks like chance, and is the same every time.
pub fn drawn(seed: u64, what: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, what))
}

/// The binary, ready for arguments, without anything from this environment.
pub fn deskbell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskbell"));
    for (name, _) in std::env::vars() {
        if name.starts_with("DESKBELL_") || name.starts_with("NOVU_") || name.starts_with("CLERK_") {
            command.env_remove(name);
        }
    }
    command
}

/// A folder with a `routes.yaml`, for one or more gateways one after another.
pub struct Place {
    pub folder: TempDir,
    pub store: Store,
}

impl Place {
    /// `routes` are the lines below `routes:`; source and Novu are added.
    pub fn new(novu: SocketAddr, routes: &str) -> Self {
        let place = Self::empty();
        place.write_rules(&rules(novu, routes));
        place
    }

    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::new(folder.path());
        Self { folder, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write_rules(&self, text: &str) {
        std::fs::write(self.path("routes.yaml"), text).expect("rules are written");
    }

    pub fn start(&self) -> Gateway {
        self.start_with(|_| {})
    }

    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Gateway {
        let mut command = self.command();
        change(&mut command);
        Gateway::spawn(command)
    }

    /// Runs a gateway that is not to start: its exit status, and what it says.
    pub fn refuses_to_start(&self, change: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
        let mut command = self.command();
        change(&mut command);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut ending = Ending(child);
        let status = eventually("it ends", || ending.0.try_wait().expect("a status"));
        let mut said = String::new();
        ending.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        (status.code(), said)
    }

    /// `deskbell serve` on ports of its own, in this folder.
    pub fn command(&self) -> Command {
        let mut command = deskbell();
        command.current_dir(self.folder.path()).arg("serve");
        // Flags would have the last word over those of a test.
        for (name, value) in [
            ("DESKBELL_LISTEN", "127.0.0.1:0"),
            ("DESKBELL_ADMIN", "127.0.0.1:0"),
            ("DESKBELL_LOG_FORMAT", "json"),
            ("DESKBELL_DRAIN_DELAY", "0"),
            ("DESKBELL_SHUTDOWN_GRACE", "10s"),
        ] {
            command.env(name, value);
        }
        command.env("DESKBELL_LOG", "debug");
        self.store.choose(&mut command);
        command
    }
}

/// A whole file of rules around some routes, impatient enough for tests, each delivery in a call of its own.
pub fn rules(novu: SocketAddr, routes: &str) -> String {
    format!(
        "sources:\n  clerk: {{ signing_secrets: [{SECRET}] }}\n\
         novu: {{ api_url: \"http://{novu}\", secret_key: key-of-the-tests }}\n\
         delivery: {{ timeout: 2s, bulk: off, retry: {{ first: 20ms, longest: 200ms, unknown: 100ms }} }}\n\
         routes:\n{routes}"
    )
}

pub const WELCOME: &str = "  - { event: user.created, workflow: welcome }\n";

/// A process that is gone at the end of a test, however the test ends.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running gateway. It is killed when it goes out of scope.
pub struct Gateway {
    child: Ending,
    pub webhooks: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Gateway {
    pub fn spawn(mut command: Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the gateway starts");
        let mut child = Ending(child);
        let stderr = child.0.stderr.take().expect("a pipe");
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let gateway_log = log.clone();
        let line = eventually("the gateway listens", || {
            if let Some(status) = child.0.try_wait().expect("a status") {
                panic!("the gateway ended with {status}: {}", gateway_log.lock().expect("the log"));
            }
            let log = gateway_log.lock().expect("the log");
            log.lines().find(|line| line.contains("\"listening\"")).map(str::to_owned)
        });
        let line: Value = serde_json::from_str(&line).expect("a log line in JSON");
        let address = |name: &str| line[name].as_str().expect(name).parse().expect(name);
        Self { child, webhooks: address("webhooks"), admin: address("admin"), log }
    }

    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Waits until a text is in the log, which is written a little later than what it tells of.
    pub fn has_logged(&self, text: &str) {
        eventually(&format!("`{text}` is logged"), || self.log().contains(text).then_some(()));
    }

    /// Posts a signed webhook.
    pub fn send(&self, id: &str, body: &str) -> Answer {
        self.request(&Signed::new(id, body.as_bytes()).request())
    }

    /// Sends bytes as they are to the webhook address, and reads the answer.
    pub fn request(&self, bytes: &[u8]) -> Answer {
        exchange(self.webhooks, bytes)
    }

    pub fn get(&self, path: &str) -> Answer {
        exchange(self.admin, &get(path, "127.0.0.1", ""))
    }

    /// The value of a metric, by its name and labels as they are written.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").body;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// How many deliveries of a route have ended so.
    pub fn ended(&self, route: &str, outcome: &str) -> f64 {
        let name = format!("deskbell_deliveries_total{{outcome=\"{outcome}\",route=\"{route}\"}}");
        self.metric(&name).unwrap_or_default()
    }

    /// Waits until a metric has a value.
    pub fn wait_for(&self, name: &str, value: f64) {
        eventually(&format!("{name} {value}"), || (self.metric(name) == Some(value)).then_some(()));
    }

    /// What `/readyz` says is wrong, while webhooks are still taken.
    pub fn degraded(&self) -> Vec<String> {
        let answer = self.get("/readyz");
        assert_eq!((answer.status, &answer.json()["ready"]), (200, &Value::Bool(true)), "{}", answer.body);
        serde_json::from_value(answer.json()["degraded"].clone()).expect("a list of sentences")
    }

    pub fn post(&self, path: &str) -> Answer {
        let request = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n");
        exchange(self.admin, request.as_bytes())
    }

    /// Has the rules of the place run, if the watcher was not faster.
    pub fn reload(&self) {
        let answer = self.post("/-/reload");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Posts JSON to the admin address.
    pub fn ask(&self, path: &str, body: &str) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len());
        exchange(self.admin, format!("{head}{body}").as_bytes())
    }

    /// Waits until nothing is left to deliver.
    pub fn drain(&self) {
        eventually("the queue is empty", || {
            let page = self.get("/metrics").body;
            ["new", "retrying", "sending"]
                .iter()
                .all(|state| page.contains(&format!("deskbell_queue_deliveries{{state=\"{state}\"}} 0\n")))
                .then_some(())
        });
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(mut self) {
        self.child.0.kill().expect("it is killed");
        self.child.0.wait().expect("it has ended");
    }

    /// SIGTERM, and the exit status.
    pub fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// The exit status, once it has ended by itself.
    pub fn wait(mut self) -> Option<i32> {
        eventually("the gateway ends", || self.child.0.try_wait().expect("a status")).code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the gateway:\n{}", self.log());
        }
    }
}

/// A webhook as Svix signs it, to be sent as it is or spoiled.
pub struct Signed {
    pub source: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Signed {
    pub fn new(id: &str, body: &[u8]) -> Self {
        Self::at(id, body, now() / 1000)
    }

    /// Signed at a moment, in seconds since 1970.
    pub fn at(id: &str, body: &[u8], seconds: i64) -> Self {
        Self::with(SECRET, id, body, &seconds.to_string())
    }

    pub fn with(secret: &str, id: &str, body: &[u8], timestamp: &str) -> Self {
        let signature = Secret::parse(secret).expect("a secret").sign(id, timestamp, body);
        let headers = [("Svix-Id", id), ("Svix-Timestamp", timestamp), ("Svix-Signature", &signature)];
        Self {
            source: "clerk".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            body: body.to_vec(),
        }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.add(name, value)
    }

    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub fn request(&self) -> Vec<u8> {
        let mut head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: gateway\r\n", self.source);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", self.body.len()));
        [head.as_bytes(), &self.body].concat()
    }
}

pub fn get(path: &str, host: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn outcome(&self) -> String {
        self.json()["outcome"].as_str().unwrap_or_default().to_owned()
    }
}

/// One request on a connection of its own.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("the request is sent");
    read_answer(&mut BufReader::new(stream))
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

pub fn read_answer(stream: &mut impl BufRead) -> Answer {
    try_read_answer(stream).expect("an answer")
}

/// Fails if the connection is lost.
fn try_read_answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not an answer: {line:?}"));
    let headers = read_headers(stream)?;
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, headers, body: String::from_utf8(body).expect("text") })
}

/// A connection that is kept, as Svix keeps its own.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Posts a signed webhook. It fails if the gateway is gone.
    pub fn send(&mut self, id: &str, body: &str) -> std::io::Result<Answer> {
        self.stream.get_mut().write_all(&Signed::new(id, body.as_bytes()).request())?;
        try_read_answer(&mut self.stream)
    }
}

/// Reads headers up to the empty line; names in small letters.
pub fn read_headers(stream: &mut impl BufRead) -> std::io::Result<HashMap<String, String>> {
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => return Ok(headers),
        };
    }
}

/// A sample as Clerk would send it: compact.
pub fn sample(name: &str) -> String {
    deskbell::clerk::sample(name).expect(name).to_string()
}

/// A sample with a few values changed.
pub fn sample_with(name: &str, changes: &[(&str, Value)]) -> String {
    let mut event = deskbell::clerk::sample(name).expect(name);
    for (path, value) in changes {
        deskbell::clerk::set(&mut event, path, value.clone()).expect(path);
    }
    event.to_string()
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
