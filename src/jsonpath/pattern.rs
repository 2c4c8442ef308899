//! I-Regexp (RFC 9485), the patterns of `match` and `search`, on the `regex` crate.

use super::SyntaxError;
use regex::{Regex, RegexBuilder};
use std::iter::Peekable;
use std::str::Chars;

const MAXIMUM_SIZE: usize = 1 << 20;
const MAXIMUM_SIZE_FROM_EVENT: usize = 1 << 17;
const MAXIMUM_LENGTH_FROM_EVENT: usize = 1024;

const CATEGORIES: [&str; 36] = [
    "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi",
    "Po", "Ps", "Z", "Zl", "Zp", "Zs", "S", "Sc", "Sk", "Sm", "So", "C", "Cc", "Cf", "Cn", "Co",
];

/// Compiles a pattern written in a filter; `whole` when it must match the whole text.
pub(super) fn from_filter(pattern: &str, whole: bool) -> Result<Regex, SyntaxError> {
    let regex = Translation::of(pattern)?;
    build(&regex, whole, MAXIMUM_SIZE).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => refusal(format!("the pattern `{pattern}` is too large")),
        _ => refusal(format!("`{pattern}` is not a pattern")),
    })
}

/// Compiles a pattern found in an event. None when it is not an I-Regexp or larger than an event may ask for.
pub(super) fn from_event(pattern: &str, whole: bool) -> Option<Regex> {
    if pattern.len() > MAXIMUM_LENGTH_FROM_EVENT {
        return None;
    }
    let regex = Translation::of(pattern).ok()?;
    build(&regex, whole, MAXIMUM_SIZE_FROM_EVENT).ok()
}

fn build(regex: &str, whole: bool, size: usize) -> Result<Regex, regex::Error> {
    let regex = if whole { format!(r"\A(?:{regex})\z") } else { regex.to_owned() };
    RegexBuilder::new(&regex).size_limit(size).dfa_size_limit(size).build()
}

fn refusal(message: impl Into<String>) -> SyntaxError {
    SyntaxError::at(0, message)
}

struct Translation<'p> {
    rest: Peekable<Chars<'p>>,
    regex: String,
}

impl Translation<'_> {
    fn of(pattern: &str) -> Result<String, SyntaxError> {
        let mut translation =
            Translation { rest: pattern.chars().peekable(), regex: String::with_capacity(pattern.len() + 16) };
        translation.expression()?;
        Ok(translation.regex)
    }

    fn expression(&mut self) -> Result<(), SyntaxError> {
        let mut open = 0_usize;
        let mut repeatable = false;
        while let Some(character) = self.rest.next() {
            match character {
                '(' => {
                    open += 1;
                    self.regex.push_str("(?:");
                }
                ')' if open > 0 => {
                    open -= 1;
                    self.regex.push(')');
                }
                '*' | '+' | '?' if repeatable => self.regex.push(character),
                '{' if repeatable => self.repetition()?,
                '*' | '+' | '?' | '{' => {
                    return Err(refusal(format!("nothing for `{character}` to repeat")));
                }
                ')' | ']' | '}' => return Err(refusal(format!("unexpected `{character}`"))),
                '.' => self.regex.push_str(r"[^\n\r]"),
                '\\' => self.escape()?,
                '[' => self.class()?,
                _ => self.regex.push(character),
            }
            repeatable = !matches!(character, '(' | '|' | '*' | '+' | '?' | '{');
        }
        if open > 0 {
            return Err(refusal("a `(` is not closed"));
        }
        Ok(())
    }

    fn repetition(&mut self) -> Result<(), SyntaxError> {
        let mut range = String::from("{");
        while let Some(character) = self.rest.next_if(|next| next.is_ascii_digit() || *next == ',') {
            range.push(character);
        }
        let commas = range.matches(',').count();
        let starts_with_digit = range[1..].starts_with(|first: char| first.is_ascii_digit());
        if self.rest.next() != Some('}') || commas > 1 || !starts_with_digit {
            return Err(refusal("a repetition is `{2}`, `{2,}` or `{2,5}`".to_owned()));
        }
        self.regex.push_str(&range);
        self.regex.push('}');
        Ok(())
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let Some(escaped) = self.rest.next() else {
            return Err(refusal(r"nothing after `\`"));
        };
        match escaped {
            'p' | 'P' => self.category(escaped),
            'n' | 'r' | 't' | '(' | ')' | '*' | '+' | '-' | '.' | '?' | '[' | '\\' | ']' | '^' | '{' | '|' | '}' => {
                self.regex.extend(['\\', escaped]);
                Ok(())
            }
            _ => Err(SyntaxError {
                hint: instead_of(escaped),
                ..refusal(format!(r"`\{escaped}` is not part of I-Regexp"))
            }),
        }
    }

    fn category(&mut self, escaped: char) -> Result<(), SyntaxError> {
        let opened = self.rest.next() == Some('{');
        let mut name = String::new();
        while let Some(letter) = self.rest.next_if(char::is_ascii_alphabetic) {
            name.push(letter);
        }
        let closed = self.rest.next() == Some('}');
        if !(opened && closed && CATEGORIES.contains(&name.as_str())) {
            let message = format!(r"`\{escaped}` takes a category, as in `\{escaped}{{Lu}}`");
            return Err(refusal(message));
        }
        self.regex.push_str(&format!(r"\{escaped}{{{name}}}"));
        Ok(())
    }

    fn class(&mut self) -> Result<(), SyntaxError> {
        self.regex.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.regex.push('^');
        }
        let mut items = 0;
        loop {
            match self.rest.next() {
                None => return Err(refusal("a `[` is not closed")),
                Some(']') if items > 0 => break,
                Some('-') if items == 0 || self.rest.peek() == Some(&']') => {
                    self.regex.push_str(r"\-");
                }
                Some(first) => self.class_item(first)?,
            }
            items += 1;
        }
        self.regex.push(']');
        Ok(())
    }

    fn class_item(&mut self, first: char) -> Result<(), SyntaxError> {
        let is_category = first == '\\' && matches!(self.rest.peek(), Some('p' | 'P'));
        self.class_character(first)?;
        let mut ahead = self.rest.clone();
        let is_range = ahead.next() == Some('-') && ahead.next() != Some(']');
        if is_range && !is_category {
            self.rest.next();
            self.regex.push('-');
            let last = self.rest.next().unwrap_or(']');
            if last == '\\' && matches!(self.rest.peek(), Some('p' | 'P')) {
                return Err(refusal("a range ends with a character"));
            }
            self.class_character(last)?;
        }
        Ok(())
    }

    fn class_character(&mut self, character: char) -> Result<(), SyntaxError> {
        match character {
            '\\' => return self.escape(),
            '[' | ']' | '-' => {
                let message = format!("unexpected `{character}` between `[` and `]`");
                return Err(refusal(message).hinting(format!(r"write `\{character}`")));
            }
            '^' | '&' | '~' => self.regex.extend(['\\', character]),
            _ => self.regex.push(character),
        }
        Ok(())
    }
}

fn instead_of(escaped: char) -> Option<String> {
    let instead = match escaped {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[A-Za-z0-9_]",
        'W' => "[^A-Za-z0-9_]",
        's' => r"[ \t\r\n]",
        'S' => r"[^ \t\r\n]",
        '$' => "[$]",
        '/' => "/",
        _ => return None,
    };
    Some(format!("write `{instead}`"))
}
