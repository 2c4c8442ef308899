//! The file changed: compile and swap, or keep the last good rules and say why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use crate::compiled::{self, Compiled};
use crate::novu::Account;
use crate::observe::Metrics;
use crate::outside::{Outside, read_secret};
use crate::problem::{Problem, Severity};
use crate::rules::Rules;
use crate::units::{Millis, now};
use crate::verify::Secret;

/// The content is looked at this often, whatever the file system tells.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that is still being written changes within this time.
const SETTLED: Duration = Duration::from_millis(100);
const MOST_SETTLING_ROUNDS: usize = 50;
/// Of one file; `check` and `/api/rules` tell more.
const MOST_LOGGED: usize = 20;

/// The file of rules, and how it is read.
pub struct RulesFile {
    pub path: PathBuf,
    /// On a laptop: every source has these secrets and sends to this account.
    pub local: Option<(Vec<Secret>, Account)>,
    pub outside: Outside,
}

/// The content of the file and of the secret files that it names.
type Fingerprint = [u8; 32];

impl RulesFile {
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        compiled::read(&self.path)
    }

    pub fn compile(&self, bytes: &[u8]) -> Compiled {
        let mut compiled = Compiled::of(bytes, self.outside);
        if let Some((secrets, account)) = &self.local {
            compiled.rules = compiled.rules.map(|rules| rules.local(secrets.clone(), account.clone()));
        }
        compiled
    }
}

/// How the last look at the file ended.
#[derive(Clone, Debug, Serialize)]
pub struct LastReload {
    pub result: Reloaded,
    /// Milliseconds since 1970.
    pub at: Millis,
    /// The revision that was looked at, which does not run if it was rejected.
    pub revision: Option<String>,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reloaded {
    Applied,
    Rejected,
    Unchanged,
}

impl Reloaded {
    pub fn as_str(self) -> &'static str {
        match self {
            Reloaded::Applied => "applied",
            Reloaded::Rejected => "rejected",
            Reloaded::Unchanged => "unchanged",
        }
    }
}

/// Asks the watcher to look at once; the answer is how that ended.
pub type ReloadRequest = oneshot::Sender<LastReload>;

/// Keeps the rules that run the same as the file.
pub struct Watcher {
    pub file: RulesFile,
    pub rules: watch::Sender<Arc<Rules>>,
    pub metrics: Arc<Metrics>,
    pub last: Arc<Mutex<LastReload>>,
    /// The secret files that were named at the last look.
    pub secret_files: Vec<PathBuf>,
    /// What was looked at last, and what runs.
    pub seen: Fingerprint,
    pub running: Fingerprint,
}

impl Watcher {
    /// Watches until every sender of `requests` is gone.
    pub async fn run(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        let (changed, mut changes) = mpsc::channel(1);
        let mut events = FileEvents::new(&self.file.path, changed);
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            let request = tokio::select! {
                _ = tick.tick() => None,
                Some(()) = changes.recv() => None,
                request = requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return,
                },
            };
            events.follow();
            let last = self.look(request.is_some()).await;
            if let Some(request) = request {
                let _ = request.send(last);
            }
        }
    }

    /// Looks at the content; takes it if it is new and good.
    async fn look(&mut self, at_once: bool) -> LastReload {
        let mut content = self.file.read();
        let mut seen = self.fingerprint(&content);
        if !at_once && seen != self.seen {
            (content, seen) = self.settle(seen).await;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Who asks about a file that was rejected is told again what is wrong with it.
        if seen == self.seen && !(at_once && last.result == Reloaded::Rejected) {
            if at_once {
                self.metrics.reload(Reloaded::Unchanged.as_str());
            }
            return LastReload { result: Reloaded::Unchanged, ..last };
        }
        self.seen = seen;
        let last = match content {
            Ok(bytes) => self.take(&bytes),
            Err(error) => self.unreadable(&error),
        };
        self.metrics.reload(last.result.as_str());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last.clone();
        last
    }

    /// Waits until the content stays the same: it is still being written.
    async fn settle(&self, mut seen: Fingerprint) -> (std::io::Result<Vec<u8>>, Fingerprint) {
        for _ in 0..MOST_SETTLING_ROUNDS {
            tokio::time::sleep(SETTLED).await;
            let content = self.file.read();
            let before = std::mem::replace(&mut seen, self.fingerprint(&content));
            if before == seen {
                return (content, seen);
            }
        }
        let content = self.file.read();
        seen = self.fingerprint(&content);
        (content, seen)
    }

    fn fingerprint(&self, content: &std::io::Result<Vec<u8>>) -> Fingerprint {
        let secrets = self.secret_files.iter().map(|path| (path.clone(), read_secret(path).ok()));
        fingerprint(content.as_deref().ok(), &secrets.collect())
    }

    fn take(&mut self, bytes: &[u8]) -> LastReload {
        let compiled = self.file.compile(bytes);
        let tests = compiled.run_tests(&folder_of(&self.file.path));
        let Compiled { revision, rules, mut problems, files, .. } = compiled;
        problems.extend(tests.problems);
        // Of rules with errors too: the secret that they miss may come.
        self.seen = fingerprint(Some(bytes), &files);
        self.secret_files = files.into_keys().collect();
        let result = match rules {
            // Back to what runs, even if a test of it fails: at the start it only warned.
            Some(_) if self.seen == self.running => {
                self.metrics.rules(&revision, now());
                Reloaded::Unchanged
            }
            Some(rules) if tests.failed == 0 => {
                self.metrics.rules(&revision, now());
                self.rules.send_replace(Arc::new(rules));
                self.running = self.seen;
                tracing::info!(revision, "rules applied");
                Reloaded::Applied
            }
            _ => {
                report_rejected(&self.file.path, &revision, &problems);
                Reloaded::Rejected
            }
        };
        LastReload { result, at: now(), revision: Some(revision), problems }
    }

    fn unreadable(&self, error: &std::io::Error) -> LastReload {
        tracing::error!(%error, "the rules cannot be read; the last good ones stay");
        let problem = Problem::error("unreadable", (1, 1), format!("the file cannot be read: {error}"));
        LastReload { result: Reloaded::Rejected, at: now(), revision: None, problems: vec![problem] }
    }
}

fn report_rejected(file: &Path, revision: &str, problems: &[Problem]) {
    tracing::error!(revision, "the changed rules have errors or fail their tests; the last good ones stay");
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let more = errors.clone().count().saturating_sub(MOST_LOGGED);
    for problem in errors.take(MOST_LOGGED) {
        tracing::error!("{}:{}:{}: {}", file.display(), problem.line, problem.column, problem.message);
    }
    if more > 0 {
        tracing::error!("and {more} more errors, which `deskbell check` tells");
    }
}

/// The content of the file and of the secret files, as one number.
pub fn fingerprint(content: Option<&[u8]>, secrets: &BTreeMap<PathBuf, Option<Vec<u8>>>) -> Fingerprint {
    let mut hash = Sha256::new();
    let secrets = secrets.values().map(Option::as_deref);
    for content in std::iter::once(content).chain(secrets) {
        match content {
            Some(bytes) => {
                hash.update((bytes.len() as u64 + 1).to_le_bytes());
                hash.update(bytes);
            }
            None => hash.update(0_u64.to_le_bytes()),
        }
    }
    hash.finalize().into()
}

/// File events only make it faster: without them, the content is looked at all the same.
struct FileEvents {
    path: PathBuf,
    watcher: Option<RecommendedWatcher>,
}

impl FileEvents {
    fn new(path: &Path, changed: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                // One that waits is enough.
                let _ = changed.try_send(());
            }
        });
        Self { path: path.to_owned(), watcher: watcher.inspect_err(warn_of_no_events).ok() }
    }

    /// Follows what stands at the path now: another file may have taken the place of the one before. Its folder is not
    /// watched, since the store may be in it, and would tell of every write.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        // There may be nothing to leave.
        let _ = watcher.unwatch(&self.path);
        match watcher.watch(&self.path, RecursiveMode::NonRecursive) {
            Err(error) if self.path.exists() => {
                warn_of_no_events(&error);
                self.watcher = None;
            }
            _ => {}
        }
    }
}

fn warn_of_no_events(error: &notify::Error) {
    let hint = "on Linux, raise `fs.inotify.max_user_instances` or `fs.inotify.max_user_watches`";
    tracing::warn!(%error, hint, "no file events; the rules are looked at every two seconds");
}

/// The folder that a file stands in.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
