//! Bodies of requests: the fields of a webhook that a caller may set.

use axum::{body::Bytes, http::StatusCode};
use serde_json::{Map, Value};

use super::{access::ApiCaller, problem::ApiProblem};
use crate::{
    config::{self, quoted, suggest},
    folder::WebhookFields,
};

/// Fields of a webhook that its tenant may set, in the order in which they are written.
const OF_TENANTS: [&str; 7] = ["url", "events", "subjects", "active", "headers", "body", "routing_key"];
/// Those that only an operator may set.
const OF_OPERATORS: [&str; 3] = ["allow_private", "concurrency", "max_pending"];

/// Parses a body that is an object, or empty.
pub(super) fn object(body: &Bytes) -> Result<Map<String, Value>, ApiProblem> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiProblem::bad_body("the body is a JSON object")),
        Err(error) => Err(ApiProblem::bad_body(format!("the body is not JSON: {error}"))),
    }
}

/// A webhook to make: its name, if the caller has chosen it, and its fields.
pub(super) fn new_webhook(
    caller: &ApiCaller,
    mut members: Map<String, Value>,
) -> Result<(Option<String>, WebhookFields<'static>), ApiProblem> {
    let text = |value: Value, field: &str| match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(format!("`{field}` must be a string"))),
    };
    let (name, tenant) = match caller {
        ApiCaller::Tenant(own) => (None, Some(own.clone())),
        ApiCaller::Operator => {
            let name = members.remove("name").map(|name| text(name, "name")).transpose()?;
            (name, members.remove("tenant").map(|tenant| text(tenant, "tenant")).transpose()?)
        }
    };
    if let Some(name) = &name {
        config::name(name).map_err(|error| invalid(format!("`name` can't be `{name}`: {error}")))?;
    }
    let mut fields = fields(caller, members, &["name", "tenant"])?;
    fields.extend(tenant.map(|tenant| ("tenant", tenant.into())));
    Ok((name, fields))
}

/// Fields to change.
pub(super) fn changed(caller: &ApiCaller, members: Map<String, Value>) -> Result<WebhookFields<'static>, ApiProblem> {
    if members.is_empty() {
        return Err(invalid("there is no field to change").hint(quoted(OF_TENANTS, "and")));
    }
    fields(caller, members, &[])
}

/// Fields that the caller may set, in their order. `more` are the names of others that an operator
/// may use.
fn fields(
    caller: &ApiCaller,
    mut members: Map<String, Value>,
    more: &[&'static str],
) -> Result<WebhookFields<'static>, ApiProblem> {
    let is_operator = *caller == ApiCaller::Operator;
    let own = OF_TENANTS.into_iter().chain(OF_OPERATORS.into_iter().filter(|_| is_operator));
    let fields = own.clone().filter_map(|name| Some((name, members.remove(name)?))).collect();
    let Some(other) = members.keys().next() else { return Ok(fields) };
    if !is_operator && (OF_OPERATORS.contains(&&**other) || ["name", "tenant"].contains(&&**other)) {
        let detail = format!("`{other}` is for the operator to set");
        return Err(ApiProblem::new(StatusCode::FORBIDDEN, "operators_field", detail));
    }
    let known: Vec<_> = own.chain(more.iter().copied().filter(|_| is_operator)).collect();
    Err(invalid(format!("unknown field `{other}`")).hint(suggest(other, known, "known fields", "")))
}

fn invalid(detail: impl Into<String>) -> ApiProblem {
    ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_webhook", detail)
}
