//! Which routes want an event? Event types, sources, filters and the choice of a workflow; pure.

mod parts;
mod pattern;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::clerk;
use crate::config::{Fields, Kind, Node, quoted, shortened};
use crate::jsonpath::{Filter, Query, SyntaxError};
use crate::keys;
use crate::problem::{Problem, Problems, WORK_OF_A_MISTAKE};
use crate::template::{self, Template};
use crate::verify::Event;
pub use pattern::Pattern;

/// The part of a route that says which events it wants, and which workflow they start.
#[derive(Debug)]
pub struct Matcher {
    enabled: bool,
    events: Vec<Pattern>,
    sources: Option<Vec<String>>,
    filters: Vec<Filter>,
    workflow: Workflow,
}

/// What a route starts at Novu.
#[derive(Debug)]
enum Workflow {
    One(Choice),
    Table { by: Query, cases: BTreeMap<String, Choice>, default: Option<Choice> },
}

/// A workflow id, or a template that makes one.
#[derive(Debug)]
pub enum Choice {
    Id(Arc<str>),
    Template(Template),
}

/// Why a route does not want an event. Nobody asks for most of these, so it is put into words only then.
#[derive(Debug)]
pub enum Unwanted<'a> {
    Disabled,
    OtherType { wanted: &'a [Pattern], found: Option<&'a str> },
    OtherSource { wanted: &'a [String], found: &'a str },
    Filter { filter: &'a Filter, event: &'a Value },
    NoCase { by: &'a Query, event: &'a Value },
    NothingSelected { each: &'a Query },
}

impl Matcher {
    /// The workflow that the route starts for this event, or why it does not.
    pub fn wants<'a>(&'a self, event: &'a Event) -> Result<&'a Choice, Unwanted<'a>> {
        if !self.enabled {
            return Err(Unwanted::Disabled);
        }
        if !self.wants_type(event.kind()) {
            return Err(Unwanted::OtherType { wanted: &self.events, found: event.kind() });
        }
        if let Some(wanted) =
            self.sources.as_ref().filter(|sources| !sources.iter().any(|name| **name == *event.source))
        {
            return Err(Unwanted::OtherSource { wanted, found: &event.source });
        }
        if let Some(filter) = self.filters.iter().find(|filter| !filter.holds(&event.json)) {
            return Err(Unwanted::Filter { filter, event: &event.json });
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
        let enabled = fields.boolean("enabled", problems);
        let sources = fields.get("source").map(|node| compile_sources(node, sources, problems));
        let filters = fields.get("filter").map_or(Some(Vec::new()), |node| compile_filters(node, problems));
        let workflow = fields.get("workflow").and_then(|node| Workflow::compile(node, problems));
        Some(Self {
            enabled: enabled?,
            events: events?,
            sources: sources.map_or(Some(None), |sources| sources.map(Some))?,
            filters: filters?,
            workflow: workflow?,
        })
    }
}

/// Reads `event` of a route.
pub fn compile_events(fields: Fields<'_>, problems: &mut Problems) -> Option<Vec<Pattern>> {
    let node = fields.get("event")?;
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
        let filter = compile_text(node, text, Filter::compile, problems)?;
        problems.spend(node, filter.work()).map(|()| filter)
    };
    let filters: Vec<Option<Filter>> = node.one_or_list().iter().map(&mut compile).collect();
    filters.into_iter().collect()
}

/// Compiles a query, or reports why not.
pub fn compile_query(node: &Node, problems: &mut Problems) -> Option<Query> {
    let text = node.text(problems)?.trim();
    let query = compile_text(node, text, Query::compile, problems)?;
    problems.spend(node, query.work()).map(|()| query)
}

fn compile_text<T>(
    node: &Node,
    text: &str,
    compile: fn(&str) -> Result<T, SyntaxError>,
    problems: &mut Problems,
) -> Option<T> {
    problems.spend(node, 0)?;
    let error = match compile(text) {
        Ok(compiled) => return Some(compiled),
        Err(error) => error,
    };
    problems.spend(node, WORK_OF_A_MISTAKE)?;
    let before = text.get(..error.offset).unwrap_or(text).chars().count();
    let mut problem = Problem::error("bad_jsonpath", node, error.message).inside(text, before).maybe_hint(error.hint);
    problem.expected = error.expected;
    problems.push(problem);
    None
}

impl Workflow {
    fn choose<'a>(&'a self, event: &'a Value) -> Result<&'a Choice, Unwanted<'a>> {
        match self {
            Workflow::One(choice) => Ok(choice),
            Workflow::Table { by, cases, default } => {
                let choice = look_up(cases, by.select(event).first().copied()).or(default.as_ref());
                choice.ok_or(Unwanted::NoCase { by, event })
            }
        }
    }

    fn compile(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            Kind::Text(_) => Some(Workflow::One(Choice::compile(node, problems)?)),
            Kind::Object(_) => Self::compile_table(node, problems),
            _ => node.wrong("a Novu workflow id, or a table of `by`, `cases` and `default`", problems),
        }
    }

    fn compile_table(node: &Node, problems: &mut Problems) -> Option<Self> {
        let fields = node.fields(&keys::WORKFLOW, problems)?;
        let by = fields.get("by").and_then(|by| compile_query(by, problems));
        let cases = fields.get("cases").and_then(|cases| {
            let entries = cases.entries(problems)?;
            if entries.is_empty() && fields.lacks("default") {
                return cases.wrong("at least one case, or a `default` beside it", problems);
            }
            entries.iter().map(|(key, id)| Some((key.name.clone(), Choice::compile_id(id, problems)?))).collect()
        });
        let default = fields.get("default").map(|default| Choice::compile(default, problems));
        Some(Workflow::Table {
            by: by?,
            cases: cases?,
            default: default.map_or(Some(None), |choice| choice.map(Some))?,
        })
    }
}

/// The case of a table for a value.
fn look_up<'a>(cases: &'a BTreeMap<String, Choice>, value: Option<&Value>) -> Option<&'a Choice> {
    match value? {
        Value::String(text) => cases.get(text),
        Value::Null => None,
        other => cases.get(&other.to_string()),
    }
}

impl Choice {
    /// The workflow id, if it is always the same.
    pub fn id(&self) -> Option<&str> {
        match self {
            Choice::Id(id) => Some(id),
            Choice::Template(_) => None,
        }
    }

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

/// What a query selects, as a person would say it.
fn describe(query: &Query, nodes: &[&Value]) -> String {
    match nodes {
        [node] if query.is_singular() => format!("is {}", describe_value(node)),
        [] if query.is_singular() => "is missing".to_owned(),
        [] => "selects nothing".to_owned(),
        [node] => format!("selects {}", describe_value(node)),
        nodes => format!("selects {} values", nodes.len()),
    }
}

/// A value and its type, as a person would say it.
fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "`null`".to_owned(),
        Value::Bool(value) => format!("`{value}` (boolean)"),
        Value::Number(value) => format!("`{value}` (number)"),
        Value::String(value) => format!("\"{}\" (string)", shortened(value)),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => format!("an object of {}", members.len()),
    }
}

impl fmt::Display for Unwanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwanted::Disabled => formatter.write_str("the route is switched off (`enabled: false`)"),
            Unwanted::OtherType { wanted, found } => {
                let wanted: Vec<&str> = wanted.iter().map(|pattern| pattern.0.as_str()).collect();
                write!(formatter, "it wants {}, and the event ", quoted(&wanted))?;
                match found {
                    Some(found) => write!(formatter, "is `{found}`"),
                    None => formatter.write_str("has no type"),
                }
            }
            Unwanted::OtherSource { wanted, found } => {
                let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
                write!(formatter, "it wants the source {}, and the event came from `{found}`", quoted(&wanted))
            }
            Unwanted::Filter { filter, event } => {
                write!(formatter, "the filter `{}` does not hold", filter.text())?;
                for (index, seen) in filter.seen(event).into_iter().enumerate() {
                    let separator = if index == 0 { ":" } else { "," };
                    write!(formatter, "{separator} `{}` {}", seen.query.text(), describe(seen.query, &seen.nodes))?;
                }
                Ok(())
            }
            Unwanted::NoCase { by, event } => {
                let found = describe(by, &by.select(event));
                write!(formatter, "no case and no default for `{}`, which {found}", by.text())
            }
            Unwanted::NothingSelected { each } => write!(formatter, "`each` selects nothing: `{}`", each.text()),
        }
    }
}
