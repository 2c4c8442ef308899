//! What is wrong with a `routes.yaml`: every problem with where, what, expected and hint.

use std::collections::HashSet;

use serde::Serialize;

/// Whether a problem keeps the file from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot run.
    Error,
    /// The file runs, but probably not as meant.
    Warning,
    /// Worth knowing: something could not be judged here.
    Note,
}

/// One problem, told so that whoever edits the file can mend it without asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub severity: Severity,
    /// A stable word, such as `unknown_key`, for scripts.
    pub code: &'static str,
    /// Line in the file, from 1.
    pub line: u32,
    /// Column in the line, in characters, from 1.
    pub column: u32,
    /// Where in the tree, such as `routes[0].filter`.
    pub path: String,
    pub message: String,
    pub expected: Option<String>,
    pub hint: Option<String>,
    /// Where the value was written first, if it stands here by a YAML alias.
    #[serde(skip)]
    pub defined: (u32, u32),
    /// What stands before the mistake, if it is inside a text.
    #[serde(skip)]
    pub behind: Option<String>,
}

/// Where something stands in the file.
#[derive(Clone, Debug)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    pub path: String,
    /// Where it was written first, if it stands here by a YAML alias.
    pub defined: (u32, u32),
}

impl From<(u32, u32)> for Place {
    /// A line and a column, where there is no tree.
    fn from((line, column): (u32, u32)) -> Self {
        Self { line, column, path: String::new(), defined: (line, column) }
    }
}

impl Problem {
    /// An error at a value of the file.
    pub fn error(code: &'static str, at: impl Into<Place>, message: impl Into<String>) -> Self {
        let Place { line, column, path, defined } = at.into();
        Self {
            severity: Severity::Error,
            code,
            line,
            column,
            path,
            message: message.into(),
            expected: None,
            hint: None,
            defined,
            behind: None,
        }
    }

    /// Says that the mistake is inside a text of the file, `offset` characters from its start.
    pub fn inside(self, text: &str, offset: usize) -> Self {
        let behind = text.chars().take(offset).collect();
        Self { message: format!("{}, at character {}", self.message, offset + 1), behind: Some(behind), ..self }
    }

    pub fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    pub fn note(self) -> Self {
        Self { severity: Severity::Note, ..self }
    }

    pub fn expected(self, expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// In longer lines, in bytes, a problem is told at the start of its value.
const LONGEST_LINE: usize = 4096;

/// All problems of one file, in the order in which they stand in it.
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Each once: what several sources or YAML aliases share is looked at for each of them.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        let mut told = HashSet::new();
        self.0.retain(|problem| told.insert((problem.defined, problem.code, problem.message.clone())));
        self.0.sort_by_key(|problem| (problem.line, problem.column));
        self.0
    }

    /// Moves what is inside a text to its exact place, where the source has that text as it is.
    pub fn locate(&mut self, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        for problem in &mut self.0 {
            let place = problem.behind.take().and_then(|behind| end_of(&behind, &lines, problem.line, problem.column));
            (problem.line, problem.column) = place.unwrap_or((problem.line, problem.column));
        }
    }
}

/// The line and column behind a text that starts at a place, plain, in quotes or as a block of lines.
fn end_of(text: &str, lines: &[&str], line: u32, column: u32) -> Option<(u32, u32)> {
    let from = |line: u32| {
        let line = lines.get(line as usize - 1).filter(|line| line.len() <= LONGEST_LINE)?;
        line.char_indices().nth(column as usize - 1).map(|(start, _)| &line[start..])
    };
    let first = from(line)?;
    let quoted = first.strip_prefix(['"', '\'']).filter(|_| !text.contains('\n'));
    let (mut line, mut rest, mut text) = (line, quoted.unwrap_or(first), text);
    while let Some((before, after)) = text.split_once('\n') {
        if before != rest {
            return None;
        }
        line += 1;
        (rest, text) = (from(line)?, after);
    }
    let length = text.chars().count() + usize::from(quoted.is_some());
    rest.starts_with(text).then_some((line, column + length as u32))
}
