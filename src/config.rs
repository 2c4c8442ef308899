//! `routes.yaml` as written: a tree in which every value knows its line, column and path.
//!
//! Derived structs stop at the first mistake; this tree lets every step report all of its own.

use std::collections::{HashMap, HashSet};
use std::fmt;

use granit_parser::{Event, Parser, Span};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

use crate::clerk;
use crate::problem::{Problem, Problems, Severity};

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
            Some(raw.value.locate(&raw.referenced, String::new(), &tagged))
        }
        Err(error) => {
            let (line, column) = error.location().map_or((1, 1), |place| (place.line() as u32, place.column() as u32));
            let problem = at(line.max(1), column.max(1), "bad_yaml", unreadable(&error));
            problems.push(problem.maybe_hint(unquoted(text, line)));
            None
        }
    }
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

fn unreadable(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    if let serde_saphyr::Error::Budget { .. } = error {
        return "more than one document, or more in it than any file of rules needs".to_owned();
    }
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    // The place is told once, with the problem.
    let text = text.split_once(" at line ").map_or(text, |(message, _)| message);
    format!("not readable as YAML: {}", text.trim_end_matches('.'))
}

/// The likeliest reasons, by the line that could not be read.
fn unquoted(text: &str, line: u32) -> Option<String> {
    let value = text.lines().nth((line as usize).saturating_sub(1))?.split_once(':')?.1.trim();
    match value {
        value if value.starts_with("{{") => Some("put the template in quotes".to_owned()),
        value if value.starts_with(['*', '&', '@', '`', '%', '!']) => Some("put the value in quotes".to_owned()),
        _ => None,
    }
}

fn at(line: u32, column: u32, code: &'static str, message: String) -> Problem {
    Problem { severity: Severity::Error, code, line, column, path: String::new(), message, expected: None, hint: None }
}

type Places = HashSet<(u32, u32)>;

/// A deserializer sees neither tags nor the second of two equal keys; the parser below it does.
/// Returns the places of tagged values.
fn report_tags_and_duplicates(text: &str, problems: &mut Problems) -> Places {
    let mut tagged = Places::new();
    let mut open: Vec<Open> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let (line, column) = place(&span);
        let tag = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, _, tag) | Event::MappingStart(_, _, tag) => {
                tag.clone()
            }
            _ => None,
        };
        if let Some(tag) = tag {
            tagged.insert((line, column));
            let (line, column) =
                span.tag_start().map_or((line, column), |tag| (tag.line() as u32, tag.col() as u32 + 1));
            problems.push(
                at(
                    line,
                    column,
                    "yaml_tag",
                    format!("`{}` is a YAML tag, and the value behind it would be lost", tag.original()),
                )
                .expected("a plain value")
                .hint("put the whole value in quotes if it starts with `!`"),
            );
        }
        match event {
            Event::Scalar(text, ..) => {
                if let Some(first) = open.last_mut().and_then(|open| open.key(&text, (line, column))) {
                    problems.push(
                        at(line, column, "duplicate_key", format!("`{text}` stands twice in the same object"))
                            .hint(format!("the first is in line {}; join the two or delete one", first.0)),
                    );
                }
            }
            Event::Alias(_) => open.iter_mut().last().into_iter().for_each(Open::value),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.iter_mut().last().into_iter().for_each(Open::value);
                open.push(if matches!(event, Event::MappingStart(..)) {
                    Open::Object { keys: HashMap::new(), key_next: true }
                } else {
                    Open::List
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
            }
            _ => {}
        }
    }
    tagged
}

/// A collection that the scan is inside of.
enum Open {
    List,
    Object { keys: HashMap<String, (u32, u32)>, key_next: bool },
}

impl Open {
    /// Takes a scalar. If it is a key that was there before, says where.
    fn key(&mut self, text: &str, place: (u32, u32)) -> Option<(u32, u32)> {
        let Open::Object { keys, key_next } = self else { return None };
        *key_next = !*key_next;
        if *key_next || text == "<<" {
            return None;
        }
        let first = *keys.entry(text.to_owned()).or_insert(place);
        (first != place).then_some(first)
    }

    fn value(&mut self) {
        if let Open::Object { key_next, .. } = self {
            *key_next = !*key_next;
        }
    }
}

fn place(span: &Span) -> (u32, u32) {
    (span.start.line() as u32, span.start.col() as u32 + 1)
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

impl Raw {
    fn locate(self, location: &serde_saphyr::Location, path: String, tagged: &Places) -> Node {
        let (line, column) = (location.line() as u32, location.column() as u32);
        let kind = match self {
            _ if tagged.contains(&(line, column)) => Kind::Reported,
            Raw::Null => Kind::Null,
            Raw::Bool(value) => Kind::Bool(value),
            Raw::Number(value) => Kind::Number(value),
            Raw::Text(value) => Kind::Text(value),
            Raw::List(items) => Kind::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| item.value.locate(&item.referenced, format!("{path}[{index}]"), tagged))
                    .collect(),
            ),
            Raw::Object(entries) => Kind::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let below = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                        let node = value.value.locate(&value.referenced, below, tagged);
                        let (line, column) = (key.referenced.line() as u32, key.referenced.column() as u32);
                        (Key { name: key.value, line, column }, node)
                    })
                    .collect(),
            ),
        };
        Node { line, column, path, kind }
    }
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
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.find(name)
    }
}

impl Node {
    /// An object of known keys; an unknown one is reported with the nearest known one.
    pub fn fields(&self, known: &[&str], problems: &mut Problems) -> Option<Fields<'_>> {
        let entries = self.entries(problems)?;
        for (key, node) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let hint = clerk::nearest(&key.name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let problem = Problem::error("unknown_key", node, format!("unknown key `{}`", key.name))
                .expected(format!("one of {}", quoted(known)))
                .maybe_hint(hint);
            problems.push(Problem { line: key.line, column: key.column, ..problem });
        }
        Some(Fields { node: self })
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
            Kind::List(_) => "a list",
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
