//! A template for each leaf of a tree.

use handlebars::Context;
use serde_json::{Map, Value};

use super::Template;
use crate::config::{Kind, Node};
use crate::problem::{Problem, Problems};

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
    pub fn render(&self, context: &Context) -> Result<Option<Value>, String> {
        Ok(Some(match self {
            Tree::Literal(value) => value.clone(),
            Tree::Leaf(template) => return template.render(context),
            Tree::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    list.extend(item.render(context)?);
                }
                Value::Array(list)
            }
            Tree::Object(entries) => {
                let mut object = Map::new();
                for (key, value) in entries {
                    object.extend(value.render(context)?.map(|value| (key.clone(), value)));
                }
                Value::Object(object)
            }
        }))
    }
}

/// Compiles the text of a node, or reports why not.
pub fn compile_at(node: &Node, text: &str, problems: &mut Problems) -> Option<Template> {
    match Template::compile(text) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.push(Problem::error("bad_template", node, error.message).maybe_hint(error.hint));
            None
        }
    }
}
