//! A PostgreSQL server that belongs to the tests alone, and is gone when they are.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, geteuid, getpid, kill_process};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::harness::eventually;

/// Who runs a server for a root, from whom PostgreSQL takes no order.
pub const NOBODY: u32 = 65534;
/// Makes a cluster if there is none, starts the server, and waits until the tests let go or are gone in whatever way: then
/// its pipe closes. The server goes at once, and so does its folder if it is not to start again.
const SUPERVISE: &str = r#"
    folder=$1; initdb=$2; shift 2
    log=$folder/log
    # Whoever started it may be gone before the server is there.
    trap : PIPE
    [ -d "$folder/data" ] ||
        "$initdb" -A trust -U postgres -E UTF8 --no-locale --no-sync -D "$folder/data" >"$log" 2>&1
    "$@" >>"$log" 2>&1 &
    echo $!
    read -r word
    # It may be gone, or not listen yet, or stand still.
    while kill -QUIT $! 2>/dev/null; do
        kill -CONT $! 2>/dev/null
        sleep 0.1
    done
    [ "$word" = keep ] || rm -rf "$folder" 2>/dev/null
"#;

pub struct Server {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Option<Running>,
}

struct Running {
    supervisor: Child,
    pipe: ChildStdin,
    /// The first of its processes.
    id: i32,
}

impl Server {
    /// One with an empty cluster, which answers.
    pub fn start() -> Self {
        Self::start_in(&std::env::temp_dir(), SETTINGS.map(str::to_owned).into())
    }

    /// The same with settings of its own, and a folder in this one.
    pub fn start_in(folder: &Path, settings: Vec<String>) -> Self {
        let folder = tempfile::tempdir_in(folder).expect("a folder").keep();
        if geteuid().is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("a folder of nobody's");
        }
        let mut server = Self { folder, port: free_port(), settings, running: None };
        server.restart();
        server
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The address of a database, as it is for a gateway.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address())
    }

    pub fn create(&self, database: &str) {
        ask(&self.url("postgres"), &format!("CREATE DATABASE {database}"));
    }

    pub fn remove(&self, database: &str) {
        ask(&self.url("postgres"), &format!("DROP DATABASE {database} WITH (FORCE)"));
    }

    /// Starts it again, on the same port and with all that it holds.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let mut sh = as_nobody(Command::new("sh"));
        sh.args(["-c", SUPERVISE, "sh"]).arg(&self.folder).args(["initdb", "postgres"].map(find));
        sh.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        sh.args(["-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
        for setting in ALWAYS.iter().copied().chain(self.settings.iter().map(|setting| &**setting)) {
            sh.args(["-c", setting]);
        }
        // What is typed at the terminal is for the tests; it ends after them.
        sh.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut supervisor = sh.spawn().expect("a shell");
        let pipe = supervisor.stdin.take().expect("a pipe");
        let mut id = String::new();
        BufReader::new(supervisor.stdout.take().expect("a pipe")).read_line(&mut id).expect("a line");
        let id = id.trim().parse().expect("the id of a process");
        self.running = Some(Running { supervisor, pipe, id });
        let url = self.url("postgres");
        eventually("the server answers", || {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let runs = !cfg!(target_os = "linux") || Path::new(&format!("/proc/{id}/cwd")).exists();
            assert!(runs, "no PostgreSQL server comes up; `make test` installs what it needs: {}", log());
            try_ask(&url, "SELECT 1").ok()
        });
    }

    /// As if somebody had pulled the plug.
    pub fn kill(&mut self) {
        let Running { mut supervisor, mut pipe, id } = self.running.take().expect("it runs");
        let all = processes(id);
        for process in &all {
            signal(*process, Signal::KILL);
        }
        // What they share in memory is free once the last is gone.
        eventually("all of them are gone", || all.iter().all(|process| !is_alive(*process)).then_some(()));
        writeln!(pipe, "keep").expect("a word");
        drop(pipe);
        supervisor.wait().expect("it ends");
    }

    /// Lets it stand still, with its connections open.
    pub fn freeze(&self) {
        let id = self.running.as_ref().expect("it runs").id;
        // The first starts no others from here on.
        signal(id, Signal::STOP);
        for process in processes(id) {
            signal(process, Signal::STOP);
        }
    }

    pub fn thaw(&self) {
        for process in processes(self.running.as_ref().expect("it runs").id) {
            signal(process, Signal::CONT);
        }
    }

    /// All its processes.
    pub fn processes(&self) -> Vec<i32> {
        processes(self.running.as_ref().expect("it runs").id)
    }

    /// Ends all connections to a database; new ones are taken.
    pub fn cut_connections(&self, database: &str) {
        let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        ask(&self.url("postgres"), &sql);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.running.take() {
            Some(Running { mut supervisor, pipe, .. }) => {
                drop(pipe);
                let _ = supervisor.wait();
            }
            None => drop(fs::remove_dir_all(&self.folder)),
        }
    }
}

/// Nothing here outlives the machine, so nothing waits for its disk.
const SETTINGS: [&str; 1] = ["fsync=off"];
const ALWAYS: [&str; 3] = ["max_connections=300", "log_min_messages=warning", "timezone=UTC"];

/// Does what SQL says: the first column of what it finds.
pub fn ask(url: &str, sql: &str) -> Vec<String> {
    try_ask(url, sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

fn try_ask(url: &str, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        drop(client);
        let _ = connection.await;
        let first = |message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(first).collect())
    })
}

fn signal(process: i32, signal: Signal) {
    // It may have ended in the meantime.
    let _ = kill_process(Pid::from_raw(process).expect("the id of a process"), signal);
}

/// A process and its children. Each of them has a session of its own, so that no signal is for all.
fn processes(first: i32) -> Vec<i32> {
    let parent = |id: i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let all = fs::read_dir("/proc").expect("processes").flatten();
    let mut found = vec![first];
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    found.extend(ids.filter(|id| parent(*id) == Some(first)));
    found
}

fn is_alive(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// A port that the system gives to nobody by itself, so that it is free as well while a server is away.
fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = getpid().as_raw_nonzero().get() as u16;
    eventually("a free port", || {
        let port = FIRST + start.wrapping_mul(16).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// A program of the newest server there is. Debian keeps them out of `PATH`.
fn find(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").join(name).exists())
        .max_by_key(|path| version(path));
    newest.map_or_else(|| name.into(), |path| path.join("bin").join(name))
}

fn as_nobody(mut command: Command) -> Command {
    command.current_dir("/");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
