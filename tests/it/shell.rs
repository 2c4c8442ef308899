//! The binary as people and scripts run it: to its end, with what it printed and its exit status.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::harness::{deskbell, eventually};

#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It succeeded, and said nothing but its data.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        self
    }

    /// It failed, and stdout stayed empty.
    #[track_caller]
    pub fn failed(self, status: i32) -> Self {
        assert_eq!((self.status, self.stdout.as_str()), (status, ""), "{}", self.stderr);
        self
    }

    /// Its complaint has all these parts.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {:?}", self.stderr);
        }
        self
    }
}

/// Runs the binary with arguments between spaces.
pub fn run(arguments: &str) -> Ran {
    run_with(arguments, |_| {})
}

pub fn run_with(arguments: &str, change: impl FnOnce(&mut Command)) -> Ran {
    let mut command = deskbell();
    command.args(arguments.split_whitespace());
    change(&mut command);
    run_command(command, b"")
}

/// Runs a command with something to read.
pub fn run_command(mut command: Command, stdin: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // It may have ended without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    let stdout = read(child.stdout.take().expect("a pipe"));
    let stderr = read(child.stderr.take().expect("a pipe"));
    let mut running = Running(child);
    let status = eventually("it ends", || running.0.try_wait().expect("a status"));
    Ran {
        status: status.code().expect("an exit status"),
        stdout: stdout.join().expect("text"),
        stderr: stderr.join().expect("text"),
    }
}

/// What was meant to fail may run, and runs no longer than its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("text");
        text
    })
}
