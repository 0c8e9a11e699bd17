//! Detection of repeated names and resources.

use std::collections::HashMap;

use crate::{
    config::{ConfigPlace, Problem, values},
    table::TomlTable,
};

/// Claimed values, with the position of their first use.
#[derive(Default)]
pub(crate) struct ClaimedValues(HashMap<String, ConfigPlace>);

impl ClaimedValues {
    /// Reads the `name` of a `what`, which must be unique.
    pub(crate) fn name(&mut self, table: &mut TomlTable<'_>, what: &str) -> Option<String> {
        self.named(table, what, values::name)
    }

    /// Reads a name like [`Self::name`], checked by `check`.
    pub(crate) fn named(
        &mut self,
        table: &mut TomlTable<'_>,
        what: &str,
        check: fn(&str) -> Result<String, &'static str>,
    ) -> Option<String> {
        let name = table.required("name", |table, field| table.parsed(field, check))?;
        self.claim(table, &name, table.place_of("name"), format!("{what} `{name}`"));
        Some(name)
    }

    /// Reports `what` if `value` was claimed before.
    pub(crate) fn claim(&mut self, table: &TomlTable<'_>, value: &str, place: ConfigPlace, what: String) {
        if let Some(problem) = self.repeats(value, place, what) {
            table.report(problem);
        }
    }

    pub(crate) fn repeats(&mut self, value: &str, place: ConfigPlace, what: String) -> Option<Problem> {
        if let Some(first) = self.0.get(value) {
            return Some(Problem::error(place, format!("{what} appears twice")).hint(format!("first at {first}")));
        }
        self.0.insert(value.to_owned(), place);
        None
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = String> {
        self.0.into_keys()
    }
}
