//! Metrics of a filter's own: what its manifest declares, and names that it does not.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde::Deserialize;

use super::error::{cut_name, cut_reason};
use crate::{
    config::quoted,
    metrics::{FilterMeasure, MeasureKind},
    poison::ignore_poison,
};

/// Most metrics of one filter.
const MOST: usize = 32;
/// Longest name of a metric, in bytes.
const LONGEST: usize = 64;

/// A metric that a filter declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDeclaration {
    pub name: String,
    pub kind: MeasureKind,
    pub description: String,
}

/// A metric as written in a manifest.
#[derive(Deserialize)]
pub(super) struct WrittenMetric {
    name: String,
    kind: String,
    #[serde(default)]
    description: String,
}

/// Checks the metrics of a manifest.
///
/// # Errors
/// Returns what is wrong with one of them.
pub(super) fn declared(written: Vec<WrittenMetric>) -> Result<Vec<MetricDeclaration>, String> {
    if written.len() > MOST {
        return Err(format!("`metrics` has {}, more than {MOST}", written.len()));
    }
    let mut names = BTreeSet::new();
    let metric = |WrittenMetric { name, kind, description }| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_word = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_plain);
        if !is_word || name.len() > LONGEST {
            return Err(format!(
                "`metrics` has `{}`: a name is a lower case letter, then letters, digits and `_`, {LONGEST} at most",
                cut_name(name.escape_debug().to_string())
            ));
        }
        if !names.insert(name.clone()) {
            return Err(format!("`metrics` has `{name}` twice"));
        }
        let Some(kind) = MeasureKind::ALL.into_iter().find(|known| known.word() == kind) else {
            let words = quoted(MeasureKind::ALL.map(MeasureKind::word), "and");
            return Err(format!("metric `{name}` has the kind `{}`: there are {words}", cut_name(kind)));
        };
        Ok(MetricDeclaration { name, kind, description: cut_reason(description) })
    };
    written.into_iter().map(metric).collect()
}

/// Metrics of a filter and a key, by name.
#[derive(Debug, Default)]
pub(super) struct KeyMeasures(pub(super) Vec<(Arc<str>, FilterMeasure)>);

impl KeyMeasures {
    pub(super) fn find(&self, name: &str) -> Option<&FilterMeasure> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, measure)| measure)
    }
}

/// Names that a filter has measured under without having declared them, each told once.
#[derive(Debug, Default)]
pub(super) struct UndeclaredMetrics(Mutex<BTreeSet<String>>);

impl UndeclaredMetrics {
    /// Logs that a name is not declared, if that is new.
    pub(super) fn report(&self, filter: &str, name: String) {
        let name = cut_name(name);
        let mut known = ignore_poison(self.0.lock());
        if known.len() < MOST && !known.contains(&name) {
            let metric = name.escape_debug();
            tracing::warn!(
                filter, %metric,
                "the filter measures a metric that its manifest does not have: values are passed over, add it to `metrics`"
            );
            known.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<MetricDeclaration>, String> {
        declared(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn metrics_have_plain_names_and_known_kinds() {
        let metrics = read(r#"[{"name":"rows_2","kind":"histogram"},{"name":"r","kind":"gauge","description":"d"}]"#);
        let metrics = metrics.unwrap();
        assert_eq!((&*metrics[0].name, metrics[0].kind), ("rows_2", MeasureKind::Histogram));
        assert_eq!((metrics[1].kind, &*metrics[1].description), (MeasureKind::Gauge, "d"));
        for (text, expected) in [
            (r#"[{"name":"Rows","kind":"gauge"}]"#, "`metrics` has `Rows`: a name is"),
            (r#"[{"name":"","kind":"gauge"}]"#, "`metrics` has ``: a name is"),
            (r#"[{"name":"a","kind":"summary"}]"#, "metric `a` has the kind `summary`: there are `counter`, `gauge`"),
            (r#"[{"name":"a","kind":"gauge"},{"name":"a","kind":"counter"}]"#, "`metrics` has `a` twice"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let many: Vec<_> = (0..33).map(|n| format!(r#"{{"name":"m{n}","kind":"gauge"}}"#)).collect();
        assert_eq!(read(&format!("[{}]", many.join(","))).unwrap_err(), "`metrics` has 33, more than 32");
    }
}
