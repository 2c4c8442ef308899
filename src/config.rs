//! `routes.yaml` as written: a tree in which every value knows its line, column and path.
//!
//! Derived structs stop at the first mistake; this tree lets every step report all of its own.

mod fields;
mod path;
mod read;
mod scan;

use serde_json::{Map, Number, Value};

use crate::problem::{Place, Problem, Problems};
pub use fields::Fields;
pub use path::Path;
pub use read::{MAX_FILE_BYTES, parse};

/// A value of the file, and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub line: u32,
    pub column: u32,
    pub path: Path,
    /// Where it was written first, if it stands here by an alias.
    defined: (u32, u32),
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

impl From<&Node> for Place {
    fn from(node: &Node) -> Self {
        Self { line: node.line, column: node.column, path: node.path.to_string(), defined: node.defined }
    }
}

/// A key of an object, and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub line: u32,
    pub column: u32,
    /// Where it was written first, if it stands here by an alias.
    defined: (u32, u32),
}

impl Key {
    /// Moves a problem of its value to the key.
    pub fn at(&self, problem: Problem) -> Problem {
        Problem { line: self.line, column: self.column, defined: self.defined, ..problem }
    }
}

impl Node {
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

    /// Reports that the value is not what belongs here.
    pub fn wrong<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        let message = match &self.kind {
            Kind::Reported => return None,
            Kind::Null => "there is nothing where a value belongs".to_owned(),
            Kind::Text(text) if !self.may_be_secret() => format!("`{}` does not belong here", shortened(text)),
            kind => format!("{} does not belong here", kind.name()),
        };
        let hint = match (&self.kind, expected) {
            (Kind::Bool(_) | Kind::Number(_), "a text") => Some("put it in quotes".to_owned()),
            (Kind::Object(_), "a list") => Some("start each item with `- `".to_owned()),
            _ => None,
        };
        problems.push(Problem::error("bad_value", self, message).expected(expected).maybe_hint(hint));
        None
    }

    /// Whether a text that is misplaced here may be a signing secret or a key, which nobody is shown.
    fn may_be_secret(&self) -> bool {
        matches!(self.path.block(), Some("sources" | "novu"))
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

/// Nobody reads more words than these.
const MOST_WORDS: usize = 50;

/// "`a`, `b`, `c`"
pub fn quoted(words: &[&str]) -> String {
    let more = (words.len() > MOST_WORDS).then(|| "…".to_owned());
    let words = words.iter().take(MOST_WORDS).map(|word| format!("`{word}`"));
    words.chain(more).collect::<Vec<_>>().join(", ")
}

/// A text from the file, short enough for a message.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
