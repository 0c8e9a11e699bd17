//! Keys with a consumer of their own, and sources that can't provide one.

use crate::{
    config::{EnvelopeFormat, KeyConfig, Problem, SourceConfig, SourceKind},
    problem::ProblemReport,
};

/// Reports isolated keys if a source changes subjects: the server selects by the subjects of
/// messages, so events must keep them.
pub(crate) fn check(keys: &[KeyConfig], sources: &[SourceConfig], report: &ProblemReport) {
    let renames = |source: &&SourceConfig| {
        let is_other =
            matches!(source.envelope, EnvelopeFormat::Plain { subject: Some(_), .. } | EnvelopeFormat::Flowcraft);
        is_other && matches!(source.kind, SourceKind::JetStream(_))
    };
    let Some(source) = sources.iter().find(renames) else { return };
    for key in keys.iter().filter(|key| key.is_isolated) {
        let (key_name, name) = (&key.name, &source.name);
        let message =
            format!("key `{key_name}` can't be isolated: the events of source `{name}` say their subjects themselves");
        let hint = "leave `isolation` out, or have a source without a `subject` of its own read for the key";
        report.add(Problem::error(key.place.clone(), message).hint(hint));
    }
}
