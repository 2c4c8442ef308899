//! The tokens of a filter, read before it is parsed.
//!
//! The grammar of the parser skips white space inside names and numbers (to it `$.a in [0]` asks for a member named
//! `a in`), and each open function call multiplies its work by three. Such texts are refused here.

use super::SyntaxError;

const MAXIMUM_LENGTH: usize = 4096;
const MAXIMUM_DEPTH: usize = 32;
const MAXIMUM_OPEN_CALLS: usize = 4;
const MAXIMUM_INTEGER: u64 = (1 << 53) - 1;

/// Symbols of more than one character, foreign ones too, each before what it starts with.
const LONG_SYMBOLS: [&str; 11] = ["===", "!==", "==", "!=", "<=", ">=", "=~", "<>", "&&", "||", ".."];

/// A string with its quotes, a word (a name, or the digits of a number), or a symbol.
#[derive(Clone, Copy)]
pub(super) struct Token<'t> {
    pub(super) text: &'t str,
    /// In bytes from the start of the whole text.
    pub(super) start: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    pub(super) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::at(self.start, message)
    }

    pub(super) fn is_comparison(&self) -> bool {
        matches!(self.text, "==" | "!=" | "<=" | ">=" | "<" | ">")
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self.text, "$" | "@")
    }

    pub(super) fn ends_operand(&self) -> bool {
        let is_last = matches!(self.text, "]" | ")" | "*") || self.is_query();
        is_last || self.is_word() || self.is_string()
    }

    fn is_word(&self) -> bool {
        self.text.starts_with(is_word_character)
    }

    fn is_string(&self) -> bool {
        self.text.starts_with(['\'', '"'])
    }

    fn is_number(&self) -> bool {
        self.text.starts_with(|first: char| first.is_ascii_digit())
    }

    fn is_function(&self) -> bool {
        matches!(self.text, "length" | "count" | "match" | "search" | "value")
    }
}

fn is_word_character(character: char) -> bool {
    let is_foreign = !character.is_ascii() && !character.is_whitespace();
    character.is_ascii_alphanumeric() || character == '_' || is_foreign
}

/// The tokens of a text whose brackets, names, numbers and strings are those of RFC 9535.
pub(super) struct Tokens<'t> {
    pub(super) text: &'t str,
    pub(super) list: Vec<Token<'t>>,
}

/// Splits a text into its tokens, and refuses it where the parser cannot be trusted with it.
pub(super) fn scan(text: &str) -> Result<Tokens<'_>, SyntaxError> {
    if text.len() > MAXIMUM_LENGTH {
        let offset = (0..=MAXIMUM_LENGTH).rfind(|at| text.is_char_boundary(*at));
        let message = format!("longer than {MAXIMUM_LENGTH} bytes");
        return Err(SyntaxError::at(offset.unwrap_or(0), message));
    }
    let list = split(text)?;
    let tokens = Tokens { text, list };
    tokens.check_brackets()?;
    for (at, token) in tokens.list.iter().enumerate() {
        if token.is_word() {
            tokens.check_word(at)?;
        } else if token.is_query() || token.is_string() {
            tokens.check_operand(at)?;
        } else {
            tokens.check_symbol(at)?;
        }
    }
    Ok(tokens)
}

fn split(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
    let mut list = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let length = if matches!(first, '\'' | '"') {
            string_length(text, start, first)?
        } else if is_word_character(first) {
            let end = rest.find(|character| !is_word_character(character));
            end.unwrap_or(rest.len())
        } else {
            let symbol = LONG_SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
            symbol.map_or(first.len_utf8(), |symbol| symbol.len())
        };
        if !matches!(first, ' ' | '\t' | '\n' | '\r') {
            let text = &rest[..length];
            list.push(Token { text, start });
        }
        start += length;
    }
    Ok(list)
}

/// The length of the string at `start`, quotes included.
fn string_length(text: &str, start: usize, quote: char) -> Result<usize, SyntaxError> {
    let mut characters = text[start..].char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, 'b' | 'f' | 'n' | 'r' | 't' | 'u' | '/' | '\\')) => {}
                Some((_, escaped)) if escaped != quote => {
                    let message = format!(r"`\{escaped}` is not an escape of a string");
                    return Err(SyntaxError::at(start + at, message)
                        .hinting(r"write a backslash as `\\`, and the other kind of quote as it is"));
                }
                _ => {}
            },
            _ if character == quote => return Ok(at + 1),
            '\0'..='\x1f' => {
                let message = "a line break or control character in a string";
                return Err(
                    SyntaxError::at(start + at, message).hinting(r"write `\n` for a line break, `\t` for a tab")
                );
            }
            _ => {}
        }
    }
    Err(SyntaxError::at(start, "a string without end").expecting(format!("`{quote}`")))
}

impl<'t> Tokens<'t> {
    /// The texts of all queries, in the order written.
    pub(super) fn queries(&self) -> Vec<&'t str> {
        let starts = (0..self.list.len()).filter(|at| self.list[*at].is_query());
        starts.map(|at| self.written(at)).collect()
    }

    /// The names of all function calls, in the order written.
    pub(super) fn calls(&self) -> Vec<Token<'t>> {
        let starts = (0..self.list.len()).filter(|at| self.is_call(*at));
        starts.map(|at| self.list[at]).collect()
    }

    /// The text of the query, or of the path without `$`, that starts at a token.
    pub(super) fn written(&self, start: usize) -> &'t str {
        &self.text[self.list[start].start..self.list[self.last_of(start)].end()]
    }

    /// The last token of what [`Tokens::written`] gives.
    pub(super) fn last_of(&self, start: usize) -> usize {
        let mut last = start;
        loop {
            last = match self.text_at(last + 1) {
                "[" => self.closing(last + 1),
                ".." if self.text_at(last + 2) == "[" => last + 1,
                "." | ".." if last + 2 < self.list.len() => last + 2,
                _ => return last,
            };
        }
    }

    /// The token that closes the bracket at `open`.
    pub(super) fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (at, token) in self.list.iter().enumerate().skip(open) {
            match token.text {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        open
    }

    /// The text of a token, empty past the last.
    pub(super) fn text_at(&self, at: usize) -> &'t str {
        self.list.get(at).map_or("", |token| token.text)
    }

    pub(super) fn before(&self, at: usize) -> Option<&Token<'t>> {
        self.list[..at].last()
    }

    pub(super) fn is_call(&self, at: usize) -> bool {
        self.list[at].is_word() && self.text_at(at + 1) == "("
    }

    fn touches_next(&self, at: usize) -> bool {
        let next = self.list.get(at + 1);
        next.is_some_and(|next| next.start == self.list[at].end())
    }

    fn follows_operand(&self, at: usize) -> bool {
        self.before(at).is_some_and(Token::ends_operand)
    }

    fn check_brackets(&self) -> Result<(), SyntaxError> {
        let mut open: Vec<usize> = Vec::new();
        for (at, token) in self.list.iter().enumerate() {
            match token.text {
                "(" | "[" => {
                    open.push(at);
                    self.check_depth(&open)?;
                }
                ")" | "]" => {
                    let opener = if token.text == ")" { "(" } else { "[" };
                    if open.pop().is_none_or(|open| self.text_at(open) != opener) {
                        return Err(token.error(format!("`{}` without `{opener}`", token.text)));
                    }
                }
                "@" if open.iter().all(|open| self.text_at(*open) != "[") => {
                    return Err(token.error("`@` outside a nested filter").hinting("write `$` for the event"));
                }
                "," if open.is_empty() => return Err(self.unexpected(token.start)),
                _ => {}
            }
        }
        let Some(unclosed) = open.last().map(|at| self.list[*at]) else {
            return Ok(());
        };
        let closer = if unclosed.text == "(" { ")" } else { "]" };
        Err(unclosed.error(format!("`{}` is not closed", unclosed.text)).expecting(format!("`{closer}`")))
    }

    fn check_depth(&self, open: &[usize]) -> Result<(), SyntaxError> {
        let is_of_call = |open: &&usize| **open > 0 && self.is_call(**open - 1);
        let calls = open.iter().filter(is_of_call).count();
        if open.len() <= MAXIMUM_DEPTH && calls <= MAXIMUM_OPEN_CALLS {
            return Ok(());
        }
        let last = open.last().map_or(0, |last| self.list[*last].start);
        Err(SyntaxError::at(last, "nested too deep")
            .expecting(format!("at most {MAXIMUM_DEPTH} open brackets, {MAXIMUM_OPEN_CALLS} of them function calls")))
    }

    fn check_symbol(&self, at: usize) -> Result<(), SyntaxError> {
        let token = self.list[at];
        match token.text {
            "." | ".." | "-" if !self.touches_next(at) => {
                let message = format!("nothing directly after `{}`", token.text);
                Err(token.error(message))
            }
            "!" if self.text_at(at + 1) == "!" => Err(token
                .error("`!!` is not JSONPath")
                .hinting("a query holds when it selects something: write `$.data.slug` alone")),
            "." | ".." | "(" | ")" | "[" | "]" | "," | ":" | "?" | "*" | "!" | "-" | "+" | "&&" | "||" => Ok(()),
            _ if token.is_comparison() => Ok(()),
            _ => Err(self.foreign(at)),
        }
    }

    fn check_word(&self, at: usize) -> Result<(), SyntaxError> {
        let token = self.list[at];
        let before = self.before(at);
        if before.is_some_and(|dot| matches!(dot.text, "." | "..")) {
            return self.check_member(at);
        }
        let is_call = self.is_call(at);
        let is_known = if is_call {
            token.is_function()
        } else {
            token.is_number() || matches!(token.text, "true" | "false" | "null")
        };
        if !is_known {
            return Err(self.bare_word(at));
        }
        if self.follows_operand(at) {
            return Err(self.unexpected(token.start));
        }
        if is_call {
            return self.check_call(at);
        }
        let is_integer = token.text.bytes().all(|byte| byte.is_ascii_digit());
        let is_small = (token.text.parse::<u64>()).is_ok_and(|integer| integer <= MAXIMUM_INTEGER);
        if is_integer && !is_small {
            return Err(token
                .error(format!("the integer `{}` is too large", token.text))
                .expecting(format!("at most `{MAXIMUM_INTEGER}`")));
        }
        Ok(())
    }

    fn check_member(&self, at: usize) -> Result<(), SyntaxError> {
        let token = self.list[at];
        let name = token.text;
        let is_fraction = token.is_number() && at > 1 && self.list[at - 2].is_number();
        if self.is_call(at) {
            return Err(self.method(at));
        }
        if token.is_number() && !is_fraction {
            return Err(token
                .error(format!("the name `{name}` starts with a digit"))
                .hinting(format!("write `['{name}']`, or `[0]` for the first element of a list")));
        }
        if !is_fraction && self.text_at(at + 1) == "-" && self.touches_next(at) {
            return Err(self.list[at + 1]
                .error("`-` in a name")
                .hinting(format!("write such a name in quotes, as in `['{name}-…']`")));
        }
        Ok(())
    }

    fn check_call(&self, at: usize) -> Result<(), SyntaxError> {
        let token = self.list[at];
        let name = token.text;
        if !self.touches_next(at) {
            return Err(token.error(format!("white space between `{name}` and `(`")));
        }
        let after = self.list.get(self.closing(at + 1) + 1);
        let neighbours = [self.before(at), after];
        let is_compared = neighbours.into_iter().flatten().any(Token::is_comparison);
        if is_compared && matches!(name, "match" | "search") {
            return Err(token
                .error(format!("`{name}` is itself true or false and cannot be compared"))
                .hinting(format!("write `{name}(…)`, or `!{name}(…)` for the opposite")));
        }
        Ok(())
    }

    fn check_operand(&self, at: usize) -> Result<(), SyntaxError> {
        let token = self.list[at];
        if self.follows_operand(at) {
            return Err(self.unexpected(token.start));
        }
        let (before, after) = (self.before(at), self.list.get(self.last_of(at) + 1));
        let mut neighbours = [before, after].into_iter().flatten();
        if !token.is_query() || !neighbours.any(Token::is_comparison) {
            return Ok(());
        }
        match before.filter(|before| before.text == "!") {
            None => self.check_compared_query(at),
            Some(not) => Err(not
                .error("`!` before a comparison")
                .hinting(format!("write `!({} == …)`, or compare with `!=`", self.written(at)))),
        }
    }

    fn check_compared_query(&self, at: usize) -> Result<(), SyntaxError> {
        let inside = &self.list[at..=self.last_of(at)];
        let is_plural = |token: &Token| matches!(token.text, "*" | ".." | "?" | ":" | ",");
        if inside.iter().any(is_plural) {
            let written = self.written(at);
            let message = format!("`{written}` may select several values and cannot be compared");
            return Err(self.list[at]
                .error(message)
                .hinting("compare in a nested filter, as in `$.data.list[?@.name == 'x']`"));
        }
        let is_spaced = |pair: &[Token]| (pair[0].text == "[" || pair[1].text == "]") && pair[0].end() != pair[1].start;
        match inside.windows(2).find(|pair| is_spaced(pair)) {
            Some(pair) => Err(pair[0].error("white space inside the brackets of a compared query")),
            None => Ok(()),
        }
    }
}
