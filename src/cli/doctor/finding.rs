//! Findings of `trommel doctor`, by area.

use std::fmt::{self, Display};

use serde::Serialize;

use crate::{
    config::{ConfigPlace, Problem, Severity},
    text,
};

/// Part of the surroundings that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DoctorArea {
    Folder,
    Machine,
    Endpoints,
    Credentials,
    Server,
    Permissions,
    Streams,
    Consumers,
    Sinks,
}

impl Display for DoctorArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "folder",
            Self::Machine => "machine",
            Self::Endpoints => "endpoints",
            Self::Credentials => "credentials",
            Self::Server => "server",
            Self::Permissions => "permissions",
            Self::Streams => "streams",
            Self::Consumers => "consumers",
            Self::Sinks => "sinks",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FindingLevel {
    Ok,
    /// Works now, but not as well as intended, or not for long.
    Warning,
    /// A run can't do its work.
    Error,
}

/// One finding, in the words for a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: FindingLevel,
    /// Precise kind, in `snake_case`; none for what is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    subtype: Option<&'static str>,
    pub(super) message: String,
    /// Way out of it.
    hint: Option<String>,
    /// Position in the folder, if that is the cause.
    #[serde(flatten)]
    place: Option<ConfigPlace>,
}

impl Finding {
    pub(super) fn ok(message: impl Into<String>) -> Self {
        Self { level: FindingLevel::Ok, subtype: None, message: message.into(), hint: None, place: None }
    }

    pub(super) fn warning(subtype: &'static str, message: impl Into<String>) -> Self {
        Self { level: FindingLevel::Warning, subtype: Some(subtype), ..Self::ok(message) }
    }

    pub(super) fn error(subtype: &'static str, message: impl Into<String>) -> Self {
        Self { level: FindingLevel::Error, ..Self::warning(subtype, message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn at(self, place: ConfigPlace) -> Self {
        Self { place: Some(place), ..self }
    }
}

/// A problem of the folder, as `trommel check` has it.
impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        let Problem { place, severity, message, hint, .. } = problem;
        let finding = match severity {
            Severity::Error => Self::error("bad_config", message),
            Severity::Warning => Self::warning("bad_config", message),
        };
        Self { hint: hint.clone(), ..finding.at(place.clone()) }
    }
}

/// Formats as `[PLACE: ]LEVEL: MESSAGE`, then, indented, the hint.
impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let level = match self.level {
            FindingLevel::Ok => "ok",
            FindingLevel::Warning => "warning",
            FindingLevel::Error => "error",
        };
        write!(f, "{level}: {}", text::line(&self.message))?;
        self.hint.iter().flat_map(|hint| hint.lines()).try_for_each(|line| write!(f, "\n  {}", text::line(line)))
    }
}

/// All findings of one area.
#[derive(Debug)]
pub(super) struct AreaReport {
    pub(super) area: DoctorArea,
    pub(super) findings: Vec<Finding>,
}

/// JSON form of a finding.
#[derive(Serialize)]
pub(super) struct FindingRow<'a> {
    area: DoctorArea,
    #[serde(flatten)]
    finding: &'a Finding,
}

impl AreaReport {
    pub(super) fn rows(&self) -> impl Iterator<Item = FindingRow<'_>> {
        self.findings.iter().map(|finding| FindingRow { area: self.area, finding })
    }
}

/// Formats what is fine as one line, then each other finding, indented.
impl Display for AreaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ok = |finding: &&Finding| finding.level == FindingLevel::Ok;
        let fine: Vec<_> = self.findings.iter().filter(is_ok).map(|finding| &*finding.message).collect();
        let (area, fine) = (format!("{}:", self.area), fine.join("; "));
        f.write_str(format!("{area:<13}{}", text::line(&fine)).trim_end())?;
        for finding in self.findings.iter().filter(|finding| !is_ok(finding)) {
            for line in finding.to_string().lines() {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fine_is_one_line() {
        let findings = vec![
            Finding::ok("one is fine"),
            Finding::error("port_held", "`127.0.0.1:1` is held").hint("take another\nor none"),
            Finding::ok("so is two"),
            Finding::warning("soon", "ends soon").at(ConfigPlace::file("trommel.toml")),
        ];
        let report = AreaReport { area: DoctorArea::Machine, findings };
        insta::assert_snapshot!(report, @r"
        machine:     one is fine; so is two
          error: `127.0.0.1:1` is held
            take another
            or none
          trommel.toml: warning: ends soon
        ");
    }
}
