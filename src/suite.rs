//! The file's own tests: an event in, and the complete list of what is sent.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clerk;
use crate::config::{Kind, Node, shortened};
use crate::keys;
use crate::outside::read_file;
use crate::problem::{Problem, Problems};
use crate::render::Delivery;
use crate::rules::{DEFAULT_SOURCE, Rules};
use crate::units::now;
use crate::verify::Event;

/// What a file may take for its tests; a thousand small ones take a tenth of it.
const MOST_TIME: Duration = Duration::from_secs(1);
/// More deliveries of one event are not compared with what a test expects.
const MOST_DELIVERIES: usize = 1000;
/// More of one test are not told.
const MOST_UNMET: usize = 100;
/// The most that is read of an event in a file of its own, in bytes.
const MAX_EVENT_FILE: usize = 8 << 20;

/// One test of the file, ready to run.
#[derive(Debug)]
pub struct Test {
    name: String,
    node: Node,
    event: Input,
    source: Option<String>,
    changes: Vec<(String, Option<Value>)>,
    expect: Vec<Node>,
}

#[derive(Debug)]
enum Input {
    /// By its name. One that is not known fails the test and not the file: samples come and go.
    Sample(Node, String),
    Given(Value),
    /// Relative to the folder of the file.
    File(Node, String),
}

/// How the tests went.
#[derive(Debug, Default)]
pub struct Report {
    pub passed: usize,
    pub failed: usize,
    /// What was expected and is not so, each where the file expects it.
    pub problems: Vec<Problem>,
}

/// Reads `tests`.
pub fn compile(node: &Node, problems: &mut Problems) -> Vec<Test> {
    let items = node.list(problems).unwrap_or_default();
    items.iter().enumerate().filter_map(|(index, item)| compile_test(index, item, problems)).collect()
}

fn compile_test(index: usize, node: &Node, problems: &mut Problems) -> Option<Test> {
    let fields = node.fields(&keys::TEST, problems)?;
    let name = match fields.get("name") {
        Some(name) => name.text(problems)?.to_owned(),
        None => format!("#{}", index + 1),
    };
    let event = match (fields.get("event"), fields.get("file")) {
        (Some(event), None) => compile_event(event, problems)?,
        (None, Some(file)) => Input::File(file.clone(), file.text(problems)?.to_owned()),
        (None, None) if !(fields.lacks("event") && fields.lacks("file")) => return None,
        _ => {
            problems.push(
                Problem::error("missing_key", node, "the test needs an `event` or a `file`")
                    .hint("such as `event: user.created`, which is a sample"),
            );
            return None;
        }
    };
    let expect = fields.get("expect")?.list(problems)?;
    for item in expect {
        if let Some(route) = item.fields(&keys::EXPECT, problems).and_then(|fields| fields.get("route")) {
            route.text(problems);
        }
    }
    let source = match fields.get("source") {
        Some(source) => Some(source.text(problems)?.to_owned()),
        None => None,
    };
    let mut changes = Vec::new();
    for (key, value) in fields.get("set").map_or(Some(&[][..]), |set| set.entries(problems))? {
        changes.push((key.name.clone(), Some(value.to_value())));
    }
    for path in fields.get("unset").map_or(&[][..], Node::one_or_list) {
        changes.push((path.text(problems)?.to_owned(), None));
    }
    Some(Test { name, node: node.clone(), event, source, changes, expect: expect.to_vec() })
}

fn compile_event(node: &Node, problems: &mut Problems) -> Option<Input> {
    match &node.kind {
        Kind::Text(name) => Some(Input::Sample(node.clone(), name.clone())),
        Kind::Object(_) => Some(Input::Given(node.to_value())),
        _ => node.wrong("the name of a sample, or an event written out", problems),
    }
}

/// Runs all tests. `folder` is where the file stands.
pub fn run(rules: &Rules, tests: &[Test], folder: &Path) -> Report {
    let (mut report, mut problems) = (Report::default(), Problems::default());
    let deadline = Instant::now() + MOST_TIME;
    for (index, test) in tests.iter().enumerate() {
        let Some(unmet) = test.run(rules, folder, deadline) else {
            let late = test.fails(&test.node, "all tests together take too long".to_owned());
            problems.push(late.expected(format!("less than {MOST_TIME:?}; this one and those after it did not run")));
            report.failed += tests.len() - index;
            break;
        };
        *(if unmet.is_empty() { &mut report.passed } else { &mut report.failed }) += 1;
        unmet.into_iter().for_each(|problem| problems.push(problem));
    }
    report.problems = problems.into_sorted();
    report
}

impl Test {
    /// What is not as expected; nothing if it takes too long.
    fn run(&self, rules: &Rules, folder: &Path, deadline: Instant) -> Option<Vec<Problem>> {
        let json = match self.event(folder) {
            Ok(json) => json,
            Err(problem) => return Some(vec![*problem]),
        };
        if let Some(source) = self.source.as_ref().filter(|source| rules.source(source).is_none()) {
            return Some(vec![self.fails(&self.node, format!("there is no source `{}`", shortened(source)))]);
        }
        let first = rules.source_names().next().map_or(DEFAULT_SOURCE, |name| name);
        let at = clerk::occurred_at(&json).unwrap_or_else(now);
        let event = Event::unsigned(self.source.as_deref().unwrap_or(first), "msg_test", json, at);
        let mut sent = Vec::new();
        for (_, deliveries) in rules.judge(&event) {
            if Instant::now() > deadline {
                return None;
            }
            sent.extend(deliveries.unwrap_or_default());
        }
        let mut unmet = Vec::new();
        if sent.len().max(self.expect.len()) > MOST_DELIVERIES {
            let message = format!("more than {MOST_DELIVERIES} deliveries are sent or expected, too many to compare");
            return Some(vec![self.fails(&self.node, message)]);
        }
        let open = self.take_fulfilled(&mut sent);
        for expected in open {
            match sent.iter().position(|delivery| is_of_route(expected, delivery)) {
                Some(position) => unmet.extend(self.compare(expected, &sent.remove(position))),
                None if unmet.len() < MOST_UNMET => unmet.push(self.not_sent(expected, rules, &event)),
                None => {}
            }
        }
        unmet.extend(sent.iter().map(|delivery| {
            self.fails(&self.node, format!("`{}` is sent, and the test does not expect it", delivery.route))
        }));
        Some(unmet)
    }

    /// Takes the deliveries that are as expected, in whatever order, and gives the expectations that are left. Who
    /// names more chooses first.
    fn take_fulfilled(&self, sent: &mut Vec<Delivery>) -> Vec<&Node> {
        let mut expected: Vec<&Node> = self.expect.iter().collect();
        expected.sort_by_cached_key(|expected| std::cmp::Reverse(expected.to_value().to_string().len()));
        expected.retain(|expected| {
            let fits =
                |delivery: &Delivery| is_of_route(expected, delivery) && self.compare(expected, delivery).is_empty();
            sent.iter().position(fits).map(|position| sent.remove(position)).is_none()
        });
        expected.sort_by_key(|expected| (expected.line, expected.column));
        expected
    }

    fn event(&self, folder: &Path) -> Result<Value, Box<Problem>> {
        let (node, mut json) = match &self.event {
            Input::Given(json) => (&self.node, json.clone()),
            Input::Sample(node, name) => {
                (node, clerk::sample(name).ok_or_else(|| Box::new(self.unknown_sample(node, name)))?)
            }
            Input::File(node, path) => {
                let unusable = |why: String| Box::new(self.fails(node, format!("`{}` {why}", shortened(path))));
                let bytes = read_file(&folder.join(path), MAX_EVENT_FILE)
                    .map_err(|error| unusable(format!("cannot be read: {error}")))?;
                (node, serde_json::from_slice(&bytes).map_err(|error| unusable(format!("is not JSON: {error}")))?)
            }
        };
        for (path, value) in &self.changes {
            let changed = match value {
                Some(value) => clerk::set(&mut json, path, value.clone()),
                None => clerk::unset(&mut json, path),
            };
            changed.map_err(|error| Box::new(self.fails(node, format!("`{path}` cannot be changed: {error}"))))?;
        }
        Ok(json)
    }

    fn unknown_sample(&self, node: &Node, name: &str) -> Problem {
        self.fails(node, format!("there is no sample `{}`", shortened(name))).hint(clerk::hint_for_sample(name))
    }

    fn fails(&self, at: &Node, message: String) -> Problem {
        Problem::error("test_failed", at, format!("test `{}`: {message}", self.name))
    }

    fn not_sent(&self, expected: &Node, rules: &Rules, event: &Event) -> Problem {
        let Some(name) = route_of(expected) else {
            return self.fails(expected, "nothing more is sent".to_owned());
        };
        let problem = self.fails(expected, format!("`{name}` is not sent"));
        match rules.judge_route(name, event) {
            Some(Err(unwanted)) => problem.hint(unwanted.to_string()),
            Some(Ok(_)) => problem.hint("it is sent fewer times than the test expects"),
            None => {
                let near = clerk::nearest(name, rules.routes().iter().map(|route| &*route.name));
                problem.hint(match near {
                    Some(near) => format!("there is no such route, did you mean `{near}`?"),
                    None => "there is no such route".to_owned(),
                })
            }
        }
    }

    fn compare(&self, expected: &Node, delivery: &Delivery) -> Vec<Problem> {
        let body = match &delivery.request {
            Ok(body) => body,
            Err(unsendable) => {
                return vec![self.fails(expected, format!("`{}` would end dead: {unsendable}", delivery.route))];
            }
        };
        let mut unmet = Vec::new();
        for key in keys::EXPECT.names().filter(|key| *key != "route") {
            let Some(expected) = expected.find(key) else { continue };
            let found = match key {
                "workflow" => body.get("name"),
                "subscriber" => body.get("to"),
                "topic" => body.pointer("/to/topicKey"),
                _ => body.get(key),
            };
            self.compare_value(key, expected, found, &mut unmet);
        }
        unmet
    }

    /// Objects have to hold what is named; everything else has to be equal.
    fn compare_value(&self, path: &str, expected: &Node, found: Option<&Value>, unmet: &mut Vec<Problem>) {
        match (&expected.kind, found) {
            (Kind::Object(entries), Some(Value::Object(members))) => {
                for (key, expected) in entries {
                    self.compare_value(&format!("{path}.{}", key.name), expected, members.get(&key.name), unmet);
                }
            }
            (Kind::List(items), Some(Value::Array(values))) if items.len() == values.len() => {
                for (index, (expected, found)) in items.iter().zip(values).enumerate() {
                    self.compare_value(&format!("{path}[{index}]"), expected, Some(found), unmet);
                }
            }
            (_, found) => {
                let wanted = expected.to_value();
                if found != Some(&wanted) {
                    let found =
                        found.map_or("missing".to_owned(), |found| format!("`{}`", shortened(&found.to_string())));
                    // The message is logged, and the event may be a real one: no value is in it.
                    let problem = self.fails(expected, format!("`{path}` is not what is expected"));
                    let wanted = format!("`{}`", shortened(&wanted.to_string()));
                    unmet.push(problem.expected(wanted).hint(format!("it is {found}")));
                }
            }
        }
    }
}

fn route_of(expected: &Node) -> Option<&str> {
    match &expected.find("route")?.kind {
        Kind::Text(name) => Some(name),
        _ => None,
    }
}

/// Without the name of a route, every delivery may be meant.
fn is_of_route(expected: &Node, delivery: &Delivery) -> bool {
    route_of(expected).is_none_or(|name| *delivery.route == *name)
}

#[cfg(test)]
mod tests;
