//! Values from outside, where nothing is put in for them.

use super::warning;
use crate::config::{Kind, Node, shortened};
use crate::problem::Problems;

/// Warns of `${VAR}` and `${file:…}` in what a route sends.
pub(super) fn not_resolved(node: &Node, problems: &mut Problems) {
    match &node.kind {
        Kind::Text(text) => {
            if let Some(name) = outside(text) {
                let what = format!("`${{{}}}` is sent as it stands", shortened(name));
                let hint = "put it into `vars`, as in `vars: { home: \"${HOME}\" }`, and write `{{vars.home}}` here";
                problems.push(warning("not_resolved", node, &what).hint(hint));
            }
        }
        Kind::List(items) => items.iter().for_each(|item| not_resolved(item, problems)),
        Kind::Object(entries) => entries.iter().for_each(|(_, value)| not_resolved(value, problems)),
        _ => {}
    }
}

/// The first name that stands in `${…}`. A `$` before a template is none.
fn outside(text: &str) -> Option<&str> {
    let candidates = text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let is_name = |name: &str| name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    candidates.into_iter().find(|name| !name.is_empty() && (name.starts_with("file:") || is_name(name)))
}
