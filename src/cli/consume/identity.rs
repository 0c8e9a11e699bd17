//! A consumer's identity for the API, and the check that it suffices for its key (L16, L17).

use clap::ValueEnum;

use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{AuthType, Config, ConfigPlace, KeyConfig, NeedKind, Severity, UnmetNeed, preflight, quoted},
};

/// Kind of identity to consume the key as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum IdentityChoice {
    /// A person
    User,
    /// A program
    Bot,
    /// The kind that the key and the identity in `[api]` have in common
    Auto,
}

/// Result of checking a consumer's identity before it attaches.
pub(super) struct PreflightResult {
    /// Kinds of identity that the key can be consumed as, of those asked for; empty if it needs no
    /// identity.
    pub(super) auth_types: Vec<AuthType>,
    /// Requirements that are not met, or can't be checked.
    pub(super) lacks: Vec<UnmetNeed>,
}

impl PreflightResult {
    /// Checks the identity in `[api]` against the key.
    ///
    /// # Errors
    /// Returns an error if the key does not accept the kind of identity asked for.
    pub(super) fn new(config: &Config, key: &KeyConfig, wanted: IdentityChoice) -> Result<Self, CommandRefusal> {
        let wanted = match wanted {
            IdentityChoice::User => Some(AuthType::User),
            IdentityChoice::Bot => Some(AuthType::Bot),
            IdentityChoice::Auto => None,
        };
        let mut key = key.clone();
        if let Some(wanted) = wanted
            && !key.auth_types.is_empty()
        {
            if !key.auth_types.contains(&wanted) {
                let takes = quoted(key.auth_types.iter().map(|takes| takes.word()), "or");
                let message = format!("key `{}` is not consumed as `{}`", key.name, wanted.word());
                let refusal = CommandRefusal::new(RefusalKind::Validation, "auth_type", message).param("--as");
                return Err(refusal.hint(format!("it takes {takes}")));
            }
            key.auth_types = vec![wanted];
        }
        let identity = config.identity();
        let lacks = preflight(&key, &identity, &ConfigPlace::file(&config.dir));
        let suits = |auth_type: &AuthType| identity.auth_types.contains(auth_type);
        if key.auth_types.iter().any(suits) {
            key.auth_types.retain(suits);
        }
        Ok(Self { auth_types: key.auth_types, lacks })
    }

    /// Refuses the consumer if a requirement is known not to be met.
    ///
    /// # Errors
    /// Returns the first requirement that is known not to be met.
    pub(super) fn conclude(&self) -> Result<(), CommandRefusal> {
        let Some(UnmetNeed { of, problem }) = self.lacks.iter().find(|lack| lack.problem.severity == Severity::Error)
        else {
            return Ok(());
        };
        let (kind, subtype) = match of {
            NeedKind::AuthType => (RefusalKind::Auth, "auth_type"),
            NeedKind::Scopes => (RefusalKind::Auth, "missing_scope"),
            NeedKind::ConsoleEvents => (RefusalKind::Precondition, "console_events"),
        };
        let refusal = CommandRefusal::new(kind, subtype, &problem.message);
        Err(problem.hint.iter().fold(refusal, CommandRefusal::hint))
    }

    /// Requirements that can't be checked, one per line.
    pub(super) fn notes(&self) -> impl Iterator<Item = &str> {
        let unknown = self.lacks.iter().filter(|lack| lack.problem.severity == Severity::Warning);
        unknown.map(|lack| lack.problem.message.as_str())
    }
}
