//! Where a value stands in the tree.

use std::fmt;
use std::sync::Arc;

use super::shortened;

/// Such as `routes[0].filter`; empty for the whole file. What two values have in common is kept once, because a file
/// may have many values below a long path.
#[derive(Clone, Debug, Default)]
pub struct Path(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    before: Path,
    name: Name,
}

#[derive(Debug)]
enum Name {
    Member(String),
    Item(usize),
}

impl Path {
    pub fn member(&self, key: &str) -> Self {
        self.step(Name::Member(shortened(key)))
    }

    pub fn item(&self, index: usize) -> Self {
        self.step(Name::Item(index))
    }

    fn step(&self, name: Name) -> Self {
        Self(Some(Arc::new(Step { before: self.clone(), name })))
    }

    /// The block of the file that it is in, such as `routes`.
    pub fn block(&self) -> Option<&str> {
        let step = self.0.as_deref()?;
        match (&step.before.0, &step.name) {
            (Some(_), _) => step.before.block(),
            (None, Name::Member(key)) => Some(key),
            (None, Name::Item(_)) => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else { return Ok(()) };
        step.before.fmt(formatter)?;
        match &step.name {
            Name::Item(index) => write!(formatter, "[{index}]"),
            Name::Member(key) if step.before.0.is_none() => formatter.write_str(key),
            Name::Member(key) => write!(formatter, ".{key}"),
        }
    }
}
