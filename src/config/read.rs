//! From text to a tree in which every value knows where it stands.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

use super::scan::{Place, report_tags_and_duplicates};
use super::{Key, Kind, Node, Path};
use crate::problem::{Problem, Problems};

/// The largest file that is read, in bytes. Ten thousand routes are about a quarter of it.
pub const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;
/// The most keys, values and collections in it. Ten thousand routes of forty each.
const MAX_NODES: usize = 400_000;

const INDENTATION: &str = "the keys of one object start in the same column, and what belongs to a key is indented more";

/// Reads the text of a file into a tree. Without a tree, the problems hold the reason.
pub fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        let problem = Problem::error("too_large", (1, 1), "the file is too large to be read");
        problems.push(problem.expected(format!("at most {MAX_FILE_BYTES} bytes")));
        return None;
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raw) => {
            let tagged = report_tags_and_duplicates(text, problems);
            Some(locate(raw.into(), Path::default(), &tagged))
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
    let reason = reason.lines().next().unwrap_or_default();
    let reason = reason.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(reason);
    let breach = ["budget breached: ", "alias replay limit"].iter().find_map(|limit| reason.strip_prefix(limit));
    let message = match breach {
        Some(breach) if breach.starts_with("Documents") => "more than one document is in the file".to_owned(),
        Some(_) => "more is in the file, or deeper inside each other, than any file of rules needs".to_owned(),
        None => format!("not readable as YAML: {reason}"),
    };
    let before = text.lines().nth(line as usize - 1).unwrap_or_default();
    let start = before.char_indices().nth(column as usize - 1).map_or(before.len(), |(start, _)| start);
    let (before, rest) = before.split_at(start);
    let hint = match rest.chars().next() {
        _ if breach.is_some() => None,
        Some('{') => Some("a value that starts with a template needs quotes, as in `\"{{data.id}}\"`"),
        Some('*' | '&' | '!' | '@' | '%' | '`') => Some("put the value in quotes"),
        Some('\t') => Some("indent with spaces"),
        Some(':') if before.contains(": ") => Some("a value that holds `: ` needs quotes around all of it"),
        Some(':') => Some(INDENTATION),
        _ if reason.contains("did not find expected") => Some(INDENTATION),
        _ if reason.contains("quoted scalar") => Some("is a quote left open, here or in a line above?"),
        _ => None,
    };
    Problem::error("bad_yaml", (line as u32, column as u32), message).maybe_hint(hint.map(str::to_owned))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // Duplicates are all reported by `report_tags_and_duplicates`.
        duplicate_keys: DuplicateKeyPolicy::FirstWins,
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            // What aliases stand for is counted at each place.
            max_total_scalar_bytes: MAX_FILE_BYTES,
            max_depth: 64,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    }
}

/// A value as the deserializer hands it over.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Placed<Raw>>),
    Object(Vec<(Placed<String>, Placed<Raw>)>),
}

/// A value and where it stands, in a third of the space that the deserializer takes for it.
struct Placed<T> {
    value: T,
    referenced: Place,
    defined: Place,
}

impl<T> From<Spanned<T>> for Placed<T> {
    fn from(spanned: Spanned<T>) -> Self {
        let (referenced, defined) = (place(&spanned.referenced), place(&spanned.defined));
        Self { value: spanned.value, referenced, defined }
    }
}

fn locate(raw: Placed<Raw>, path: Path, tagged: &HashSet<Place>) -> Node {
    let kind = match raw.value {
        // What an alias stands for may be tagged too.
        _ if tagged.contains(&raw.defined) => Kind::Reported,
        Raw::Null => Kind::Null,
        Raw::Bool(value) => Kind::Bool(value),
        Raw::Number(value) => Kind::Number(value),
        Raw::Text(value) => Kind::Text(value),
        Raw::List(items) => {
            let items = items.into_iter().enumerate();
            Kind::List(items.map(|(index, item)| locate(item, path.item(index), tagged)).collect())
        }
        Raw::Object(entries) => Kind::Object(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let node = locate(value, path.member(&key.value), tagged);
                    let (line, column) = key.referenced;
                    (Key { name: key.value, line, column, defined: key.defined }, node)
                })
                .collect(),
        ),
    };
    let (line, column) = raw.referenced;
    Node { line, column, path, defined: raw.defined, kind }
}

fn place(location: &serde_saphyr::Location) -> Place {
    (location.line() as u32, location.column() as u32)
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
        while let Some(item) = items.next_element::<Spanned<Raw>>()? {
            list.push(item.into());
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut object = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            object.push((key.into(), value.into()));
        }
        Ok(Raw::Object(object))
    }
}
