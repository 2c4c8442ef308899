//! The entries of an object whose keys are known, read as the table of keys says.

use serde_json::Value;

use super::{Key, Kind, MOST_WORDS, Node, quoted};
use crate::clerk;
use crate::keys::{self, Object, Shape};
use crate::problem::{Problem, Problems, Severity};
use crate::units::{Millis, parse_duration, parse_rate, parse_size};

/// The known entries of an object.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub node: &'a Node,
    entries: &'a [(Key, Node)],
    object: &'static Object,
}

impl Node {
    /// An object of known keys. What is unknown is reported with the nearest known key, and what is missing is too.
    pub fn fields(&self, object: &'static Object, problems: &mut Problems) -> Option<Fields<'_>> {
        let fields = Fields { node: self, entries: self.entries(problems)?, object };
        for (key, node) in fields.entries.iter().filter(|(key, _)| object.key(&key.name).is_none()) {
            problems.push_with(Severity::Error, || unknown_key(key, node, object));
        }
        for key in object.keys {
            if let Some(hint) = key.required.filter(|_| fields.lacks(key.name)) {
                let message = format!("the {} has no `{}`", object.name, key.name);
                problems.push(Problem::error("missing_key", self, message).hint(hint));
            }
        }
        Some(fields)
    }
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        debug_assert!(self.object.key(name).is_some(), "the {} has no key `{name}`", self.object.name);
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// Whether a key is missing. One that stands there misspelt is not: it is reported as unknown.
    pub fn lacks(&self, name: &str) -> bool {
        let unknown = self.entries.iter().filter(|(key, _)| self.object.key(&key.name).is_none()).take(MOST_WORDS);
        let mut nearest = unknown.map(|(key, _)| clerk::nearest(&key.name, self.object.names()));
        self.get(name).is_none() && !nearest.any(|near| near == Some(name))
    }

    /// The entries of an object inside this one: none where it is not there.
    pub fn object(&self, name: &str, object: &'static Object, problems: &mut Problems) -> Self {
        let fields = self.get(name).and_then(|node| node.fields(object, problems));
        fields.unwrap_or(Self { node: self.node, entries: &[], object })
    }

    pub fn boolean(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        self.read(name, problems, |_, value| value.as_bool())
    }

    pub fn duration(&self, name: &str, problems: &mut Problems) -> Option<Millis> {
        self.read(name, problems, |_, value| parse_duration(value.as_str()?).filter(|millis| *millis > 0))
    }

    /// A number of bytes.
    pub fn size(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        self.read(name, problems, bytes)
    }

    /// A size in bytes; none for `auto`.
    pub fn room(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        let room = self.read(name, problems, |key, value| match value.as_str() {
            Some("auto") => Some(None),
            _ => bytes(key, value).map(Some),
        });
        room.flatten()
    }

    /// A whole number.
    pub fn count(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        self.read(name, problems, |key, value| value.as_u64().filter(|count| is_within(*count, key)))
    }

    /// Requests a second; none for `auto`.
    pub fn rate(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        let rate = self.read(name, problems, |key, value| match value.as_str()? {
            "auto" => Some(None),
            text => parse_rate(text).filter(|rate| is_within(*rate, key)).map(Some),
        });
        rate.flatten()
    }

    /// One of the words that the table names.
    pub fn word(&self, name: &str, problems: &mut Problems) -> Option<&'static str> {
        self.read(name, problems, |key, value| words(key).iter().copied().find(|word| value == word))
    }

    /// The value of a key. Where it is not there, or is reported to be wrong, the default of the table.
    fn read<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        read: impl Fn(&keys::Key, &Value) -> Option<T>,
    ) -> Option<T> {
        let key = self.object.key(name)?;
        let given = self.get(name).and_then(|node| {
            let scalar = !matches!(node.kind, Kind::List(_) | Kind::Object(_));
            let value = scalar.then(|| read(key, &node.to_value())).flatten();
            value.or_else(|| node.wrong(&expected(key), problems))
        });
        given.or_else(|| read(key, &key.default_value()?))
    }
}

fn unknown_key(key: &Key, node: &Node, object: &Object) -> Problem {
    let hint = clerk::nearest(&key.name, object.names()).map(|near| format!("did you mean `{near}`?"));
    let names: Vec<&str> = object.names().collect();
    let problem = Problem::error("unknown_key", node, format!("unknown key `{}`", key.name))
        .expected(format!("one of {}", quoted(&names)))
        .maybe_hint(hint);
    key.at(problem)
}

fn bytes(key: &keys::Key, value: &Value) -> Option<u64> {
    let bytes = value.as_str().map_or_else(|| value.as_u64(), parse_size);
    bytes.filter(|bytes| is_within(*bytes, key))
}

fn is_within(number: u64, key: &keys::Key) -> bool {
    (1..=key.most.unwrap_or(u64::MAX)).contains(&number)
}

fn words(key: &keys::Key) -> &'static [&'static str] {
    match key.shape {
        Shape::Word(words) => words,
        _ => &[],
    }
}

fn expected(key: &keys::Key) -> String {
    let limit = key.limit().unwrap_or_default();
    match key.shape {
        Shape::Duration => "a duration such as `500ms`, `10s`, `5m`, `24h` or `7d`".to_owned(),
        Shape::Size => format!("a size such as `512KiB` or `1MiB`, at most `{limit}`"),
        Shape::Count => format!("a whole number from 1 to {limit}"),
        Shape::Rate => "`auto`, or a rate such as `60/s`".to_owned(),
        Shape::Room => "`auto`, or a size such as `64MiB`".to_owned(),
        Shape::Word(words) => format!("one of {}", quoted(words)),
        _ => "`true` or `false`".to_owned(),
    }
}
