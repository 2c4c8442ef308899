//! The table: what is looked at, what it is compared with, what it must be, and what it is to become.

/// A figure of a measurement.
pub type Figure = (&'static str, &'static str);

pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// Must and aim hold for the ratio where there is one, and else for the figure.
pub struct Line {
    /// What it is selected by.
    pub part: &'static str,
    pub what: &'static str,
    pub unit: &'static str,
    pub figure: Figure,
    pub against: Option<Figure>,
    pub must: Option<Bound>,
    pub aim: Option<f64>,
}

const fn line(part: &'static str, what: &'static str, unit: &'static str, figure: Figure) -> Line {
    Line { part, what, unit, figure, against: None, must: None, aim: None }
}

impl Line {
    const fn against(self, figure: Figure) -> Self {
        Self { against: Some(figure), ..self }
    }

    const fn must(self, bound: Bound, aim: f64) -> Self {
        Self { must: Some(bound), aim: Some(aim), ..self }
    }
}

use Bound::{AtLeast, AtMost};

pub const LINES: [Line; 42] = [
    line("throughput", "verify: answers", "/s", ("verify", "per second")),
    line("throughput", "proxy: delivered, then answered", "/s", ("proxy", "per second")),
    line("throughput", "journal: accepted durably and delivered", "/s", ("journal", "per second")),
    line("throughput", "accepted durably and delivered, against journal", "/s", ("gateway", "per second"))
        .against(("journal", "per second"))
        .must(AtLeast(0.5), 1.0),
    line("throughput", "accepted durably, against journal", "/s", ("gateway", "accepted per second"))
        .against(("journal", "accepted per second")),
    line(
        "throughput",
        "processor time of an event until it is delivered, against journal",
        "µs",
        ("gateway", "processor µs"),
    )
    .against(("journal", "processor µs"))
    .must(AtMost(2.2), 1.0),
    line("throughput", "most memory at full load", "MiB", ("gateway", "peak MiB")).must(AtMost(40.0), 25.0),
    line("latency", "median answer at 1 000/s, against journal", "ms", ("steady", "p50 ms"))
        .against(("steady", "journal p50 ms")),
    line("latency", "p99 of the answer at 1 000/s, against journal", "ms", ("steady", "p99 ms"))
        .against(("steady", "journal p99 ms"))
        .must(AtMost(1.5), 1.0),
    line("latency", "the same with a Novu that takes 150 ms, against a fast Novu", "ms", ("steady", "slow p99 ms"))
        .against(("steady", "p99 ms"))
        .must(AtMost(1.2), 1.0),
    line("backlog", "100 000 delivered one by one, against proxy", "/s", ("drain one by one", "per second"))
        .against(("proxy", "per second"))
        .must(AtLeast(0.4), 0.8),
    line("backlog", "100 000 delivered in bulk, against proxy", "/s", ("drain in bulk", "per second"))
        .against(("proxy", "per second"))
        .must(AtLeast(1.0), 3.0),
    line(
        "remembered",
        "accepted with 10 million events remembered, against none",
        "/s",
        ("remembered", "accepted per second"),
    )
    .against(("empty", "accepted per second"))
    .must(AtLeast(0.8), 1.0),
    line(
        "remembered",
        "accepted and delivered with 10 million remembered, against none",
        "/s",
        ("remembered", "per second"),
    )
    .against(("empty", "per second")),
    line("waiting", "most memory while a million wait and are delivered", "MiB", ("waiting", "peak MiB"))
        .must(AtMost(100.0), 60.0),
    line("waiting", "accepted while a million wait, against none", "/s", ("waiting", "accepted per second"))
        .against(("empty", "accepted per second")),
    line("waiting", "delivered of a million meanwhile", "/s", ("waiting", "drained per second")),
    line("start", "ready after a start, empty", "ms", ("start empty", "ms")).must(AtMost(50.0), 10.0),
    line("start", "ready after a start, a million waiting", "ms", ("start waiting", "ms")).must(AtMost(2_000.0), 500.0),
    line("connections", "verify, 64 connections: answers", "/s", ("verify 64", "per second")),
    line("connections", "proxy, 64 connections: delivered, then answered", "/s", ("proxy 64", "per second")),
    line("connections", "journal, 64 connections: accepted and delivered", "/s", ("journal 64", "per second")),
    line("connections", "accepted and delivered, 64 connections, against journal", "/s", ("gateway 64", "per second"))
        .against(("journal 64", "per second")),
    line(
        "connections",
        "accepted durably, 64 connections, against journal",
        "/s",
        ("gateway 64", "accepted per second"),
    )
    .against(("journal 64", "accepted per second")),
    line("growth", "accepted and delivered, 1 000 connections, against 16", "/s", ("gateway 1000", "per second"))
        .against(("gateway", "per second")),
    line("growth", "most memory with 1 000 connections, against 16", "MiB", ("gateway 1000", "peak MiB"))
        .against(("gateway", "peak MiB")),
    line(
        "growth",
        "accepted and delivered with 10 000 routes, against one",
        "/s",
        ("gateway, many routes", "per second"),
    )
    .against(("gateway", "per second")),
    line("growth", "most memory with 10 000 routes, against one", "MiB", ("gateway, many routes", "peak MiB"))
        .against(("gateway", "peak MiB")),
    line(
        "growth",
        "bodies of 300 KB accepted and delivered, against journal",
        "MB/s",
        ("gateway, large", "MB per second"),
    )
    .against(("journal, large", "MB per second")),
    line("growth", "most memory with bodies of 300 KB, against 3 KB", "MiB", ("gateway, large", "peak MiB"))
        .against(("gateway", "peak MiB")),
    line(
        "postgres",
        "one gateway and PostgreSQL on one core, accepted durably, against a file",
        "/s",
        ("postgres, one gateway", "accepted per second"),
    )
    .against(("gateway 48", "accepted per second")),
    line(
        "postgres",
        "two gateways and PostgreSQL on one core, accepted durably, against a file",
        "/s",
        ("postgres, two gateways", "accepted per second"),
    )
    .against(("gateway 48", "accepted per second")),
    line(
        "postgres",
        "three gateways and PostgreSQL on one core, accepted durably, against a file",
        "/s",
        ("postgres, three gateways", "accepted per second"),
    )
    .against(("gateway 48", "accepted per second")),
    line(
        "postgres",
        "three gateways, a third of the connections to each and PostgreSQL on one core, accepted durably, against a file",
        "/s",
        ("postgres, three gateways share", "accepted per second"),
    )
    .against(("gateway 48", "accepted per second")),
    line("postgres", "processor time of an event until it is delivered, with a file", "µs", ("gateway 48", "processor µs")),
    line(
        "postgres",
        "the same, one gateway",
        "µs",
        ("postgres, one gateway", "processor µs"),
    ),
    line(
        "postgres",
        "the same of their PostgreSQL server",
        "µs",
        ("postgres, one gateway", "processor µs of the server"),
    ),
    line(
        "postgres",
        "the same, three gateways",
        "µs",
        ("postgres, three gateways", "processor µs"),
    ),
    line(
        "postgres",
        "the same of their PostgreSQL server",
        "µs",
        ("postgres, three gateways", "processor µs of the server"),
    ),
    line(
        "postgres",
        "the same, three gateways, a third of the connections to each",
        "µs",
        ("postgres, three gateways share", "processor µs"),
    ),
    line(
        "postgres",
        "the same of their PostgreSQL server",
        "µs",
        ("postgres, three gateways share", "processor µs of the server"),
    ),
    line("postgres", "events erased after `retention`, one gateway", "/s", ("postgres, erased", "per second")),
];
