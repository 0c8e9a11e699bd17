//! A filter's description of itself, and the JSON that it is written as since version 0.2 of the
//! contract.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::{cut_name, cut_reason},
    measures::{self, MetricDeclaration, WrittenMetric},
};
use crate::{
    config::{self, ParamDeclaration, ParamKind},
    endpoint::Endpoint,
};

/// Shortest interval of ticks: what is to happen sooner hangs on events.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// A filter's description of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub name: String,
    /// The filter's own version, for people and logs.
    pub version: String,
    pub description: String,
    pub hooks: FilterHooks,
    /// What `matches` reads, of a filter of version 0.1; those of later versions say it for each
    /// subscription.
    pub match_reads: EventFields,
    /// What `process` reads, likewise.
    pub process_reads: EventFields,
    /// Requested capabilities; the configuration decides which are granted.
    pub capabilities: Vec<String>,
    /// Time between two calls of `tick`; set if and only if there is that hook.
    pub interval: Option<Duration>,
    /// What it measures.
    pub metrics: Vec<MetricDeclaration>,
    pub needs: FilterNeeds,
}

/// What a filter needs of those who run it, as far as it says so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterNeeds {
    /// Params that its keys have to declare.
    pub params: Vec<ParamDeclaration>,
    /// Why it wants a capability, by its name.
    pub reasons: BTreeMap<String, String>,
    /// Endpoints of the API that it calls.
    pub endpoints: Vec<String>,
    /// Bytes of memory of an instance.
    pub memory: Option<usize>,
    /// JSON Schema of its outputs.
    pub output_schema: Option<Value>,
}

/// Hooks that a filter implements. A hook that is not named is never called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterHooks {
    pub normalize_params: bool,
    pub conditions: bool,
    pub matches: bool,
    /// `matches` for many events in one call.
    pub matches_batch: bool,
    pub process: bool,
    /// `process` for many events in one call.
    pub process_batch: bool,
    /// Called by the clock.
    pub tick: bool,
}

/// The parts of an event that a filter of version 0.1 reads. Only these are copied into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFields {
    pub id: bool,
    pub subject: bool,
    pub source_time: bool,
    pub headers: bool,
    pub payload: bool,
}

/// A manifest as written. Members of later versions are passed over.
#[derive(Deserialize)]
struct WrittenManifest {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    hooks: Vec<String>,
    #[serde(default)]
    params: Vec<WrittenParam>,
    #[serde(default)]
    grants: Vec<WrittenGrant>,
    #[serde(default)]
    api: Vec<String>,
    memory: Option<String>,
    output_schema: Option<Value>,
    interval: Option<String>,
    #[serde(default)]
    metrics: Vec<WrittenMetric>,
}

#[derive(Deserialize)]
struct WrittenGrant {
    name: String,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct WrittenParam {
    name: String,
    #[serde(default = "string", rename = "type")]
    kind: String,
    #[serde(default)]
    required: bool,
    default: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    values: Vec<String>,
}

fn string() -> String {
    "string".to_owned()
}

impl Manifest {
    /// Reads a manifest of version 0.2.
    ///
    /// # Errors
    /// Returns what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let written: WrittenManifest = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let WrittenManifest { name, version, description, hooks, params, grants, api, memory, output_schema, .. } =
            written;
        if name.is_empty() {
            return Err("`name` is empty".to_owned());
        }
        let endpoint = |text: String| match text.parse::<Endpoint>() {
            Ok(_) => Ok(text),
            Err(error) => Err(format!("`api` has `{text}`: {error}")),
        };
        let size = |text: String| {
            let size = text.parse().map_err(|error| format!("`memory` is `{text}`: {error}"))?;
            let ByteSize(bytes) = size;
            usize::try_from(bytes).map_err(|_| format!("`memory` is `{text}`, more than there can be"))
        };
        let hooks = FilterHooks::named(&hooks)?;
        Ok(Self {
            name: cut_name(name),
            version: cut_name(version),
            description: cut_reason(description),
            hooks,
            match_reads: EventFields::default(),
            process_reads: EventFields::default(),
            capabilities: grants.iter().map(|grant| cut_name(grant.name.clone())).collect(),
            interval: interval(hooks.tick, written.interval)?,
            metrics: measures::declared(written.metrics)?,
            needs: FilterNeeds {
                params: params.into_iter().map(WrittenParam::declaration).collect::<Result<_, _>>()?,
                reasons: grants.into_iter().map(|grant| (grant.name, cut_reason(grant.reason))).collect(),
                endpoints: api.into_iter().map(endpoint).collect::<Result<_, String>>()?,
                memory: memory.map(size).transpose()?,
                output_schema,
            },
        })
    }
}

/// Reads the time between two ticks.
fn interval(has_tick: bool, written: Option<String>) -> Result<Option<Duration>, String> {
    let Some(text) = written else {
        let missing = "`hooks` has `tick`, but there is no `interval`: say how often, such as `\"interval\": \"10s\"`";
        return if has_tick { Err(missing.to_owned()) } else { Ok(None) };
    };
    if !has_tick {
        return Err(format!("`interval` is `{text}`, but `hooks` does not have `tick`, which it is for"));
    }
    match config::duration(&text) {
        Ok(interval) if interval < SHORTEST_INTERVAL => {
            Err(format!("`interval` is `{text}`, shorter than {SHORTEST_INTERVAL:?}"))
        }
        Ok(interval) => Ok(Some(interval)),
        Err(problem) => Err(format!("`interval` is `{text}`: {problem}")),
    }
}

impl FilterHooks {
    fn named(names: &[String]) -> Result<Self, String> {
        // Conditions are a part of what every subscription is asked for.
        let mut hooks = Self { conditions: true, ..Self::default() };
        for name in names {
            *match name.as_str() {
                "normalize-params" => &mut hooks.normalize_params,
                "matches" => &mut hooks.matches,
                "matches-batch" => &mut hooks.matches_batch,
                "process" => &mut hooks.process,
                "process-batch" => &mut hooks.process_batch,
                "tick" => &mut hooks.tick,
                _ => {
                    return Err(format!(
                        "`hooks` has `{}`: there are `normalize-params`, `matches`, `matches-batch`, `process`, \
                         `process-batch` and `tick`",
                        name.escape_debug()
                    ));
                }
            } = true;
        }
        for (batch, single, is_alone) in [
            ("matches-batch", "matches", hooks.matches_batch && !hooks.matches),
            ("process-batch", "process", hooks.process_batch && !hooks.process),
        ] {
            if is_alone {
                return Err(format!("`hooks` has `{batch}` without `{single}`, which is called when a batch breaks"));
            }
        }
        Ok(hooks)
    }
}

impl WrittenParam {
    fn declaration(self) -> Result<ParamDeclaration, String> {
        let Self { name, kind, required, default, description, values } = self;
        let Some((_, kind)) = ParamKind::ALL.into_iter().find(|(word, _)| *word == kind) else {
            let words = ParamKind::ALL.map(|(word, _)| format!("`{word}`")).join(", ");
            return Err(format!("param `{name}` has the type `{kind}`: there are {words}"));
        };
        if kind == ParamKind::Secret && default.is_some() {
            return Err(format!("param `{name}` is a secret and has a default, which everybody could read"));
        }
        let values = values.into_iter().map(|value| (value, String::new())).collect();
        let subscription_key = false;
        Ok(ParamDeclaration { name, kind, required, default, secret: None, description, values, subscription_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_can_be_said_is_read() {
        let manifest = Manifest::parse(
            r#"{
                "name": "tax", "version": "1.2", "description": "Adds tax",
                "hooks": ["matches", "process", "process-batch", "tick"], "interval": "1m 30s",
                "metrics": [{ "name": "rates", "kind": "counter", "description": "Rates found" }],
                "params": [{ "name": "rate", "type": "int", "required": true, "description": "per cent" }],
                "grants": [{ "name": "state", "reason": "remembers rates" }],
                "api": ["GET /rates/*"], "memory": "256MiB", "output_schema": { "type": "object" },
                "of_a_later_version": [1]
            }"#,
        )
        .unwrap();
        assert_eq!((&*manifest.name, &*manifest.version, &*manifest.description), ("tax", "1.2", "Adds tax"));
        assert!(manifest.hooks.process_batch && !manifest.hooks.matches_batch && !manifest.hooks.normalize_params);
        assert_eq!(manifest.capabilities, ["state"]);
        assert_eq!((manifest.hooks.tick, manifest.interval), (true, Some(Duration::from_secs(90))));
        assert_eq!(manifest.metrics[0].name, "rates");
        let FilterNeeds { params, reasons, endpoints, memory, output_schema } = manifest.needs;
        assert_eq!((&*params[0].name, params[0].kind, params[0].required), ("rate", ParamKind::Int, true));
        assert_eq!(reasons["state"], "remembers rates");
        assert_eq!(endpoints, ["GET /rates/*"]);
        assert_eq!(memory, Some(256 << 20));
        assert!(output_schema.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{}", "missing field `name` at line 1 column 2"),
            (r#"{"name":""}"#, "`name` is empty"),
            (r#"{"name":"a","hooks":["tick"]}"#, "`hooks` has `tick`, but there is no `interval`: say how often"),
            (r#"{"name":"a","interval":"1s"}"#, "`interval` is `1s`, but `hooks` does not have `tick`"),
            (r#"{"name":"a","hooks":["tick"],"interval":"soon"}"#, "`interval` is `soon`: a duration looks like `5s`"),
            (r#"{"name":"a","hooks":["tick"],"interval":"1ms"}"#, "`interval` is `1ms`, shorter than 100ms"),
            (r#"{"name":"a","hooks":["proces"]}"#, "`hooks` has `proces`: there are"),
            (r#"{"name":"a","hooks":["process-batch"]}"#, "`hooks` has `process-batch` without `process`"),
            (r#"{"name":"a","params":[{"name":"p","type":"double"}]}"#, "param `p` has the type `double`: there are"),
            (r#"{"name":"a","params":[{"name":"p","type":"secret","default":"x"}]}"#, "param `p` is a secret and"),
            (r#"{"name":"a","api":["rates"]}"#, "`api` has `rates`"),
            (r#"{"name":"a","memory":"much"}"#, "`memory` is `much`"),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
