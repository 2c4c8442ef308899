//! What events of a type look like, merged over all their samples.

mod optional;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::Value;

use super::catalogue::samples;
use crate::jsonpath::Step;

/// What a value of an event may be, as far as the samples show.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    kinds: u8,
    members: BTreeMap<String, Member>,
    items: Option<Box<Shape>>,
    /// Whoever uses Clerk decides what is in it, or nobody knows.
    open: bool,
}

#[derive(Clone, Debug)]
struct Member {
    shape: Shape,
    always: bool,
}

/// Kinds of values, one bit each.
const NULL: u8 = 1;
const BOOLEAN: u8 = 2;
const NUMBER: u8 = 4;
const TEXT: u8 = 8;
const LIST: u8 = 16;
const OBJECT: u8 = 32;

/// Where a path leads.
#[derive(Debug)]
pub enum Reach<'s> {
    Known(Vec<&'s Shape>),
    /// Nobody can say.
    Open,
    /// Its step at `at` is in none of those before it.
    Nowhere {
        at: usize,
        among: Vec<&'s Shape>,
    },
}

/// What events of a type look like; none for a type that is not in the catalogue.
pub fn shape(event_type: &str) -> Option<&'static Shape> {
    static SHAPES: LazyLock<HashMap<&str, Shape>> = LazyLock::new(|| {
        let mut shapes: HashMap<&str, Shape> = HashMap::new();
        for sample in samples() {
            let event = serde_json::from_str(sample.json).unwrap_or_default();
            let shape = Shape::of_event(&event);
            shapes.entry(sample.event_type()).and_modify(|known| known.merge(&shape)).or_insert(shape);
        }
        shapes
    });
    SHAPES.get(event_type)
}

impl Shape {
    /// The shape of a value that is all there is.
    pub fn of(value: &Value) -> Self {
        Self::named("", value)
    }

    /// Anything may be in it.
    pub fn anything() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// An object of these, and nothing else.
    pub fn closed(members: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let members = members.into_iter().map(|(name, shape)| (name.to_owned(), Member { shape, always: true }));
        // The kind of text keeps an empty one from being taken for one that nobody has filled.
        Self { kinds: OBJECT | TEXT, members: members.collect(), ..Self::default() }
    }

    fn of_event(event: &Value) -> Self {
        let mut shape = Self::named("event", event);
        if let Some(data) = shape.members.get_mut("data") {
            data.shape.open = event["type"].as_str().is_some_and(optional::is_disputed);
            // What a message is made of depends on its template.
            if let Some(variables) = data.shape.members.get_mut("data") {
                variables.shape.open = true;
            }
        }
        shape
    }

    /// The shape of a value that stands under a name.
    fn named(name: &str, value: &Value) -> Self {
        let mut shape = Self { open: optional::is_open(name), ..Self::default() };
        shape.kinds = match value {
            Value::Null => NULL,
            Value::Bool(_) => BOOLEAN,
            Value::Number(_) => NUMBER,
            Value::String(_) => TEXT,
            Value::Array(_) => LIST,
            Value::Object(_) => OBJECT,
        };
        for item in value.as_array().into_iter().flatten() {
            let item = Self::named(name, item);
            match &mut shape.items {
                Some(items) => items.merge(&item),
                None => shape.items = Some(Box::new(item)),
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let member = Member { shape: Self::named(name, value), always: true };
            shape.members.insert(name.clone(), member);
        }
        if value.is_object() {
            shape.loosen(name, value);
        }
        shape
    }

    /// What Clerk may leave out is not always there, though all samples have it; nor is it unknown, though none has.
    fn loosen(&mut self, name: &str, value: &Value) {
        for optional in optional::members(name, value) {
            let member = self.members.entry(optional.to_owned());
            member.or_insert_with(|| Member { shape: Self::anything(), always: false }).always = false;
        }
    }

    /// Takes in what another may be.
    pub fn merge(&mut self, other: &Self) {
        let both_objects = self.kinds & other.kinds & OBJECT != 0;
        for (name, member) in &mut self.members {
            member.always &= other.members.contains_key(name) || !both_objects;
        }
        for (name, member) in &other.members {
            match self.members.get_mut(name) {
                Some(known) => {
                    known.shape.merge(&member.shape);
                    known.always &= member.always;
                }
                None => {
                    let always = member.always && !both_objects;
                    self.members.insert(name.clone(), Member { shape: member.shape.clone(), always });
                }
            }
        }
        match (&mut self.items, &other.items) {
            (Some(items), Some(others)) => items.merge(others),
            (items @ None, Some(others)) => *items = Some(others.clone()),
            _ => {}
        }
        self.kinds |= other.kinds;
        self.open |= other.open;
    }

    /// Nothing can be said of what is below: it is open, or no sample has anything there.
    fn is_open(&self) -> bool {
        let is_bare = self.members.is_empty() && self.items.is_none();
        self.open || (is_bare && self.kinds & !(NULL | LIST | OBJECT) == 0)
    }

    /// Where a path leads from here.
    pub fn reach<'s>(&'s self, steps: &[Step]) -> Reach<'s> {
        let mut reached = vec![self];
        for (at, step) in steps.iter().enumerate() {
            if *step == Step::Below || reached.iter().any(|shape| shape.is_open()) {
                return Reach::Open;
            }
            let below: Vec<&Shape> = reached.iter().flat_map(|shape| shape.below(step)).collect();
            if below.is_empty() {
                return Reach::Nowhere { at, among: reached };
            }
            reached = below;
        }
        Reach::Known(reached)
    }

    fn below(&self, step: &Step) -> Vec<&Shape> {
        match step {
            Step::Member(name) => self.member(name).into_iter().collect(),
            Step::Index(_) => self.items.as_deref().into_iter().collect(),
            Step::Any => self.members.values().map(|member| &member.shape).chain(self.items.as_deref()).collect(),
            Step::Below => Vec::new(),
        }
    }

    pub fn member(&self, name: &str) -> Option<&Shape> {
        self.members.get(name).map(|member| &member.shape)
    }

    pub fn member_names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// What is at the end of a path of names, if that is there in every sample.
    pub fn always(&self, steps: &[Step]) -> Option<&Shape> {
        steps.iter().try_fold(self, |shape, step| match step {
            Step::Member(name) if shape.kinds == OBJECT && !shape.open => {
                shape.members.get(name).filter(|member| member.always).map(|member| &member.shape)
            }
            _ => None,
        })
    }

    /// Whether a member of this name is known to be in it, or anywhere below.
    pub fn holds(&self, name: &str) -> bool {
        let mut below = self.members.values().map(|member| &member.shape).chain(self.items.as_deref());
        !self.open && (self.members.contains_key(name) || below.any(|shape| shape.holds(name)))
    }

    pub fn is_boolean(&self) -> bool {
        self.kinds & BOOLEAN != 0
    }

    pub fn is_text(&self) -> bool {
        self.kinds & TEXT != 0
    }

    pub fn is_list(&self) -> bool {
        self.kinds & LIST != 0
    }
}

#[cfg(test)]
mod tests;
