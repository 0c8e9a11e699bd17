//! How a command says no: a line with a hint for people, or one JSON object for programs (L124). Both on stderr.

use std::{fmt, io::Write, process::ExitCode};

use serde::Serialize;

use crate::{
    cli::{exit, terminal},
    config::Problems,
};

/// Why a command was not carried out. Programs branch on `kind` and `subtype`, never on the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What exactly, in `snake_case`.
    pub subtype: &'static str,
    /// The argument, option or param that is at fault, as it is written on the command line.
    pub param: Option<String>,
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// How the command was called, or the configuration.
    Validation,
    /// Something that must be there first is not.
    Precondition,
    /// An API did not do what was asked of it.
    Api,
    /// Credentials or permissions.
    Auth,
    /// The network, or a router that does not answer.
    Network,
    /// trommel or the machine.
    Internal,
}

impl Refusal {
    pub fn new(kind: Kind, subtype: &'static str, message: impl Into<String>) -> Self {
        Self { kind, subtype, param: None, message: message.into(), hint: None }
    }

    pub fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The exit code of the command (L123).
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Api => exit::FAILED,
            Kind::Validation | Kind::Precondition => exit::INVALID,
            Kind::Auth => exit::DENIED,
            Kind::Network => exit::UNREACHABLE,
            Kind::Internal => exit::INTERNAL,
        })
    }

    /// Ends a command: written to stderr, as one JSON object on a line of its own or as text.
    pub fn end(&self, json: bool) -> ExitCode {
        let text = if json { self.envelope() } else { self.to_string() };
        // Nobody is left to tell when this fails too.
        let _ = writeln!(terminal::stderr(), "{text}");
        self.exit_code()
    }

    fn envelope(&self) -> String {
        #[derive(Serialize)]
        struct Envelope<'a> {
            ok: bool,
            error: &'a Refusal,
        }
        // A record of strings always serialises; if it did not, its text is better than nothing.
        serde_json::to_string(&Envelope { ok: false, error: self }).unwrap_or_else(|_| self.to_string())
    }
}

/// `error: MESSAGE`, then, indented, the hint.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hint.iter().flat_map(|hint| hint.lines()).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// All that is wrong with the configuration, each with its place.
impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self::new(Kind::Validation, "bad_config", format!("the configuration has problems:\n{problems}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        let refusal = Refusal::new(Kind::Validation, "unknown_key", "there is no key `ordes`");
        refusal.param("ordes").hint("did you mean `orders`?\n`trommel keys list DIR` shows all")
    }

    #[test]
    fn people_get_a_line_and_the_way_out() {
        insta::assert_snapshot!(refusal(), @r"
        error: there is no key `ordes`
          did you mean `orders`?
          `trommel keys list DIR` shows all
        ");
    }

    /// L124
    #[test]
    fn programs_get_one_object_on_a_line() {
        insta::assert_snapshot!(
            refusal().envelope(),
            @r#"{"ok":false,"error":{"type":"validation","subtype":"unknown_key","param":"ordes","message":"there is no key `ordes`","hint":"did you mean `orders`?\n`trommel keys list DIR` shows all"}}"#
        );
        let bare = Refusal::new(Kind::Internal, "io", "can't write").envelope();
        insta::assert_snapshot!(
            bare,
            @r#"{"ok":false,"error":{"type":"internal","subtype":"io","param":null,"message":"can't write","hint":null}}"#
        );
    }

    /// L123
    #[test]
    fn the_exit_code_says_who_has_to_act() {
        let kinds = [Kind::Api, Kind::Validation, Kind::Precondition, Kind::Auth, Kind::Network, Kind::Internal];
        for (kind, code) in kinds.into_iter().zip([1, 2, 2, 3, 4, 5]) {
            assert_eq!(Refusal::new(kind, "any", "").exit_code(), ExitCode::from(code), "{kind:?}");
        }
    }
}
