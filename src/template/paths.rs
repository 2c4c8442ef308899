//! Which places of an event a template names, and which of them it writes out.

use handlebars::template::{BlockParam, HelperTemplate, Parameter, TemplateElement};
use handlebars::{Path, PathSeg};
use serde_json::Value;

use super::{BUILT_IN, ROUND, TYPED, Template, call_name, functions};
use crate::jsonpath::{Role, Step, Use};

/// Helpers that write what they are given. All others say something about it.
const WRITES_ALL: [&str; 1] = ["default"];
const WRITES_FIRST: [&str; 6] = ["lower", "upper", "trim", "replace", "date", "json"];

impl Template {
    /// Every place that the template names.
    pub fn uses(&self) -> Vec<Use> {
        let root = Scope { base: Some(Vec::new()), names: Vec::new() };
        let mut reader = Reader { template: self, scopes: vec![root], uses: Vec::new() };
        reader.elements(&self.compiled.elements);
        reader.uses
    }
}

/// What a path starts at, inside a block.
struct Scope {
    /// None if it is a value that a helper made.
    base: Option<Vec<Step>>,
    /// Block parameters, as in `{{#each data.items as |item|}}`.
    names: Vec<(String, Option<Vec<Step>>)>,
}

struct Reader<'t> {
    template: &'t Template,
    scopes: Vec<Scope>,
    uses: Vec<Use>,
}

impl Reader<'_> {
    fn elements(&mut self, elements: &[TemplateElement]) {
        for element in elements {
            match element {
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => {
                    self.call(call, Role::Written);
                }
                TemplateElement::HelperBlock(call) => self.block(call),
                _ => {}
            }
        }
    }

    fn block(&mut self, call: &HelperTemplate) {
        let name = call_name(call);
        let mut about = None;
        for parameter in call.params.iter().chain(call.hash.values()) {
            let value = self.value(parameter, Role::Looked);
            about = about.or(value);
        }
        let opens_scope = matches!(name.as_str(), "each" | "with");
        if opens_scope {
            if let (Some(steps), "each") = (&mut about, name.as_str()) {
                steps.push(Step::Any);
            }
            let names = match &call.block_param {
                Some(BlockParam::Single(value)) => vec![(value, about.clone())],
                Some(BlockParam::Pair((value, key))) => vec![(value, about.clone()), (key, None)],
                _ => Vec::new(),
            };
            let names = names.into_iter().filter_map(|(name, steps)| Some((name.as_name()?.to_owned(), steps)));
            let names = names.collect();
            self.scopes.push(Scope { base: about, names });
        }
        call.template.iter().for_each(|inner| self.elements(&inner.elements));
        if opens_scope {
            self.scopes.pop();
        }
        call.inverse.iter().for_each(|inner| self.elements(&inner.elements));
    }

    /// Reads a value, and says which place it is, if it is one.
    fn value(&mut self, parameter: &Parameter, role: Role) -> Option<Vec<Step>> {
        match parameter {
            Parameter::Path(path) => {
                let (steps, inherited) = self.resolve(path)?;
                self.name(steps, inherited, raw(path), role)
            }
            Parameter::Subexpression(inner) => match &*inner.element {
                TemplateElement::Expression(call) => self.call(call, role),
                _ => None,
            },
            _ => None,
        }
    }

    fn name(&mut self, steps: Vec<Step>, inherited: usize, text: String, role: Role) -> Option<Vec<Step>> {
        self.uses.push(Use { steps: steps.clone(), inherited, text, role });
        Some(steps)
    }

    fn call(&mut self, call: &HelperTemplate, role: Role) -> Option<Vec<Step>> {
        let name = call_name(call);
        let is_helper = functions::NAMES.contains(&name.as_str()) || BUILT_IN.contains(&name.as_str());
        match name.as_str() {
            TYPED => return self.value(call.params.first()?, role),
            ROUND => return None,
            "lookup" => return self.lookup(call, role),
            "jsonpath" => return self.jsonpath(call, role),
            _ if !is_helper => return self.value(&call.name, role),
            _ => {}
        }
        for (position, parameter) in call.params.iter().enumerate() {
            let writes =
                WRITES_ALL.contains(&name.as_str()) || (position == 0 && WRITES_FIRST.contains(&name.as_str()));
            self.value(parameter, if writes { role } else { Role::Looked });
        }
        for parameter in call.hash.values() {
            self.value(parameter, Role::Looked);
        }
        None
    }

    /// `lookup data.public_metadata "plan"` is the place below.
    fn lookup(&mut self, call: &HelperTemplate, role: Role) -> Option<Vec<Step>> {
        let [holder, key] = call.params.as_slice() else { return None };
        let step = match key {
            Parameter::Literal(Value::String(name)) => Step::Member(name.clone()),
            Parameter::Literal(Value::Number(index)) => Step::Index(index.as_i64()?),
            other => {
                self.value(other, Role::Looked);
                Step::Any
            }
        };
        let Parameter::Path(path) = holder else {
            self.value(holder, role);
            return None;
        };
        let (mut steps, inherited) = self.resolve(path)?;
        let text = match &step {
            Step::Member(name) => format!("{}.{name}", raw(path)),
            Step::Index(index) => format!("{}.[{index}]", raw(path)),
            Step::Any | Step::Below => raw(path),
        };
        steps.push(step);
        self.name(steps, inherited, text, role)
    }

    fn jsonpath(&mut self, call: &HelperTemplate, role: Role) -> Option<Vec<Step>> {
        let Some(Parameter::Literal(Value::String(text))) = call.params.first() else { return None };
        let (_, query) = self.template.queries.iter().find(|(known, _)| known == text)?;
        self.uses.extend(query.uses(role));
        query.is_singular().then(|| query.steps())
    }

    /// The steps of a path from the event, and how many of them its blocks give it.
    fn resolve(&self, path: &Path) -> Option<(Vec<Step>, usize)> {
        // A local one, such as `@index`, is no part of the event.
        let Path::Relative((segments, text)) = path else { return None };
        let names = segments.iter().filter_map(|segment| match segment {
            PathSeg::Named(name) => Some(name.as_str()),
            _ => None,
        });
        let mut names: Vec<&str> = names.collect();
        let ups = segments.len() - names.len();
        let parameter = self.scopes.iter().rev().flat_map(|scope| &scope.names);
        let base = match parameter.into_iter().find(|(known, _)| names.first() == Some(&known.as_str())) {
            _ if text.contains("@root") => Some(&[][..]),
            Some((_, steps)) => {
                names.remove(0);
                steps.as_deref()
            }
            None => {
                let current = self.scopes.len() - 1;
                self.scopes.get(current.checked_sub(ups).unwrap_or(current))?.base.as_deref()
            }
        }?;
        let steps = names.into_iter().map(|name| match name.parse() {
            Ok(index) => Step::Index(index),
            Err(_) => Step::Member(name.to_owned()),
        });
        Some((base.iter().cloned().chain(steps).collect(), base.len()))
    }
}

/// The path as it is written.
fn raw(path: &Path) -> String {
    match path {
        Path::Relative((_, text)) | Path::Local((_, _, text)) => text.clone(),
    }
}
