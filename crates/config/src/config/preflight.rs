//! Preflight check: compares the identity in `[api]` with a key's needs before anything starts
//! (L16, L17).

use std::collections::BTreeSet;

use super::{
    DeclaredIdentity, KeyConfig,
    nearest::quoted,
    problem::{ConfigPlace, Problem},
};

/// A requirement of a key that the identity does not meet.
#[derive(Clone, Debug)]
pub struct UnmetNeed {
    pub of: NeedKind,
    /// An error if the identity is known to lack it, a warning if that is unknown.
    pub problem: Problem,
}

/// Kinds of requirements that a key can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedKind {
    AuthType,
    Scopes,
    ConsoleEvents,
}

/// Returns all requirements of a key that the identity does not meet. `place` is where the key is
/// used.
pub fn preflight(key: &KeyConfig, identity: &DeclaredIdentity, place: &ConfigPlace) -> Vec<UnmetNeed> {
    let lack = |of| move |problem| UnmetNeed { of, problem };
    let auth_type = auth_type(key, identity, place).map(lack(NeedKind::AuthType));
    let scopes = NeedList {
        what: "scopes",
        field: "scopes",
        way_out: "grant them to the identity",
        wanted: &key.scopes,
        given: identity.scopes.as_deref(),
    };
    let console_events = NeedList {
        what: "console events",
        field: "console_events",
        way_out: "turn them on at the platform",
        wanted: &key.console_events,
        given: identity.console_events.as_deref(),
    };
    let scopes = scopes.compare(key, place).map(lack(NeedKind::Scopes));
    let console_events = console_events.compare(key, place).map(lack(NeedKind::ConsoleEvents));
    [auth_type, scopes, console_events].into_iter().flatten().collect()
}

/// Checks the auth type. A key without auth types needs no identity.
fn auth_type(key: &KeyConfig, identity: &DeclaredIdentity, place: &ConfigPlace) -> Option<Problem> {
    if key.auth_types.is_empty() || key.auth_types.iter().any(|wanted| identity.auth_types.contains(wanted)) {
        return None;
    }
    let name = &key.name;
    let wanted = quoted(key.auth_types.iter().map(|wanted| wanted.word()), "or");
    let problem = if identity.auth_types.is_empty() {
        let message = format!("key `{name}` needs the auth type {wanted}, and `[api]` names none");
        Problem::error(place.clone(), message).hint("say with `auth_types` in `[api]` what the identity is")
    } else {
        let has = quoted(identity.auth_types.iter().map(|has| has.word()), "and");
        let message = format!("key `{name}` needs the auth type {wanted}, the identity in `[api]` has {has}");
        Problem::error(place.clone(), message)
    };
    Some(problem)
}

/// A list of requirements that must all be met, and the declared list.
struct NeedList<'a> {
    what: &'a str,
    field: &'a str,
    way_out: &'a str,
    wanted: &'a [String],
    given: Option<&'a [String]>,
}

impl NeedList<'_> {
    fn compare(&self, key: &KeyConfig, place: &ConfigPlace) -> Option<Problem> {
        let Self { what, field, way_out, wanted, given } = self;
        let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
        let Some(given) = given else {
            let message = format!(
                "key `{}` needs the {what} {}, and it is not known which the identity in `[api]` has",
                key.name,
                quoted(wanted.iter().copied(), "and")
            );
            let warning = Problem::warning(place.clone(), message).hint(format!("say it with `{field}` in `[api]`"));
            return (!wanted.is_empty()).then_some(warning);
        };
        let missing: Vec<&str> =
            wanted.into_iter().filter(|wanted| given.iter().all(|given| given != wanted)).collect();
        if missing.is_empty() {
            return None;
        }
        let missing = quoted(missing, "and");
        let message = format!("key `{}` needs {what} that the identity in `[api]` does not have: {missing}", key.name);
        Some(Problem::error(place.clone(), message).hint(format!("{way_out}, and add them to `{field}` in `[api]`")))
    }
}
