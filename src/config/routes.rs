//! `[[route]]`: read from one file, checked against the keys of all.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    ParamDeclaration, ParamKind, ParamProblem, Route, check_params,
    keys::NamedKey,
    nearest::suggest,
    problem::{Place, Problem, Report},
    table::{At, Given, Table},
    unique::Unique,
    values,
};

/// A route as it is written.
pub(super) struct Written {
    place: Place,
    name: Option<At<String>>,
    key: At<String>,
    params: Vec<(At<String>, At<Given>)>,
    sinks: Vec<At<String>>,
}

pub(super) fn written(table: &mut Table<'_>) -> Option<Written> {
    let name = table.parsed("name", values::name);
    let name = name.map(|value| At { value, place: table.place_of("name") });
    let key = table.required("key", Table::text);
    let key = key.map(|value| At { value, place: table.place_of("key") });
    let params = table.map("params").or_else(|| (!table.has("params")).then(Vec::new));
    let sinks = table.required("sinks", Table::texts);
    if sinks.as_ref().is_some_and(Vec::is_empty) {
        let hint = "to look at a filter's counters alone, add a sink of type `null`".to_owned();
        table.error(table.place_of("sinks"), "the route feeds no sink", Some(hint));
    }
    Some(Written { place: table.place(), name, key: key?, params: params?, sinks: sinks? })
}

/// What routes may refer to. `None` where a file that might declare more could not be read.
pub(super) struct Known<'a> {
    pub(super) keys: HashMap<&'a str, &'a NamedKey>,
    pub(super) all_keys: bool,
    pub(super) sinks: Option<&'a HashSet<String>>,
}

impl Known<'_> {
    /// Checks a route. `None` when something is wrong, which the report then says.
    pub(super) fn check(&self, route: Written, names: &mut Unique, report: &Report) -> Option<Route> {
        let sinks = self.sinks(route.sinks, report);
        let key = self.key(&route.key, report)?;
        let declared = &key.key.as_ref()?.params;
        let params = check_given(&key.name, declared, route.params, &route.place, report);
        let (params, sinks) = (params?, sinks?);
        let (name, place, what) = match route.name {
            Some(At { value, place }) => (value.clone(), place, format!("route `{value}`")),
            None => {
                let what = format!("a route of key `{}` with these params and sinks", key.name);
                (derived_name(&key.name, &params, &sinks), route.place, what)
            }
        };
        if let Some(problem) = names.repeats(&name, place.clone(), what) {
            report.add(problem);
        }
        Some(Route { name, key: key.name.clone(), params, sinks, place })
    }

    fn key(&self, name: &At<String>, report: &Report) -> Option<&NamedKey> {
        let key = self.keys.get(name.value.as_str()).copied();
        if key.is_none() && self.all_keys {
            let hint = suggest(&name.value, self.keys.keys().copied(), "known keys", "no key is declared in `keys/`");
            report.add(Problem::error(name.place.clone(), format!("there is no key `{}`", name.value)).hint(hint));
        }
        key
    }

    fn sinks(&self, sinks: Vec<At<String>>, report: &Report) -> Option<Vec<String>> {
        let mut seen = Unique::default();
        let mut good = true;
        let mut names = Vec::new();
        for At { value, place } in sinks {
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
}

/// [`check_params`], with the places of what was given.
fn check_given(
    key: &str,
    declared: &[ParamDeclaration],
    given: Vec<(At<String>, At<Given>)>,
    route: &Place,
    report: &Report,
) -> Option<Vec<(String, String)>> {
    let mut values = BTreeMap::new();
    let mut places = HashMap::new();
    let mut lists = HashSet::new();
    for (name, value) in given {
        let declaration = declared.iter().find(|declaration| declaration.name == name.value);
        let text = match value.value {
            Given::One(text) => text,
            Given::Many(texts) => {
                if declaration.is_some_and(|declaration| declaration.kind != ParamKind::Multi) {
                    let message = format!("param `{}` takes one value, not a list", name.value);
                    report.add(Problem::error(value.place.clone(), message));
                    lists.insert(name.value.clone());
                }
                texts.join(",")
            }
        };
        places.insert(name.value.clone(), if declaration.is_some() { value.place } else { name.place });
        values.insert(name.value, text);
    }
    let params = check_params(key, declared, &values).map_err(|problems| {
        for ParamProblem { param, message, hint } in
            problems.into_iter().filter(|problem| !lists.contains(&problem.param))
        {
            let place = places.get(&param).unwrap_or(route).clone();
            report.add(Problem { hint, ..Problem::error(place, message) });
        }
    });
    params.ok().filter(|_| lists.is_empty())
}

/// `KEY-` and eight hexadecimal digits that depend on key, params and sinks alone: other routes may come and go, and the
/// ids of this one's outputs stay.
fn derived_name(key: &str, params: &[(String, String)], sinks: &[String]) -> String {
    let mut sinks: Vec<&String> = sinks.iter().collect();
    sinks.sort_unstable();
    // JSON keeps every word apart from its neighbours.
    let digest = Sha256::digest(json!([params, sinks]).to_string());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{key}-{hex}")
}
