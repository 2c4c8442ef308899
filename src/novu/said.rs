//! What Novu said, in one short line for the operator. It never holds a value of the request, though
//! Novu's answers echo them: only what Novu words itself passes.

use std::collections::HashSet;

use serde_json::Value;

use super::Reason;
use super::answer::{Answer, INVALID_PAYLOAD, KEY_REUSED, Outcome};

/// Novu's own messages, as far as each is always the same.
const MESSAGES: [&str; 15] = [
    "Validation Error",
    "workflow_not_found",
    KEY_REUSED,
    "Payload Too Large",
    "exceeds maximum allowed size",
    "API Key not found",
    "Missing authorization header",
    "Invalid authentication scheme",
    "API rate limit exceeded",
    "Internal server error",
    "Service Unavailable",
    "Cannot POST",
    "Bad Request",
    "Unauthorized",
    "Forbidden",
];
/// The most complaints that are looked at, and shown, of one answer.
const MOST_READ: usize = 20;
const MOST: usize = 3;
const LONGEST: usize = 100;
/// The words of class-validator and AJV.
const WORDS: &str = "a additional allowed an and array at be boolean characters containing defined each email empty \
    enum equal exist exists fewer for format greater in integer is items least length less longer match maximum \
    minimum more most must no not null number object of one or pattern positive properties property required schema \
    shorter should string than the then to type unique url valid value values";

/// What an answer says, unless it is that all is well.
pub fn said(answer: &Answer<'_>, outcome: Outcome, request: &[u8]) -> Option<String> {
    let status = answer.status;
    match outcome {
        Outcome::Delivered => return None,
        Outcome::Refused(reason) if reason != Reason::UnknownStatus => return Some(format!("{status} {reason}")),
        _ => {}
    }
    let json = &answer.json;
    let headline = match json["type"] == INVALID_PAYLOAD {
        true => Some(INVALID_PAYLOAD),
        false => MESSAGES.into_iter().find(|message| answer.message().contains(message)),
    };
    let mut line = status.to_string();
    if let Some(headline) = headline {
        line = format!("{line} {headline}");
    }
    let sieve = Sieve::new(request);
    let complaints = complaints(&json["errors"], &sieve);
    if !complaints.is_empty() {
        line = format!("{line}: {}", complaints.join("; "));
    }
    if let Some(id) = json["errorId"].as_str().filter(|id| sieve.passes_id(id)) {
        line = format!("{line} (error id {id})");
    }
    Some(line)
}

/// What is wrong with which field: `[{field, message}]`, or `{field: {messages}}`.
fn complaints(errors: &Value, sieve: &Sieve) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |field: &str, message: &Value| {
        let message = message.as_str().filter(|_| found.len() < MOST);
        let complaint = message.and_then(|message| complaint(field, message, sieve));
        found.extend(complaint.filter(|complaint| !found.contains(complaint)));
    };
    for error in errors.as_array().into_iter().flatten().take(MOST_READ) {
        add(error["field"].as_str().unwrap_or_default(), &error["message"]);
    }
    for (field, error) in errors.as_object().into_iter().flatten().take(MOST_READ) {
        for message in error["messages"].as_array().into_iter().flatten().take(MOST_READ) {
            add(if field == "general" { "" } else { field }, message);
        }
    }
    found
}

/// `code` and `must be string`; or a message that names its field itself.
fn complaint(field: &str, message: &str, sieve: &Sieve) -> Option<String> {
    let is_rule = |text: &str| text.starts_with("must ") || text.starts_with("should ");
    let (named, rule) = match message.split_once(' ') {
        Some((named, rule)) if is_rule(rule) => (named, rule),
        _ => (field, message),
    };
    let is_plain = |char: char| char.is_ascii_alphanumeric() || " _.,'\"()<>=-".contains(char);
    let rule_passes = is_rule(rule) && rule.len() <= LONGEST && rule.chars().all(is_plain) && sieve.passes(rule);
    match (rule_passes, is_path(named) && sieve.passes(named)) {
        (true, true) => Some(format!("{named} {rule}")),
        (true, false) => Some(rule.to_owned()),
        (false, true) => Some(named.to_owned()),
        (false, false) => None,
    }
}

fn is_path(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || "_.[]/-".contains(char);
    (1..=LONGEST).contains(&text.len()) && text.chars().all(is_part)
}

/// Holds back whatever may have come from the request.
struct Sieve {
    /// Strings and numbers of the request, in small letters.
    values: Vec<String>,
    /// What its fields are called.
    names: HashSet<String>,
}

impl Sieve {
    fn new(request: &[u8]) -> Self {
        let mut sieve = Self { values: Vec::new(), names: HashSet::new() };
        sieve.gather(&serde_json::from_slice(request).unwrap_or_default());
        sieve
    }

    fn gather(&mut self, value: &Value) {
        match value {
            Value::String(text) if !text.trim().is_empty() => self.values.push(text.trim().to_lowercase()),
            Value::Number(number) => self.values.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.gather(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    self.names.extend(words(&name.to_lowercase()).map(str::to_owned));
                    self.gather(member);
                }
            }
            _ => {}
        }
    }

    /// No value is in the text, no word of the text is in a value, and no number is as long as a code.
    /// The words that Novu uses itself and the names of fields say nothing of a value.
    fn passes(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = |word: &str| WORDS.split_whitespace().any(|known| known == word) || self.names.contains(word);
        let unknown: Vec<&str> = words(&text).filter(|word| !is_known(word) && !is_number(word)).collect();
        let is_told = |value: &String| {
            (holds(&text, value) && !is_known(value)) || unknown.iter().any(|word| value.contains(word))
        };
        let longest_number = text.split(|char: char| !char.is_ascii_digit()).map(str::len).max();
        longest_number.is_none_or(|length| length < 4) && !self.values.iter().any(is_told)
    }

    /// Hexadecimal, and not digits alone, which a code or a telephone number is.
    fn passes_id(&self, id: &str) -> bool {
        let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        let looks_right = (6..=64).contains(&id.len()) && id.bytes().all(is_id);
        let lower = id.to_lowercase();
        let is_echo = |value: &String| holds(&lower, value) || value.contains(&lower);
        looks_right && id.bytes().any(|byte| byte.is_ascii_alphabetic()) && !self.values.iter().any(is_echo)
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// A short value is looked for as a word of its own: single letters are everywhere.
fn holds(text: &str, value: &str) -> bool {
    text.match_indices(value).any(|(at, _)| {
        let is_alone = !text[..at].ends_with(char::is_alphanumeric)
            && !text[at + value.len()..].starts_with(char::is_alphanumeric);
        is_alone || value.len() >= 4
    })
}

#[cfg(test)]
mod tests;
