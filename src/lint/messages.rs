//! Messages that Clerk makes, and that it may send itself.

use std::sync::LazyLock;

use serde_json::Value;

use super::{Route, Sight, warning};
use crate::clerk;
use crate::config::shortened;
use crate::jsonpath::{Role, Step};
use crate::problem::Problems;

const BY_CLERK: &str = "delivered_by_clerk";
const CODE: &str = "otp_code";

/// Events to try routes with: every sample, and each message both as Clerk sends it and as it does not.
pub(super) static TRIALS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let samples = clerk::samples().map(|sample| serde_json::from_str(sample.json).unwrap_or_default());
    samples.flat_map(both_ways).collect()
});

fn both_ways(event: Value) -> Vec<Value> {
    if event["data"].get(BY_CLERK).is_none() {
        return vec![event];
    }
    let as_said = |by_clerk: bool| {
        let mut event = event.clone();
        event["data"][BY_CLERK] = by_clerk.into();
        event
    };
    vec![as_said(false), as_said(true)]
}

/// Warns of a route for messages that does not ask who sends them.
pub(super) fn sent_by_clerk(route: &Route<'_>, problems: &mut Problems) {
    if !wants_only_messages(route) {
        return;
    }
    let looks = |step: &Step| matches!(step, Step::Member(name) if name == BY_CLERK);
    let mut queries = route.sights.iter().filter(|sight| !sight.in_template);
    if queries.any(|sight| sight.named.steps.iter().any(looks)) {
        return;
    }
    let node = route.node.find("filter").or_else(|| route.node.find("event")).unwrap_or(route.node);
    let what = format!("the route does not ask for `{BY_CLERK}`");
    let hint = format!("filter for `$.data.{BY_CLERK} == false`");
    problems.push(warning("sent_by_clerk", node, &what).hint(hint));
}

fn wants_only_messages(route: &Route<'_>) -> bool {
    let is_message = |text: &str| text.starts_with("email.") || text.starts_with("sms.");
    route.matcher.patterns().iter().all(|pattern| is_message(pattern.text()))
}

/// Warns of a route that sends codes, however old they are.
pub(super) fn code_without_max_age(route: &Route<'_>, problems: &mut Problems) {
    if route.message.has_max_age() || !wants_only_messages(route) {
        return;
    }
    let handed_over = |event: &&Value| event["data"][BY_CLERK] == false && route.matcher.takes(event, route.steps);
    let taken: Vec<&Value> = TRIALS.iter().filter(handed_over).collect();
    let is_code = |sight: &&Sight<'_>| {
        let steps = &sight.named.steps;
        // Of messages that no sample is like, only their variables are known to be codes.
        let names_code = || steps.iter().any(|step| matches!(step, Step::Member(name) if name == CODE));
        let has_code = taken.iter().any(|event| has_code(event, steps));
        sight.named.role == Role::Written && (has_code || (taken.is_empty() && names_code()))
    };
    if let Some(sight) = route.sights.iter().find(is_code) {
        let what = format!("`{}` has a code in it, and the route has no `max_age`", shortened(&sight.named.text));
        problems.push(warning("code_without_max_age", sight.node, &what).hint("such as `max_age: 10m`"));
    }
}

/// Whether the code of a message is in what the steps lead to.
fn has_code(event: &Value, steps: &[Step]) -> bool {
    let code = event["data"]["data"][CODE].as_str();
    code.is_some_and(|code| contains(event, steps, code))
}

fn contains(value: &Value, steps: &[Step], code: &str) -> bool {
    let Some((step, rest)) = steps.split_first() else { return value.to_string().contains(code) };
    match step {
        Step::Member(name) => value.get(name).is_some_and(|member| contains(member, rest, code)),
        Step::Index(index) => {
            let item = usize::try_from(*index).ok().and_then(|index| value.get(index));
            item.is_some_and(|item| contains(item, rest, code))
        }
        Step::Any => {
            let items = value.as_array().into_iter().flatten();
            let members = value.as_object().into_iter().flat_map(|members| members.values());
            items.chain(members).any(|below| contains(below, rest, code))
        }
        Step::Below => value.to_string().contains(code),
    }
}
