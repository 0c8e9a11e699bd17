//! Error of a command: a line with a hint for people, or one JSON object for programs (L124). Both
//! go to stderr.

use std::{fmt, io::Write, process::ExitCode};

use serde::Serialize;

use crate::{
    cli::{exit, terminal},
    config::Problems,
};

/// Reason for which a command was not carried out. Programs branch on `kind` and `subtype`, never
/// on the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandRefusal {
    #[serde(rename = "type")]
    pub kind: RefusalKind,
    /// Precise reason, in `snake_case`.
    pub subtype: &'static str,
    /// The argument, option or param that is invalid, as it is written on the command line.
    pub param: Option<String>,
    pub message: String,
    /// Way out of the problem.
    pub hint: Option<String>,
}

/// Area in which the problem has to be fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The command line or the configuration is invalid.
    Validation,
    /// Something that must exist first is missing.
    Precondition,
    /// A server or an API did not carry out a request.
    Api,
    /// Credentials or permissions are missing or wrong.
    Auth,
    /// The network failed, or a router does not answer.
    Network,
    /// trommel or the machine failed.
    Internal,
}

impl CommandRefusal {
    pub fn new(kind: RefusalKind, subtype: &'static str, message: impl Into<String>) -> Self {
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
            RefusalKind::Api => exit::FAILED,
            RefusalKind::Validation | RefusalKind::Precondition => exit::INVALID,
            RefusalKind::Auth => exit::DENIED,
            RefusalKind::Network => exit::UNREACHABLE,
            RefusalKind::Internal => exit::INTERNAL,
        })
    }

    /// Ends a command: writes the refusal to stderr, as one JSON object on a line of its own or as
    /// text.
    pub fn end(&self, json: bool) -> ExitCode {
        let text = if json { self.envelope() } else { self.to_string() };
        // A failed write to stderr can't be reported anywhere else.
        let _ = writeln!(terminal::stderr(), "{text}");
        self.exit_code()
    }

    fn envelope(&self) -> String {
        #[derive(Serialize)]
        struct RefusalEnvelope<'a> {
            ok: bool,
            error: &'a CommandRefusal,
        }
        // A record of strings always serializes; if it did not, its text is better than nothing.
        serde_json::to_string(&RefusalEnvelope { ok: false, error: self }).unwrap_or_else(|_| self.to_string())
    }
}

/// Formats as `error: MESSAGE`, then, indented, the hint.
impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hint.iter().flat_map(|hint| hint.lines()).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Includes all problems of the configuration, each with its place.
impl From<Problems> for CommandRefusal {
    fn from(problems: Problems) -> Self {
        Self::new(RefusalKind::Validation, "bad_config", format!("the configuration has problems:\n{problems}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> CommandRefusal {
        let refusal = CommandRefusal::new(RefusalKind::Validation, "unknown_key", "there is no key `ordes`");
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
        let bare = CommandRefusal::new(RefusalKind::Internal, "io", "can't write").envelope();
        insta::assert_snapshot!(
            bare,
            @r#"{"ok":false,"error":{"type":"internal","subtype":"io","param":null,"message":"can't write","hint":null}}"#
        );
    }

    /// L123
    #[test]
    fn the_exit_code_says_who_has_to_act() {
        let kinds = [
            RefusalKind::Api,
            RefusalKind::Validation,
            RefusalKind::Precondition,
            RefusalKind::Auth,
            RefusalKind::Network,
            RefusalKind::Internal,
        ];
        for (kind, code) in kinds.into_iter().zip([1, 2, 2, 3, 4, 5]) {
            assert_eq!(CommandRefusal::new(kind, "any", "").exit_code(), ExitCode::from(code), "{kind:?}");
        }
    }
}
