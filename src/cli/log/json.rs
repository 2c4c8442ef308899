//! A log line as one object of JSON.

use std::fmt;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Lines;
use crate::units::{now, timestamp};

/// Most lines fit.
const FIRST_ROOM: usize = 256;

/// Writes every event as a line, with its fields beside `timestamp` and `level`.
pub struct Json(pub Lines);

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let mut line = Line(Vec::with_capacity(FIRST_ROOM));
        line.0.extend_from_slice(b"{\"timestamp\":\"");
        line.0.extend_from_slice(timestamp(now()).as_bytes());
        line.0.extend_from_slice(b"\",\"level\":\"");
        line.0.extend_from_slice(level.as_str().as_bytes());
        line.0.push(b'"');
        event.record(&mut line);
        line.0.extend_from_slice(b"}\n");
        self.0.add(&line.0, level);
    }
}

struct Line(Vec<u8>);

impl Line {
    fn field(&mut self, field: &Field, value: &impl Serialize) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(field.name().as_bytes());
        self.0.extend_from_slice(b"\":");
        // Memory takes everything, and these values are no objects.
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, &value);
    }
}
