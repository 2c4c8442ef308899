//! Handlebars as `routes.yaml` uses it: one template per leaf, compiled when the file is read.

mod functions;
mod left_out;
mod paths;
mod plain;
mod view;

use std::sync::{Arc, LazyLock};

use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{
    Handlebars, RenderContext, RenderErrorReason, Renderable, Template as Compiled, TemplateErrorReason, no_escape,
};
use serde_json::{Map, Value};

use crate::config::{Kind, Node};
use crate::jsonpath::Query;
use crate::problem::{Problem, Problems, WORK_OF_A_MISTAKE};
pub use left_out::LeftOut;
pub use view::View;

/// The longest template text, in bytes, and the deepest nesting inside it. Far above what a
/// notification needs, and low enough that neither compiling nor rendering gets out of hand.
const MAX_BYTES: usize = 64 * 1024;
const MAX_NESTING: usize = 16;

/// Helpers that come with Handlebars. `log` is not among them: it would log what people write to it.
const BUILT_IN: [&str; 15] =
    ["if", "unless", "each", "with", "lookup", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not", "len"];
const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];
/// Writes a value as JSON, so that a leaf of one expression keeps its type.
const TYPED: &str = "deskbell-typed";
/// Counts the rounds of a loop.
const ROUND: &str = "deskbell-round";

static REGISTRY: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut registry = Handlebars::new();
    registry.register_escape_fn(no_escape);
    registry.unregister_helper("log");
    registry.unregister_helper("raw");
    functions::register(&mut registry);
    registry
});

/// The text of one leaf, compiled.
#[derive(Clone, Debug)]
pub struct Template {
    compiled: Arc<Compiled>,
    typed: bool,
    /// The path, if the text is nothing else: looking it up costs a tenth of what Handlebars does.
    path: Option<Arc<[String]>>,
    /// The expressions of a text that says nothing if one of them does, as an id.
    parts: Arc<[Compiled]>,
    /// The compiled texts of `jsonpath` calls.
    queries: Arc<[(String, Arc<Query>)]>,
    loops: bool,
}

/// Why a template cannot be compiled.
#[derive(Debug)]
pub struct TemplateError {
    pub message: String,
    pub hint: Option<String>,
    /// Where it goes wrong: line and column inside the text, from 1.
    pub place: Option<(usize, usize)>,
}

impl TemplateError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, place: None }
    }

    fn hinting(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Where it goes wrong, in characters from the start of the text.
    fn offset(&self, text: &str) -> Option<usize> {
        let (line, column) = self.place?;
        let before: usize = text.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
        Some(before + column - 1)
    }
}

impl Template {
    pub fn compile(text: &str) -> Result<Self, TemplateError> {
        check_bounds(text)?;
        let mut compiled = Compiled::compile(text).map_err(|error| syntax_error(&error))?;
        let mut queries = Vec::new();
        check_elements(&compiled, &mut queries)?;
        let loops = count_rounds(&mut compiled);
        let typed = keep_type(&mut compiled);
        let path = plain::path(&compiled).filter(|_| typed);
        Ok(Self { loops, compiled: Arc::new(compiled), typed, path, parts: Arc::new([]), queries: queries.into() })
    }

    /// The same template for an id: half of one would be somebody else's, so if one of its
    /// expressions is missing, all of it is.
    pub fn whole(self) -> Self {
        let expressions = self.compiled.elements.iter().filter(|_| !self.typed);
        let parts = expressions.filter_map(|element| {
            let mut part = Compiled::default();
            part.elements = vec![element.clone()];
            keep_type(&mut part).then_some(part)
        });
        Self { parts: parts.collect(), ..self }
    }

    /// Whether the text starts with something that is always the same.
    pub fn has_literal_prefix(&self) -> bool {
        matches!(self.compiled.elements.first(), Some(TemplateElement::RawString(text)) if !text.is_empty())
    }

    /// The rendered value; none if a single expression is missing, null or an empty text.
    ///
    /// # Errors
    /// A helper that was given something it cannot work with.
    pub fn render(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        if let Some(Ok(found)) = self.path.as_deref().map(|path| view.find(path)) {
            return found.map_or(Ok(None), |value| view.take(value));
        }
        for part in self.parts.iter() {
            if typed_value(&self.run(part, view)?).is_none() {
                return Ok(None);
            }
        }
        let text = self.run(&self.compiled, view)?;
        Ok(if self.typed { typed_value(&text) } else { Some(Value::String(text)) })
    }

    fn run(&self, compiled: &Compiled, view: &View<'_>) -> Result<String, String> {
        let mut render_context = RenderContext::new(None);
        if !self.queries.is_empty() {
            let helper = functions::JsonPath { queries: self.queries.clone() };
            render_context.register_local_helper("jsonpath", Box::new(helper));
        }
        if self.loops {
            render_context.register_local_helper(ROUND, Box::new(view.round()));
        }
        let mut page = view.page();
        compiled
            .render(&REGISTRY, view.context(), &mut render_context, &mut page)
            .map_err(|error| explain(error.reason()))?;
        Ok(page.text)
    }
}

fn typed_value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(|value| !is_empty(value))
}

/// Null and the empty text say nothing.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn check_bounds(text: &str) -> Result<(), TemplateError> {
    if text.len() > MAX_BYTES {
        return Err(TemplateError::new(format!(
            "the template has {} bytes, and at most {MAX_BYTES} are taken",
            text.len()
        )));
    }
    let depth = |open: &str, close: &str| {
        let mut depth = 0_usize;
        let mut deepest = 0;
        for at in 0..text.len() {
            let rest = &text.as_bytes()[at..];
            if rest.starts_with(open.as_bytes()) {
                depth += 1;
                deepest = deepest.max(depth);
            } else if rest.starts_with(close.as_bytes()) {
                depth = depth.saturating_sub(1);
            }
        }
        deepest
    };
    if depth("(", ")").max(depth("{{#", "{{/")).max(depth("[", "]")) > MAX_NESTING {
        return Err(TemplateError::new(format!("the template is nested more than {MAX_NESTING} deep")));
    }
    Ok(())
}

fn syntax_error(error: &handlebars::TemplateError) -> TemplateError {
    // What a syntax error goes on to say are names inside the grammar.
    let reason = match error.reason() {
        TemplateErrorReason::InvalidSyntax(_) => String::new(),
        reason => format!(": {}", reason.to_string().lines().next().unwrap_or_default()),
    };
    let hint =
        "an expression is `{{data.first_name}}` or `{{upper data.first_name}}`, a block `{{#if data.banned}}…{{/if}}`";
    let error_at =
        TemplateError { place: error.pos(), ..TemplateError::new(format!("not a Handlebars template{reason}")) };
    error_at.hinting(hint)
}

fn explain(reason: &RenderErrorReason) -> String {
    match reason {
        RenderErrorReason::NestedError(error) => error.to_string(),
        RenderErrorReason::IOError(error) => error.to_string(),
        other => other.to_string(),
    }
}

type Queries = Vec<(String, Arc<Query>)>;

fn check_elements(template: &Compiled, queries: &mut Queries) -> Result<(), TemplateError> {
    let places = template.mapping.iter().map(|place| (place.0, place.1));
    for (element, place) in template.elements.iter().zip(places) {
        // What is inside of it knows better where.
        check_element(element, queries)
            .map_err(|error| TemplateError { place: error.place.or(Some(place)), ..error })?;
    }
    Ok(())
}

fn check_element(element: &TemplateElement, queries: &mut Queries) -> Result<(), TemplateError> {
    match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
        TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => check_call(call, false, queries),
        TemplateElement::HelperBlock(call) => {
            check_call(call, true, queries)?;
            let parts = [&call.template, &call.inverse].into_iter().flatten();
            parts.into_iter().try_for_each(|part| check_elements(part, queries))
        }
        _ => Err(TemplateError::new("partials and decorators are not available here")),
    }
}

fn check_call(call: &HelperTemplate, block: bool, queries: &mut Queries) -> Result<(), TemplateError> {
    let name = call_name(call);
    let is_call = block || !call.params.is_empty() || !call.hash.is_empty();
    if block && !BLOCKS.contains(&name.as_str()) {
        return Err(unknown_helper(&name, &BLOCKS, "block"));
    }
    let known: Vec<&str> = BUILT_IN.iter().copied().chain(functions::NAMES).collect();
    if is_call && !known.contains(&name.as_str()) {
        return Err(unknown_helper(&name, &known, "helper"));
    }
    functions::check_literals(&name, &call.params)?;
    if name == "jsonpath" {
        queries.push(functions::compile_query(&call.params)?);
    }
    for parameter in call.params.iter().chain(call.hash.values()) {
        if let Parameter::Subexpression(inner) = parameter {
            check_element(&inner.element, queries)?;
        }
    }
    Ok(())
}

fn call_name(call: &HelperTemplate) -> String {
    call.name.as_name().unwrap_or_default().to_owned()
}

fn unknown_helper(name: &str, known: &[&str], what: &str) -> TemplateError {
    let near = crate::clerk::nearest(name, known.iter().copied());
    TemplateError::new(format!("there is no {what} `{name}`")).hinting(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", crate::config::quoted(known)),
    })
}

/// Makes a template of exactly one expression write its value as JSON.
fn keep_type(template: &mut Compiled) -> bool {
    let call = match template.elements.as_slice() {
        [TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call)] => call.clone(),
        _ => return false,
    };
    let is_helper = !call.params.is_empty() || functions::NAMES.contains(&call_name(&call).as_str());
    let value = match is_helper {
        true => Parameter::Subexpression(Subexpression::new(call.name.clone(), call.params.clone(), call.hash.clone())),
        false => call.name.clone(),
    };
    let mut typed = call;
    typed.name = Parameter::Name(TYPED.to_owned());
    typed.params = vec![value];
    typed.hash.clear();
    template.elements = vec![TemplateElement::Expression(typed)];
    true
}

/// Puts a count at the start of every loop. Says whether there is one.
fn count_rounds(template: &mut Compiled) -> bool {
    let mut loops = false;
    for element in &mut template.elements {
        let TemplateElement::HelperBlock(call) = element else { continue };
        let is_loop = call_name(call) == "each";
        for inner in [&mut call.template, &mut call.inverse].into_iter().flatten() {
            loops |= count_rounds(inner);
        }
        if let Some(body) = call.template.as_mut().filter(|_| is_loop) {
            let round = Compiled::compile(&format!("{{{{{ROUND}}}}}")).unwrap_or_default();
            body.elements.splice(0..0, round.elements);
            body.mapping.splice(0..0, round.mapping);
            loops = true;
        }
    }
    loops
}

/// A tree of templates, as in `payload`.
#[derive(Clone, Debug)]
pub enum Tree {
    Literal(Value),
    Leaf(Template),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    pub fn compile(node: &Node, problems: &mut Problems) -> Option<Self> {
        Some(match &node.kind {
            Kind::Text(text) if text.contains("{{") => Tree::Leaf(compile_at(node, text, problems)?),
            Kind::List(items) => Tree::List(items.iter().filter_map(|item| Tree::compile(item, problems)).collect()),
            Kind::Object(entries) => Tree::Object(
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((key.name.clone(), Tree::compile(value, problems)?)))
                    .collect(),
            ),
            _ => Tree::Literal(node.to_json(problems)?),
        })
    }

    /// Makes a member of an object an id: see [`Template::whole`].
    pub fn with_id(self, id: &str) -> Self {
        let whole = |(key, tree)| match tree {
            Tree::Leaf(template) if key == id => (key, Tree::Leaf(template.whole())),
            tree => (key, tree),
        };
        match self {
            Tree::Object(entries) => Tree::Object(entries.into_iter().map(whole).collect()),
            tree => tree,
        }
    }

    /// The rendered tree, without the leaves that have nothing to say.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render(&self, view: &View<'_>) -> Result<Option<Value>, String> {
        Ok(Some(match self {
            Tree::Literal(value) => {
                view.spend(value.as_str().map_or(0, str::len))?;
                value.clone()
            }
            Tree::Leaf(template) => return template.render(view),
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.render(view)?);
                }
                Value::Array(list)
            }
            Tree::Object(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    object.extend(value.render(view)?.map(|value| (key.clone(), value)));
                }
                Value::Object(object)
            }
        }))
    }
}

/// What compiling a text costs, in short queries. Handlebars counts lines and columns from the start of the text for
/// each expression.
fn work(text: &str) -> usize {
    let expressions = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or(rest).len());
    let count = expressions.clone().count();
    1 + count + expressions.sum::<usize>() / 8 + count * count / 2_000
}

/// Compiles the text of a node, or reports why not.
pub fn compile_at(node: &Node, text: &str, problems: &mut Problems) -> Option<Template> {
    problems.spend(node, work(text))?;
    match Template::compile(text) {
        Ok(template) => {
            let work = template.queries.iter().map(|(_, query)| query.work()).sum();
            problems.spend(node, work).map(|()| template)
        }
        Err(error) => {
            problems.spend(node, WORK_OF_A_MISTAKE)?;
            let offset = error.offset(text);
            let problem = Problem::error("bad_template", node, error.message).maybe_hint(error.hint);
            problems.push(match offset {
                Some(offset) => problem.inside(text, offset),
                None => problem,
            });
            None
        }
    }
}

#[cfg(test)]
mod tests;
