//! A file of rules read whole: the rules, the file's own tests, and every problem at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::config;
use crate::outside::{Outside, Resolver};
use crate::problem::{Problem, Problems, Severity};
use crate::rules::Rules;
use crate::suite::{self, Report, Test};
use crate::units::hex;

/// What became of reading a file.
#[derive(Debug)]
pub struct Compiled {
    /// The first 12 hex digits of the SHA-256 of the file's bytes.
    pub revision: String,
    /// None if there are errors.
    pub rules: Option<Rules>,
    tests: Vec<Test>,
    pub problems: Vec<Problem>,
    /// The secret files that were read, and what was in them.
    pub files: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

/// Reads a file of rules, and no more than it takes to see that it is too large.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(config::MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Compiled {
    /// Compiles the bytes of a file.
    pub fn of(bytes: &[u8], outside: Outside) -> Self {
        let revision = hex(&Sha256::digest(bytes)[..6]);
        let mut problems = Problems::default();
        let mut resolver = Resolver::new(outside);
        let file = match std::str::from_utf8(bytes) {
            Ok(text) => config::parse(text, &mut problems),
            Err(error) => {
                problems.push(not_utf8(bytes, error.valid_up_to()));
                None
            }
        };
        let rules = file.as_ref().and_then(|file| Rules::compile(file, revision.clone(), &mut resolver, &mut problems));
        let tests = file.as_ref().and_then(|file| file.find("tests"));
        let tests = tests.map_or(Vec::new(), |tests| suite::compile(tests, &mut problems));
        let rules = rules.filter(|_| !problems.has_errors());
        problems.locate(std::str::from_utf8(bytes).unwrap_or_default());
        Self { revision, rules, tests, problems: problems.into_sorted(), files: resolver.files }
    }

    /// Runs the file's own tests, if there are rules to run. `folder` is where the file stands.
    pub fn run_tests(&self, folder: &Path) -> Report {
        self.rules.as_ref().map_or_else(Report::default, |rules| suite::run(rules, &self.tests, folder))
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }
}

fn not_utf8(bytes: &[u8], valid: usize) -> Problem {
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) as u32 + 1;
    Problem::error("bad_yaml", (line, column), "the file is not UTF-8 from here on")
}
