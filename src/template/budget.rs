//! How much templates may make of one event. Loops in loops, and helpers that feed each other, would make of a few
//! lines more than there is time or memory for.

use std::cell::Cell;

use serde_json::Value;

/// In bytes, for all that one event is made into: a thousand requests of thirty kilobytes.
const MOST: usize = 32 << 20;
/// What one turn of a loop counts, in bytes.
pub const TURN: usize = 64;
/// What a value counts beside its text, in bytes.
const VALUE: usize = 32;

thread_local! {
    // Handlebars hands nothing of ours to its helpers, and an event is rendered in one go, on one thread.
    static LEFT: Cell<usize> = const { Cell::new(MOST) };
}

/// A new event: from here on it is counted anew.
pub fn start() {
    LEFT.set(MOST);
}

/// Counts what is about to be made.
///
/// # Errors
/// It is too much.
pub fn spend(bytes: usize) -> Result<(), String> {
    let left = LEFT.get().checked_sub(bytes);
    LEFT.set(left.unwrap_or_default());
    left.map(drop).ok_or_else(|| "it would be far larger than any request".to_owned())
}

/// Counts a value that is about to be copied.
///
/// # Errors
/// It is too much.
pub fn spend_value(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => spend(VALUE + text.len()),
        Value::Array(items) => spend(VALUE).and_then(|()| items.iter().try_for_each(spend_value)),
        Value::Object(members) => spend(VALUE).and_then(|()| {
            members.iter().try_for_each(|(key, value)| spend(VALUE + key.len()).and_then(|()| spend_value(value)))
        }),
        _ => spend(VALUE),
    }
}
