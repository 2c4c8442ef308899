//! Every metric, named once. Labels are routes, sources and Clerk's known event types, nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::clerk;
use crate::store::{Queue, Replica};
use crate::units::Millis;

/// Seconds: an answer to Svix takes milliseconds, and 15 s is its limit.
const WEBHOOK_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0];
const ATTEMPT_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From at once to a day, which is when a delivery is given up.
const DELAY_BUCKETS: [f64; 11] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0];

const RULES_INFO: (&str, &str) = ("deskbell_rules_info", "The revision of the rules that run.");

/// The metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    webhooks: IntCounterVec,
    webhook_seconds: HistogramVec,
    events: IntCounterVec,
    route_matches: IntCounterVec,
    deliveries: IntCounterVec,
    attempts: IntCounterVec,
    attempt_seconds: Histogram,
    delivery_delay: HistogramVec,
    queue: IntGaugeVec,
    queue_oldest: Gauge,
    reloads: IntCounterVec,
    last_reload_successful: IntGauge,
    last_reload_success: Gauge,
    rules_info: IntGaugeVec,
    /// The same of each gateway on the same store, in its place where there are several.
    rules_of_all: IntGaugeVec,
    held: IntGaugeVec,
    throttled: prometheus::CounterVec,
    /// One page is made at a time.
    page: Mutex<()>,
}

impl Metrics {
    /// # Errors
    /// Two metrics with one name, which a test would have seen.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histograms =
            |name: &str, help: &str, labels: &[&str], buckets: &[f64]| -> Result<HistogramVec, prometheus::Error> {
                let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            };
        let gauge = |name: &str, help: &str| -> Result<Gauge, prometheus::Error> {
            let metric = Gauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let attempt_seconds = Histogram::with_opts(
            HistogramOpts::new("deskbell_attempt_seconds", "How long Novu took to answer an attempt.")
                .buckets(ATTEMPT_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(attempt_seconds.clone()))?;
        let last_reload_successful = IntGauge::new(
            "deskbell_rules_last_reload_successful",
            "Whether the last change of the rules was taken (1) or not (0).",
        )?;
        registry.register(Box::new(last_reload_successful.clone()))?;
        let throttled = prometheus::CounterVec::new(
            Opts::new("deskbell_novu_throttled_seconds_total", "How long Novu has asked to wait with a 429."),
            &["source"],
        )?;
        registry.register(Box::new(throttled.clone()))?;
        let build_info = gauges("deskbell_build_info", "The version that runs.", &["version"])?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            webhooks: counters("deskbell_webhooks_total", "Webhooks by what became of them.", &["source", "result"])?,
            webhook_seconds: histograms(
                "deskbell_webhook_seconds",
                "How long a webhook took to be answered.",
                &["source"],
                &WEBHOOK_BUCKETS,
            )?,
            events: counters("deskbell_events_total", "Events kept, by Clerk's type.", &["source", "type"])?,
            route_matches: counters("deskbell_route_matches_total", "Events that a route wanted.", &["route"])?,
            deliveries: counters("deskbell_deliveries_total", "Deliveries by how they ended.", &["route", "outcome"])?,
            attempts: counters("deskbell_attempts_total", "Attempts by how they ended.", &["result"])?,
            attempt_seconds,
            delivery_delay: histograms(
                "deskbell_delivery_delay_seconds",
                "From an event accepted to its delivery.",
                &["route"],
                &DELAY_BUCKETS,
            )?,
            queue: gauges("deskbell_queue_deliveries", "Deliveries that are not finished, or dead.", &["state"])?,
            queue_oldest: gauge("deskbell_queue_oldest_seconds", "The age of the oldest unfinished delivery.")?,
            reloads: counters("deskbell_rules_reloads_total", "Times the rules were read again.", &["result"])?,
            last_reload_successful,
            last_reload_success: gauge(
                "deskbell_rules_last_reload_success_timestamp_seconds",
                "When the rules that run were taken, in seconds since 1970.",
            )?,
            rules_info: gauges(RULES_INFO.0, RULES_INFO.1, &["revision"])?,
            rules_of_all: IntGaugeVec::new(Opts::new(RULES_INFO.0, RULES_INFO.1), &["replica", "revision"])?,
            held: gauges(
                "deskbell_novu_held",
                "Whether everything for the Novu key of a source is held (1).",
                &["source"],
            )?,
            throttled,
            page: Mutex::new(()),
            registry,
        })
    }

    pub fn webhook(&self, source: &str, result: &str, seconds: f64) {
        self.webhooks.with_label_values(&[source, result]).inc();
        self.webhook_seconds.with_label_values(&[source]).observe(seconds);
    }

    pub fn event(&self, source: &str, kind: Option<&str>, routes: &[Arc<str>]) {
        let kind = kind.filter(|kind| clerk::is_event_type(kind)).unwrap_or("other");
        self.events.with_label_values(&[source, kind]).inc();
        for route in routes {
            self.route_matches.with_label_values(&[&**route]).inc();
        }
    }

    pub fn delivery(&self, route: &str, outcome: &str) {
        self.deliveries.with_label_values(&[route, outcome]).inc();
    }

    /// Deliveries that are dead from the start, by route, and why.
    pub fn unsendable(&self, source: &str, event: &str, unsendable: &[(Arc<str>, &'static str)]) {
        for (route, reason) in unsendable {
            self.delivery(route, "render_failed");
            tracing::warn!(%source, event, %route, reason, "dead");
        }
    }

    pub fn cancelled(&self, route: &str, count: u64) {
        self.deliveries.with_label_values(&[route, "cancelled"]).inc_by(count);
    }

    pub fn delivered(&self, route: &str, delay: Millis) {
        self.delivery(route, "delivered");
        self.delivery_delay.with_label_values(&[route]).observe(delay.max(0) as f64 / 1000.0);
    }

    pub fn attempt(&self, result: &str, seconds: f64) {
        self.bulk_attempt([result], seconds);
    }

    /// One call, and what became of each delivery in it.
    pub fn bulk_attempt<'a>(&self, results: impl IntoIterator<Item = &'a str>, seconds: f64) {
        for result in results {
            self.attempts.with_label_values(&[result]).inc();
        }
        self.attempt_seconds.observe(seconds);
    }

    pub fn reload(&self, result: &str) {
        self.reloads.with_label_values(&[result]).inc();
        if result != "unchanged" {
            self.last_reload_successful.set(i64::from(result == "applied"));
        }
    }

    /// These rules run from now on.
    pub fn rules(&self, revision: &str, now: Millis) {
        self.last_reload_successful.set(1);
        self.last_reload_success.set(now as f64 / 1000.0);
        self.rules_info.reset();
        self.rules_info.with_label_values(&[revision]).set(1);
    }

    pub fn throttled(&self, source: &str, wait: Millis) {
        self.throttled.with_label_values(&[source]).inc_by(wait.max(0) as f64 / 1000.0);
    }

    /// The page for Prometheus.
    pub fn page(&self, queue: Queue, held: &[(Arc<str>, bool)], replicas: &[Replica], now: Millis) -> Vec<u8> {
        let _alone = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        // A source may have gone, or have another key now.
        self.held.reset();
        for (source, held) in held {
            self.held.with_label_values(&[&**source]).set(i64::from(*held));
        }
        for (state, count) in
            [("new", queue.new), ("retrying", queue.retrying), ("sending", queue.sending), ("dead", queue.dead)]
        {
            self.queue.with_label_values(&[state]).set(count);
        }
        let age = queue.oldest.map_or(0, |oldest| (now - oldest).max(0));
        self.queue_oldest.set(age as f64 / 1000.0);
        let mut page = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.families(replicas), &mut page) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        page
    }

    fn families(&self, replicas: &[Replica]) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        if !replicas.is_empty() {
            self.rules_of_all.reset();
            for replica in replicas {
                self.rules_of_all.with_label_values(&[&*replica.name, &*replica.revision]).set(1);
            }
            families.retain(|family| family.name() != RULES_INFO.0);
            families.extend(self.rules_of_all.collect());
        }
        families
    }
}
