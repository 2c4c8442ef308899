//! What a compiled filter or query finds in a document.

use super::{Logical, Operand, Operator, Pattern, Query, Selector, Slice, pattern};
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Ordering;

const MAXIMUM_STEPS: usize = 100_000;
const BYTES_PER_STEP: usize = 64;
const STEPS_TO_COMPILE_A_PATTERN: usize = 1_000;

/// One evaluation against one document, and how many steps it may still take.
pub(super) struct Evaluation<'a> {
    root: &'a Value,
    steps_left: Cell<Option<usize>>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(root: &'a Value) -> Evaluation<'a> {
        Evaluation { root, steps_left: Cell::new(Some(MAXIMUM_STEPS)) }
    }

    /// One of many evaluations that have so many steps together.
    pub(super) fn one_of_many<T>(root: &'a Value, steps: &Cell<usize>, run: impl FnOnce(&Self) -> T) -> T {
        let most = steps.get().min(MAXIMUM_STEPS);
        let evaluation = Evaluation { root, steps_left: Cell::new(Some(most)) };
        let result = run(&evaluation);
        steps.set(steps.get() - most + evaluation.steps_left.get().unwrap_or_default());
        result
    }

    /// Whether the steps ran out: what was found until then is not the whole answer.
    pub(super) fn is_exhausted(&self) -> bool {
        self.steps_left.get().is_none()
    }

    fn spend(&self, steps: usize) -> bool {
        let left = self.steps_left.get();
        self.steps_left.set(left.and_then(|left| left.checked_sub(steps)));
        !self.is_exhausted()
    }

    /// Whether a logical expression holds where `@` is `current`.
    pub(super) fn holds(&self, expression: &Logical, current: &'a Value) -> bool {
        if !self.spend(1) {
            return false;
        }
        match expression {
            Logical::Or(parts) => parts.iter().any(|part| self.holds(part, current)),
            Logical::And(parts) => parts.iter().all(|part| self.holds(part, current)),
            Logical::Not(part) => !self.holds(part, current),
            Logical::Exists(query) if query.singular => self.walk(query, current).is_some(),
            Logical::Exists(query) => !self.select(query, current).is_empty(),
            Logical::Compare(left, operator, right) => {
                let left = self.value(left, current);
                let right = self.value(right, current);
                self.compare(left.as_deref(), *operator, right.as_deref())
            }
            Logical::Matches(subject, pattern) => self.matches(subject, pattern, current),
        }
    }

    /// The nodes a query selects where `@` is `current`.
    pub(super) fn select(&self, query: &Query, current: &'a Value) -> Vec<&'a Value> {
        if query.singular {
            return self.walk(query, current).into_iter().collect();
        }
        let mut nodes = vec![self.start(query, current)];
        for segment in &query.segments {
            let mut selected = Vec::new();
            for node in nodes {
                if self.is_exhausted() {
                    break;
                } else if segment.descends {
                    self.descend(node, &segment.selectors, &mut selected);
                } else {
                    self.apply(&segment.selectors, node, &mut selected);
                }
            }
            nodes = selected;
        }
        nodes
    }

    fn start(&self, query: &Query, current: &'a Value) -> &'a Value {
        if query.absolute { self.root } else { current }
    }

    fn walk(&self, query: &Query, current: &'a Value) -> Option<&'a Value> {
        let start = self.start(query, current);
        query.segments.iter().try_fold(start, |node, segment| match segment.selectors.as_slice() {
            [Selector::Name(name)] => node.get(name.as_str()),
            [Selector::Index(index)] => element(node, *index),
            _ => None,
        })
    }

    fn descend(&self, node: &'a Value, selectors: &[Selector], selected: &mut Vec<&'a Value>) {
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            if self.is_exhausted() {
                return;
            }
            self.apply(selectors, node, selected);
            match node {
                Value::Array(elements) => pending.extend(elements.iter().rev()),
                Value::Object(members) => pending.extend(members.values().rev()),
                _ => {}
            }
        }
    }

    fn apply(&self, selectors: &[Selector], node: &'a Value, selected: &mut Vec<&'a Value>) {
        self.spend(selectors.len());
        for selector in selectors {
            match selector {
                Selector::Name(name) => self.keep(node.get(name.as_str()), selected),
                Selector::Index(index) => self.keep(element(node, *index), selected),
                Selector::Wildcard => self.keep(children(node), selected),
                Selector::Slice(slice) => self.keep(slice.of(node), selected),
                Selector::Filter(filter) => {
                    let chosen =
                        children(node).take_while(|_| !self.is_exhausted()).filter(|child| self.holds(filter, child));
                    self.keep(chosen, selected);
                }
            }
        }
    }

    fn keep(&self, nodes: impl IntoIterator<Item = &'a Value>, selected: &mut Vec<&'a Value>) {
        selected.extend(nodes.into_iter().take_while(|_| self.spend(1)));
    }

    fn value<'v>(&self, operand: &'v Operand, current: &'a Value) -> Option<Cow<'v, Value>>
    where
        'a: 'v,
    {
        match operand {
            Operand::Literal(value) => Some(Cow::Borrowed(value)),
            Operand::Query(query) => self.walk(query, current).map(Cow::Borrowed),
            Operand::Length(operand) => {
                self.length(&*self.value(operand, current)?).map(|length| Cow::Owned(length.into()))
            }
            Operand::Count(query) => Some(Cow::Owned(self.select(query, current).len().into())),
            Operand::Value(query) => match self.select(query, current).as_slice() {
                [node] => Some(Cow::Borrowed(*node)),
                _ => None,
            },
        }
    }

    fn length(&self, value: &Value) -> Option<usize> {
        match value {
            Value::String(text) => self.read(text).then(|| text.chars().count()),
            Value::Array(elements) => Some(elements.len()),
            Value::Object(members) => Some(members.len()),
            _ => None,
        }
    }

    fn read(&self, text: &str) -> bool {
        self.spend(text.len() / BYTES_PER_STEP)
    }

    fn matches(&self, subject: &Operand, pattern: &Pattern, current: &'a Value) -> bool {
        let Some(subject) = self.value(subject, current) else {
            return false;
        };
        let Value::String(subject) = &*subject else {
            return false;
        };
        match pattern {
            Pattern::Fixed(regex) => self.read(subject) && regex.is_match(subject),
            Pattern::Computed { text, whole } => {
                let text = self.value(text, current);
                let Some(Value::String(text)) = text.as_deref() else {
                    return false;
                };
                self.spend(STEPS_TO_COMPILE_A_PATTERN)
                    && self.read(subject)
                    && pattern::from_event(text, *whole).is_some_and(|regex| regex.is_match(subject))
            }
        }
    }

    fn compare(&self, left: Option<&Value>, operator: Operator, right: Option<&Value>) -> bool {
        match operator {
            Operator::Equal => self.equal(left, right),
            Operator::NotEqual => !self.equal(left, right),
            Operator::Less => self.less(left, right),
            Operator::Greater => self.less(right, left),
            Operator::LessOrEqual => self.less(left, right) || self.equal(left, right),
            Operator::GreaterOrEqual => self.less(right, left) || self.equal(left, right),
        }
    }

    fn equal(&self, left: Option<&Value>, right: Option<&Value>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) => self.same(left, right),
            (None, None) => true,
            _ => false,
        }
    }

    fn same(&self, left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => order(left, right) == Some(Ordering::Equal),
            (Value::String(left), Value::String(right)) => {
                left.len() == right.len() && self.read(left) && left == right
            }
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len()
                    && (left.iter().zip(right)).all(|(left, right)| self.spend(1) && self.same(left, right))
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left.iter().all(|(name, left)| {
                        self.spend(1) && right.get(name).is_some_and(|right| self.same(left, right))
                    })
            }
            _ => left == right,
        }
    }

    fn less(&self, left: Option<&Value>, right: Option<&Value>) -> bool {
        match (left, right) {
            (Some(Value::Number(left)), Some(Value::Number(right))) => order(left, right) == Some(Ordering::Less),
            (Some(Value::String(left)), Some(Value::String(right))) => self.read(left) && left < right,
            _ => false,
        }
    }
}

/// The children of a node in order; none of a primitive value.
fn children(node: &Value) -> impl Iterator<Item = &Value> {
    let elements = node.as_array().map(|elements| elements.iter());
    let members = node.as_object().map(|members| members.values());
    elements.into_iter().flatten().chain(members.into_iter().flatten())
}

fn element(node: &Value, index: i64) -> Option<&Value> {
    let elements = node.as_array()?;
    let length = i64::try_from(elements.len()).ok()?;
    let index = if index < 0 { length + index } else { index };
    elements.get(usize::try_from(index).ok()?)
}

impl Slice {
    /// The elements this slice selects, as in section 2.3.4.2.2 of the RFC.
    fn of<'a>(&self, node: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
        let elements = node.as_array().map_or(&[][..], Vec::as_slice);
        let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
        let normal = |bound: i64| if bound < 0 { length + bound } else { bound };
        let step = self.step;
        let (first, last) = if step < 0 {
            let bound = |given: i64| normal(given).clamp(-1, length - 1);
            (self.start.map_or(length - 1, bound), self.end.map_or(-1, bound))
        } else {
            let bound = |given: i64| normal(given).clamp(0, length);
            (self.start.map_or(0, bound), self.end.map_or(length, bound))
        };
        let within = move |index: &i64| match step.cmp(&0) {
            Ordering::Greater => *index < last,
            Ordering::Less => *index > last,
            Ordering::Equal => false,
        };
        std::iter::successors(Some(first), move |index| index.checked_add(step))
            .take_while(within)
            .filter_map(|index| elements.get(usize::try_from(index).ok()?))
    }
}

/// Orders two numbers by value: exactly, though an integer of 64 bits may have no equal among the floats.
fn order(left: &Number, right: &Number) -> Option<Ordering> {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        (Some(left), None) => order_to_float(left, right.as_f64()?),
        (None, Some(right)) => order_to_float(right, left.as_f64()?).map(Ordering::reverse),
        (None, None) => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn integer(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

fn order_to_float(integer: i128, float: f64) -> Option<Ordering> {
    let fraction = 0.0.partial_cmp(&float.fract())?;
    Some(integer.cmp(&(float.trunc() as i128)).then(fraction))
}
