//! `[[route]]`: read from one file, checked against the keys of all files.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    condition::{Condition, ConditionLists, ConditionValue, Elements},
    config::{
        ConfigPlace, KeptIn, KeyConfig, ParamDeclaration, ParamKind, ParamProblem, ParamSecret, Problem,
        RegistryConfig, RouteConfig, TypeRoute, TypeSelection, check_params, suggest, values,
    },
    event::TypePattern,
    keys::{self, NamedKey},
    problem::ProblemReport,
    secret,
    table::{
        PlacedValue, TomlTable,
        params::{ParamValue, kept},
    },
    unique::ClaimedValues,
};

/// A route as written in the file.
pub(crate) struct WrittenRoute {
    place: ConfigPlace,
    name: Option<PlacedValue<String>>,
    takes: EventSelection,
    conditions: ConditionLists,
    sinks: Vec<PlacedValue<String>>,
}

/// Selection of events by a route.
enum EventSelection {
    Key(PlacedValue<String>, Vec<(PlacedValue<String>, PlacedValue<ParamValue>)>),
    Types(TypeSelection),
}

pub(crate) fn written(table: &mut TomlTable<'_>) -> Option<WrittenRoute> {
    let name = table.parsed("name", values::name);
    let name = name.map(|value| PlacedValue { value, place: table.place_of("name") });
    let takes = takes(table);
    let conditions = keys::conditions(table);
    let sinks = table.required("sinks", TomlTable::texts);
    if sinks.as_ref().is_some_and(Vec::is_empty) {
        let hint = "to look at a filter's counters alone, add a sink of type `null`".to_owned();
        table.error(table.place_of("sinks"), "the route feeds no sink", Some(hint));
    }
    Some(WrittenRoute { place: table.place(), name, takes: takes?, conditions, sinks: sinks? })
}

/// Reads one of `key`, `match_regex` and `fallthrough` (L129).
fn takes(table: &mut TomlTable<'_>) -> Option<EventSelection> {
    let key = table.text("key");
    let key = key.map(|value| PlacedValue { value, place: table.place_of("key") });
    let params = table.params("params").or_else(|| (!table.has("params")).then(Vec::new));
    let pattern = table.parsed("match_regex", str::parse::<TypePattern>);
    let rest = table.flag("fallthrough");
    let given = [table.has("key"), table.has("match_regex"), rest == Some(true)];
    match given.into_iter().filter(|given| *given).count() {
        0 => {
            if rest.is_some() || !table.has("fallthrough") {
                let hint = "without a key it takes events by a `match_regex` over their type, or `fallthrough = true`";
                table.error(table.place(), "`key` is missing", Some(hint.into()));
            }
            return None;
        }
        1 => {}
        _ => {
            let message = "a route takes its events by `key`, by `match_regex` or as `fallthrough`: give one";
            table.error(table.place(), message, None);
            return None;
        }
    }
    if table.has("params") && !table.has("key") {
        table.error(table.place_of("params"), "only a route of a key has `params`", None);
    }
    match (key, pattern) {
        (Some(key), _) => Some(EventSelection::Key(key, params?)),
        (None, Some(pattern)) => Some(EventSelection::Types(TypeSelection::Matching(pattern))),
        (None, None) => (rest == Some(true)).then_some(EventSelection::Types(TypeSelection::Rest)),
    }
}

/// Names that routes may refer to. `None` if a file that might declare more could not be read.
pub(crate) struct KnownNames<'a> {
    pub(crate) keys: HashMap<&'a str, &'a NamedKey>,
    pub(crate) all_keys: bool,
    pub(crate) sinks: Option<&'a HashSet<String>>,
    /// The router's folder.
    pub(crate) dir: &'a Path,
}

impl KnownNames<'_> {
    /// Checks a route and adds it to the registry. Returns `None` if it is invalid; the error is
    /// then in the report.
    pub(crate) fn check(
        &self,
        route: WrittenRoute,
        names: &mut ClaimedValues,
        report: &ProblemReport,
        registry: &mut RegistryConfig,
    ) -> Option<()> {
        let WrittenRoute { place, name, takes, conditions, sinks } = route;
        let sinks = self.sinks(sinks, report);
        let claim = |derived: String, what: &str| {
            let (name, place, what) = match name {
                Some(PlacedValue { value, place }) => (value.clone(), place, format!("route `{value}`")),
                None => (derived, place.clone(), what.to_owned()),
            };
            names.repeats(&name, place.clone(), what).into_iter().for_each(|problem| report.add(problem));
            (name, place)
        };
        match takes {
            EventSelection::Key(key, params) => {
                let key = self.key(&key, report)?;
                let params = self.check_given(key.key.as_ref()?, params, &place, report);
                let ((params, secrets), sinks) = (params?, sinks?);
                let what = format!("a route of key `{}` with these params and sinks", key.name);
                let places: Vec<_> = secrets.iter().map(|secret| self.place_of(secret)).collect();
                let (name, place) = claim(derived_name(&key.name, (&params, &places), &conditions, &sinks), &what);
                let key = key.name.clone();
                registry.routes.push(RouteConfig { name, key, conditions, params, secrets, sinks, place });
            }
            EventSelection::Types(types) => {
                let sinks = sinks?;
                let (start, pattern) = match &types {
                    TypeSelection::Matching(pattern) => ("match_regex", pattern.as_str()),
                    TypeSelection::Rest => ("fallthrough", ""),
                };
                let derived =
                    derived_name(start, (&[(start.to_owned(), pattern.to_owned())], &[]), &conditions, &sinks);
                let (name, place) = claim(derived, "a route of these event types with these sinks");
                if self.keys.contains_key(name.as_str()) {
                    let hint = "outputs and counters bear the route's name as their key's: give it another";
                    report.add(Problem::error(place.clone(), format!("`{name}` is a key")).hint(hint));
                }
                let key = KeyConfig { conditions, ..keys::plain(name, place) };
                registry.type_routes.push(TypeRoute { key, types, sinks });
            }
        }
        Some(())
    }

    fn key(&self, name: &PlacedValue<String>, report: &ProblemReport) -> Option<&NamedKey> {
        let key = self.keys.get(name.value.as_str()).copied();
        if key.is_none() && self.all_keys {
            let hint = suggest(&name.value, self.keys.keys().copied(), "known keys", "no key is declared in `keys/`");
            report.add(Problem::error(name.place.clone(), format!("there is no key `{}`", name.value)).hint(hint));
        }
        key
    }

    fn sinks(&self, sinks: Vec<PlacedValue<String>>, report: &ProblemReport) -> Option<Vec<String>> {
        let mut seen = ClaimedValues::default();
        let mut good = true;
        let mut names = Vec::new();
        for PlacedValue { value, place } in sinks {
            let unknown = self.sinks.is_some_and(|known| !known.contains(&value)).then(|| {
                let known = self.sinks.into_iter().flatten().map(String::as_str);
                let hint = suggest(&value, known, "known sinks", "`trommel.toml` has no `[[sink]]`");
                Problem::error(place.clone(), format!("there is no sink `{value}`")).hint(hint)
            });
            let problem = unknown.or_else(|| seen.repeats(&value, place, format!("sink `{value}`")));
            good &= problem.is_none();
            problem.into_iter().for_each(|problem| report.add(problem));
            names.push(value);
        }
        good.then_some(names)
    }

    /// The place of a secret, as the folder names it.
    fn place_of(&self, (name, secret): &(String, ParamSecret)) -> Value {
        match &secret.kept {
            KeptIn::Env(variable) => json!([name, "env", variable]),
            KeptIn::File(path) => json!([name, "file", path.strip_prefix(self.dir).unwrap_or(path)]),
        }
    }

    /// Runs [`check_params`] on values with positions. Also finds the secrets.
    fn check_given(
        &self,
        key: &KeyConfig,
        given: Vec<(PlacedValue<String>, PlacedValue<ParamValue>)>,
        route: &ConfigPlace,
        report: &ProblemReport,
    ) -> Option<CheckedParams> {
        let mut values = BTreeMap::new();
        let mut places = HashMap::new();
        let mut secrets: BTreeMap<_, _> = key.secrets().into_iter().collect();
        let mut refused = HashSet::new();
        for (name, PlacedValue { value, place }) in given {
            let declared = key.params.iter().find(|declared| declared.name == name.value);
            let kind = declared.map(|declared| declared.kind);
            let text = match (kind, value) {
                (Some(ParamKind::Secret), value) => {
                    match self.secret(&name.value, &value, &place, report) {
                        Some(secret) => {
                            secrets.insert(name.value, secret);
                        }
                        None => {
                            refused.insert(name.value);
                        }
                    }
                    continue;
                }
                (_, ParamValue::One(text)) => text,
                (Some(ParamKind::List | ParamKind::Json), ParamValue::Many(texts)) => json!(texts).to_string(),
                (Some(ParamKind::Json), ParamValue::Json(value)) => value.to_string(),
                (kind, ParamValue::Many(texts)) => {
                    if kind.is_some_and(|kind| kind != ParamKind::Multi) {
                        let message = format!("param `{}` takes one value, not a list", name.value);
                        report.add(Problem::error(place.clone(), message));
                        refused.insert(name.value.clone());
                    }
                    texts.join(",")
                }
                (kind, ParamValue::Json(value)) => {
                    if let Some(kind) = kind {
                        let found = if value.is_array() { "such a list" } else { "a table" };
                        let message = format!("param `{}` is of type `{}`, not {found}", name.value, kind.word());
                        let hint = match kept(&value, self.dir) {
                            Some(_) => "a value that is kept elsewhere is declared with `type = \"secret\"`",
                            None => "tables and lists of any kind are declared with `type = \"json\"`",
                        };
                        report.add(Problem::error(place.clone(), message).hint(hint));
                        refused.insert(name.value.clone());
                    }
                    String::new()
                }
            };
            places.insert(name.value.clone(), if declared.is_some() { place } else { name.place });
            values.insert(name.value, text);
        }
        let is_missing = |declared: &&ParamDeclaration| !secrets.contains_key(&declared.name);
        let declared: Vec<_> = key.params.iter().filter(is_missing).cloned().collect();
        let params = check_params(&key.name, &declared, &values).map_err(|problems| {
            for ParamProblem { param, message, hint } in
                problems.into_iter().filter(|problem| !refused.contains(&problem.param))
            {
                let place = places.get(&param).unwrap_or(route).clone();
                report.add(Problem { hint, ..Problem::error(place, message) });
            }
        });
        params.ok().filter(|_| refused.is_empty()).map(|params| (params, secrets.into_iter().collect()))
    }

    /// Finds a secret where a route says that it is kept.
    fn secret(
        &self,
        name: &str,
        given: &ParamValue,
        place: &ConfigPlace,
        report: &ProblemReport,
    ) -> Option<ParamSecret> {
        let kept = match given {
            ParamValue::Json(given) => kept(given, self.dir),
            _ => None,
        };
        let Some(kept) = kept else {
            // The value is not shown.
            let message = format!("param `{name}` is a secret, which is not written down");
            report.add(Problem::error(place.clone(), message).hint(secret::PLACES));
            return None;
        };
        secret::param(kept, place, self.dir, |problem| report.add(problem))
    }
}

/// The params of a route, and its secrets.
type CheckedParams = (Vec<(String, String)>, Vec<(String, ParamSecret)>);

/// Tells one condition from all others. What it has none of is left out, as names depend on it.
fn told(condition: &Condition) -> Value {
    let Condition { field, elements, comparison, values } = condition;
    let value = |value: &ConditionValue| match value {
        ConditionValue::Text(text) => json!(text),
        ConditionValue::Range(from, to) => json!([from, to]),
    };
    let values: Vec<_> = values.iter().map(value).collect();
    match elements {
        None => json!([field, format!("{comparison:?}"), values]),
        Some(Elements { quantifier, inside }) => {
            json!([field, format!("{comparison:?}"), values, quantifier.to_string(), inside])
        }
    }
}

/// The default name of a route, `KEY-` and eight hexadecimal digits. It depends on key, params,
/// conditions and sinks alone, so that the ids of its outputs stay the same if other routes are
/// added or removed.
fn derived_name(
    key: &str,
    (params, secrets): (&[(String, String)], &[Value]),
    conditions: &ConditionLists,
    sinks: &[String],
) -> String {
    let mut sinks: Vec<&String> = sinks.iter().collect();
    sinks.sort_unstable();
    // JSON delimits the words unambiguously.
    let mut parts = vec![json!(params), json!(sinks)];
    // Routes without conditions keep the names that they had before there were any.
    if !conditions.is_empty() {
        let lists = conditions.iter().map(|list| list.iter().map(told).collect::<Vec<_>>());
        parts.push(lists.collect());
    }
    // Where a secret is kept, never what it is.
    if !secrets.is_empty() {
        parts.push(json!(secrets));
    }
    let digest = Sha256::digest(json!(parts).to_string());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{key}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition;

    fn name(conditions: &str) -> String {
        derived_name("orders", (&[], &[]), &condition::parse(conditions).unwrap(), &["out".to_owned()])
    }

    #[test]
    fn names_differ_where_conditions_do_and_stay_what_they_were() {
        let all = [
            "",
            "/a in [1]",
            "/a in [1..5]",
            "/a in [\"1..5\"]",
            "/a in [1..]",
            "any /a/* in [1]",
            "all /a/* in [1]",
            "any /a/*/b in [1]",
        ];
        let names: HashSet<_> = all.iter().map(|conditions| name(conditions)).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        // Outputs have ids with the route's name, so it must not change with a version of the router.
        assert_eq!(name("/a == 1; subject ^= x || !/b"), "orders-1650bf2e");
    }
}
