//! Which events or deliveries a command means.

use clap::Args;
use serde_json::{Map, Value};

use super::Failure;

/// What holds for events and their deliveries alike.
#[derive(Args)]
pub struct Criteria {
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only what this route makes
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only events of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl Criteria {
    /// By the names that the gateway has for them.
    pub fn pairs<'a>(&'a self, id: Option<&'a str>, state: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
        let Self { kind, route, source } = self;
        [
            ("id", id),
            ("state", state),
            ("type", kind.as_deref()),
            ("route", route.as_deref()),
            ("source", source.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// The same as JSON. Nothing is changed by a command that does not say what.
pub fn filter(pairs: &[(&'static str, &str)], all: bool, hint: &str) -> Result<Map<String, Value>, Failure> {
    if pairs.is_empty() && !all {
        return Err(Failure { hint: Some(hint.to_owned()), ..Failure::usage("it is not said what is meant") });
    }
    let mut filter: Map<String, Value> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    if all {
        filter.insert("all".to_owned(), Value::Bool(true));
    }
    Ok(filter)
}
