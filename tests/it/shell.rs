//! The binary as people and scripts run it: to its end, with what it printed and its exit status.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::deskbell;

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
    let output = child.wait_with_output().expect("it ends");
    Ran {
        status: output.status.code().expect("an exit status"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}
