//! Which events or deliveries a request means: by its query, or by its JSON.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::clerk;
use crate::store::{Filter, State};

/// Events that no route wanted have this state.
const UNROUTED: &str = "unrouted";

/// What a request asks for. Each address takes some of it.
#[derive(Debug, Default)]
pub struct Criteria {
    pub filter: Filter,
    pub limit: Option<u64>,
    pub again: bool,
    pub all: bool,
}

impl Criteria {
    /// Reads `state=dead&route=welcome`. A parameter without a value is left out.
    pub fn of_query(query: &str, takes: &[&str]) -> Result<Self, Refusal> {
        let mut criteria = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = known(&name, takes)?;
            let value = match (name, value.parse::<i64>()) {
                _ if value.is_empty() => continue,
                ("before" | "limit", Ok(number)) => Value::from(number),
                _ => Value::from(&*value),
            };
            criteria.set(name, &value)?;
        }
        Ok(criteria)
    }

    /// Reads a JSON object.
    pub fn of_body(body: &[u8], takes: &[&str]) -> Result<Self, Refusal> {
        let members: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| Refusal::bad_request("the body is no JSON object, such as `{\"route\": \"welcome\"}`"))?;
        let mut criteria = Self::default();
        for (name, value) in &members {
            criteria.set(known(name, takes)?, value)?;
        }
        Ok(criteria)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), Refusal> {
        let filter = &mut self.filter;
        match name {
            "id" => filter.id = Some(text(name, value)?.to_owned()),
            "type" => filter.kind = Some(text(name, value)?.to_owned()),
            "route" => filter.route = Some(text(name, value)?.into()),
            "source" => filter.source = Some(text(name, value)?.to_owned()),
            "state" if value == UNROUTED => filter.unrouted = true,
            "state" => filter.state = Some(state(text(name, value)?)?),
            "before" => filter.before = Some(value.as_i64().ok_or_else(|| wrong(name, "the `next` of an answer"))?),
            "limit" => self.limit = Some(value.as_u64().ok_or_else(|| wrong(name, "a number"))?),
            _ => {
                let yes = value.as_bool().ok_or_else(|| wrong(name, "`true` or `false`"))?;
                *(if name == "again" { &mut self.again } else { &mut self.all }) = yes;
            }
        }
        Ok(())
    }

    /// How many are asked for.
    pub fn limit(&self, default: u64, most: u64) -> Result<usize, Refusal> {
        match self.limit.unwrap_or(default) {
            limit if (1..=most).contains(&limit) => Ok(limit as usize),
            _ => Err(wrong("limit", &format!("1 to {most}"))),
        }
    }

    /// What everything is changed by has to be said, so that nothing left out means everything.
    pub fn require_some(&self) -> Result<(), Refusal> {
        let Filter { id, source, kind, route, state, unrouted, before: _ } = &self.filter;
        let some = id.is_some() || source.is_some() || kind.is_some() || route.is_some() || state.is_some();
        match (some || *unrouted, self.all) {
            (false, false) => Err(Refusal::bad_request("say which are meant, or `\"all\": true`")),
            (true, true) => Err(Refusal::bad_request("`all` goes with nothing else that says which are meant")),
            _ => Ok(()),
        }
    }

    /// Refuses the states that cannot be asked for here.
    pub fn require_state(&self, states: &[&str]) -> Result<(), Refusal> {
        let given = if self.filter.unrouted { Some(UNROUTED) } else { self.filter.state.map(State::as_str) };
        match given {
            Some(given) if !states.contains(&given) => Err(wrong("state", &format!("one of {}", list(states)))),
            _ => Ok(()),
        }
    }
}

fn known<'a>(name: &str, takes: &[&'a str]) -> Result<&'a str, Refusal> {
    takes.iter().copied().find(|known| *known == name).ok_or_else(|| {
        let near = clerk::nearest(name, takes.iter().copied());
        let hint = near.map_or(format!("expected one of {}", list(takes)), |near| format!("did you mean `{near}`?"));
        Refusal::bad_request(format!("unknown parameter `{name}`; {hint}"))
    })
}

fn state(name: &str) -> Result<State, Refusal> {
    State::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
        let names: Vec<&str> = State::ALL.into_iter().map(State::as_str).chain([UNROUTED]).collect();
        let near = clerk::nearest(name, names.iter().copied());
        let hint = near.map_or(format!("expected one of {}", list(&names)), |near| format!("did you mean `{near}`?"));
        Refusal::bad_request(format!("there is no state `{name}`; {hint}"))
    })
}

/// An empty text is a mistake in a script, and must not mean everything.
fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Refusal> {
    value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| wrong(name, "a text that is not empty"))
}

fn wrong(name: &str, expected: &str) -> Refusal {
    Refusal::bad_request(format!("`{name}` is not what is expected: {expected}"))
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
