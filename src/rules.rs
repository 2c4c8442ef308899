//! `routes.yaml` as run: every problem at once, or one immutable snapshot.

mod sources;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::clerk;
use crate::config::{Fields, Kind, Node};
use crate::keys::{self, MAX_NAME};
use crate::lint::{self, Lint};
use crate::novu::Account;
use crate::outside::Resolver;
use crate::problem::{Problem, Problems, Severity};
use crate::render::{Delivery, Message, Scope};
use crate::route::{self, Choice, Matcher, Unwanted};
use crate::settings::Settings;
use crate::verify::{Event, Secret};
use sources::Sources;

/// The name of the source that there is without `sources`.
pub const DEFAULT_SOURCE: &str = "clerk";

/// One revision of the rules, complete and ready to run.
#[derive(Debug)]
pub struct Rules {
    /// The first 12 hex digits of the SHA-256 of the file's bytes.
    pub revision: String,
    pub settings: Arc<Settings>,
    /// In the order of the file.
    sources: Sources,
    routes: Vec<Route>,
    /// For each event type, the routes that may want it, in the order of the file.
    by_type: HashMap<String, Vec<usize>>,
    /// The routes that may want any other type too.
    with_glob: Vec<usize>,
    vars: Value,
}

/// One route of the file.
#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    matcher: Matcher,
    message: Message,
}

/// What the rules say about an event: all of it from one revision.
#[derive(Clone, Debug)]
pub struct Decision {
    pub deliveries: Vec<Delivery>,
    /// The routes that want the event.
    pub routes: Vec<Arc<str>>,
    pub revision: String,
}

/// What one route makes of an event, for looking only.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub route: &'a Route,
    /// What the route starts, if it wants the event.
    pub workflow: Option<&'a Choice>,
    pub deliveries: Result<Vec<Delivery>, Unwanted<'a>>,
}

impl Rules {
    /// Reads everything of a file but its tests. Where something is wrong, the problems say what.
    pub fn compile(file: &Node, revision: String, resolver: &mut Resolver, problems: &mut Problems) -> Option<Self> {
        let fields = file.fields(&keys::FILE, problems)?;
        let mut settings = Settings::compile(fields, problems);
        let sources = sources::compile(fields, &mut settings, resolver, problems);
        let vars = match fields.get("vars") {
            Some(node) => node.entries(problems).and_then(|_| resolver.resolve_tree(node, problems)),
            None => Some(Value::Object(Map::new())),
        };
        let names: Vec<&str> = sources.iter().map(|(name, _)| &**name).collect();
        let routes = compile_routes(fields, &names, Lint::new(vars.as_ref()), problems);
        let (routes, vars) = routes.zip(vars)?;
        let (by_type, with_glob) = index(&routes);
        Some(Self { revision, settings: Arc::new(settings), sources, routes, by_type, with_glob, vars })
    }

    /// The secrets of a source.
    pub fn source(&self, name: &str) -> Option<(&Arc<str>, &[Secret])> {
        let source = self.sources.iter().find(|(known, _)| **known == *name);
        source.map(|(name, secrets)| (name, secrets.as_slice()))
    }

    pub fn source_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.iter().map(|(name, _)| name)
    }

    /// The same rules for a laptop: every source signs with these secrets and sends to this account.
    pub fn local(self, secrets: Vec<Secret>, account: Account) -> Self {
        let account = Arc::new(account);
        let accounts = self.source_names().map(|name| (name.clone(), account.clone())).collect();
        let settings = Settings { accounts, ..(*self.settings).clone() };
        let sources = self.sources.into_iter().map(|(name, _)| (name, secrets.clone())).collect();
        Self { settings: Arc::new(settings), sources, ..self }
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Which routes want the event, and what each sends.
    pub fn decide(&self, event: &Event) -> Decision {
        let mut decision = Decision { deliveries: Vec::new(), routes: Vec::new(), revision: self.revision.clone() };
        for (route, deliveries) in self.judge(event) {
            if let Ok(deliveries) = deliveries {
                decision.routes.push(route.name.clone());
                decision.deliveries.extend(deliveries);
            }
        }
        decision
    }

    /// The routes that may want an event of this type, in the order of the file.
    fn candidates(&self, kind: &str) -> Cow<'_, [usize]> {
        match self.by_type.get(kind) {
            None => Cow::Borrowed(&self.with_glob),
            Some(known) if clerk::is_event_type(kind) => Cow::Borrowed(known),
            Some(named) => {
                let mut all = [named.as_slice(), &self.with_glob].concat();
                all.sort_unstable();
                all.dedup();
                Cow::Owned(all)
            }
        }
    }

    /// What the routes that may want the event make of it, one after the other.
    pub fn judge<'a>(
        &'a self,
        event: &'a Event,
    ) -> impl Iterator<Item = (&'a Route, Result<Vec<Delivery>, Unwanted<'a>>)> {
        let candidates = self.candidates(event.kind().unwrap_or_default());
        let mut scope = None;
        (0..candidates.len()).map(move |position| {
            let route = &self.routes[candidates[position]];
            (route, route.apply(event, &self.vars, &mut scope))
        })
    }

    /// The same for one route, if there is one of that name.
    pub fn judge_route<'a>(&'a self, name: &str, event: &'a Event) -> Option<Result<Vec<Delivery>, Unwanted<'a>>> {
        let route = self.routes.iter().find(|route| *route.name == *name)?;
        Some(route.apply(event, &self.vars, &mut None))
    }

    /// For every route of the file: what it sends, or why it does not want the event.
    pub fn explain<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Verdict<'a>> {
        let mut scope = None;
        self.routes.iter().map(move |route| {
            let wanted = route.matcher.wants(event);
            let workflow = wanted.as_ref().ok().copied();
            let deliveries = wanted.and_then(|workflow| {
                let scope = scope.get_or_insert_with(|| Scope::explaining(event, &self.vars));
                route.message.render(&route.name, workflow, scope)
            });
            Verdict { route, workflow, deliveries }
        })
    }
}

impl Route {
    fn apply<'a>(
        &'a self,
        event: &'a Event,
        vars: &'a Value,
        scope: &mut Option<Scope<'a>>,
    ) -> Result<Vec<Delivery>, Unwanted<'a>> {
        let workflow = self.matcher.wants(event)?;
        let scope = scope.get_or_insert_with(|| Scope::new(event, vars));
        self.message.render(&self.name, workflow, scope)
    }
}

/// Every known type has its list, with those of globs in it. Others have the routes that name them, because their
/// number is not bounded; those of globs are in a list of their own.
fn index(routes: &[Route]) -> (HashMap<String, Vec<usize>>, Vec<usize>) {
    let mut by_type: HashMap<String, Vec<usize>> =
        clerk::event_types().map(|kind| (kind.to_owned(), Vec::new())).collect();
    let mut with_glob = Vec::new();
    for (position, route) in routes.iter().enumerate() {
        let patterns = route.matcher.patterns();
        for exact in patterns.iter().filter_map(|pattern| pattern.exact()) {
            let list = by_type.entry(exact.to_owned()).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
        if patterns.iter().all(|pattern| pattern.exact().is_some()) {
            continue;
        }
        with_glob.push(position);
        for kind in clerk::event_types().filter(|kind| patterns.iter().any(|pattern| pattern.matches(kind))) {
            let list = by_type.entry(kind.to_owned()).or_default();
            if list.last() != Some(&position) {
                list.push(position);
            }
        }
    }
    (by_type, with_glob)
}

/// An id that can stand in an address, a label and a log line.
pub fn is_plain_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME as usize
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn compile_routes(file: Fields<'_>, sources: &[&str], mut lint: Lint, problems: &mut Problems) -> Option<Vec<Route>> {
    let mut names: HashMap<String, u32> = HashMap::new();
    let items = file.get("routes")?.list(problems)?;
    let mut compile = |item| compile_route(item, sources, &mut names, &mut lint, problems);
    let routes: Vec<Option<Route>> = items.iter().map(&mut compile).collect();
    let both = items.iter().zip(&routes).filter_map(|(item, route)| Some((item, route.as_ref()?)));
    let wanting: Vec<lint::Wanting<'_>> = both.map(|(item, route)| (item, &*route.name, &route.matcher)).collect();
    lint.look_at_all(&wanting, problems);
    routes.into_iter().collect()
}

fn compile_route(
    node: &Node,
    sources: &[&str],
    names: &mut HashMap<String, u32>,
    lint: &mut Lint,
    problems: &mut Problems,
) -> Option<Route> {
    let mut found = problems.of_part();
    let route = read_route(node, sources, names, &mut found);
    // What is wrong may be why it looks odd.
    let route = route.filter(|_| !found.has_errors());
    if let Some(route) = &route {
        lint.look(node, &route.matcher, &route.message, &mut found);
    }
    for problem in found.into_sorted() {
        if problem.severity != Severity::Warning || !lint::is_allowed(node, problem.code) {
            problems.push(problem);
        }
    }
    route
}

fn read_route(
    node: &Node,
    sources: &[&str],
    names: &mut HashMap<String, u32>,
    problems: &mut Problems,
) -> Option<Route> {
    let fields = node.fields(&keys::ROUTE, problems)?;
    lint::check_allow(node, problems);
    fields.word("action", problems);
    // Each on its own, so that a mistake in one hides none in another.
    let events = route::compile_events(fields, problems);
    lint::unknown_event_type(node, events.as_deref().unwrap_or_default(), problems);
    let message = Message::compile(fields, events.as_deref(), problems);
    let matcher = Matcher::compile(fields, events, sources, problems);
    let name = compile_name(fields, matcher.is_some(), names, problems);
    Some(Route { name: name?, matcher: matcher?, message: message? })
}

fn compile_name(
    fields: Fields<'_>,
    workflow_is_fine: bool,
    names: &mut HashMap<String, u32>,
    problems: &mut Problems,
) -> Option<Arc<str>> {
    let given = fields.get("name");
    let workflow = fields.get("workflow").and_then(|workflow| match &workflow.kind {
        Kind::Text(id) if is_plain_id(id) => Some(id.as_str()),
        _ => None,
    });
    let name = match given {
        Some(node) => match node.text(problems)? {
            name if name.trim().is_empty() || name.len() > MAX_NAME as usize || name.contains(char::is_control) => {
                return node.wrong(&format!("a name of 1 to {MAX_NAME} characters"), problems);
            }
            name => name,
        },
        None if workflow.is_none() && workflow_is_fine && fields.lacks("name") => {
            let message = "the route needs a `name`, because its workflow is not one plain id";
            let problem = Problem::error("missing_key", fields.node, message);
            problems.push(problem.hint("such as `name: auth-emails`"));
            return None;
        }
        None => workflow?,
    };
    let node = given.unwrap_or(fields.node);
    if let Some(first) = names.get(name) {
        problems.push(Problem::error("duplicate_name", node, format!("two routes are named `{name}`")).hint(
            match given {
                Some(_) => format!("the other is in line {first}"),
                None => format!(
                    "the name defaults to the workflow, and the other is in line {first}; give this one a `name`"
                ),
            },
        ));
        return None;
    }
    names.insert(name.to_owned(), node.line);
    Some(name.into())
}
