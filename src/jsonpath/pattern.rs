//! I-Regexp (RFC 9485), the patterns of `match` and `search`, on the `regex` crate.

use super::SyntaxError;
use regex::{Regex, RegexBuilder};
use std::sync::LazyLock;

const SMALL_SIZE: usize = 1 << 12;
const WORK_OF_SMALL: usize = 4;
const MAXIMUM_SIZE: usize = 1 << 17;
const WORK_OF_LARGE: usize = 100;
const MAXIMUM_SIZE_FROM_EVENT: usize = 1 << 17;
const MAXIMUM_LENGTH_FROM_EVENT: usize = 1024;

/// Compiles a pattern written in a filter, and says what that has cost; `whole` when it must match the whole text.
pub(super) fn from_filter(pattern: &str, whole: bool) -> Result<(Regex, usize), SyntaxError> {
    let regex = translate(pattern)?;
    if let Ok(small) = build(&regex, whole, SMALL_SIZE) {
        return Ok((small, WORK_OF_SMALL));
    }
    match build(&regex, whole, MAXIMUM_SIZE) {
        Ok(large) => Ok((large, WORK_OF_LARGE)),
        Err(regex::Error::CompiledTooBig(_)) => Err(refusal("the pattern is too large")),
        Err(_) => Err(refusal("a range or a repetition runs backwards")),
    }
}

/// Compiles a pattern found in an event; none when it is no I-Regexp, or larger than an event may ask for.
pub(super) fn from_event(pattern: &str, whole: bool) -> Option<Regex> {
    if pattern.len() > MAXIMUM_LENGTH_FROM_EVENT {
        return None;
    }
    build(&translate(pattern).ok()?, whole, MAXIMUM_SIZE_FROM_EVENT).ok()
}

fn build(regex: &str, whole: bool, size: usize) -> Result<Regex, regex::Error> {
    let regex = if whole { format!(r"\A(?:{regex})\z") } else { regex.to_owned() };
    RegexBuilder::new(&regex).size_limit(size).dfa_size_limit(size).build()
}

/// An opening parenthesis, a bar, or an atom or a closing parenthesis with its quantifier.
static PIECE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let escape = r"\\[()*+\-.?\[\\\]^nrt{|}]";
    let category = r"\\[pP]\{(?:L[lmotu]?|M[cen]?|N[dlo]?|P[c-fios]?|Z[lps]?|S[ckmo]?|C[cfno]?)\}";
    let character = format!(r"(?:[^\[\\\]-]|{escape})");
    let item = format!("(?:{category}|{character}(?:-{character})?)");
    let class = format!(r"\[\^?(?:-|{item}){item}*-?\]");
    let atom = format!(r"(?:[^(*+?\[\\\]{{|}}]|{escape}|{category}|{class})");
    let quantifier = r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})";
    let piece = format!(r"\A(?:\(|\||{atom}{quantifier}?)");
    Regex::new(&piece).ok()
});

fn translate(pattern: &str) -> Result<String, SyntaxError> {
    let mut regex = String::with_capacity(pattern.len() + 16);
    let mut open = 0_usize;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let piece = PIECE.as_ref().and_then(|piece| piece.find(rest));
        let (piece, after) = rest.split_at(piece.ok_or_else(|| unexpected(rest, first))?.end());
        match first {
            '(' => {
                open += 1;
                regex.push_str("(?:");
            }
            ')' => {
                open = open.checked_sub(1).ok_or_else(|| unexpected(rest, first))?;
                regex.push_str(piece);
            }
            '.' => {
                regex.push_str(r"[^\n\r]");
                regex.push_str(&piece[1..]);
            }
            '[' => regex.push_str(&piece.replace('&', r"\&").replace('~', r"\~")),
            _ => regex.push_str(piece),
        }
        rest = after;
    }
    if open > 0 {
        return Err(refusal("a `(` is not closed"));
    }
    Ok(regex)
}

fn refusal(message: impl Into<String>) -> SyntaxError {
    SyntaxError::at(0, message)
}

fn unexpected(rest: &str, first: char) -> SyntaxError {
    let foreign = [(r"\d", "0-9"), (r"\w", "A-Za-z0-9_"), (r"\s", r" \t\r\n")];
    for (escape, class) in foreign {
        if rest.starts_with(escape) || (first == '[' && rest.contains(escape)) {
            return refusal(format!("`{escape}` is not in I-Regexp"))
                .hinting(format!("write `[{class}]`, or `{class}` in a class"));
        }
    }
    let shown = rest.chars().take(if first == '\\' { 2 } else { 1 });
    refusal(format!("unexpected `{}`", shown.collect::<String>()))
}
