//! What a deserializer does not see: tags, and the second of two equal keys. The parser below it does.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, Span};

use super::Path;
use crate::problem::{Problem, Problems, Severity};

/// A line and a column.
pub type Place = (u32, u32);

/// Reports tags and duplicate keys. Returns the places of tagged values.
pub fn report_tags_and_duplicates(text: &str, problems: &mut Problems) -> HashSet<Place> {
    let mut tagged = HashSet::new();
    let mut open: Vec<Open> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let place = place(&span);
        let (key, tag) = match &event {
            Event::Scalar(text, _, _, tag) => (Some(text), tag.as_ref()),
            Event::SequenceStart(_, _, tag) | Event::MappingStart(_, _, tag) => (None, tag.as_ref()),
            Event::Alias(_) => (None, None),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                continue;
            }
            _ => continue,
        };
        let first = open.last_mut().and_then(|open| open.take(key.map_or("", |key| key), place));
        if let Some(tag) = tag {
            tagged.insert(place);
            let place = span.tag_start().map_or(place, |tag| (tag.line() as u32, tag.col() as u32 + 1));
            problems.push_with(Severity::Error, || {
                let path = path(&open).to_string();
                Problem { path, ..yaml_tag(place, &tag.original()) }
            });
        }
        if let (Some(key), Some(first)) = (key, first) {
            problems.push_with(Severity::Error, || {
                let path = path(&open).to_string();
                Problem { path, ..duplicate_key(place, key, first) }
            });
        }
        match event {
            Event::SequenceStart(..) => open.push(Open::List { taken: 0 }),
            Event::MappingStart(..) => {
                open.push(Open::Object { keys: HashMap::new(), key: String::new(), value_next: false })
            }
            _ => {}
        }
    }
    tagged
}

fn place(span: &Span) -> Place {
    (span.start.line() as u32, span.start.col() as u32 + 1)
}

fn yaml_tag((line, column): Place, tag: &str) -> Problem {
    Problem::error("yaml_tag", (line, column), format!("`{tag}` is a YAML tag, and the value behind it would be lost"))
        .expected("a plain value")
        .hint("put the whole value in quotes if it starts with `!`")
}

fn duplicate_key((line, column): Place, key: &str, first: Place) -> Problem {
    Problem::error("duplicate_key", (line, column), format!("`{key}` stands twice in the same object"))
        .hint(format!("the first is in line {}; join the two or delete one", first.0))
}

/// A collection that the scan is inside of.
enum Open {
    List { taken: usize },
    Object { keys: HashMap<String, Place>, key: String, value_next: bool },
}

impl Open {
    /// Takes the next item, key or value. If it is a key that was there before, says where.
    fn take(&mut self, text: &str, place: Place) -> Option<Place> {
        match self {
            Open::List { taken } => {
                *taken += 1;
                None
            }
            Open::Object { value_next, .. } if *value_next => {
                *value_next = false;
                None
            }
            Open::Object { keys, key, value_next } => {
                *value_next = true;
                text.clone_into(key);
                let first = *keys.entry(key.clone()).or_insert(place);
                // Merging several objects is what `<<` is for.
                (first != place && text != "<<").then_some(first)
            }
        }
    }
}

/// Where the scan is, as in [`Node::path`](super::Node::path).
fn path(open: &[Open]) -> Path {
    open.iter().fold(Path::default(), |path, open| match open {
        Open::List { taken } => path.item(taken.saturating_sub(1)),
        Open::Object { key, .. } => path.member(key),
    })
}
