//! The keys of `routes.yaml`: what each is called, what may stand there, its default, and what it is for.
//!
//! The one place for all of it. The compiler reads from these tables, and the JSON Schema and the reference in the
//! README are made from them.

mod tables;

use serde_json::Value;

pub use tables::{
    DELIVERY, EXPECT, FILE, LIMITS, MAX_CONTEXT, MAX_EACH, MAX_NAME, NOVU, RETRY, ROUTE, SOURCE, SUBSCRIBER, TEST,
    WARNINGS, WORKFLOW, Warning,
};

/// An object whose keys are known.
#[derive(Debug)]
pub struct Object {
    /// What messages call it, such as `route`.
    pub name: &'static str,
    pub keys: &'static [Key],
    pub rivals: Rivals,
}

/// Keys of an object of which no two stand beside each other.
#[derive(Debug)]
pub enum Rivals {
    None,
    AtMostOne([&'static str; 2]),
    ExactlyOne([&'static str; 2]),
}

/// A key of an object.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    /// What it is for, without a full stop at the end.
    pub about: &'static str,
    /// If it has to be there: what to say where it is not.
    pub required: Option<&'static str>,
    /// As it would stand in the file, on one line.
    pub default: Option<&'static str>,
    pub example: Option<&'static str>,
    /// The largest number or size, the most characters, entries or nodes.
    pub most: Option<u64>,
}

/// What may stand where a value belongs.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Boolean,
    /// Such as `10m`, and more than nothing.
    Duration,
    /// Such as `1MiB`, or a number of bytes.
    Size,
    /// A whole number from 1.
    Count,
    /// `auto`, or such as `60/s`.
    Rate,
    /// `auto`, or a size.
    Room,
    /// One of these.
    Word(&'static [&'static str]),
    /// Any text.
    Text,
    /// The name of a route.
    Name,
    /// A text with something in it besides spaces.
    Filled,
    /// A Clerk event type, or a glob.
    EventType,
    /// The name of a sample.
    Sample,
    /// The code of a warning.
    Warning,
    /// A Novu workflow id.
    WorkflowId,
    /// A Novu workflow id, or a template behind a literal prefix.
    Workflow,
    /// Any value, null as well: part of an event, or compared with what is sent.
    Any,
    /// An event written out.
    Event,
    /// A tree of templates: any value, and no null in it.
    Tree,
    Object(&'static Object),
    /// An object of any keys.
    Map(&'static Shape),
    /// At least one object, each under a name that can be part of an address.
    Named(&'static Object),
    List(&'static Shape),
    /// One value, or a list of at least so many.
    OneOrList(&'static Shape, usize),
    Either(&'static Shape, &'static Shape),
}

impl Object {
    /// A key by its name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The default of a key; an empty text if it has none.
    pub fn default(&self, name: &str) -> &'static str {
        self.key(name).and_then(|key| key.default).unwrap_or_default()
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().map(|key| key.name)
    }
}

impl Key {
    const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, about, required: None, default: None, example: None, most: None }
    }

    const fn required(self, hint: &'static str) -> Self {
        Self { required: Some(hint), ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    const fn most(self, most: u64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// The default as a value.
    pub fn default_value(&self) -> Option<Value> {
        self.default.map(value)
    }

    /// The example as a value.
    pub fn example_value(&self) -> Option<Value> {
        self.example.map(value)
    }

    /// The limit as people write it.
    pub fn limit(&self) -> Option<String> {
        let most = self.most?;
        Some(match self.shape {
            Shape::Size | Shape::Room if most >= 1 << 30 => format!("{}GiB", most >> 30),
            Shape::Size | Shape::Room => format!("{}MiB", most >> 20),
            Shape::Name => format!("{most} characters"),
            _ => most.to_string(),
        })
    }

    /// What the key is for, and its limit.
    pub fn meaning(&self) -> String {
        match self.limit() {
            Some(limit) => format!("{} (at most {limit})", self.about),
            None => self.about.to_owned(),
        }
    }

    /// All there is to say about the key.
    pub fn description(&self) -> String {
        let mut description = self.meaning();
        if let Shape::Word(words) = self.shape {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            description.push_str(&format!(": {}", words.join(", ")));
        }
        if let Some(default) = self.default {
            description.push_str(&format!(". Default: `{default}`"));
        }
        description
    }
}

/// A value as it stands on one line of the file: JSON if it is that, else a text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
