//! A consumer's identity for the API, and the check that it suffices for its key (L16, L17).

use clap::ValueEnum;

use crate::{
    cli::refusal::{Kind, Refusal},
    config::{AuthType, Config, Key, Lack, Needed, Place, Severity, preflight, quoted},
};

/// Kind of identity to consume the key as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum As {
    /// A person
    User,
    /// A program
    Bot,
    /// The kind that the key and the identity in `[api]` have in common
    Auto,
}

/// Result of checking a consumer's identity before it attaches.
pub(super) struct Preflight {
    /// Kinds of identity that the key can be consumed as, of those asked for; empty if it needs no
    /// identity.
    pub(super) auth_types: Vec<AuthType>,
    /// Requirements that are not met, or can't be checked.
    pub(super) lacks: Vec<Lack>,
}

impl Preflight {
    /// Checks the identity in `[api]` against the key.
    ///
    /// # Errors
    /// Returns an error if the key does not accept the kind of identity asked for.
    pub(super) fn new(config: &Config, key: &Key, wanted: As) -> Result<Self, Refusal> {
        let wanted = match wanted {
            As::User => Some(AuthType::User),
            As::Bot => Some(AuthType::Bot),
            As::Auto => None,
        };
        let mut key = key.clone();
        if let Some(wanted) = wanted
            && !key.auth_types.is_empty()
        {
            if !key.auth_types.contains(&wanted) {
                let takes = quoted(key.auth_types.iter().map(|takes| takes.word()), "or");
                let message = format!("key `{}` is not consumed as `{}`", key.name, wanted.word());
                let refusal = Refusal::new(Kind::Validation, "auth_type", message).param("--as");
                return Err(refusal.hint(format!("it takes {takes}")));
            }
            key.auth_types = vec![wanted];
        }
        let identity = config.identity();
        let lacks = preflight(&key, &identity, &Place::file(&config.dir));
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
    pub(super) fn conclude(&self) -> Result<(), Refusal> {
        let Some(Lack { of, problem }) = self.lacks.iter().find(|lack| lack.problem.severity == Severity::Error) else {
            return Ok(());
        };
        let (kind, subtype) = match of {
            Needed::AuthType => (Kind::Auth, "auth_type"),
            Needed::Scopes => (Kind::Auth, "missing_scope"),
            Needed::ConsoleEvents => (Kind::Precondition, "console_events"),
        };
        let refusal = Refusal::new(kind, subtype, &problem.message);
        Err(problem.hint.iter().fold(refusal, Refusal::hint))
    }

    /// Requirements that can't be checked, one per line.
    pub(super) fn notes(&self) -> impl Iterator<Item = &str> {
        let unknown = self.lacks.iter().filter(|lack| lack.problem.severity == Severity::Warning);
        unknown.map(|lack| lack.problem.message.as_str())
    }
}
