//! Where filters and queries look, before there is an event.

use super::{Filter, Logical, Operand, Pattern, Query, Selector};

/// One step of a path into an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Member(String),
    /// An item of a list; negative from its end.
    Index(i64),
    /// Any item or member.
    Any,
    /// Any number of steps: what comes after may be anywhere below.
    Below,
}

/// A place in the event that a text of the file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// From the event.
    pub steps: Vec<Step>,
    /// How many of the steps are not in the text, but those of what it stands in: an item of a filter, or a block.
    pub inherited: usize,
    /// The path as it is written.
    pub text: String,
    pub role: Role,
}

/// What a place is named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its value decides something.
    Looked,
    /// Its value is written into the text.
    Written,
    /// Whether anything is there decides, or whether nothing is.
    Test { negated: bool },
}

impl Filter {
    /// Every place that the filter looks at.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        logical(&self.expression, &[], false, &mut uses);
        uses
    }
}

impl Query {
    /// The place that the query selects, and those that its filters look at.
    pub fn uses(&self, role: Role) -> Vec<Use> {
        let mut uses = Vec::new();
        query(self, &[], role, &mut uses);
        uses
    }

    /// The steps to what the query selects.
    pub fn steps(&self) -> Vec<Step> {
        self.uses(Role::Looked).pop().map_or_else(Vec::new, |last| last.steps)
    }
}

fn logical(expression: &Logical, current: &[Step], negated: bool, uses: &mut Vec<Use>) {
    match expression {
        Logical::Or(parts) | Logical::And(parts) => {
            parts.iter().for_each(|part| logical(part, current, negated, uses));
        }
        Logical::Not(part) => logical(part, current, !negated, uses),
        Logical::Exists(found) => query(found, current, Role::Test { negated }, uses),
        Logical::Compare(left, _, right) => {
            operand(left, current, uses);
            operand(right, current, uses);
        }
        Logical::Matches(subject, pattern) => {
            operand(subject, current, uses);
            if let Pattern::Computed { text, .. } = pattern {
                operand(text, current, uses);
            }
        }
    }
}

fn operand(operand: &Operand, current: &[Step], uses: &mut Vec<Use>) {
    if let Some(found) = operand.query() {
        query(found, current, Role::Looked, uses);
    }
}

/// Those of its filters first, and the query itself last.
fn query(found: &Query, current: &[Step], role: Role, uses: &mut Vec<Use>) {
    let mut steps = if found.absolute { Vec::new() } else { current.to_vec() };
    let inherited = steps.len();
    for segment in &found.segments {
        if segment.descends {
            steps.push(Step::Below);
        }
        for selector in &segment.selectors {
            if let Selector::Filter(filter) = selector {
                let item: Vec<Step> = steps.iter().cloned().chain([Step::Any]).collect();
                logical(filter, &item, false, uses);
            }
        }
        steps.push(match segment.selectors.as_slice() {
            [Selector::Name(name)] => Step::Member(name.clone()),
            [Selector::Index(index)] => Step::Index(*index),
            _ => Step::Any,
        });
    }
    uses.push(Use { steps, inherited, text: found.text.clone(), role });
}
