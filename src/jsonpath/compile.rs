//! From the parser's tree to ours, in which only what RFC 9535 calls well-typed can be said.

use super::scan::{Token, Tokens, scan};
use super::{Logical, Operand, Operator, Pattern, Query, Segment, Selector, Slice, SyntaxError, pattern};
use jsonpath_rust::parser::errors::JsonPathError;
use jsonpath_rust::parser::model;
use jsonpath_rust::parser::parse_json_path;
use serde_json::{Number, Value};
use std::vec::IntoIter;

/// Compiles a query, and says what that has cost.
pub(super) fn query(text: &str) -> Result<(Query, usize), SyntaxError> {
    let tokens = scan(text)?;
    if !text.starts_with('$') {
        return Err(SyntaxError::at(0, "a query starts with `$`").expecting("`$`"));
    }
    if text.ends_with(char::is_whitespace) {
        return Err(SyntaxError::at(text.trim_end().len(), "white space after a query"));
    }
    let parsed = parse_json_path(text).map_err(|error| refused(&tokens, &error, 0))?;
    let mut compiler = Compiler::new(&tokens);
    let query = compiler.query(true, &parsed.segments)?;
    Ok((query, compiler.work))
}

/// Compiles a logical expression. Every query is one too: the test that it selects something.
pub(super) fn expression(text: &str) -> Result<(Logical, usize), SyntaxError> {
    const BEFORE: &str = "$[?";
    let tokens = scan(text)?;
    let parsed =
        parse_json_path(&format!("{BEFORE}{text}]")).map_err(|error| refused(&tokens, &error, BEFORE.len()))?;
    match parsed.segments.as_slice() {
        [model::Segment::Selector(model::Selector::Filter(filter))] => {
            let mut compiler = Compiler::new(&tokens);
            let expression = compiler.logical(filter)?;
            Ok((expression, compiler.work))
        }
        _ => Err(tokens.unexpected(0)),
    }
}

/// The parser's refusal, whose place is of a type that only shows itself, as in `Pos(7)`.
fn refused(tokens: &Tokens, error: &JsonPathError, before: usize) -> SyntaxError {
    let place = match error {
        JsonPathError::PestError(error) => format!("{:?}", error.location),
        _ => String::new(),
    };
    let digits = place.trim_matches(|character: char| !character.is_ascii_digit());
    match digits.parse::<usize>() {
        Ok(offset) => tokens.unexpected(offset.saturating_sub(before)),
        Err(_) => SyntaxError::at(0, "a number or the argument of a function is not that of RFC 9535"),
    }
}

/// Walks the parser's tree in the order of the text, and so meets its queries and calls in that order.
struct Compiler<'t> {
    tokens: &'t Tokens<'t>,
    queries: IntoIter<&'t str>,
    calls: IntoIter<Token<'t>>,
    work: usize,
}

/// What a test or an argument of a function turns out to be.
enum Operation {
    Query(Query),
    Value(Operand),
    Test(Logical),
}

impl<'t> Compiler<'t> {
    fn new(tokens: &'t Tokens<'t>) -> Compiler<'t> {
        let (queries, calls) = (tokens.queries(), tokens.calls());
        let work = 1 + queries.len();
        Compiler { tokens, queries: queries.into_iter(), calls: calls.into_iter(), work }
    }

    fn query(&mut self, absolute: bool, segments: &[model::Segment]) -> Result<Query, SyntaxError> {
        let text = self.queries.next().unwrap_or_default().to_owned();
        let segments = segments.iter().map(|segment| self.segment(segment));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        let is_singular = |segment: &Segment| {
            let selectors = segment.selectors.as_slice();
            matches!(selectors, [Selector::Name(_) | Selector::Index(_)]) && !segment.descends
        };
        Ok(Query { text, absolute, singular: segments.iter().all(is_singular), segments, work: 0 })
    }

    fn singular_query(&mut self, query: &model::SingularQuery) -> Query {
        let (absolute, segments) = match query {
            model::SingularQuery::Current(segments) => (false, segments),
            model::SingularQuery::Root(segments) => (true, segments),
        };
        let segments = segments.iter().map(|segment| Segment {
            descends: false,
            selectors: vec![match segment {
                model::SingularQuerySegment::Name(name) => Selector::Name(name.clone()),
                model::SingularQuerySegment::Index(index) => Selector::Index(*index),
            }],
        });
        Query {
            text: self.queries.next().unwrap_or_default().to_owned(),
            absolute,
            singular: true,
            segments: segments.collect(),
            work: 0,
        }
    }

    fn segment(&mut self, segment: &model::Segment) -> Result<Segment, SyntaxError> {
        let (descends, child) = match segment {
            model::Segment::Descendant(child) => (true, child.as_ref()),
            child => (false, child),
        };
        let selectors = match child {
            model::Segment::Selector(selector) => std::slice::from_ref(selector),
            model::Segment::Selectors(selectors) => selectors,
            model::Segment::Descendant(_) => return Err(self.tokens.unexpected(0)),
        };
        let selectors = selectors.iter().map(|selector| self.selector(selector));
        Ok(Segment { descends, selectors: selectors.collect::<Result<_, _>>()? })
    }

    fn selector(&mut self, selector: &model::Selector) -> Result<Selector, SyntaxError> {
        Ok(match selector {
            model::Selector::Name(name) => Selector::Name(name.clone()),
            model::Selector::Wildcard => Selector::Wildcard,
            model::Selector::Index(index) => Selector::Index(*index),
            model::Selector::Slice(start, end, step) => {
                Selector::Slice(Slice { start: *start, end: *end, step: step.unwrap_or(1) })
            }
            model::Selector::Filter(filter) => Selector::Filter(self.logical(filter)?),
        })
    }

    fn logical(&mut self, filter: &model::Filter) -> Result<Logical, SyntaxError> {
        let mut all = |parts: &[model::Filter]| {
            let parts = parts.iter().map(|part| self.logical(part));
            parts.collect::<Result<Vec<_>, _>>()
        };
        let (expression, not) = match filter {
            model::Filter::Or(parts) => (Logical::Or(all(parts)?), false),
            model::Filter::And(parts) => (Logical::And(all(parts)?), false),
            model::Filter::Atom(atom) => match atom {
                model::FilterAtom::Filter { expr, not } => (self.logical(expr)?, *not),
                model::FilterAtom::Test { expr, not } => (self.test(expr)?, *not),
                model::FilterAtom::Comparison(comparison) => (self.comparison(comparison)?, false),
            },
        };
        Ok(if not { Logical::Not(Box::new(expression)) } else { expression })
    }

    fn test(&mut self, test: &model::Test) -> Result<Logical, SyntaxError> {
        let call = self.next_call();
        match self.operation(test)? {
            Operation::Query(query) => Ok(Logical::Exists(query)),
            Operation::Test(test) => Ok(test),
            Operation::Value(_) => {
                let message = format!("`{}` gives a value, not true or false", call.text);
                let hint = format!("compare it, as in `{}(…) == 1`", call.text);
                Err(call.error(message).hinting(hint))
            }
        }
    }

    fn comparison(&mut self, comparison: &model::Comparison) -> Result<Logical, SyntaxError> {
        let operator = match comparison {
            model::Comparison::Eq(..) => Operator::Equal,
            model::Comparison::Ne(..) => Operator::NotEqual,
            model::Comparison::Gt(..) => Operator::Greater,
            model::Comparison::Gte(..) => Operator::GreaterOrEqual,
            model::Comparison::Lt(..) => Operator::Less,
            model::Comparison::Lte(..) => Operator::LessOrEqual,
        };
        let (left, right) = comparison.vals();
        let left = self.comparable(left)?;
        let right = self.comparable(right)?;
        Ok(Logical::Compare(left, operator, right))
    }

    fn comparable(&mut self, comparable: &model::Comparable) -> Result<Operand, SyntaxError> {
        let call = self.next_call();
        match comparable {
            model::Comparable::Literal(literal) => self.literal(literal),
            model::Comparable::SingularQuery(query) => Ok(Operand::Query(self.singular_query(query))),
            model::Comparable::Function(function) => match self.call(function)? {
                Operation::Value(value) => Ok(value),
                _ => Err(self.tokens.unexpected(call.start)),
            },
        }
    }

    fn literal(&self, literal: &model::Literal) -> Result<Operand, SyntaxError> {
        let value = match literal {
            model::Literal::Null => Value::Null,
            model::Literal::Bool(value) => Value::Bool(*value),
            model::Literal::Int(value) => Value::from(*value),
            model::Literal::String(value) => Value::from(value.as_str()),
            model::Literal::Float(value) => {
                let number = Number::from_f64(*value);
                Value::Number(number.ok_or_else(|| self.tokens.too_large())?)
            }
        };
        Ok(Operand::Literal(value))
    }

    fn operation(&mut self, test: &model::Test) -> Result<Operation, SyntaxError> {
        match test {
            model::Test::RelQuery(segments) => self.query(false, segments).map(Operation::Query),
            model::Test::AbsQuery(query) => self.query(true, &query.segments).map(Operation::Query),
            model::Test::Function(function) => self.call(function),
        }
    }

    /// The call that comes next in the text, without passing it.
    fn next_call(&self) -> Token<'t> {
        let first = self.calls.as_slice().first();
        first.copied().unwrap_or(Token { text: "", start: 0 })
    }

    fn call(&mut self, function: &model::TestFunction) -> Result<Operation, SyntaxError> {
        let call = self.next_call();
        self.calls.next();
        Ok(match function {
            model::TestFunction::Length(argument) => {
                let argument = self.value_argument(call, argument)?;
                Operation::Value(Operand::Length(Box::new(argument)))
            }
            model::TestFunction::Count(argument) => {
                Operation::Value(Operand::Count(self.query_argument(call, argument)?))
            }
            model::TestFunction::Value(argument) => {
                Operation::Value(Operand::Value(self.query_argument(call, argument)?))
            }
            model::TestFunction::Match(subject, pattern) | model::TestFunction::Search(subject, pattern) => {
                let subject = self.value_argument(call, subject)?;
                let pattern = self.pattern(call, pattern)?;
                Operation::Test(Logical::Matches(subject, pattern))
            }
            model::TestFunction::Custom(..) => return Err(self.tokens.unexpected(call.start)),
        })
    }

    fn pattern(&mut self, call: Token, argument: &model::FnArg) -> Result<Pattern, SyntaxError> {
        let whole = call.text == "match";
        match self.value_argument(call, argument)? {
            Operand::Literal(Value::String(text)) => {
                let regex = pattern::from_filter(&text, whole);
                let (regex, work) = regex.map_err(|error| SyntaxError {
                    offset: call.start,
                    message: format!("in the pattern of `{}`: {}", call.text, error.message),
                    ..error
                })?;
                self.work += work;
                Ok(Pattern::Fixed(regex))
            }
            operand => Ok(Pattern::Computed { text: Box::new(operand), whole }),
        }
    }

    fn value_argument(&mut self, call: Token, argument: &model::FnArg) -> Result<Operand, SyntaxError> {
        let name = call.text;
        let operation = match argument {
            model::FnArg::Literal(literal) => return self.literal(literal),
            model::FnArg::Test(test) => self.operation(test)?,
            model::FnArg::Filter(filter) => Operation::Test(self.logical(filter)?),
        };
        match operation {
            Operation::Value(value) => Ok(value),
            Operation::Query(query) if query.singular => Ok(Operand::Query(query)),
            Operation::Query(Query { text, .. }) => Err(call
                .error(format!("`{name}` takes one value, and `{text}` may select several"))
                .hinting(match name {
                    "length" => format!("write `count({text})` for how many it selects"),
                    _ => format!("test each in a nested filter, as in `$.data.list[?{name}(@, 'x')]`"),
                })),
            Operation::Test(_) => Err(call.error(format!("`{name}` takes a value, not a test"))),
        }
    }

    fn query_argument(&mut self, call: Token, argument: &model::FnArg) -> Result<Query, SyntaxError> {
        if let model::FnArg::Test(test) = argument
            && let Operation::Query(query) = self.operation(test)?
        {
            return Ok(query);
        }
        Err(call.error(format!("`{}` takes a query", call.text)).expecting("a query such as `$.data.list[*]`"))
    }
}
