//! What a text that is not JSONPath is refused with: in particular, what its author should write instead.

use super::SyntaxError;
use super::scan::{Token, Tokens};

const USE_SEARCH: &str = "write `search($.data.name, 'part')`, or `match($.data.name, 'all.*')` for the whole text";

impl Tokens<'_> {
    /// The refusal of a text the parser gave up on at `offset`.
    pub(super) fn unexpected(&self, offset: usize) -> SyntaxError {
        let at = self.list.partition_point(|token| token.end() <= offset);
        let error = match self.list.get(at) {
            Some(token) => token.error(format!("unexpected `{}`", token.text)),
            None => SyntaxError::at(self.text.len(), "unexpected end"),
        };
        error.expecting(match self.before(at) {
            Some(token) if token.text == "[" => "a name in quotes, an index, `*`, or a filter such as `?@.verified`",
            Some(token) if token.ends_operand() => "`&&`, `||`, or a comparison such as `==`",
            _ => "a query such as `$.data.id`, a value, or a function",
        })
    }

    /// The refusal of a number that no float can hold.
    pub(super) fn too_large(&self) -> SyntaxError {
        let large = self.list.iter().find(|token| {
            token.text.starts_with(|first: char| first.is_ascii_digit()) && token.text.contains(['e', 'E'])
        });
        let offset = large.map_or(0, |token| token.start);
        SyntaxError::at(offset, "a number too large for JSON")
    }

    /// The refusal of a symbol of another language.
    pub(super) fn foreign(&self, at: usize) -> SyntaxError {
        let token = self.list[at];
        let error = not_jsonpath(&token);
        match instead_of(token.text) {
            Some(hint) => error.hinting(hint),
            None if token.text.starts_with(char::is_whitespace) => {
                error.hinting("replace this invisible character by an ordinary space")
            }
            None => error,
        }
    }

    /// The refusal of a function written after its query.
    pub(super) fn method(&self, at: usize) -> SyntaxError {
        let token = self.list[at];
        let mut starts = (0..at).filter(|start| self.list[*start].is_query());
        let query = starts.find(|start| self.last_of(*start) == at);
        let start = query.map_or(token.start, |query| self.list[query].start);
        let path = self.text[start..token.start].trim_end_matches('.');
        let name = token.text;
        let hint = match name {
            "match" | "search" => format!("write `{name}({path}, 'pattern')`"),
            "count" | "value" => format!("write `{name}({path})`"),
            _ => instead_of(&name.to_ascii_lowercase())
                .unwrap_or_else(|| format!("write functions as in `length({path})`")),
        };
        token.error(format!("`{name}` is called like a method")).hinting(hint)
    }

    /// The refusal of a word that is no name, number, literal or function.
    pub(super) fn bare_word(&self, at: usize) -> SyntaxError {
        let token = self.list[at];
        let word = token.text;
        let hint = self.membership(at).or_else(|| instead_of(&word.to_ascii_lowercase()));
        if let Some(hint) = hint {
            return not_jsonpath(&token).hinting(hint);
        }
        if self.is_call(at) {
            return token
                .error(format!("no function is named `{word}`"))
                .expecting("`length`, `count`, `match`, `search` or `value`");
        }
        let path = self.written(at);
        let string = word.trim_matches(['‘', '’', '“', '”']);
        let is_value = self.before(at).is_some_and(Token::is_comparison) && path == word;
        if is_value {
            token.error(format!("the string `{word}` without quotes")).hinting(format!("write `'{string}'`"))
        } else {
            token
                .error(format!("unexpected `{word}`"))
                .hinting(format!("write `$.{path}` for a member of the event, `'{string}'` for a string"))
        }
    }

    /// `$.a in ['x', 'y']` as JSONPath has it.
    fn membership(&self, at: usize) -> Option<String> {
        let (comparison, join) = match self.text_at(at).to_ascii_lowercase().as_str() {
            "in" | "anyof" | "any_of" | "subsetof" | "subset_of" => ("==", " || "),
            "nin" | "noneof" | "none_of" => ("!=", " && "),
            _ => return None,
        };
        let mut starts = (0..at).filter(|start| self.list[*start].is_query());
        let query = starts.find(|start| self.last_of(*start) + 1 == at);
        let values = match self.text_at(at + 1) {
            "[" | "(" if query.is_some() => &self.list[at + 2..self.closing(at + 1)],
            _ => &[],
        };
        let query = query.map_or("$.data.slug", |query| self.written(query));
        let values = values.split(|token| token.text == ",");
        let mut values: Vec<&str> =
            values.filter_map(|value| Some(&self.text[value.first()?.start..value.last()?.end()])).collect();
        if values.is_empty() {
            values.extend(["'a'", "'b'"]);
        }
        let comparisons = values.iter().map(|value| format!("{query} {comparison} {value}"));
        Some(format!("write `{}`", comparisons.collect::<Vec<_>>().join(join)))
    }
}

fn not_jsonpath(token: &Token) -> SyntaxError {
    token.error(format!("`{}` is not JSONPath", token.text.escape_debug()))
}

fn instead_of(foreign: &str) -> Option<String> {
    let hint = match foreign {
        "=" | "===" | "is" | "eq" | "equals" => "write `==`",
        "!==" | "<>" | "ne" => "write `!=`",
        "&" | "and" => "write `&&`",
        "|" | "or" => "write `||`",
        "not" => "write `!`, as in `!$.data.banned` or `!($.data.slug == 'x')`",
        "true" => "write `true`",
        "false" => "write `false`",
        "null" | "none" | "nil" | "undefined" => "write `null`",
        "=~" | "~" | "contains" | "like" | "matches" | "regex" | "startswith" | "endswith" => USE_SEARCH,
        _ => return None,
    };
    Some(hint.to_owned())
}
