//! What a route wants, for those who judge it before there is an event.

use std::cell::Cell;

use serde_json::Value;

use super::{Choice, Matcher, Workflow, look_up};
use crate::jsonpath::{Filter, Query};
use crate::template::Template;

impl Matcher {
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    pub fn sources(&self) -> Option<&[String]> {
        self.sources.as_deref()
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the route wants an event for what is in it, whatever its source; or not, if there are no steps left to
    /// find out.
    pub fn takes(&self, event: &Value, steps: &Cell<usize>) -> bool {
        let kind = event.get("type").and_then(Value::as_str);
        self.wants_type(kind)
            && self.filters.iter().all(|filter| filter.holds_within(event, steps))
            && match &self.workflow {
                Workflow::Table { by, cases, default: None } => {
                    look_up(cases, by.select_within(event, steps).first().copied()).is_some()
                }
                _ => true,
            }
    }

    /// The query of a workflow table.
    pub fn workflow_by(&self) -> Option<&Query> {
        match &self.workflow {
            Workflow::One(_) => None,
            Workflow::Table { by, .. } => Some(by),
        }
    }

    /// The template that makes workflow ids, if there is one.
    pub fn workflow_template(&self) -> Option<&Template> {
        let choice = match &self.workflow {
            Workflow::One(choice) => choice,
            Workflow::Table { default, .. } => default.as_ref()?,
        };
        match choice {
            Choice::Id(_) => None,
            Choice::Template(template) => Some(template),
        }
    }
}
