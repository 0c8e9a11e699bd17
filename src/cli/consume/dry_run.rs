//! `consume --dry-run` (L125): reports what would happen, as far as that can be known without doing
//! anything.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::json;

use super::identity::PreflightResult;
use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{AuthType, Config, KeyConfig, NeedKind, Severity, SourceConfig, SourceKind, check_params},
    event::Pattern,
};

/// What the command line asks of a key.
pub(super) struct AskedEvents<'a> {
    pub(super) key: &'a KeyConfig,
    pub(super) params: &'a BTreeMap<String, String>,
    pub(super) subject: Option<&'a Pattern>,
    /// Conditions of `--where`; empty if there are none.
    pub(super) conditions: &'a str,
}

pub(super) fn print(
    asked: AskedEvents<'_>,
    config: &Config,
    preflight: &PreflightResult,
    runs: bool,
    folder: Option<&Path>,
) -> Result<ExitCode, CommandRefusal> {
    let AskedEvents { key, params: given, subject, conditions } = asked;
    // The params have been checked before.
    let params: BTreeMap<_, _> = check_params(&key.name, &key.params, given).unwrap_or_default().into_iter().collect();
    let reads_stdin =
        config.sources.iter().any(|source| matches!(&source.kind, SourceKind::Lines(lines) if lines.path.is_none()));
    let mut preconditions = vec![json!({
        "name": "router",
        "status": if runs { "ready" } else { "unknown" },
        "detail": if runs { "a router runs for this folder" } else { "no router runs: one would be started" },
    })];
    if reads_stdin && !runs {
        preconditions.push(json!({
            "name": "standard_input",
            "status": "blocked",
            "detail": "a source reads standard input, which a router in the background has not: start it with \
             `trommel run`",
        }));
    }
    let is_http = |source: &SourceConfig| matches!(source.kind, SourceKind::Http(_));
    if config.sources.iter().all(is_http) && !runs {
        preconditions.push(json!({
            "name": "http",
            "status": "blocked",
            "detail": "events come in over HTTP, where a router in the background does not listen: start it with \
             `trommel run`",
        }));
    }
    preconditions.extend(identity(key, preflight));
    let status = |preconditions: &[serde_json::Value]| {
        let any = |status: &str| preconditions.iter().any(|precondition| precondition["status"] == status);
        ["blocked", "unknown"].into_iter().find(|status| any(status)).unwrap_or("ready")
    };
    let decision = json!({
        "event_key": key.name,
        "domain": key.domain(),
        "identity": preflight.auth_types.iter().copied().map(AuthType::word).collect::<Vec<_>>(),
        "scopes": key.scopes,
        "status": status(&preconditions),
        "params": params,
        "subject": subject.map(ToString::to_string),
        "where": Some(conditions).filter(|conditions| !conditions.is_empty()),
        "preconditions": preconditions,
        "preparation": if runs {
            json!({ "strategy": "attach", "condition": "a router runs", "action": "attach to it" })
        } else {
            json!({ "strategy": "start", "condition": "no router runs", "action": "start one in the background, \
                and attach to it" })
        },
        "would_read": config.sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(),
        "would_write": [folder.map_or_else(|| "stdout".to_owned(), |folder| folder.display().to_string())],
    });
    let text = serde_json::to_string_pretty(&json!({ "dry_run": true, "decision": decision }));
    let text = text.map_err(|error| CommandRefusal::new(RefusalKind::Internal, "json", error.to_string()))?;
    crate::cli::keys::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Requirements of the key on the identity, each with its status.
fn identity(key: &KeyConfig, preflight: &PreflightResult) -> Vec<serde_json::Value> {
    let asked = [
        (NeedKind::AuthType, "auth_type", key.auth_types.is_empty()),
        (NeedKind::Scopes, "scopes", key.scopes.is_empty()),
        (NeedKind::ConsoleEvents, "console_events", key.console_events.is_empty()),
    ];
    let asked = asked.into_iter().filter(|(_, _, is_empty)| !is_empty);
    let precondition = |(needed, name, _)| {
        let lack = preflight.lacks.iter().find(|lack| lack.of == needed);
        let status = match lack.map(|lack| lack.problem.severity) {
            Some(Severity::Error) => "blocked",
            Some(Severity::Warning) => "unknown",
            None => "ready",
        };
        let detail = lack.map_or("the identity in `[api]` has what the key needs", |lack| &lack.problem.message);
        json!({ "name": name, "status": status, "detail": detail })
    };
    asked.map(precondition).collect()
}
