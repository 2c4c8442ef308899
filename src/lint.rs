//! What compiles and is probably a mistake: a route held against what Clerk really sends.
//!
//! A lint that cries wolf is worse than none. What the samples cannot decide is not warned of.

mod messages;
mod metadata;
mod outside;
mod paths;
mod same;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clerk::{self, Shape};
use crate::config::{Kind, Node, quoted, shortened};
use crate::jsonpath::{Query, Role, Step, Use};
use crate::keys::WARNINGS;
use crate::problem::{Problem, Problems, Severity};
use crate::render::Message;
use crate::route::{Matcher, Pattern};
use crate::template::{Template, Tree};
pub use same::Wanting;

fn warning(name: &'static str, node: &Node, what: &str) -> Problem {
    let why = WARNINGS.iter().find(|warning| warning.name == name).map_or("", |warning| warning.why);
    Problem::error(name, node, format!("{what}: {why}")).warning()
}

/// Reads `allow` of a route: names of warnings that are meant.
pub fn check_allow(route: &Node, problems: &mut Problems) {
    let names = WARNINGS.map(|warning| warning.name);
    for item in route.find("allow").map_or(&[][..], Node::one_or_list) {
        let Some(name) = item.text(problems).filter(|name| !names.contains(name)) else { continue };
        let near = clerk::nearest(name, names.into_iter());
        problems.push(
            Problem::error("bad_value", item, format!("there is no warning `{}`", shortened(name)))
                .expected(format!("one of {}", quoted(&names)))
                .maybe_hint(near.map(|near| format!("did you mean `{near}`?"))),
        );
    }
}

/// Whether a warning is meant by a route.
pub fn is_allowed(route: &Node, warning: &str) -> bool {
    let names = route.find("allow").map_or(&[][..], Node::one_or_list);
    names.iter().any(|name| matches!(&name.kind, Kind::Text(name) if name == warning))
}

/// Warns of an event type that is not in the catalogue.
pub fn unknown_event_type(route: &Node, patterns: &[Pattern], problems: &mut Problems) {
    let nodes = route.find("event").map_or(&[][..], Node::one_or_list);
    let known = |pattern: &Pattern| {
        clerk::is_event_type(pattern.text()) || clerk::event_types().any(|kind| pattern.matches(kind))
    };
    for (node, pattern) in nodes.iter().zip(patterns).filter(|(_, pattern)| !known(pattern)) {
        problems.push_with(Severity::Warning, || {
            let near = clerk::nearest(pattern.text(), clerk::event_types());
            let message = format!("Clerk sends no event `{}` that is known here", shortened(pattern.text()));
            Problem::error("unknown_event_type", node, message).warning().hint(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`deskbell samples` lists the known ones".to_owned(),
            })
        });
    }
}

/// Looks at the routes of one file.
pub struct Lint {
    /// What templates see besides the event.
    surroundings: Shape,
    /// Of routes that want several types, what each of these may be.
    merged: HashMap<Vec<&'static str>, Arc<Shape>>,
    /// For trying filters on samples. Past them, what only a trial would show is not told.
    steps: Cell<usize>,
}

/// Ten thousand ordinary routes for all events take a quarter of it; all of it takes half a second.
const MAX_STEPS: usize = 10_000_000;
/// So many sets of event types are remembered. Files have a handful.
const MAX_MERGED: usize = 100;

/// One route, and all that its texts name.
struct Route<'a> {
    node: &'a Node,
    matcher: &'a Matcher,
    message: &'a Message,
    /// Those of the catalogue that it wants.
    kinds: Vec<&'static str>,
    event: Arc<Shape>,
    surroundings: &'a Shape,
    sights: Vec<Sight<'a>>,
    steps: &'a Cell<usize>,
}

/// A place in the event that a text of the route names.
struct Sight<'a> {
    node: &'a Node,
    /// The keys to the text, such as `overrides`, `email` and `to`.
    keys: Vec<&'a str>,
    /// A template sees more than the event.
    in_template: bool,
    named: Use,
}

impl Lint {
    /// `vars` are those of the file, if they can be read.
    pub fn new(vars: Option<&Value>) -> Self {
        let vars = match vars {
            Some(Value::Object(vars)) if vars.is_empty() => Shape::closed([]),
            Some(vars) => Shape::of(vars),
            None => Shape::anything(),
        };
        let text = || Shape::of(&json!(""));
        let webhook = Shape::closed([("id", text())]);
        let surroundings = Shape::closed([("vars", vars), ("source", text()), ("webhook", webhook)]);
        Self { surroundings, merged: HashMap::new(), steps: Cell::new(MAX_STEPS) }
    }

    /// Warns of what is wrong with a route on its own.
    pub fn look(&mut self, node: &Node, matcher: &Matcher, message: &Message, problems: &mut Problems) {
        let kinds = wanted(matcher);
        let event = self.event(matcher, &kinds);
        let sights = sights(node, matcher, message);
        let (surroundings, steps) = (&self.surroundings, &self.steps);
        let route = Route { node, matcher, message, kinds, event, surroundings, sights, steps };
        for sight in &route.sights {
            paths::unknown_path(&route, sight, problems);
            paths::always_there(&route, sight, problems);
            paths::first_not_primary(&route, sight, problems);
            metadata::unsafe_metadata(sight, problems);
            metadata::private_metadata(&route, sight, problems);
        }
        let written = message.written().map(|(key, _)| key).chain(["workflow"]);
        written.filter_map(|key| node.find(key)).for_each(|written| outside::not_resolved(written, problems));
        messages::sent_by_clerk(&route, problems);
        messages::code_without_max_age(&route, problems);
    }

    /// Warns of what is wrong with routes beside each other.
    pub fn look_at_all(&self, routes: &[Wanting<'_>], problems: &mut Problems) {
        same::same_delivery(routes, &self.steps, problems);
    }

    /// What the events that the route wants look like.
    fn event(&mut self, matcher: &Matcher, kinds: &[&'static str]) -> Arc<Shape> {
        let is_known = |pattern: &Pattern| kinds.iter().any(|kind| pattern.matches(kind));
        if !matcher.patterns().iter().all(is_known) {
            return Arc::new(Shape::anything());
        }
        if let Some(known) = self.merged.get(kinds) {
            return known.clone();
        }
        let mut shapes = kinds.iter().filter_map(|kind| clerk::shape(kind));
        let mut event = shapes.next().cloned().unwrap_or_else(Shape::anything);
        shapes.for_each(|shape| event.merge(shape));
        if self.merged.len() >= MAX_MERGED {
            self.merged.clear();
        }
        self.merged.entry(kinds.to_vec()).or_insert(Arc::new(event)).clone()
    }
}

fn wanted(matcher: &Matcher) -> Vec<&'static str> {
    let wants = |kind: &&str| matcher.patterns().iter().any(|pattern| pattern.matches(kind));
    clerk::event_types().filter(wants).collect()
}

impl Route<'_> {
    /// Where a text looks: first beside the event, if it is a template, and then in the event.
    fn seen_from(&self, sight: &Sight<'_>) -> &Shape {
        match sight.named.steps.first() {
            Some(Step::Member(name)) if sight.in_template && self.surroundings.member(name).is_some() => {
                self.surroundings
            }
            _ => &self.event,
        }
    }
}

/// Every place that the texts of a route name.
fn sights<'a>(node: &'a Node, matcher: &'a Matcher, message: &'a Message) -> Vec<Sight<'a>> {
    let mut sights = Vec::new();
    let filters = node.find("filter").map_or(&[][..], Node::one_or_list);
    for (node, filter) in filters.iter().zip(matcher.filters()) {
        sights.extend(filter.uses().into_iter().map(|named| Sight::in_query(node, "filter", named)));
    }
    let workflow = node.find("workflow");
    let by = workflow.and_then(|table| table.find("by")).zip(matcher.workflow_by());
    let each = node.find("each").zip(message.each());
    for (key, found) in [("workflow", by), ("each", each)] {
        let uses = found
            .into_iter()
            .flat_map(|(node, query)| query.uses(Role::Looked).into_iter().map(move |named| (node, named)));
        sights.extend(uses.map(|(node, named)| Sight::in_query(node, key, named)));
    }
    let mut reader = Reader { item: message.each().map(Query::steps), sights };
    if let Some((node, template)) = workflow.zip(matcher.workflow_template()) {
        reader.leaf(node.find("default").unwrap_or(node), &mut ["workflow"], template);
    }
    for (key, tree) in message.written() {
        if let Some(node) = node.find(key) {
            reader.tree(node, &mut vec![key], tree);
        }
    }
    reader.sights
}

impl<'a> Sight<'a> {
    fn in_query(node: &'a Node, key: &'a str, named: Use) -> Self {
        Self { node, keys: vec![key], in_template: false, named }
    }
}

/// Reads templates, where they stand.
struct Reader<'a> {
    /// What `item` stands for.
    item: Option<Vec<Step>>,
    sights: Vec<Sight<'a>>,
}

impl<'a> Reader<'a> {
    fn tree(&mut self, node: &'a Node, keys: &mut Vec<&'a str>, tree: &Tree) {
        match (tree, &node.kind) {
            (Tree::Leaf(template), _) => self.leaf(node, keys, template),
            (Tree::List(trees), Kind::List(nodes)) => {
                nodes.iter().zip(trees).for_each(|(node, tree)| self.tree(node, keys, tree));
            }
            (Tree::Object(trees), Kind::Object(nodes)) => {
                for ((key, node), (_, tree)) in nodes.iter().zip(trees) {
                    keys.push(&key.name);
                    self.tree(node, keys, tree);
                    keys.pop();
                }
            }
            _ => {}
        }
    }

    fn leaf(&mut self, node: &'a Node, keys: &mut [&'a str], template: &Template) {
        for mut named in template.uses() {
            if let (Some(Step::Member(first)), Some(item)) = (named.steps.first(), &self.item)
                && first == "item"
            {
                named.steps.splice(..1, item.iter().cloned());
                // What is wrong with `each` is told there.
                named.inherited = named.inherited.max(1) + item.len() - 1;
            }
            self.sights.push(Sight { node, keys: keys.to_vec(), in_template: true, named });
        }
    }
}
