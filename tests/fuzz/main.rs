//! Whatever is in a file of rules: reading it never panics, and takes little time and memory. `make fuzz` runs it for
//! long, on other files each time; as a test it is the same few ones always.

mod mutate;

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use deskbell::clerk;
use deskbell::compiled::Compiled;
use deskbell::outside::Outside;
use deskbell::units::now;
use deskbell::verify::Event;
use mutate::{Mutator, corpus};

/// What is promised is for a release; without optimization everything takes far longer.
const MOST_SECONDS: f64 = if cfg!(debug_assertions) { 30.0 } else { 2.0 };
/// Of the whole process.
const MOST_MEBIBYTES: f64 = 200.0;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// All that is done with a file before and after it goes live.
fn read(bytes: &[u8], folder: &Path) {
    let compiled = Compiled::of(bytes, Outside::Optional);
    let report = compiled.run_tests(folder);
    serde_json::to_string(&(&compiled.problems, &report.problems)).expect("problems in JSON");
    for problem in compiled.problems.iter().chain(&report.problems) {
        assert!(problem.line > 0 && problem.column > 0, "{problem:?}");
    }
    let Some(rules) = &compiled.rules else {
        assert!(compiled.problems.iter().any(|problem| problem.code != "unset_variable"), "it does not say why");
        return;
    };
    for name in ["user.created", "email.created", "organizationMembership.created", "paymentAttempt.created"] {
        let event = Event::unsigned("clerk", "msg_1", clerk::sample(name).expect(name), now());
        let taken = rules.explain(&event).filter_map(|verdict| match verdict.deliveries {
            Ok(_) => Some(verdict.route.name.clone()),
            Err(unwanted) => {
                assert!(!unwanted.to_string().is_empty());
                None
            }
        });
        assert_eq!(taken.collect::<Vec<_>>(), rules.decide(&event).routes, "what is explained is what is done");
    }
}

/// Processor time of this thread: whatever else the machine does, it is not counted.
fn seconds() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    times.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// The most memory that the process has had since this was last asked.
fn mebibytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
    // Five: begin anew with what is in use.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    peak.and_then(|kibibytes| kibibytes.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// The file that is being read: it is all that is left behind when the stack overflows.
fn current() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz.yaml")
}

/// Writes over what was there: a file that is emptied first would have to reach the disk each time.
fn keep(kept: &mut File, file: &[u8]) -> std::io::Result<()> {
    kept.rewind()?;
    kept.write_all(file)?;
    kept.set_len(file.len() as u64)
}

fn fail(why: &str) -> ! {
    eprintln!("{why}: {}", current().display());
    std::process::exit(101)
}

#[test]
fn reading_a_file_never_panics_and_takes_little_time_and_memory() {
    let (cases, seed) = (setting("FUZZ_CASES", 1_500), setting("FUZZ_SEED", 1));
    let (alive, watched) = channel();
    // One that never ends cannot be told by the thread that it keeps.
    std::thread::spawn(move || {
        loop {
            match watched.recv_timeout(Duration::from_secs_f64(MOST_SECONDS * 10.0)) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => fail("it does not end"),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    std::panic::set_hook(Box::new(|panic| fail(&panic.to_string())));
    // The stack of a thread of the gateway.
    let reader = std::thread::Builder::new().stack_size(8 << 20).spawn(move || read_all(cases, seed, &alive));
    reader.expect("a thread").join().expect("it ends");
}

fn read_all(cases: u64, seed: u64, alive: &Sender<()>) {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = corpus();
    let (mut slowest, mut largest, mut compiled) = (0.0_f64, 0.0_f64, 0);
    let mut kept = File::options().write(true).create(true).truncate(true).open(current()).expect("a file");
    mebibytes();
    for case in 0..cases {
        let file = Mutator::new(&corpus, seed.wrapping_add(case)).file();
        keep(&mut kept, &file).expect("it is kept");
        let started = seconds();
        read(&file, folder.path());
        compiled += u32::from(Compiled::of(&file, Outside::Optional).rules.is_some());
        let (took, memory) = (seconds() - started, mebibytes());
        if took > MOST_SECONDS {
            fail(&format!("it takes {took:.1} s"));
        }
        if memory > MOST_MEBIBYTES {
            fail(&format!("it takes {memory:.0} MiB"));
        }
        (slowest, largest) = (slowest.max(took), largest.max(memory));
        alive.send(()).expect("somebody watches");
        if (case + 1) % 100_000 == 0 || case + 1 == cases {
            let all = case + 1;
            println!(
                "{all} files, {compiled} of them run; the slowest took {slowest:.2} s, the largest {largest:.0} MiB"
            );
        }
    }
    assert!(compiled > 0 && u64::from(compiled) < cases, "they are neither all fine nor all broken");
}
