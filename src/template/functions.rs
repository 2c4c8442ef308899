//! The helpers that Deskbell adds to Handlebars. A missing value goes in and nothing comes out.

use std::sync::Arc;

use handlebars::template::Parameter;
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError, RenderErrorReason,
    ScopedJson,
};
use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{TURN, TYPED, TemplateError, budget};
use crate::clerk;
use crate::jsonpath::Query;
use crate::units::hex;

pub const NAMES: [&str; 12] = [
    "primary_email",
    "primary_phone",
    "full_name",
    "default",
    "lower",
    "upper",
    "trim",
    "replace",
    "date",
    "json",
    "jsonpath",
    "sha256",
];

const DEFAULT_DATE: &str = "%Y-%m-%dT%H:%M:%SZ";

pub fn register(registry: &mut Handlebars<'static>) {
    let functions: [(&'static str, Body); 11] = [
        ("primary_email", |call| Ok(call.person().and_then(clerk::primary_email).map(Value::from))),
        ("primary_phone", |call| Ok(call.person().and_then(clerk::primary_phone).map(Value::from))),
        ("full_name", |call| Ok(call.person().and_then(clerk::full_name).map(Value::from))),
        ("default", |call| Ok(call.values.iter().copied().find(|value| !super::is_empty(value)).cloned())),
        ("lower", |call| Ok(call.text(0).map(|text| text.to_lowercase().into()))),
        ("upper", |call| Ok(call.text(0).map(|text| text.to_uppercase().into()))),
        ("trim", |call| Ok(call.text(0).map(|text| text.trim().into()))),
        ("replace", replace),
        ("date", date),
        ("json", |call| Ok(call.values.first().filter(|value| !value.is_null()).map(|value| value.to_string().into()))),
        ("sha256", |call| Ok(call.text(0).map(|text| hex(&Sha256::digest(text.as_bytes())).into()))),
    ];
    for (name, body) in functions {
        registry.register_helper(name, Box::new(Function { body }));
    }
    registry.register_helper(TYPED, Box::new(Typed));
    registry.register_helper(TURN, Box::new(Turn));
}

type Body = fn(&Call) -> Result<Option<Value>, String>;

struct Function {
    body: Body,
}

/// What a helper was called with.
struct Call<'a> {
    root: &'a Value,
    values: Vec<&'a Value>,
}

impl Call<'_> {
    fn text(&self, index: usize) -> Option<String> {
        match self.values.get(index)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// The person named, or the event's own `data`.
    fn person(&self) -> Option<&Value> {
        self.values.first().copied().or_else(|| self.root.get("data"))
    }
}

impl HelperDef for Function {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let values = helper.params().iter().map(|parameter| parameter.value()).collect();
        let call = Call { root: context.data(), values };
        let value = (self.body)(&call).map_err(RenderErrorReason::Other)?.unwrap_or_default();
        budget::spend_value(&value).map_err(RenderErrorReason::Other)?;
        Ok(ScopedJson::Derived(value))
    }
}

fn replace(call: &Call) -> Result<Option<Value>, String> {
    let (Some(from), Some(to)) = (call.text(1), call.text(2)) else {
        return Err("`replace` needs a text, what to replace and what with".to_owned());
    };
    let Some(text) = call.text(0) else { return Ok(None) };
    // Before it is made: it may be larger than any memory.
    budget::spend(text.matches(&from).count().saturating_mul(to.len()))?;
    Ok(Some(text.replace(&from, &to).into()))
}

fn date(call: &Call) -> Result<Option<Value>, String> {
    let moment = match call.values.first() {
        Some(Value::Number(number)) => number.as_f64().and_then(moment),
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => {
            Some(text.parse().map_err(|_| "`date` was given a text that is no date".to_owned())?)
        }
        _ => None,
    };
    let Some(moment) = moment else { return Ok(None) };
    format_date(moment, call.text(1).as_deref(), call.text(2).as_deref()).map(|text| Some(text.into()))
}

/// Clerk's timestamps are milliseconds; what is below 10¹¹ are seconds.
fn moment(number: f64) -> Option<Timestamp> {
    let millis = if number.abs() < 1e11 { number * 1000.0 } else { number };
    Timestamp::from_millisecond(millis as i64).ok()
}

fn format_date(moment: Timestamp, format: Option<&str>, zone: Option<&str>) -> Result<String, String> {
    let zone = match zone {
        Some(name) => {
            TimeZone::get(name).map_err(|_| format!("`{name}` is not a time zone, such as `Europe/Berlin`"))?
        }
        None => TimeZone::UTC,
    };
    let format = format.unwrap_or(DEFAULT_DATE);
    strtime::format(format, &moment.to_zoned(zone))
        .map_err(|_| format!("`{format}` is not a date format, such as `%d %B %Y`"))
}

/// Checks what can be checked before there is an event.
pub fn check_literals(name: &str, parameters: &[Parameter]) -> Result<(), TemplateError> {
    if name != "date" {
        return Ok(());
    }
    let literal = |index| match parameters.get(index) {
        Some(Parameter::Literal(Value::String(text))) => Some(text.as_str()),
        _ => None,
    };
    format_date(Timestamp::UNIX_EPOCH, literal(1), literal(2)).map(drop).map_err(TemplateError::new)
}

/// The query of a `jsonpath` call, which has to stand there as it is.
pub fn compile_query(parameters: &[Parameter]) -> Result<(String, Arc<Query>), TemplateError> {
    let [Parameter::Literal(Value::String(text))] = parameters else {
        return Err(TemplateError {
            message: "`jsonpath` needs one query in quotes".to_owned(),
            hint: Some("such as `{{jsonpath \"$.data.email_addresses[0].id\"}}`".to_owned()),
        });
    };
    match Query::compile(text) {
        Ok(query) => Ok((text.clone(), Arc::new(query))),
        Err(error) => {
            Err(TemplateError { message: format!("`{text}` is not a JSONPath: {}", error.message), hint: error.hint })
        }
    }
}

/// `{{jsonpath "$.data…"}}`: the node it selects, or a list if there are several.
pub struct JsonPath {
    pub queries: Arc<[(String, Arc<Query>)]>,
}

impl HelperDef for JsonPath {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let text = helper.param(0).and_then(|parameter| parameter.value().as_str());
        let query = self.queries.iter().find(|(known, _)| Some(known.as_str()) == text);
        let nodes = query.map_or(Vec::new(), |(_, query)| query.select(context.data()));
        nodes.iter().try_for_each(|node| budget::spend_value(node)).map_err(RenderErrorReason::Other)?;
        Ok(ScopedJson::Derived(match nodes.as_slice() {
            [] => Value::Null,
            [node] => (*node).clone(),
            nodes => nodes.iter().map(|node| (*node).clone()).collect(),
        }))
    }
}

struct Turn;

impl HelperDef for Turn {
    fn call<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        Ok(budget::spend(budget::TURN).map_err(RenderErrorReason::Other)?)
    }
}

struct Typed;

impl HelperDef for Typed {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        output: &mut dyn Output,
    ) -> HelperResult {
        if let Some(value) = helper.param(0).filter(|parameter| !parameter.is_value_missing()) {
            budget::spend_value(value.value()).map_err(RenderErrorReason::Other)?;
            output.write(&value.value().to_string())?;
        }
        Ok(())
    }
}
