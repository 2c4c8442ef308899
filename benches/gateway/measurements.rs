//! What is measured. Each measurement starts a server, loads it, and says what it has seen.

use std::time::{Duration, Instant};

use crate::bench::{Bench, CONNECTIONS, Figures, Running, Server, per_second, warm_up};
use crate::load;
use crate::novu::Novu;
use crate::rules::Rules;
use crate::store::Full;
use crate::together::{erased, together};
use crate::webhook::{USUAL, Webhooks};

pub const PLAIN: Rules = Rules { settings: "", more_routes: 0 };
const ONE_BY_ONE: Rules = Rules { settings: "delivery: { bulk: off }", ..PLAIN };
/// A million that wait are as many as it takes by default.
const LONG_QUEUE: Rules = Rules { settings: "limits: { queue: 100000000 }", ..PLAIN };
const MANY_ROUTES: Rules = Rules { more_routes: 10_000, ..PLAIN };

const BACKLOG: Full = Full::Waiting(100_000);
const LONG_BACKLOG: Full = Full::Waiting(1_000_000);
const REMEMBERED: Full = Full::Remembered { delivered: 100_000, forgotten: 10_000_000 };

/// Connections to a gateway whose database is on another machine: what waits goes into one transaction.
const MANY: usize = 48;

const STEADY_RATE: u32 = 1_000;
const SLOW: Duration = Duration::from_millis(150);
/// So often the servers are started anew for it.
const STARTS: usize = 4;
const LARGE: usize = 300_000;

pub struct Measurement {
    pub name: &'static str,
    pub run: fn(&Bench) -> Figures,
}

const fn measurement(name: &'static str, run: fn(&Bench) -> Figures) -> Measurement {
    Measurement { name, run }
}

/// In the order in which a round does them: what is compared stands together.
pub const MEASUREMENTS: [Measurement; 26] = [
    measurement("verify", |bench| answered(bench, Server::Limit("verify"), CONNECTIONS, USUAL)),
    measurement("proxy", |bench| delivered(bench, Server::Limit("proxy"), CONNECTIONS, USUAL)),
    measurement("journal", |bench| delivered(bench, Server::Limit("journal"), CONNECTIONS, USUAL)),
    measurement("gateway", |bench| delivered(bench, Server::Gateway(PLAIN), CONNECTIONS, USUAL)),
    measurement("verify 64", |bench| answered(bench, Server::Limit("verify"), 64, USUAL)),
    measurement("proxy 64", |bench| delivered(bench, Server::Limit("proxy"), 64, USUAL)),
    measurement("journal 64", |bench| delivered(bench, Server::Limit("journal"), 64, USUAL)),
    measurement("gateway 64", |bench| delivered(bench, Server::Gateway(PLAIN), 64, USUAL)),
    measurement("gateway 1000", |bench| delivered(bench, Server::Gateway(PLAIN), 1000, USUAL)),
    measurement("gateway, many routes", |bench| delivered(bench, Server::Gateway(MANY_ROUTES), CONNECTIONS, USUAL)),
    measurement("journal, large", |bench| delivered(bench, Server::Limit("journal"), CONNECTIONS, LARGE)),
    measurement("gateway, large", |bench| delivered(bench, Server::Gateway(PLAIN), CONNECTIONS, LARGE)),
    measurement("steady", steady),
    measurement("drain one by one", |bench| drain(bench, ONE_BY_ONE)),
    measurement("drain in bulk", |bench| drain(bench, PLAIN)),
    measurement("empty", |bench| kept(bench, bench.start(Server::Gateway(PLAIN)))),
    measurement("remembered", |bench| kept(bench, bench.start_on(PLAIN, &bench.shared_store(REMEMBERED)))),
    measurement("waiting", waiting),
    measurement("gateway 48", |bench| delivered(bench, Server::Gateway(PLAIN), MANY, USUAL)),
    measurement("postgres, one gateway", |bench| together(bench, 1, MANY)),
    measurement("postgres, two gateways", |bench| together(bench, 2, MANY)),
    measurement("postgres, three gateways", |bench| together(bench, 3, MANY)),
    measurement("postgres, three gateways share", |bench| together(bench, 3, MANY / 3)),
    measurement("postgres, erased", |bench| erased(bench, MANY)),
    measurement("start empty", |bench| starts(|| bench.start(Server::Gateway(PLAIN)))),
    measurement("start waiting", |bench| starts(|| bench.start_on(LONG_QUEUE, &bench.shared_store(LONG_BACKLOG)))),
];

/// Webhooks that are answered, and that is all.
fn answered(bench: &Bench, server: Server, connections: usize, length: usize) -> Figures {
    let (running, webhooks) = (bench.start(server), Webhooks::new(length));
    bench.warm_up(&running.program, connections, &webhooks, false);
    let before = running.program.processor_time();
    let sent = bench.send(&running.program, connections, &webhooks);
    let processor_time = running.program.processor_time() - before;
    vec![
        ("per second", per_second(sent.count, sent.took)),
        ("processor µs", processor_time.as_secs_f64() * 1e6 / sent.count as f64),
    ]
}

/// Webhooks until the last of them is at Novu, and what each costs.
fn delivered(bench: &Bench, server: Server, connections: usize, length: usize) -> Figures {
    let (Running { program, .. }, webhooks) = (&bench.start(server), Webhooks::new(length));
    bench.warm_up(program, connections, &webhooks, true);
    let before = program.processor_time();
    let sent = bench.send(program, connections, &webhooks);
    let taken = bench.novu.wait_for(sent.count);
    let processor_time = program.processor_time() - before;
    let per_second = per_second(sent.count, taken.last - sent.started);
    vec![
        ("per second", per_second),
        ("accepted per second", self::per_second(sent.count, sent.took)),
        ("MB per second", per_second * webhooks.body_length() as f64 / 1e6),
        ("processor µs", processor_time.as_secs_f64() * 1e6 / sent.count as f64),
        ("peak MiB", program.peak_memory()),
    ]
}

/// How long an answer takes while not much is going on. What the slowest in a hundred take, only many thousands tell, and
/// not those of one start alone: of two that are equal, one may be slower for as long as it runs.
fn steady(bench: &Bench) -> Figures {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..STARTS {
        times.iter_mut().zip(answers(bench)).for_each(|(all, of_this_start)| all.extend(of_this_start));
    }
    let figures = [("journal p50 ms", "journal p99 ms"), ("p50 ms", "p99 ms"), ("slow p50 ms", "slow p99 ms")];
    let percentiles = |((half, most), mut times): ((_, _), Vec<Duration>)| {
        times.sort_unstable();
        let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        [(half, percentile(50)), (most, percentile(99))]
    };
    figures.into_iter().zip(times).flat_map(percentiles).collect()
}

/// How long each answer took: of *journal*, of the gateway, and of one whose Novu is slow.
fn answers(bench: &Bench) -> Vec<Vec<Duration>> {
    let (webhooks, slow) = (Webhooks::new(USUAL), Novu::start());
    let journal = bench.start(Server::Limit("journal"));
    let gateway = bench.start(Server::Gateway(PLAIN));
    let on_slow_novu = bench.start_with(Server::Gateway(PLAIN), &slow);
    for (server, novu) in [(&journal, &bench.novu), (&gateway, &bench.novu), (&on_slow_novu, &slow)] {
        novu.reset(Duration::ZERO);
        warm_up(&server.program, CONNECTIONS, &webhooks, Some(novu));
    }
    slow.reset(SLOW);
    let turns = (2.0 * bench.time.as_secs_f64() * f64::from(STEADY_RATE / load::TURN)).ceil() as u32;
    let servers = [&journal, &gateway, &on_slow_novu].map(|server| server.program.webhooks);
    load::at_a_rate(&servers, CONNECTIONS, &webhooks, STEADY_RATE, turns)
}

/// How fast a backlog is delivered.
fn drain(bench: &Bench, rules: Rules) -> Figures {
    let Full::Waiting(count) = BACKLOG else { return Vec::new() };
    let folder = tempfile::tempdir_in(bench.folder.path()).expect("a folder");
    let store = bench.copy_of_store(BACKLOG, folder.path());
    bench.novu.reset(Duration::ZERO);
    let _running = bench.start_on(rules, &store);
    vec![("per second", bench.novu.wait_for(count).per_second())]
}

/// Webhooks that are kept, whatever else is kept, and delivered or not.
fn kept(bench: &Bench, running: Running) -> Figures {
    let (program, webhooks) = (&running.program, Webhooks::new(USUAL));
    bench.warm_up(program, CONNECTIONS, &webhooks, true);
    let sent = bench.send(program, CONNECTIONS, &webhooks);
    let taken = bench.novu.wait_for(sent.count);
    vec![
        ("accepted per second", per_second(sent.count, sent.took)),
        ("per second", per_second(sent.count, taken.last - sent.started)),
    ]
}

/// The same while a long backlog is delivered.
fn waiting(bench: &Bench) -> Figures {
    let store = bench.shared_store(LONG_BACKLOG);
    bench.novu.reset(Duration::ZERO);
    let (Running { program, .. }, webhooks) = (&bench.start_on(LONG_QUEUE, &store), Webhooks::new(USUAL));
    bench.warm_up(program, CONNECTIONS, &webhooks, false);
    let started = Instant::now();
    let sent = bench.send(program, CONNECTIONS, &webhooks);
    let drained = bench.novu.taken().map_or(0, |taken| taken.count);
    vec![
        ("accepted per second", per_second(sent.count, sent.took)),
        ("drained per second", per_second(drained, started.elapsed())),
        ("peak MiB", program.peak_memory()),
    ]
}

/// From the start of the process until it is ready: of several starts the one in the middle.
fn starts(start: impl Fn() -> Running) -> Figures {
    let mut times: Vec<f64> = (0..5).map(|_| start().program.ready.as_secs_f64() * 1e3).collect();
    times.sort_unstable_by(f64::total_cmp);
    vec![("ms", times[times.len() / 2])]
}
