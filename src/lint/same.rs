//! Two routes that would send the same.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::messages::TRIALS;
use super::{is_allowed, wanted, warning};
use crate::clerk;
use crate::config::Node;
use crate::problem::Problems;
use crate::route::Matcher;

/// What a delivery is made of. The rest of a route says when it goes, and how it is kept.
const MAKES: [&str; 9] =
    ["workflow", "subscriber", "topic", "payload", "overrides", "actor", "tenant", "context", "each"];
/// So many event types and sources of routes that send alike are compared. Past them, nothing more is told.
const MAX_COMPARISONS: usize = 10_000_000;

/// A route of the file: where it stands, its name, and which events it wants.
pub type Wanting<'a> = (&'a Node, &'a str, &'a Matcher);

/// Warns of a route that sends what an earlier one sends, for the same event.
pub(super) fn same_delivery(routes: &[Wanting<'_>], steps: &Cell<usize>, problems: &mut Problems) {
    let mut alike: HashMap<String, Vec<&Wanting<'_>>> = HashMap::new();
    let comparisons = Cell::new(MAX_COMPARISONS);
    for route in routes.iter().filter(|(_, _, matcher)| matcher.is_enabled()) {
        alike.entry(made(route.0)).or_default().push(route);
    }
    for routes in alike.into_values().filter(|routes| routes.len() > 1) {
        let mut earlier = Earlier::default();
        for (node, name, matcher) in routes {
            let route = Candidate::new(name, matcher, steps);
            if let Some(other) = earlier.find_same(&route, &comparisons) {
                if !is_allowed(node, "same_delivery") {
                    let what = format!("it sends the same as the route `{other}`, and both want the same events");
                    let hint = "give the two filters that exclude each other, or take one out";
                    problems.push(warning("same_delivery", node, &what).hint(hint));
                }
            } else {
                earlier.remember(route);
            }
        }
    }
}

/// Everything that makes the deliveries of a route, as one text.
fn made(route: &Node) -> String {
    let parts = MAKES.iter().filter_map(|key| Some(((*key).to_owned(), route.find(key)?.to_value())));
    let parts = parts.filter(|(_, value)| value.as_object().is_none_or(|members| !members.is_empty()));
    Value::Object(parts.collect::<Map<_, _>>()).to_string()
}

/// A route among those that send the same.
struct Candidate<'a> {
    name: &'a str,
    sources: Option<&'a [String]>,
    kinds: Vec<&'a str>,
    filters: Vec<&'a str>,
    /// The trials that it takes, by their number.
    taken: Vec<usize>,
}

impl<'a> Candidate<'a> {
    fn new(name: &'a str, matcher: &'a Matcher, steps: &Cell<usize>) -> Self {
        let unknown = matcher.patterns().iter().filter_map(|pattern| pattern.exact());
        let mut kinds: Vec<&str> = wanted(matcher);
        kinds.extend(unknown.filter(|kind| !clerk::is_event_type(kind)));
        let mut filters: Vec<&str> = matcher.filters().iter().map(|filter| filter.text()).collect();
        filters.sort_unstable();
        let is_of_it = |event: &Value| event["type"].as_str().is_some_and(|kind| kinds.contains(&kind));
        let mut taken = Vec::new();
        for (number, event) in TRIALS.iter().enumerate().filter(|(_, event)| is_of_it(event)) {
            if steps.get() > 0 && matcher.takes(event, steps) {
                taken.push(number);
            }
        }
        Self { name, sources: matcher.sources(), kinds, filters, taken }
    }

    fn shares_a_kind(&self, other: &Self) -> bool {
        self.kinds.iter().any(|kind| other.kinds.contains(kind))
    }

    fn shares_a_source(&self, other: &Self) -> bool {
        let shares = |(some, others): (&[String], &[String])| some.iter().any(|name| others.contains(name));
        self.sources.zip(other.sources).is_none_or(shares)
    }

    /// Whether there are comparisons left for this one.
    fn may_compare(&self, other: &Self, left: &Cell<usize>) -> bool {
        let sources = |route: &Self| route.sources.map_or(0, <[String]>::len);
        let cost = 1 + self.kinds.len() * other.kinds.len() + sources(self) * sources(other);
        left.set(left.get().saturating_sub(cost));
        left.get() > 0
    }
}

/// The routes before one that send the same, and of which none sends it for the same event.
#[derive(Default)]
struct Earlier<'a> {
    routes: Vec<Candidate<'a>>,
    by_filters: HashMap<Vec<&'a str>, Vec<usize>>,
    by_trial: HashMap<usize, Vec<usize>>,
}

impl<'a> Earlier<'a> {
    fn find_same(&self, route: &Candidate<'a>, left: &Cell<usize>) -> Option<&'a str> {
        let equal = self.by_filters.get(&route.filters).into_iter().flatten();
        let tried = route.taken.iter().filter_map(|number| self.by_trial.get(number)).flatten();
        let others = equal.chain(tried).map(|index| &self.routes[*index]);
        let mut others = others.take_while(|other| route.may_compare(other, left));
        others.find(|other| other.shares_a_kind(route) && other.shares_a_source(route)).map(|other| other.name)
    }

    fn remember(&mut self, route: Candidate<'a>) {
        let index = self.routes.len();
        for number in &route.taken {
            self.by_trial.entry(*number).or_default().push(index);
        }
        self.by_filters.entry(route.filters.clone()).or_default().push(index);
        self.routes.push(route);
    }
}
