//! What can be asked: one event, changed or not, and the rules that are to decide it.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::clerk;
use crate::rules::{DEFAULT_SOURCE, Rules};
use crate::units::now;
use crate::verify::Event;

/// The body of `POST /api/explain`: one of `event`, `sample` and `id`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// An event written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Value>,
    /// The name of a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
    /// An event that the gateway holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub set: Pairs,
    pub unset: Vec<String>,
    /// The text of a file of rules, to be tried instead of those that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<String>,
}

/// Paths and values in the order in which they are written: one may need what another has made.
#[derive(Clone, Debug, Default)]
pub struct Pairs(pub Vec<(String, Value)>);

/// Changes an event before it is looked at.
///
/// # Errors
/// A path that is none, or leads through something else.
pub fn change(json: &mut Value, set: &Pairs, unset: &[String]) -> Result<(), String> {
    for (path, value) in &set.0 {
        clerk::set(json, path, value.clone())?;
    }
    unset.iter().try_for_each(|path| clerk::unset(json, path))
}

/// An event that nobody has sent, as if it came from a source: the first of the file, if none is named.
///
/// # Errors
/// The rules have no such source.
pub fn event(rules: &Rules, source: Option<&str>, json: Value) -> Result<Event, String> {
    let source = match source {
        Some(name) if rules.source(name).is_none() => return Err(format!("there is no source `{name}`")),
        Some(name) => name,
        None => rules.source_names().next().map_or(DEFAULT_SOURCE, |name| name),
    };
    // It is judged at its own time, so a sample is never too old.
    let at = clerk::occurred_at(&json).unwrap_or_else(now);
    Ok(Event::unsigned(source, "msg_sample", json, at))
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, value)| (path, value)))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of paths and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = entries.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}
