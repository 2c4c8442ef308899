//! Paths that lead nowhere, that are always there, or that lead to the first of several.

use super::{Route, Sight, warning};
use crate::clerk::{self, Reach, Shape};
use crate::config::{quoted, shortened};
use crate::jsonpath::{Role, Step, Use};
use crate::problem::Problems;

/// Warns of a path that no sample of the wanted events has.
pub(super) fn unknown_path(route: &Route<'_>, sight: &Sight<'_>, problems: &mut Problems) {
    let named = &sight.named;
    let from = route.seen_from(sight);
    let Reach::Nowhere { at, among } = from.reach(&named.steps) else { return };
    // Inside a block or a nested filter, it is told of what that is about.
    if at < named.inherited {
        return;
    }
    let what = format!("`{}` is {}", shortened(&named.text), nowhere(route, sight));
    let in_event = std::ptr::eq(from, &*route.event);
    let kind = route.kinds.first().filter(|_| in_event);
    let samples = || kind.map(|kind| format!("`deskbell samples {kind}` shows what is there"));
    let hint = instead(route, sight, at, &among).or_else(samples);
    problems.push(warning("unknown_path", sight.node, &what).maybe_hint(hint));
}

fn nowhere(route: &Route<'_>, sight: &Sight<'_>) -> String {
    match (sight.named.steps.first(), route.kinds.as_slice()) {
        (Some(Step::Member(name)), _) if sight.in_template && name == "vars" => "not in `vars` of the file".to_owned(),
        (_, kinds @ [_, ..]) if kinds.len() <= 3 => format!("in no sample of {}", quoted(kinds)),
        _ => "in no sample of any event that the route wants".to_owned(),
    }
}

/// What was probably meant.
fn instead(route: &Route<'_>, sight: &Sight<'_>, at: usize, among: &[&Shape]) -> Option<String> {
    let named = &sight.named;
    let Step::Member(name) = &named.steps[at] else { return None };
    if among.iter().any(|shape| shape.is_list()) {
        return Some(of_a_list(name, &as_written(sight, at, &[]), sight.in_template));
    }
    // A block starts at its item.
    let outside = [&*route.event, route.surroundings].into_iter().any(|shape| shape.member(name).is_some());
    if sight.in_template && outside && at > 0 && at == named.inherited {
        return Some(format!("a path in a block starts at its item: write `@root.{}`", named.text));
    }
    match (at, name.as_str()) {
        (0, "item") => return Some("there is an `item` in the templates of a route with `each`".to_owned()),
        (0, "vars" | "source" | "webhook") => return Some(format!("only templates see `{name}`")),
        _ => {}
    }
    meant(sight, at, name, among).map(|meant| format!("did you mean `{meant}`?"))
}

/// A helper for it, a name that is near, or the name where it is one step further down.
fn meant(sight: &Sight<'_>, at: usize, name: &str, among: &[&Shape]) -> Option<String> {
    let helper = |word: &str| helper_for(word, among).filter(|_| sight.in_template);
    let names = among.iter().flat_map(|shape| shape.member_names());
    let member = || clerk::nearest(name, names).map(|near| as_written(sight, at, &[near]));
    let below = || one_below(name, among).map(|names| as_written(sight, at, &names));
    let holder = written(&sight.named.steps[..at], true);
    let call = |helper: &str| match (holder.as_str(), as_written(sight, at, &[]).as_str()) {
        ("data", _) => format!("{{{{{helper}}}}}"),
        (_, "") => format!("{{{{{helper} this}}}}"),
        (_, person) => format!("{{{{{helper} {person}}}}}"),
    };
    let nearly = || clerk::nearest(name, HELPERS.iter().map(|(word, _, _)| *word)).and_then(helper);
    helper(name).map(call).or_else(member).or_else(|| nearly().map(call)).or_else(below)
}

/// The path as far as it leads somewhere, in the words of the file, and other names behind it.
fn as_written(sight: &Sight<'_>, at: usize, names: &[&str]) -> String {
    let Use { steps, inherited, text, .. } = &sight.named;
    // Such as `$.`, `@.`, `item.` or `../`.
    let start = match steps.get(*inherited) {
        Some(Step::Member(first)) => text.find(first.as_str()).map_or("", |end| &text[..end]),
        _ => "",
    };
    let own = steps[*inherited..at].iter().cloned();
    let steps: Vec<Step> = own.chain(names.iter().map(|name| Step::Member((*name).to_owned()))).collect();
    format!("{start}{}", written(&steps, sight.in_template))
}

fn of_a_list(name: &str, list: &str, in_template: bool) -> String {
    match (name, in_template) {
        ("length" | "size" | "count", true) => format!("write `{{{{len {list}}}}}`"),
        ("length" | "size" | "count", false) => format!("write `length({list})`"),
        (_, true) => format!("it is a list: `{{{{#each {list}}}}}` goes through it, and `{list}.[0]` is the first"),
        (_, false) => format!("it is a list: write `{list}[*].{name}`, or `{list}[?@.{name} == …]`"),
    }
}

/// What people look for in a user, what is there instead, and the helper that knows.
const HELPERS: [(&str, &str, &str); 7] = [
    ("email", "email_addresses", "primary_email"),
    ("email_address", "email_addresses", "primary_email"),
    ("primary_email", "email_addresses", "primary_email"),
    ("phone", "phone_numbers", "primary_phone"),
    ("phone_number", "phone_numbers", "primary_phone"),
    ("name", "first_name", "full_name"),
    ("full_name", "first_name", "full_name"),
];

fn helper_for(word: &str, among: &[&Shape]) -> Option<&'static str> {
    let has = |member: &str| among.iter().any(|shape| shape.member(member).is_some());
    let found = HELPERS.iter().find(|(known, member, _)| *known == word && has(member));
    found.map(|(_, _, helper)| *helper)
}

/// A member of this name one level below, if only one has it.
fn one_below<'s>(name: &'s str, among: &[&'s Shape]) -> Option<Vec<&'s str>> {
    let below =
        |holder: &&str| among.iter().filter_map(|shape| shape.member(holder)).any(|held| held.member(name).is_some());
    let mut holders = among.iter().flat_map(|shape| shape.member_names()).filter(below);
    let first = holders.next()?;
    // The event itself is the first place to look.
    (first == "data" || holders.next().is_none()).then(|| vec![first, name])
}

/// Steps as a template or a query has them.
fn written(steps: &[Step], in_template: bool) -> String {
    let step = |step: &Step| match step {
        Step::Member(name) => format!(".{name}"),
        Step::Index(index) if in_template => format!(".[{index}]"),
        Step::Index(index) => format!("[{index}]"),
        Step::Any | Step::Below if in_template => ".[0]".to_owned(),
        Step::Any | Step::Below => "[*]".to_owned(),
    };
    let text: String = steps.iter().map(step).collect();
    text.trim_start_matches('.').to_owned()
}

/// Warns of a test whether a member is there that every sample has.
pub(super) fn always_there(route: &Route<'_>, sight: &Sight<'_>, problems: &mut Problems) {
    let named = &sight.named;
    let Role::Test { negated } = named.role else { return };
    let (holder, tested) = named.steps.split_at(named.inherited);
    let Reach::Known(holders) = route.event.reach(holder) else { return };
    let found: Option<Vec<&Shape>> = holders.iter().map(|holder| holder.always(tested)).collect();
    let Some(found) = found.filter(|_| !tested.is_empty()) else { return };
    let text = shortened(&named.text);
    let verdict = if negated { "never" } else { "always" };
    let not = if negated { "!" } else { "" };
    let what = format!("every sample has `{text}`, so that `{not}{text}` {verdict} holds");
    let any = |is: fn(&Shape) -> bool| found.iter().any(|shape| is(shape));
    let value = if any(Shape::is_boolean) {
        format!("{text} == {}", !negated)
    } else if any(Shape::is_text) || any(Shape::is_list) {
        format!("{not}(length({text}) > 0)")
    } else {
        format!("{text} {} null", if negated { "==" } else { "!=" })
    };
    let value = value.strip_prefix('(').and_then(|value| value.strip_suffix(')')).unwrap_or(&value);
    problems.push(warning("always_there", sight.node, &what).hint(format!("compare it, as in `{value}`")));
}

const LISTS: [(&str, &str, &str); 2] = [
    ("email_addresses", "primary_email_address_id", "primary_email"),
    ("phone_numbers", "primary_phone_number_id", "primary_phone"),
];

/// Warns of the first address or number of a user where the primary one is meant.
pub(super) fn first_not_primary(route: &Route<'_>, sight: &Sight<'_>, problems: &mut Problems) {
    let steps = &sight.named.steps;
    for (list, primary, helper) in LISTS {
        let is_first =
            |steps: &[Step]| matches!(steps, [Step::Member(name), Step::Index(0), Step::Member(_)] if name == list);
        let Some(at) = steps.windows(3).position(is_first) else { continue };
        if at + 2 < sight.named.inherited || asks_for(route, primary) {
            continue;
        }
        let what = format!("`{}` is of the first in `{list}`", shortened(&sight.named.text));
        let hint = match (sight.in_template, written(&steps[..at], sight.in_template).as_str()) {
            (true, "data") => format!("`{{{{{helper}}}}}` is the primary one"),
            (true, user) => format!("`{{{{{helper} {user}}}}}` is the primary one"),
            (false, user) => format!("write `$.{user}.{list}[?@.id == $.{user}.{primary} && …]` for the primary one"),
        };
        problems.push(warning("first_not_primary", sight.node, &what).hint(hint));
    }
}

/// A route that looks at the id of the primary one knows what it does.
fn asks_for(route: &Route<'_>, primary: &str) -> bool {
    let names = |step: &Step| matches!(step, Step::Member(name) if name == primary);
    route.sights.iter().any(|sight| sight.named.steps.iter().any(names))
}
