//! What is wrong with a `routes.yaml`: every problem with where, what, expected and hint.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

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
        let behind = (offset <= LONGEST_LINE).then(|| text.chars().take(offset).collect());
        Self { message: format!("{}, at character {}", self.message, offset + 1), behind, ..self }
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

    fn identity(&self) -> Identity {
        (self.defined, self.code, self.message.clone())
    }

    fn shortened(mut self) -> Self {
        let texts = [Some(&mut self.message), Some(&mut self.path), self.expected.as_mut(), self.hint.as_mut()];
        for text in texts.into_iter().flatten() {
            if let Some((end, _)) = text.char_indices().nth(LONGEST) {
                text.truncate(end);
                text.push('…');
            }
        }
        self
    }
}

/// In longer lines, in bytes, a problem is told at the start of its value.
const LONGEST_LINE: usize = 4096;
/// So many of each severity are kept: nobody mends more at once, and the log has to hold them.
const MOST: usize = 1000;
/// Texts of the file may be in a message, and nobody reads more characters of it.
const LONGEST: usize = 1000;

/// What compiling one file may cost in all. One is a short query, a few microseconds and a
/// kilobyte; ten thousand routes with a filter and five short templates each spend less.
const MOST_WORK: usize = 200_000;
/// A text that does not compile has cost as much as the largest that does.
pub const WORK_OF_A_MISTAKE: usize = 100;

/// What is told once. What YAML aliases share is where it was written first.
type Identity = ((u32, u32), &'static str, String);

/// All problems of one file, in the order in which they stand in it.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    kept: Vec<Problem>,
    told: HashSet<Identity>,
    /// By severity: how many are kept, and whether there were more.
    counts: [usize; 3],
    more: [bool; 3],
    /// What compiling has cost until now.
    work: Rc<Cell<usize>>,
}

impl Problems {
    /// A list of its own for a part of the same file.
    pub fn of_part(&self) -> Self {
        Self { work: self.work.clone(), ..Self::default() }
    }

    /// Counts what is compiled, so that no file keeps the gateway busy or fills its memory; the rest of one that asks
    /// for too much is not compiled.
    pub fn spend(&mut self, at: impl Into<Place>, work: usize) -> Option<()> {
        let before = self.work.replace(self.work.get().saturating_add(work));
        if before <= MOST_WORK && self.work.get() > MOST_WORK {
            let message = "up to here the file has more filters and templates than any file of rules needs";
            self.push(Problem::error("too_large", at, message));
        }
        (self.work.get() <= MOST_WORK).then_some(())
    }

    /// Each once: what several sources share is looked at for each of them.
    pub fn push(&mut self, problem: Problem) {
        let problem = problem.shortened();
        let severity = problem.severity as usize;
        let known = self.told.contains(&problem.identity());
        if !known && self.has_room(problem.severity) {
            self.told.insert(problem.identity());
            self.counts[severity] += 1;
            self.kept.push(problem);
        }
    }

    /// Pushes what is costly to make, and may be one of very many.
    pub fn push_with(&mut self, severity: Severity, problem: impl FnOnce() -> Problem) {
        if self.has_room(severity) {
            self.push(problem());
        }
    }

    fn has_room(&mut self, severity: Severity) -> bool {
        let room = self.counts[severity as usize] < MOST;
        self.more[severity as usize] |= !room;
        room
    }

    pub fn has_errors(&self) -> bool {
        self.counts[Severity::Error as usize] > 0
    }

    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.kept.sort_by_key(|problem| (problem.line, problem.column));
        let end = self.kept.last().map_or((1, 1), |last| (last.line, last.column));
        for (severity, what) in
            [(Severity::Error, "errors"), (Severity::Warning, "warnings"), (Severity::Note, "notes")]
        {
            if self.more[severity as usize] {
                let message = format!("there are more {what} than the {MOST} that are told");
                self.kept.push(Problem { severity, ..Problem::error("more_problems", end, message) });
            }
        }
        self.kept
    }

    /// Moves what is inside a text to its exact place, where the source has that text as it is.
    pub fn locate(&mut self, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        for problem in &mut self.kept {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each_severity_are_kept_and_the_last_one_says_that_there_are_more() {
        let mut problems = Problems::default();
        let warning = |line| Problem::error("w", (line, 1), "x".repeat(5000)).warning();
        (1..=5000).for_each(|line| problems.push(warning(line)));
        assert!(!problems.has_errors());
        (1..=1000).for_each(|line| problems.push(Problem::error("e", (line, 2), "e")));
        // One of them again is not one more.
        problems.push(Problem::error("e", (1, 2), "e"));
        assert!(problems.has_errors());
        let problems = problems.into_sorted();
        assert_eq!(problems.len(), 2001);
        assert!(problems.iter().all(|problem| problem.message.chars().count() <= 1001));
        let last = &problems[2000];
        assert_eq!((last.severity, last.code, last.line), (Severity::Warning, "more_problems", 1000));
    }

    #[test]
    fn the_work_of_all_parts_of_a_file_is_bounded_and_that_is_told_once() {
        let mut problems = Problems::default();
        let mut part = problems.of_part();
        assert_eq!(part.spend((1, 1), MOST_WORK), Some(()));
        assert_eq!(problems.spend((2, 1), 1), None);
        assert_eq!(problems.spend((3, 1), usize::MAX), None);
        assert!(part.into_sorted().is_empty());
        let told = problems.into_sorted();
        assert_eq!((told.len(), told[0].code, told[0].line), (1, "too_large", 2));
    }
}
