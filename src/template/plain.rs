//! A leaf that is nothing but a path of names, such as `{{data.id}}`: most are, and need no Handlebars.

use std::sync::Arc;

use handlebars::template::{Parameter, Template, TemplateElement};
use handlebars::{Path, PathSeg};
use serde_json::Value;

use super::{View, is_empty};

/// A path leads through something else than members of objects, and Handlebars knows where to.
pub struct Elsewhere;

/// The path that a template of one typed expression writes, if it is only names.
pub fn path(typed: &Template) -> Option<Arc<[String]>> {
    let [TemplateElement::Expression(call)] = typed.elements.as_slice() else { return None };
    let [Parameter::Path(Path::Relative((segments, _)))] = call.params.as_slice() else { return None };
    let name = |segment: &PathSeg| match segment {
        PathSeg::Named(name) => Some(name.clone()),
        _ => None,
    };
    segments.iter().map(name).collect()
}

impl View<'_> {
    /// What is at a path.
    pub fn find(&self, path: &[String]) -> Result<Option<&Value>, Elsewhere> {
        let (first, rest) = path.split_first().ok_or(Elsewhere)?;
        let beside = self.beside.iter().find(|(name, _)| name == first);
        let start = beside.map(|(_, value)| &**value).or_else(|| self.event.get(first));
        rest.iter().try_fold(start, |value, name| match value {
            Some(Value::Array(_)) => Err(Elsewhere),
            value => Ok(value.and_then(|value| value.get(name))),
        })
    }

    /// A value as it is; none if it says nothing. It costs as much as if it were written.
    ///
    /// # Errors
    /// It is too much.
    pub fn take(&self, value: &Value) -> Result<Option<Value>, String> {
        self.spend(match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => value.to_string().len(),
            _ => 0,
        })?;
        Ok((!is_empty(value)).then(|| value.clone()))
    }
}
