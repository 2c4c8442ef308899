//! Which leaves say nothing for an event, and why: a walk of its own, so that rendering pays nothing for it.

use handlebars::template::{HelperTemplate, Parameter, Template as Compiled, TemplateElement};
use serde::{Deserialize, Serialize};

use super::{Template, Tree, View, typed_value};

/// A leaf of a route that is not in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Such as `payload.plan`.
    pub path: String,
    pub reason: String,
}

impl LeftOut {
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl Template {
    /// Why the template renders to nothing, if it does.
    pub fn nothing(&self, view: &View<'_>) -> Option<String> {
        let whole = self.typed.then_some(&*self.compiled);
        self.parts.iter().chain(whole).find_map(|expression| {
            let written = self.run(expression, view).ok()?;
            typed_value(&written).is_none().then(|| silence(expression, &written))
        })
    }
}

impl Tree {
    /// Every leaf that [`Tree::render`] leaves out. `path` is where the tree stands in its route.
    pub fn left_out(&self, path: &str, view: &View<'_>, found: &mut Vec<LeftOut>) {
        match self {
            Tree::Literal(_) => {}
            Tree::Leaf(template) => {
                found.extend(template.nothing(view).map(|reason| LeftOut::new(path, reason)));
            }
            Tree::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.left_out(&format!("{path}[{index}]"), view, found);
                }
            }
            Tree::Object(entries) => {
                for (key, value) in entries {
                    value.left_out(&format!("{path}.{key}"), view, found);
                }
            }
        }
    }
}

/// What a single expression is told that has nothing to say. `written` is what it renders to, as JSON.
fn silence(expression: &Compiled, written: &str) -> String {
    let value = match expression.elements.as_slice() {
        [TemplateElement::Expression(typed)] => typed.params.first(),
        _ => None,
    };
    match (value.and_then(Parameter::as_name), written) {
        (Some(path), "") => format!("`{path}` is missing"),
        (Some(path), "null") => format!("`{path}` is null"),
        (Some(path), _) => format!("`{path}` is an empty text"),
        (None, _) => format!("`{{{{{}}}}}` gives nothing", value.map(source).unwrap_or_default()),
    }
}

/// A parameter as it is written in a template; a call without its brackets.
fn source(parameter: &Parameter) -> String {
    let call = |call: &HelperTemplate| {
        let parameters = call.params.iter().map(|parameter| match parameter {
            Parameter::Subexpression(_) => format!(" ({})", source(parameter)),
            parameter => format!(" {}", source(parameter)),
        });
        source(&call.name) + &parameters.collect::<String>()
    };
    match parameter {
        Parameter::Literal(value) => value.to_string(),
        Parameter::Subexpression(inner) => match &*inner.element {
            TemplateElement::Expression(inner) | TemplateElement::HtmlExpression(inner) => call(inner),
            _ => String::new(),
        },
        name => name.as_name().unwrap_or_default().to_owned(),
    }
}
