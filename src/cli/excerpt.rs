//! The line of the file that a problem is in, with a mark below it, for people at a terminal.

use crate::problem::Problem;

/// The most of a line that is shown, in characters.
const WIDTH: usize = 100;

/// The line of the problem and a caret below its column; none where a secret may stand.
pub fn excerpt(source: &str, problem: &Problem) -> Option<String> {
    let number = problem.line as usize;
    let line = source.lines().nth(number - 1)?;
    if may_hold_secret(source, problem) {
        return None;
    }
    let column = problem.column as usize - 1;
    // Of a long line, the part around the problem.
    let start = column.saturating_sub(WIDTH / 2);
    let shown: String = line.chars().skip(start).take(WIDTH).map(printable).collect();
    let gutter = " ".repeat(number.to_string().len());
    let caret = " ".repeat(column - start);
    Some(format!("  {gutter} |\n  {number} | {}\n  {gutter} | {caret}^\n", shown.trim_end()))
}

/// A terminal acts on control characters, and a tab would move the caret.
fn printable(char: char) -> char {
    if char.is_control() { ' ' } else { char }
}

fn may_hold_secret(source: &str, problem: &Problem) -> bool {
    let is_secret = |key: &str| matches!(key.trim_matches(['"', '\'']), "sources" | "novu");
    let block = problem.path.split(['.', '[']).next().unwrap_or_default();
    // What is not readable as YAML has no path: the last key at the margin is the block.
    let before = source.lines().take(problem.line as usize);
    let keys = before.filter(|line| line.starts_with(|first: char| first.is_alphabetic() || "\"'{".contains(first)));
    let margin =
        keys.last().map_or("", |line| line.trim_start_matches(['{', ' ']).split(':').next().unwrap_or_default());
    is_secret(block) || (block.is_empty() && is_secret(margin.trim()))
}
