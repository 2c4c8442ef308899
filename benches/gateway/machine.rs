//! Cores, and what the kernel knows of a process.

use std::fs::read_to_string;
use std::path::Path;
use std::time::Duration;

/// Linux counts time in hundredths of a second, wherever a program can see it.
const TICK: Duration = Duration::from_millis(10);

/// One core for the server that is measured, and the others for all else.
pub struct Cores {
    server: usize,
    others: Vec<usize>,
}

impl Cores {
    /// None if there are not two cores, or they cannot be told apart.
    pub fn divide() -> Option<Self> {
        let mut others = kernel::cores()?;
        let server = others.pop()?;
        (!others.is_empty()).then_some(Self { server, others })
    }

    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// This thread, and all that it starts, leaves the server alone from now on.
    pub fn leave_the_server_alone(&self) {
        kernel::use_cores(&self.others);
    }

    /// What is started meanwhile has the core of the server.
    pub fn as_server<T>(&self, start: impl FnOnce() -> T) -> T {
        kernel::use_cores(&[self.server]);
        let started = start();
        self.leave_the_server_alone();
        started
    }

    /// What is started meanwhile may use every core: nothing is measured.
    pub fn everywhere<T>(&self, work: impl FnOnce() -> T) -> T {
        kernel::use_cores(&[&self.others[..], &[self.server]].concat());
        let done = work();
        self.leave_the_server_alone();
        done
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::num::NonZero;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

    pub fn wake_on_time() {
        set_current_timer_slack(NonZero::new(1)).expect("a timer");
    }

    pub fn cores() -> Option<Vec<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    pub fn use_cores(cores: &[usize]) {
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        sched_setaffinity(None, &set).expect("the cores");
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    pub fn wake_on_time() {}

    pub fn cores() -> Option<Vec<usize>> {
        None
    }

    pub fn use_cores(_: &[usize]) {}
}

/// Has this thread wake up to the microsecond when it sleeps; 50 of them late is usual.
pub fn wake_on_time() {
    kernel::wake_on_time();
}

/// What a process has had of its core, with all of its threads, also those that have ended.
pub fn processor_time(process: u32) -> Duration {
    let [own, _] = times(&process.to_string());
    own
}

/// What all the processes of this machine have had, apart from this one and its children that have ended.
pub fn processor_time_of_others() -> Duration {
    let stat = read_to_string("/proc/stat").expect("the processors");
    // User, nice, system, idle, waiting, interrupts, soft interrupts, stolen.
    let fields = stat.lines().next().map(|line| line.split_whitespace().skip(1)).expect("the processors");
    let busy = fields.take(8).enumerate().filter(|(field, _)| ![3, 4].contains(field));
    let busy: u32 = busy.filter_map(|(_, ticks)| ticks.parse::<u32>().ok()).sum();
    let [own, children] = times("self");
    (TICK * busy).saturating_sub(own + children)
}

/// Of a process, and of its children that have ended.
fn times(process: &str) -> [Duration; 2] {
    let stat = read_to_string(format!("/proc/{process}/stat")).expect("a process");
    // The name before them may have spaces.
    let (_, fields) = stat.rsplit_once(") ").expect("the fields");
    let ticks: Vec<u32> = fields.split(' ').skip(11).take(4).filter_map(|ticks| ticks.parse().ok()).collect();
    [TICK * (ticks[0] + ticks[1]), TICK * (ticks[2] + ticks[3])]
}

/// The most memory that a process has had, in MiB.
pub fn peak_memory(process: u32) -> f64 {
    let status = read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("kB");
    kibibytes / 1024.0
}

/// The room on the disk of a folder.
pub fn free_gibibytes(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).expect("a disk");
    (disk.f_bavail * disk.f_frsize) >> 30
}

/// The processor, as it calls itself.
pub fn processor() -> String {
    let processors = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    model.unwrap_or("a processor without a name").to_owned()
}
