//! JSON form of a key.

use serde::Serialize;
use serde_json::Value;

use crate::{
    config::{AuthType, KeyConfig, ParamDeclaration, ValidationMode},
    schema::SchemaForm,
};

#[derive(Serialize)]
pub(super) struct KeyDefinition<'a> {
    key: &'a str,
    display_name: &'a str,
    description: &'a str,
    domain: &'a str,
    subject: Option<&'a str>,
    event_type: Option<&'a str>,
    filter: Option<&'a str>,
    /// True if the filter has hooks for the first consumer's arrival and the last one's departure;
    /// `null` if unknown.
    pre_consume: Option<bool>,
    params: Vec<KeyParam<'a>>,
    auth_types: Vec<&'static str>,
    scopes: &'a [String],
    console_events: &'a [String],
    single_consumer: bool,
    buffer_size: usize,
    workers: usize,
    validate: &'static str,
    resolved_output_schema: Option<&'a Value>,
    jq_root_path: &'static str,
}

#[derive(Serialize)]
struct KeyParam<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    required: bool,
    default: Option<&'a str>,
    description: &'a str,
    values: Vec<ParamChoice<'a>>,
    subscription_key: bool,
}

#[derive(Serialize)]
struct ParamChoice<'a> {
    value: &'a str,
    description: &'a str,
}

impl<'a> KeyDefinition<'a> {
    pub(super) fn of(key: &'a KeyConfig, pre_consume: Option<bool>) -> Self {
        Self {
            key: &key.name,
            display_name: &key.display_name,
            description: &key.description,
            domain: key.domain(),
            subject: key.subject.as_ref().map(|subject| subject.as_str()),
            event_type: key.event_type.as_deref(),
            filter: key.filter.as_deref(),
            pre_consume,
            params: key.params.iter().map(KeyParam::of).collect(),
            auth_types: key.auth_types.iter().copied().map(AuthType::word).collect(),
            scopes: &key.scopes,
            console_events: &key.console_events,
            single_consumer: key.single_consumer,
            buffer_size: key.buffer_size.get(),
            workers: key.workers.get(),
            validate: validate(key),
            resolved_output_schema: key.schema.as_ref().map(|schema| schema.json()),
            jq_root_path: root_path(key),
        }
    }
}

impl<'a> KeyParam<'a> {
    fn of(param: &'a ParamDeclaration) -> Self {
        let values = param.values.iter();
        Self {
            name: &param.name,
            kind: param.kind.word(),
            required: param.required,
            default: param.default.as_deref(),
            description: &param.description,
            values: values.map(|(value, description)| ParamChoice { value, description }).collect(),
            subscription_key: param.subscription_key,
        }
    }
}

/// Share of the key's outputs that is validated against its schema; `off` without a schema.
pub(super) fn validate(key: &KeyConfig) -> &'static str {
    match key.validate {
        _ if key.schema.is_none() => "off",
        ValidationMode::Off => "off",
        ValidationMode::Sample => "sample",
        ValidationMode::All => "all",
    }
}

/// jq path in an output at which the data that the key's schema declares begins.
pub(super) fn root_path(key: &KeyConfig) -> &'static str {
    match key.schema.as_ref().map(|schema| schema.form()) {
        Some(SchemaForm::Native) => ".event",
        Some(SchemaForm::Custom) | None => ".",
    }
}
