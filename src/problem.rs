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
}

/// Where something stands in the file.
#[derive(Clone, Debug)]
pub struct Place {
    pub line: u32,
    pub column: u32,
    pub path: String,
}

impl From<(u32, u32)> for Place {
    /// A line and a column, where there is no tree.
    fn from((line, column): (u32, u32)) -> Self {
        Self { line, column, path: String::new() }
    }
}

impl Problem {
    /// An error at a value of the file.
    pub fn error(code: &'static str, at: impl Into<Place>, message: impl Into<String>) -> Self {
        let Place { line, column, path } = at.into();
        Self {
            severity: Severity::Error,
            code,
            line,
            column,
            path,
            message: message.into(),
            expected: None,
            hint: None,
        }
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

    /// Each once: what several sources share is looked at for each of them.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        let mut told = HashSet::new();
        self.0.retain(|problem| told.insert((problem.line, problem.column, problem.code, problem.message.clone())));
        self.0.sort_by_key(|problem| (problem.line, problem.column));
        self.0
    }
}
