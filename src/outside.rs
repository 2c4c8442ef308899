//! Values from outside the file: `${VAR}` and `${file:/run/secrets/x}`, resolved after YAML is parsed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::Node;
use crate::problem::{Problem, Problems, Severity};

/// The most that is read of a secret file, in bytes.
const MAX_SECRET_FILE: usize = 64 * 1024;

/// The most that comes in from outside in all, in bytes.
const MAX_OUTSIDE: usize = 1 << 20;

/// Reads a file that has an end: a device or a pipe may have none.
pub fn read_file(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > most {
        true => Err(std::io::Error::other(format!("it has more than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// What is in a secret file.
pub fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    read_file(path, MAX_SECRET_FILE)
}

/// Where `${…}` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// To run: what is unset is an error.
    Needed,
    /// To look at rules where no secret is: what is unset is a note, and the value is its own text.
    Optional,
    /// To look at rules that somebody else has sent: nothing is looked up, and every value is its own text.
    Sealed,
}

/// A text with everything from outside put in.
pub struct Resolved {
    pub text: String,
    /// False if something in it stands for itself.
    pub complete: bool,
}

/// Resolves the values of one file, and remembers the files that it read.
pub struct Resolver {
    outside: Outside,
    /// The secret files and what was in them, so that a change is seen.
    pub files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    left: usize,
}

impl Resolver {
    pub fn new(outside: Outside) -> Self {
        Self { outside, files: BTreeMap::new(), left: MAX_OUTSIDE }
    }

    /// Resolves a text of the file.
    pub fn resolve(&mut self, node: &Node, problems: &mut Problems) -> Option<Resolved> {
        let text = node.text(problems)?;
        self.resolve_text(node, text, problems)
    }

    /// Resolves the default of a key that is not in the file: only an error is worth reporting.
    pub fn resolve_default(
        &mut self,
        node: &Node,
        key: &str,
        default: &str,
        problems: &mut Problems,
    ) -> Option<Resolved> {
        let mut found = Problems::default();
        let resolved = self.resolve_text(node, default, &mut found);
        for problem in found.into_sorted().into_iter().filter(|problem| problem.severity == Severity::Error) {
            problems.push(Problem { message: format!("{}, the default of `{key}`", problem.message), ..problem });
        }
        resolved
    }

    fn resolve_text(&mut self, node: &Node, text: &str, problems: &mut Problems) -> Option<Resolved> {
        let mut resolved = Resolved { text: String::new(), complete: true };
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else { break };
            let name = &rest[start + 2..start + length];
            resolved.text.push_str(&rest[..start]);
            match self.look_up(name) {
                Ok(value) => resolved.text.push_str(&value),
                Err(why) => {
                    self.report(node, name, &why, problems)?;
                    resolved.text.push_str(&rest[start..=start + length]);
                    resolved.complete = false;
                }
            }
            rest = &rest[start + length + 1..];
        }
        resolved.text.push_str(rest);
        Some(resolved)
    }

    /// Resolves every text of a tree, as in `vars`.
    pub fn resolve_tree(&mut self, node: &Node, problems: &mut Problems) -> Option<Value> {
        use crate::config::Kind;
        match &node.kind {
            Kind::Text(_) => self.resolve(node, problems).map(|resolved| Value::String(resolved.text)),
            Kind::List(items) => {
                // Into a list first: all of it is looked at, whatever is found.
                let items: Vec<_> = items.iter().map(|item| self.resolve_tree(item, problems)).collect();
                items.into_iter().collect()
            }
            Kind::Object(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| Some((key.name.clone(), self.resolve_tree(value, problems)?)))
                    .collect();
                entries.into_iter().collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
            }
            _ => node.to_json(problems),
        }
    }

    fn look_up(&mut self, name: &str) -> Result<String, String> {
        if self.outside == Outside::Sealed {
            return Err("is not looked up".to_owned());
        }
        let value = match name.strip_prefix("file:") {
            Some(path) => self.read(path)?,
            None => std::env::var(name).map_err(|_| "is not set".to_owned())?,
        };
        match value.trim() {
            "" => Err("is empty".to_owned()),
            value if value.len() > self.left => Err("is too much, with all that came before it".to_owned()),
            value => {
                self.left -= value.len();
                Ok(value.to_owned())
            }
        }
    }

    /// A variable that is a default of its own, and may well be unset.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value = (self.outside != Outside::Sealed).then(|| std::env::var(name).ok());
        value.flatten().filter(|value| !value.trim().is_empty())
    }

    fn read(&mut self, path: &str) -> Result<String, String> {
        let content = read_secret(Path::new(path));
        self.files.insert(PathBuf::from(path), content.as_ref().ok().cloned());
        let content = content.map_err(|error| format!("cannot be read: {error}"))?;
        String::from_utf8(content).map_err(|_| "is not a text".to_owned())
    }

    /// An error where values are needed, a note where they are not.
    fn report(&self, node: &Node, name: &str, why: &str, problems: &mut Problems) -> Option<()> {
        let problem = Problem::error("unset_variable", node, format!("`${{{name}}}` {why}"));
        match self.outside {
            Outside::Optional => {
                problems.push(problem.note());
                Some(())
            }
            Outside::Sealed => Some(()),
            Outside::Needed => {
                problems.push(problem.hint(match name.strip_prefix("file:") {
                    Some(path) => format!("put the value into `{path}`"),
                    None => format!("set the environment variable `{name}` where the gateway starts"),
                }));
                None
            }
        }
    }
}
