//! Which routes want an event? Event types, sources, filters and the choice of a workflow; pure.

mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::clerk;
use crate::config::{Fields, Kind, Node, quoted, shortened};
use crate::jsonpath::{Filter, Query, SyntaxError};
use crate::problem::{Problem, Problems};
use crate::template::{self, Template};
use crate::verify::Event;

/// The part of a route that says which events it wants, and which workflow they start.
#[derive(Debug)]
pub struct Matcher {
    enabled: bool,
    events: Vec<Pattern>,
    sources: Option<Vec<String>>,
    filters: Vec<Filter>,
    workflow: Workflow,
}

/// An event type, or a glob such as `organization.*`.
#[derive(Debug)]
pub struct Pattern(String);

impl Pattern {
    pub fn matches(&self, kind: &str) -> bool {
        glob(self.0.as_bytes(), kind.as_bytes())
    }

    /// The pattern as it is written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The event type, if the pattern names exactly one.
    pub fn exact(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.contains('*'))
    }
}

/// `*` stands for any text, and there may be several.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut star) = ((0, 0), None);
    while at.1 < text.len() {
        match pattern.get(at.0) {
            Some(b'*') => {
                star = Some(at);
                at.0 += 1;
            }
            Some(byte) if *byte == text[at.1] => at = (at.0 + 1, at.1 + 1),
            _ => match &mut star {
                Some(star) => {
                    star.1 += 1;
                    at = (star.0 + 1, star.1);
                }
                None => return false,
            },
        }
    }
    pattern[at.0..].iter().all(|byte| *byte == b'*')
}

/// What a route starts at Novu.
#[derive(Debug)]
enum Workflow {
    One(Choice),
    Table { by: Query, text: String, cases: BTreeMap<String, Choice>, default: Option<Choice> },
}

/// A workflow id, or a template that makes one.
#[derive(Debug)]
pub enum Choice {
    Id(Arc<str>),
    Template(Template),
}

/// Why a route does not want an event.
#[derive(Debug, PartialEq)]
pub enum Unwanted {
    Disabled,
    OtherType { wanted: String, found: Option<String> },
    OtherSource { wanted: String, found: String },
    Filter { filter: String, seen: Vec<(String, String)> },
    NoCase { by: String, found: String },
    NothingSelected { each: String },
}

impl Matcher {
    /// The workflow that the route starts for this event, or why it does not.
    pub fn wants(&self, event: &Event) -> Result<&Choice, Unwanted> {
        if !self.enabled {
            return Err(Unwanted::Disabled);
        }
        if !self.wants_type(event.kind()) {
            let wanted: Vec<&str> = self.events.iter().map(|pattern| pattern.0.as_str()).collect();
            return Err(Unwanted::OtherType { wanted: quoted(&wanted), found: event.kind().map(str::to_owned) });
        }
        if let Some(sources) =
            self.sources.as_ref().filter(|sources| !sources.iter().any(|name| **name == *event.source))
        {
            let wanted: Vec<&str> = sources.iter().map(String::as_str).collect();
            return Err(Unwanted::OtherSource { wanted: quoted(&wanted), found: event.source.to_string() });
        }
        if let Some(filter) = self.filters.iter().find(|filter| !filter.holds(&event.json)) {
            return Err(Unwanted::Filter {
                filter: filter.text().to_owned(),
                seen: describe_seen(filter, &event.json),
            });
        }
        self.workflow.choose(&event.json)
    }

    fn wants_type(&self, kind: Option<&str>) -> bool {
        kind.is_some_and(|kind| self.events.iter().any(|pattern| pattern.matches(kind)))
    }

    pub fn patterns(&self) -> &[Pattern] {
        &self.events
    }

    /// Reads `source`, `filter`, `workflow` and `enabled` of a route.
    pub fn compile(
        fields: Fields<'_>,
        events: Option<Vec<Pattern>>,
        sources: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let enabled = fields.get("enabled").map(|node| node.boolean(problems));
        let sources = fields.get("source").map(|node| compile_sources(node, sources, problems));
        let filters = fields.get("filter").map_or(Some(Vec::new()), |node| compile_filters(node, problems));
        let workflow = required(fields, "workflow", problems).and_then(|node| Workflow::compile(node, problems));
        Some(Self {
            enabled: enabled.unwrap_or(Some(true))?,
            events: events?,
            sources: sources.map_or(Some(None), |sources| sources.map(Some))?,
            filters: filters?,
            workflow: workflow?,
        })
    }
}

fn required<'a>(fields: Fields<'a>, name: &str, problems: &mut Problems) -> Option<&'a Node> {
    if fields.lacks(name) {
        problems.push(Problem::error("missing_key", fields.node, format!("the route has no `{name}`")).hint(
            match name {
                "event" => "say which event it wants, such as `event: user.created`",
                _ => "say which Novu workflow it starts, such as `workflow: welcome`",
            },
        ));
    }
    fields.get(name)
}

/// Reads `event` of a route.
pub fn compile_events(fields: Fields<'_>, problems: &mut Problems) -> Option<Vec<Pattern>> {
    let node = required(fields, "event", problems)?;
    let expected = "a Clerk event type such as `user.created`, a list of them, or a glob such as `organization.*`";
    if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
        return node.wrong(expected, problems);
    }
    let mut patterns = Vec::new();
    for item in node.one_or_list() {
        match &item.kind {
            Kind::Text(text) if !text.is_empty() => patterns.push(Pattern(text.clone())),
            _ => return item.wrong(expected, problems),
        }
    }
    Some(patterns)
}

fn compile_sources(node: &Node, known: &[&str], problems: &mut Problems) -> Option<Vec<String>> {
    if node.one_or_list().is_empty() {
        return node.wrong("the name of a source, or a list of them", problems);
    }
    // None of them could be read: that is reported where they stand.
    let known = (!known.is_empty()).then_some(known)?;
    let mut names = Vec::new();
    for item in node.one_or_list() {
        let name = item.text(problems)?;
        if !known.contains(&name) {
            let near = clerk::nearest(name, known.iter().copied());
            problems.push(
                Problem::error("unknown_source", item, format!("there is no source `{}`", shortened(name)))
                    .expected(format!("one of {}", quoted(known)))
                    .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
            );
            return None;
        }
        names.push(name.to_owned());
    }
    Some(names)
}

fn compile_filters(node: &Node, problems: &mut Problems) -> Option<Vec<Filter>> {
    if node.one_or_list().is_empty() {
        return node.wrong("a JSONPath such as `$.data.slug == 'x'`, or a list of them", problems);
    }
    let mut compile = |node: &Node| {
        let text = node.text(problems)?;
        report_syntax(node, text, Filter::compile(text), problems)
    };
    let filters: Vec<Option<Filter>> = node.one_or_list().iter().map(&mut compile).collect();
    filters.into_iter().collect()
}

/// Compiles a query, or reports why not.
pub fn compile_query(node: &Node, problems: &mut Problems) -> Option<Query> {
    let text = node.text(problems)?.trim();
    report_syntax(node, text, Query::compile(text), problems)
}

fn report_syntax<T>(node: &Node, text: &str, result: Result<T, SyntaxError>, problems: &mut Problems) -> Option<T> {
    let error = match result {
        Ok(compiled) => return Some(compiled),
        Err(error) => error,
    };
    let before = text.get(..error.offset).unwrap_or(text).chars().count();
    let mut problem = Problem::error("bad_jsonpath", node, format!("{}, at character {}", error.message, before + 1))
        .maybe_hint(error.hint);
    problem.expected = error.expected;
    problems.push(problem);
    None
}

impl Workflow {
    fn choose(&self, event: &Value) -> Result<&Choice, Unwanted> {
        let (by, text, cases, default) = match self {
            Workflow::One(choice) => return Ok(choice),
            Workflow::Table { by, text, cases, default } => (by, text, cases, default),
        };
        let found = by.select(event).into_iter().next();
        let case = match found {
            Some(Value::String(text)) => cases.get(text),
            Some(Value::Null) | None => None,
            Some(other) => cases.get(&other.to_string()),
        };
        case.or(default.as_ref()).ok_or_else(|| Unwanted::NoCase { by: text.clone(), found: describe(found) })
    }

    fn compile(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            Kind::Text(_) => Some(Workflow::One(Choice::compile(node, problems)?)),
            Kind::Object(_) => Self::compile_table(node, problems),
            _ => node.wrong("a Novu workflow id, or a table of `by`, `cases` and `default`", problems),
        }
    }

    fn compile_table(node: &Node, problems: &mut Problems) -> Option<Self> {
        let fields = node.fields(&["by", "cases", "default"], problems)?;
        for name in ["by", "cases"].into_iter().filter(|name| fields.lacks(name)) {
            problems.push(Problem::error("missing_key", node, format!("the workflow table has no `{name}`")));
        }
        let by = fields.get("by").and_then(|by| compile_query(by, problems));
        let text = fields.get("by").and_then(|by| match &by.kind {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        });
        let cases = fields.get("cases").and_then(|cases| {
            let entries = cases.entries(problems)?;
            entries.iter().map(|(key, id)| Some((key.name.clone(), Choice::compile_id(id, problems)?))).collect()
        });
        let default = fields.get("default").map(|default| Choice::compile(default, problems));
        Some(Workflow::Table {
            by: by?,
            text: text?,
            cases: cases?,
            default: default.map_or(Some(None), |choice| choice.map(Some))?,
        })
    }
}

impl Choice {
    fn compile(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = node.text(problems)?;
        if !text.contains("{{") {
            return Self::compile_id(node, problems);
        }
        let template = template::compile_at(node, text, problems)?;
        if !template.has_literal_prefix() {
            problems.push(
                Problem::error("open_workflow", node, "the event alone would choose the workflow")
                    .expected("a template behind a literal prefix, such as `email-{{data.slug}}`")
                    .hint("or a table of `by`, `cases` and `default`"),
            );
            return None;
        }
        Some(Choice::Template(template.whole()))
    }

    fn compile_id(node: &Node, problems: &mut Problems) -> Option<Self> {
        let text = node.text(problems)?;
        if text.trim().is_empty() || text.contains("{{") {
            return node.wrong("a Novu workflow id", problems);
        }
        Some(Choice::Id(text.into()))
    }
}

fn describe_seen(filter: &Filter, event: &Value) -> Vec<(String, String)> {
    let nodes = |nodes: &[&Value]| match nodes {
        [] => describe(None),
        [node] => describe(Some(node)),
        nodes => format!("{} values", nodes.len()),
    };
    filter.seen(event).into_iter().map(|seen| (seen.query.clone(), nodes(&seen.nodes))).collect()
}

/// A value and its type, as a person would say it.
fn describe(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(Value::Null) => "`null`".to_owned(),
        Some(Value::Bool(value)) => format!("`{value}` (boolean)"),
        Some(Value::Number(value)) => format!("`{value}` (number)"),
        Some(Value::String(value)) => format!("\"{}\" (string)", shortened(value)),
        Some(Value::Array(items)) => format!("an array of {}", items.len()),
        Some(Value::Object(members)) => format!("an object of {}", members.len()),
    }
}

impl fmt::Display for Unwanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwanted::Disabled => formatter.write_str("the route is switched off (`enabled: false`)"),
            Unwanted::OtherType { wanted, found: Some(found) } => {
                write!(formatter, "it wants {wanted}, and the event is `{found}`")
            }
            Unwanted::OtherType { wanted, found: None } => {
                write!(formatter, "it wants {wanted}, and the event has no type")
            }
            Unwanted::OtherSource { wanted, found } => {
                write!(formatter, "it wants the source {wanted}, and the event came from `{found}`")
            }
            Unwanted::Filter { filter, seen } => {
                write!(formatter, "the filter `{filter}` does not hold")?;
                for (index, (query, value)) in seen.iter().enumerate() {
                    write!(formatter, "{} `{query}` is {value}", if index == 0 { ":" } else { "," })?;
                }
                Ok(())
            }
            Unwanted::NoCase { by, found } => write!(formatter, "no case and no default for `{by}`, which is {found}"),
            Unwanted::NothingSelected { each } => write!(formatter, "`each` selects nothing: `{each}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_types() {
        for (pattern, kind, expected) in [
            ("user.created", "user.created", true),
            ("user.created", "user.created2", false),
            ("organization.*", "organization.created", true),
            ("organization.*", "organizationMembership.created", false),
            ("*.created", "user.created", true),
            ("*.created", "user.deleted", false),
            ("*", "", true),
            ("*", "anything", true),
            ("o*n*.created", "organization.created", true),
            ("a*a", "a", false),
            ("", "", true),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(kind), expected, "{pattern} {kind}");
        }
    }
}
