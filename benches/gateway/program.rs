//! The server that is measured, the gateway or a limit program: a process of its own, on a core of its own.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{self, Cores};

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_micros(200);

/// A running server. It is killed when it goes out of scope.
pub struct Program {
    child: Child,
    log: PathBuf,
    pub webhooks: SocketAddr,
    /// From its start until it was ready.
    pub ready: Duration,
}

impl Program {
    /// `deskbell serve` as it would run, in a folder that has its rules, and its store if that is not elsewhere.
    pub fn gateway(cores: &Cores, folder: &Path, store: Option<&str>) -> Self {
        let [webhooks, admin] = free_addresses();
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskbell"));
        for (name, _) in std::env::vars() {
            if name.starts_with("DESKBELL_") || name.starts_with("NOVU_") || name.starts_with("CLERK_") {
                command.env_remove(name);
            }
        }
        command.current_dir(folder).arg("serve");
        if let Some(store) = store {
            command.env("DESKBELL_STORE", store);
        }
        command.env("DESKBELL_LISTEN", webhooks.to_string()).env("DESKBELL_ADMIN", admin.to_string());
        Self::start(cores, command, folder, webhooks, || is_ready(admin))
    }

    /// A limit program: this program in another role.
    pub fn limit(cores: &Cores, name: &str, novu: SocketAddr, folder: &Path) -> Self {
        let [webhooks] = free_addresses();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([crate::ROLE, name, &webhooks.to_string(), &novu.to_string()]).arg(folder);
        Self::start(cores, command, folder, webhooks, || TcpStream::connect(webhooks).is_ok())
    }

    fn start(
        cores: &Cores,
        mut command: Command,
        folder: &Path,
        webhooks: SocketAddr,
        is_ready: impl Fn() -> bool,
    ) -> Self {
        let log = folder.join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).expect("a log"));
        let started = Instant::now();
        let mut child = cores.as_server(|| command.spawn()).expect("the program starts");
        while !is_ready() {
            let ended = child.try_wait().expect("a status");
            assert!(
                ended.is_none() && started.elapsed() < PATIENCE,
                "{command:?} does not start: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
            thread::sleep(LOOK);
        }
        Self { child, webhooks, ready: started.elapsed(), log }
    }

    /// What it has had of its core so far.
    pub fn processor_time(&self) -> Duration {
        machine::processor_time(self.child.id())
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_memory(&self) -> f64 {
        machine::peak_memory(self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            log.lines().filter(|line| line.contains("ERROR")).for_each(|line| eprintln!("{line}"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many different ones.
fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("an address"));
    listeners.each_ref().map(|listener| listener.local_addr().expect("an address"))
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut status = [0; 13];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(&status == b"HTTP/1.1 200 ")
    };
    ask().unwrap_or(false)
}
