//! Gateways that share a PostgreSQL server: all of them, and the server, on the one core that a gateway with a file has.

use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bench::{Bench, CONNECTIONS, Figures, per_second};
use crate::load;
use crate::machine;
use crate::measurements::PLAIN;
use crate::program::Program;
use crate::rules::Rules;
use crate::server::{Server, ask};
use crate::webhook::{USUAL, Webhooks};

const DATABASE: &str = "deskbell";
/// Nothing is kept, but that it was there.
const SHORT: Rules = Rules { settings: "retention: 1s", ..PLAIN };
/// What it keeps has to survive a loss of power here too.
const SETTINGS: [&str; 3] = ["fsync=on", "shared_buffers=512MB", "max_wal_size=4GB"];

struct Together {
    gateways: Vec<(Program, TempDir)>,
    server: Server,
}

impl Together {
    fn start(bench: &Bench, count: usize) -> Self {
        let server =
            bench.cores.as_server(|| Server::start_in(bench.folder.path(), SETTINGS.map(str::to_owned).into()));
        server.create(DATABASE);
        let url = server.url(DATABASE);
        let gateways = (0..count).map(|_| bench.gateway_on(PLAIN, &url)).collect();
        Self { gateways, server }
    }

    /// Of all gateways, and of the server.
    fn processor_time(&self) -> (Duration, Duration) {
        let gateways = self.gateways.iter().map(|(program, _)| program.processor_time()).sum();
        let server = self.server.processes().into_iter();
        (gateways, server.map(|process| machine::processor_time(process.unsigned_abs())).sum())
    }
}

/// Webhooks that come to all gateways alike, on so many connections to each, until the last of them is at Novu, and what
/// each costs the two sides.
pub fn together(bench: &Bench, count: usize, connections: usize) -> Figures {
    let (together, webhooks) = (Together::start(bench, count), Webhooks::new(USUAL));
    for (program, _) in &together.gateways {
        bench.warm_up(program, CONNECTIONS, &webhooks, true);
    }
    let (gateways, server) = together.processor_time();
    let sent: Vec<load::Sent> = thread::scope(|scope| {
        let loads: Vec<_> = together
            .gateways
            .iter()
            .map(|(program, _)| {
                let webhooks = webhooks.another();
                scope.spawn(move || load::as_fast_as_possible(program.webhooks, connections, &webhooks, bench.time))
            })
            .collect();
        loads.into_iter().map(|load| load.join().expect("a load")).collect()
    });
    let all: usize = sent.iter().map(|sent| sent.count).sum();
    let taken = bench.novu.wait_for(all);
    let (gateways_after, server_after) = together.processor_time();
    let started = sent.iter().map(|sent| sent.started).min().expect("a load");
    let took = sent.iter().map(|sent| sent.took).max().expect("a load");
    let each = |time: Duration| time.as_secs_f64() * 1e6 / all as f64;
    vec![
        ("accepted per second", per_second(all, took)),
        ("per second", per_second(all, taken.last - started)),
        ("processor µs", each(gateways_after - gateways)),
        ("processor µs of the server", each(server_after - server)),
    ]
}

/// How fast what was kept for long enough is erased, while nothing else goes on.
pub fn erased(bench: &Bench, connections: usize) -> Figures {
    let (mut together, webhooks) = (Together::start(bench, 1), Webhooks::new(USUAL));
    bench.novu.reset(Duration::ZERO);
    let sent = bench.send(&together.gateways[0].0, connections, &webhooks);
    bench.novu.wait_for(sent.count);
    together.gateways.clear();
    let url = together.server.url(DATABASE);
    let kept = || -> usize { ask(&url, "SELECT count(*) FROM deskbell.events")[0].parse().expect("a number") };
    let all = kept();
    together.gateways.push(bench.gateway_on(SHORT, &url));
    let wait = |until: &dyn Fn(usize) -> bool| loop {
        let left = kept();
        if until(left) {
            return (left, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    };
    let (first, begun) = wait(&|left| left < all);
    let (last, ended) = wait(&|left| left < first / 20);
    vec![("per second", per_second(first - last, ended - begun))]
}
