//! Log lines go to stderr through a thread of their own: under load many share one write, and nobody waits for whoever
//! reads them.

mod json;

use std::io::{self, IsTerminal, Write};
use std::mem::take;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, NOT_FINE};
use json::Json;

/// Lines are written no more often than this, but for warnings.
const PAUSE: Duration = Duration::from_millis(10);
/// What waits for a reader that has stopped reading, in bytes. Lines beyond it are dropped, and counted.
const MOST_BYTES: usize = 1 << 20;
/// How long the end of the process waits for such a reader.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

static LOG: Log = Log::new();

/// Starts to log, in the given format or the one that fits. Only Deskbell's own lines: libraries may log what they carry.
pub fn start(format: Option<LogFormat>, text_by_default: bool) -> Result<(), Failure> {
    let level = match std::env::var("DESKBELL_LOG").unwrap_or_default().as_str() {
        "" => LevelFilter::INFO,
        given => given.parse().map_err(|_| Failure {
            hint: Some("expected `off`, `error`, `warn`, `info` or `debug`".to_owned()),
            ..Failure::usage(format!("`DESKBELL_LOG` is `{given}`, which is no level"))
        })?,
    };
    let targets = Targets::new().with_target("deskbell", level);
    let terminal = io::stderr().is_terminal();
    let text = match format {
        Some(format) => format == LogFormat::Text,
        None => terminal || text_by_default,
    };
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(|| LOG.write_lines(io::stderr()))
        .map_err(|error| Failure::new(NOT_FINE, format!("the log cannot be written: {error}")))?;
    let registry = tracing_subscriber::registry().with(targets);
    let lines = Lines { at_once: level > LevelFilter::INFO };
    let started = match text {
        true => {
            let text = tracing_subscriber::fmt::layer().with_writer(lines).with_target(false).with_ansi(terminal);
            registry.with(text).try_init()
        }
        false => registry.with(Json(lines)).try_init(),
    };
    // Only fails if logging runs already.
    drop(started);
    Ok(())
}

/// Waits until every line so far is written: before the process ends, or something else is written to stderr.
pub fn flush() {
    LOG.flush();
}

struct Log {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    /// They do not wait for more.
    urgent: bool,
    /// Others are being written.
    writing: bool,
}

impl Log {
    const fn new() -> Self {
        let waiting = Waiting { lines: Vec::new(), dropped: 0, urgent: false, writing: false };
        Self { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: &[u8], urgent: bool) {
        let mut waiting = self.waiting();
        if waiting.lines.len() + line.len() > MOST_BYTES {
            waiting.dropped += 1;
            return;
        }
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        waiting.urgent |= urgent;
        // Whoever is woken needs it, and on one core is there before we go on.
        drop(waiting);
        if is_first || urgent {
            self.changed.notify_all();
        }
    }

    fn flush(&self) {
        let mut waiting = self.waiting();
        waiting.urgent = !waiting.lines.is_empty();
        self.changed.notify_all();
        let is_open = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        drop(self.changed.wait_timeout_while(waiting, PATIENCE, is_open));
    }

    fn write_lines(&self, mut out: impl Write) {
        let (mut lines, mut last) = (Vec::new(), None::<Instant>);
        loop {
            let waiting = self.changed.wait_while(self.waiting(), |waiting| waiting.lines.is_empty());
            let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let pause = last.map_or(Duration::ZERO, |last| PAUSE.saturating_sub(last.elapsed()));
            let waited = self.changed.wait_timeout_while(waiting, pause, |waiting| !waiting.urgent);
            let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.lines, &mut lines);
            waiting.urgent = false;
            waiting.writing = true;
            let dropped = take(&mut waiting.dropped);
            drop(waiting);
            // There is nobody to tell that the reader has gone.
            let _ = out.write_all(&lines);
            lines.clear();
            last = Some(Instant::now());
            if dropped > 0 {
                tracing::warn!(lines = dropped, "log lines were dropped, because nobody read them in time");
            }
            self.waiting().writing = false;
            self.changed.notify_all();
        }
    }
}

struct Lines {
    /// Whoever looks for a mistake sees each line at once.
    at_once: bool,
}

impl Lines {
    fn add(&self, line: &[u8], level: Level) {
        LOG.add(line, self.at_once || level <= Level::WARN);
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, level: Level::WARN }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, level: *about.level() }
    }
}

/// Takes one line, which comes as a whole.
struct Line<'a> {
    lines: &'a Lines,
    level: Level,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.level);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes what is written only when somebody receives it.
    struct Reader(mpsc::SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn start() -> (&'static Log, mpsc::Receiver<Vec<u8>>) {
        let log: &'static Log = Box::leak(Box::new(Log::new()));
        let (sender, receiver) = mpsc::sync_channel(0);
        std::thread::spawn(|| log.write_lines(Reader(sender)));
        (log, receiver)
    }

    #[test]
    fn lines_that_nobody_reads_are_bounded_and_counted() {
        let (log, reader) = start();
        let line = [b'x'; 1 << 10];
        log.add(&line, true);
        while !log.waiting().writing {
            std::thread::yield_now();
        }
        let lines = 4 * MOST_BYTES / line.len();
        (0..lines).for_each(|_| log.add(&line, false));
        let dropped = log.waiting().dropped;
        let kept = 1 + lines - dropped as usize;
        assert!(dropped > 0 && kept * line.len() >= MOST_BYTES, "{dropped} of {lines}");
        let mut read = 0;
        while read < kept * line.len() {
            read += reader.recv().expect("what was kept").len();
        }
        assert_eq!(read, kept * line.len());
    }

    #[test]
    fn a_flush_waits_until_every_line_is_written() {
        let (log, reader) = start();
        let reading = std::thread::spawn(move || reader.iter().flatten().take(300).collect::<Vec<u8>>());
        for _ in 0..100 {
            log.add(b"abc", false);
            log.flush();
            assert!(log.waiting().lines.is_empty() && !log.waiting().writing);
        }
        assert_eq!(reading.join().expect("what is written"), b"abc".repeat(100));
    }
}
