//! Names in cases: of keys, sinks, reasons and APIs that there are.

use std::collections::BTreeSet;

use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{Config, ConfigPlace, Problem, Problems, suggest},
    folder::CaseFile,
    sink::dead_letter::LETTER_REASONS,
};

/// Checks the names in the expected ends and in the API's answers of all cases: an end that can't
/// be would only look like one that is missing, and an answer would go to no call.
///
/// # Errors
/// Returns all unknown names.
pub fn check_names(config: &Config, files: &[CaseFile]) -> Result<(), CommandRefusal> {
    let registry = &config.registry;
    let keys = registry.keys.iter().chain(registry.type_routes.iter().map(|route| &route.key));
    let keys: BTreeSet<&str> = keys.map(|key| &*key.name).collect();
    let sinks: BTreeSet<&str> = config.sinks.iter().map(|sink| &*sink.name).collect();
    let reasons: BTreeSet<&str> = LETTER_REASONS.iter().map(|reason| reason.code).collect();
    let known = [("key", "key", keys), ("sink", "sink", sinks), ("dead_letter", "reason", reasons)];
    let mut problems = Vec::new();
    for end in files.iter().flat_map(|file| &file.cases).flat_map(|case| case.expect.iter().flatten()) {
        for (field, what, names) in &known {
            problems.extend(unknown(end.text(field), end.place.as_ref(), what, names));
        }
    }
    let apis: BTreeSet<&str> = config.apis.iter().map(|(name, _)| &**name).collect();
    for answer in files.iter().flat_map(|file| file.api.iter().chain(file.cases.iter().flat_map(|case| &case.api))) {
        problems.extend(unknown(answer.api(), answer.place.as_ref(), "API", &apis));
    }
    if problems.is_empty() { Ok(()) } else { Err(bad_cases(&Problems::new(problems))) }
}

fn unknown(name: Option<&str>, place: Option<&ConfigPlace>, what: &str, names: &BTreeSet<&str>) -> Option<Problem> {
    let (name, place) = (name.filter(|name| !names.contains(name))?, place?.clone());
    let hint = suggest(name, names.iter().copied(), &format!("{what}s"), &format!("there is no {what} at all"));
    Some(Problem::error(place, format!("there is no {what} `{name}`")).hint(hint))
}

/// The refusal for cases that can't be run.
pub fn bad_cases(problems: &Problems) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Validation, "bad_case", format!("the cases have problems:\n{problems}"))
}
