//! `routes.yaml` as written: a tree in which every value knows its line, column and path.
//!
//! Derived structs stop at the first mistake; this tree lets every step report all of its own.

mod scan;

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

use crate::clerk;
use crate::problem::{Problem, Problems, Severity};
use scan::{Place, report_tags_and_duplicates};

/// The largest file that is read, in bytes. Ten thousand routes are about a quarter of it.
pub const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// A value of the file, and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub line: u32,
    pub column: u32,
    /// Such as `routes[0].filter`; empty for the whole file.
    pub path: String,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(Key, Node)>),
    /// Already reported (a tag, for instance): nobody needs to complain again.
    Reported,
}

/// A key of an object, and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub line: u32,
    pub column: u32,
}

/// Reads the text of a file into a tree. Without a tree, the problems hold the reason.
pub fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, too many to read", text.len());
        problems.push(at(1, 1, "too_large", message).expected(format!("at most {MAX_FILE_BYTES} bytes")));
        return None;
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raw) => {
            let tagged = report_tags_and_duplicates(text, problems);
            Some(locate(raw, String::new(), &tagged))
        }
        Err(error) => {
            problems.push(not_yaml(text, &error));
            None
        }
    }
}

fn not_yaml(text: &str, error: &serde_saphyr::Error) -> Problem {
    let (line, column) = error.location().map_or((1, 1), |place| (place.line().max(1), place.column().max(1)));
    let reason = error.without_snippet().to_string();
    let reason = first_sentence(reason.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&reason));
    let message = match reason.strip_prefix("budget breached: ") {
        Some(breach) if breach.starts_with("Documents") => "more than one document is in the file".to_owned(),
        Some(breach) => format!("the file is larger or deeper than is read: {breach}"),
        None => format!("not readable as YAML: {reason}"),
    };
    let rest = text.lines().nth(line as usize - 1).unwrap_or_default().chars().skip(column as usize - 1);
    let hint = match rest.take(1).collect::<String>().as_str() {
        _ if reason.starts_with("budget") => None,
        "{" => Some("a value that starts with a template needs quotes, as in `\"{{data.id}}\"`"),
        "*" | "@" | "%" | "`" => Some("put the value in quotes"),
        "\t" => Some("indent with spaces"),
        _ => None,
    };
    at(line as u32, column as u32, "bad_yaml", message).maybe_hint(hint.map(str::to_owned))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // Duplicates are all reported by `report_tags_and_duplicates`.
        duplicate_keys: DuplicateKeyPolicy::FirstWins,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_nodes: 1_000_000,
            max_events: 3_000_000,
            max_depth: 64,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    }
}

fn first_sentence(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn at(line: u32, column: u32, code: &'static str, message: String) -> Problem {
    Problem { severity: Severity::Error, code, line, column, path: String::new(), message, expected: None, hint: None }
}

/// A value as the deserializer hands it over.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Object(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn locate(raw: Spanned<Raw>, path: String, tagged: &HashSet<Place>) -> Node {
    let kind = match raw.value {
        // What an alias stands for may be tagged too.
        _ if tagged.contains(&place(&raw.defined)) => Kind::Reported,
        Raw::Null => Kind::Null,
        Raw::Bool(value) => Kind::Bool(value),
        Raw::Number(value) => Kind::Number(value),
        Raw::Text(value) => Kind::Text(value),
        Raw::List(items) => {
            let items = items.into_iter().enumerate();
            Kind::List(items.map(|(index, item)| locate(item, format!("{path}[{index}]"), tagged)).collect())
        }
        Raw::Object(entries) => Kind::Object(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let node = locate(value, below(&path, &key.value), tagged);
                    let (line, column) = place(&key.referenced);
                    (Key { name: key.value, line, column }, node)
                })
                .collect(),
        ),
    };
    let (line, column) = place(&raw.referenced);
    Node { line, column, path, kind }
}

fn place(location: &serde_saphyr::Location) -> Place {
    (location.line() as u32, location.column() as u32)
}

/// The path of a member.
fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Number::from_f64(value).map_or(Raw::Null, Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Raw::Object(object))
    }
}

/// The known entries of an object.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub node: &'a Node,
    known: &'static [&'static str],
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.find(name)
    }

    /// Whether a key is missing. One that stands there misspelt is not: it is reported as unknown.
    pub fn lacks(&self, name: &str) -> bool {
        let misspelt = || match &self.node.kind {
            Kind::Object(entries) => entries
                .iter()
                .filter(|(key, _)| !self.known.contains(&key.name.as_str()))
                .any(|(key, _)| clerk::nearest(&key.name, self.known.iter().copied()) == Some(name)),
            _ => false,
        };
        self.get(name).is_none() && !misspelt()
    }
}

impl Node {
    /// An object of known keys; an unknown one is reported with the nearest known one.
    pub fn fields(&self, known: &'static [&'static str], problems: &mut Problems) -> Option<Fields<'_>> {
        let entries = self.entries(problems)?;
        for (key, node) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let hint = clerk::nearest(&key.name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let problem = Problem::error("unknown_key", node, format!("unknown key `{}`", key.name))
                .expected(format!("one of {}", quoted(known)))
                .maybe_hint(hint);
            problems.push(Problem { line: key.line, column: key.column, ..problem });
        }
        Some(Fields { node: self, known })
    }

    /// An object of any keys.
    pub fn entries(&self, problems: &mut Problems) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Object(entries) => Some(entries),
            _ => self.wrong("an object of keys and values", problems),
        }
    }

    /// A member of an object, if this is one and it is there.
    pub fn find(&self, name: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Object(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    pub fn list(&self, problems: &mut Problems) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => self.wrong("a list", problems),
        }
    }

    /// A list, or one value that stands for a list of itself.
    pub fn one_or_list(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn text(&self, problems: &mut Problems) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => self.wrong("a text", problems),
        }
    }

    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.kind {
            Kind::Bool(value) => Some(value),
            _ => self.wrong("`true` or `false`", problems),
        }
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, most: u64, problems: &mut Problems) -> Option<u64> {
        match &self.kind {
            Kind::Number(number) if number.as_u64().is_some_and(|value| (1..=most).contains(&value)) => number.as_u64(),
            _ => self.wrong(&format!("a whole number from 1 to {most}"), problems),
        }
    }

    /// One of a few words.
    pub fn word<'w>(&self, words: &[&'w str], problems: &mut Problems) -> Option<&'w str> {
        let found = words.iter().find(|word| matches!(&self.kind, Kind::Text(text) if text == *word));
        match found {
            Some(word) => Some(word),
            None => self.wrong(&format!("one of {}", quoted(words)), problems),
        }
    }

    /// Reports that the value is not what belongs here.
    pub fn wrong<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        let (code, message) = match &self.kind {
            Kind::Reported => return None,
            Kind::Null => ("bad_value", "there is nothing where a value belongs".to_owned()),
            Kind::Text(text) => ("bad_value", format!("`{}` does not belong here", shortened(text))),
            kind => ("bad_value", format!("{} does not belong here", kind.name())),
        };
        let hint = match (&self.kind, expected) {
            (Kind::Bool(_) | Kind::Number(_), "a text") => Some("put it in quotes".to_owned()),
            _ => None,
        };
        problems.push(Problem::error(code, self, message).expected(expected).maybe_hint(hint));
        None
    }

    /// The value as JSON, nulls and all: part of an event, where null is a value.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Reported => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Object(entries) => entries.iter().map(|(key, node)| (key.name.clone(), node.to_value())).collect(),
        }
    }

    /// The value as JSON; nulls are reported.
    pub fn to_json(&self, problems: &mut Problems) -> Option<Value> {
        match &self.kind {
            Kind::Null | Kind::Reported => self.wrong("a value", problems),
            Kind::List(items) => items.iter().map(|item| item.to_json(problems)).collect(),
            Kind::Object(entries) => {
                let entries = entries.iter().map(|(key, node)| Some((key.name.clone(), node.to_json(problems)?)));
                entries.collect::<Option<Map<String, Value>>>().map(Value::Object)
            }
            _ => Some(self.to_value()),
        }
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(true) => "`true`",
            Kind::Bool(false) => "`false`",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(items) if items.is_empty() => "an empty list",
            Kind::List(_) => "a list",
            Kind::Object(entries) if entries.is_empty() => "an empty object",
            Kind::Object(_) => "an object",
            Kind::Reported => "this",
        }
    }
}

/// "`a`, `b`, `c`"
pub fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A text from the file, short enough for a message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
