//! Filters over an event, in RFC 9535 JSONPath: compiled once when the rules load, evaluated for every event.
//!
//! Nothing outside the RFC compiles, and what compiles means exactly what the RFC says: a missing member is not
//! null, nothing is coerced, and numbers compare by value, exactly. The bounds are ours:
//!
//! - A text has at most 4096 bytes, 32 open brackets, and 4 open function calls; its integers reach to 2^53 - 1.
//! - A pattern that is written in a filter must be an I-Regexp; one that comes from the event matches nothing
//!   unless it is one, of at most 1024 bytes.
//! - An evaluation takes at most 100 000 steps (a node visited, a test made, or 64 bytes of text read are one,
//!   a pattern compiled is a thousand). Past them a selection ends where it is, and a filter does not hold.

mod advice;
mod compile;
mod evaluate;
mod paths;
mod pattern;
mod scan;

use std::cell::Cell;

use evaluate::Evaluation;
pub use paths::{Role, Step, Use};
use regex::Regex;
use serde_json::Value;

/// A compiled condition on an event: a query, which holds when it selects something, or a logical expression as
/// RFC 9535 allows it inside `[? ]`, in which `$` is the event.
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    expression: Logical,
    work: usize,
}

impl Filter {
    /// Compiles the text of a filter.
    ///
    /// # Errors
    ///
    /// Where the text leaves RFC 9535 or the bounds of this module.
    pub fn compile(text: &str) -> Result<Filter, SyntaxError> {
        let (expression, work) = compile::expression(text)?;
        Ok(Filter { text: text.to_owned(), expression, work })
    }

    /// What compiling it has cost: see [`Query::work`].
    pub fn work(&self) -> usize {
        self.work
    }

    /// The text this filter was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the filter holds for this event.
    pub fn holds(&self, event: &Value) -> bool {
        holds(&self.expression, event)
    }

    /// Whether the filter holds, to somebody who tries many: all of them take so many steps together, and past them
    /// none holds.
    pub fn holds_within(&self, event: &Value, steps: &Cell<usize>) -> bool {
        Evaluation::one_of_many(event, steps, |evaluation| {
            evaluation.holds(&self.expression, event) && !evaluation.is_exhausted()
        })
    }

    /// Why the filter holds or not: what its queries select in this event, each once, in the order written and
    /// without those inside nested filters. Of a filter that does not hold, only those of the first part (between
    /// `&&`) that does not.
    pub fn seen<'a>(&'a self, event: &'a Value) -> Vec<Seen<'a>> {
        let parts = match &self.expression {
            Logical::And(parts) => parts.as_slice(),
            expression => std::slice::from_ref(expression),
        };
        let failed = parts.iter().find(|part| !holds(part, event));
        let mut queries = Vec::new();
        match failed {
            Some(part) => part.queries(&mut queries),
            None => parts.iter().for_each(|part| part.queries(&mut queries)),
        }
        let mut seen: Vec<Seen> = Vec::new();
        for query in queries {
            if seen.iter().all(|earlier| earlier.query.text != query.text) {
                seen.push(Seen { query, nodes: query.select(event) });
            }
        }
        seen
    }
}

fn holds(expression: &Logical, event: &Value) -> bool {
    let evaluation = Evaluation::new(event);
    evaluation.holds(expression, event) && !evaluation.is_exhausted()
}

/// A compiled query: what it selects in a document, in the order of the RFC.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
    absolute: bool,
    singular: bool,
    segments: Vec<Segment>,
    work: usize,
}

impl Query {
    /// Compiles the text of a query, which starts with `$`.
    ///
    /// # Errors
    ///
    /// Where the text leaves RFC 9535 or the bounds of this module.
    pub fn compile(text: &str) -> Result<Query, SyntaxError> {
        let (query, work) = compile::query(text)?;
        Ok(Query { work, ..query })
    }

    /// What compiling it has cost, in short queries: patterns cost more.
    pub fn work(&self) -> usize {
        self.work
    }

    /// The text this query was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it selects one node at most, whatever the event.
    pub fn is_singular(&self) -> bool {
        self.singular
    }

    /// The nodes this query selects, a node as often as it is selected.
    pub fn select<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        Evaluation::new(root).select(self, root)
    }

    /// The same, to somebody who tries many: see [`Filter::holds_within`].
    pub fn select_within<'a>(&self, root: &'a Value, steps: &Cell<usize>) -> Vec<&'a Value> {
        Evaluation::one_of_many(root, steps, |evaluation| evaluation.select(self, root))
    }
}

/// What one query of a filter selected in an event.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    pub query: &'a Query,
    /// What it selects; none where the event has no such member.
    pub nodes: Vec<&'a Value>,
}

/// Where and why a text is not a filter or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where it goes wrong, in bytes from the start of the text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What could stand there instead, where that is known.
    pub expected: Option<String>,
    /// How to write what was probably meant.
    pub hint: Option<String>,
}

impl SyntaxError {
    fn at(offset: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { offset, message: message.into(), expected: None, hint: None }
    }

    fn expecting(self, expected: impl Into<String>) -> SyntaxError {
        SyntaxError { expected: Some(expected.into()), ..self }
    }

    fn hinting(self, hint: impl Into<String>) -> SyntaxError {
        SyntaxError { hint: Some(hint.into()), ..self }
    }
}

#[derive(Debug, Clone)]
struct Segment {
    descends: bool,
    selectors: Vec<Selector>,
}

#[derive(Debug, Clone)]
enum Selector {
    Name(String),
    Wildcard,
    Index(i64),
    Slice(Slice),
    Filter(Logical),
}

#[derive(Debug, Clone)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
}

#[derive(Debug, Clone)]
enum Logical {
    Or(Vec<Logical>),
    And(Vec<Logical>),
    Not(Box<Logical>),
    Compare(Operand, Operator, Operand),
    Exists(Query),
    Matches(Operand, Pattern),
}

impl Logical {
    fn queries<'f>(&'f self, found: &mut Vec<&'f Query>) {
        match self {
            Logical::Or(parts) | Logical::And(parts) => {
                parts.iter().for_each(|part| part.queries(found));
            }
            Logical::Not(part) => part.queries(found),
            Logical::Exists(query) => found.push(query),
            Logical::Compare(left, _, right) => {
                found.extend(left.query());
                found.extend(right.query());
            }
            Logical::Matches(subject, pattern) => {
                found.extend(subject.query());
                if let Pattern::Computed { text, .. } = pattern {
                    found.extend(text.query());
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a comparison or a function works on: a value, or nothing.
#[derive(Debug, Clone)]
enum Operand {
    Literal(Value),
    /// A singular query.
    Query(Query),
    Length(Box<Operand>),
    Count(Query),
    Value(Query),
}

impl Operand {
    fn query(&self) -> Option<&Query> {
        match self {
            Operand::Literal(_) => None,
            Operand::Length(operand) => operand.query(),
            Operand::Query(query) | Operand::Count(query) | Operand::Value(query) => Some(query),
        }
    }
}

#[derive(Debug, Clone)]
enum Pattern {
    Fixed(Regex),
    Computed { text: Box<Operand>, whole: bool },
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
