//! What a deserializer does not see: tags, and the second of two equal keys.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, Span};

use super::at;
use crate::problem::Problems;

/// Lines and columns.
pub type Places = HashSet<(u32, u32)>;

/// A deserializer sees neither tags nor the second of two equal keys; the parser below it does.
/// Returns the places of tagged values.
pub fn report_tags_and_duplicates(text: &str, problems: &mut Problems) -> Places {
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
