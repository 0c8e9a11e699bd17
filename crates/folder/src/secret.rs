//! Secrets from files or the environment, including those that sign request bodies.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    config::{ConfigPlace, KeptIn, ParamSecret, Problem},
    ownership,
    signature::Secret,
    table::{PlacedValue, TomlTable},
};

/// Largest number of secrets: the old and the new one during a rotation.
const MAX_SECRETS: usize = 2;

/// Locations of the secrets in `secret_file` and `secret_env`, in this order. More than two are
/// reported.
pub(crate) fn kept(table: &mut TomlTable<'_>) -> Vec<PlacedValue<KeptIn>> {
    kept_in(table, "secret_file", "secret_env")
}

/// Locations of the secrets in two fields that list files and environment variables.
pub(crate) fn kept_in(
    table: &mut TomlTable<'_>,
    files: &'static str,
    variables: &'static str,
) -> Vec<PlacedValue<KeptIn>> {
    let mut all = Vec::new();
    for field in [files, variables] {
        let given = table.texts(field);
        if given.as_ref().is_some_and(Vec::is_empty) {
            table.error(table.place_of(field), format!("`{field}` names no secret"), None);
        }
        for PlacedValue { value, place } in given.unwrap_or_default() {
            let kept = if field == files { KeptIn::File(table.dir().join(value)) } else { KeptIn::Env(value) };
            if let KeptIn::File(path) = &kept {
                warn_if_readable(table, &place, path);
            }
            all.push(PlacedValue { value: kept, place });
        }
    }
    if all.len() > MAX_SECRETS {
        let field = if table.has(variables) { variables } else { files };
        table.error(table.place_of(field), format!("at most {MAX_SECRETS} secrets count at a time"), None);
    }
    all
}

/// Reads one or two secrets to sign with. Returns `None` if there are none or one can't be used;
/// the error is then in the report, without the secret.
pub(crate) fn required_secrets(table: &mut TomlTable<'_>) -> Option<Vec<Secret>> {
    if !table.has("secret_file") && !table.has("secret_env") {
        let hint = "name a file with `secret_file`, or an environment variable with `secret_env`".to_owned();
        table.error(table.place(), "there is no secret to sign with", Some(hint));
    }
    secrets(table).filter(|secrets| !secrets.is_empty())
}

/// Reads the secrets to sign with, if any. Returns `None` if one can't be used; the error is then
/// in the report, without the secret.
pub(crate) fn secrets(table: &mut TomlTable<'_>) -> Option<Vec<Secret>> {
    let kept = kept(table);
    let secret = |PlacedValue { value, place }: &PlacedValue<KeptIn>| {
        let secret = value.read().and_then(|text| text.parse::<Secret>().map_err(|error| error.to_string()));
        let named = match value {
            KeptIn::File(path) => path.strip_prefix(table.dir()).unwrap_or(path).display().to_string(),
            KeptIn::Env(variable) => variable.clone(),
        };
        let report = |error| table.error(place.clone(), format!("can't use the secret in `{named}`: {error}"), None);
        let secret = secret.map_err(report).ok()?;
        if secret.is_short() {
            let warning = Problem::warning(place.clone(), format!("the secret in `{named}` is easy to guess"));
            table.report(warning.hint("take 24 random bytes or more: `openssl rand -base64 32`"));
        }
        Some(secret)
    };
    // All are read before any is given up, so that every mistake is reported.
    let secrets: Vec<Option<Secret>> = kept.iter().map(secret).collect();
    let secrets: Vec<Secret> = secrets.into_iter().collect::<Option<_>>()?;
    (secrets.len() <= MAX_SECRETS).then_some(secrets)
}

/// The path of an existing file with a secret.
pub(crate) fn path(table: &mut TomlTable<'_>, field: &'static str) -> Option<PathBuf> {
    let path = table.input_path(field)?;
    warn_if_readable(table, &table.place_of(field), &path);
    Some(path)
}

/// Ways to say where a param's secret is kept.
pub(crate) const PLACES: &str = "say where it is kept: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`";

/// Finds a param's secret in its place. Reports why it can't be used, without the secret, and a
/// file that others may read.
pub(crate) fn param(
    kept: KeptIn,
    place: &ConfigPlace,
    dir: &Path,
    mut report: impl FnMut(Problem),
) -> Option<ParamSecret> {
    let (named, warning) = match &kept {
        KeptIn::File(path) => {
            (path.strip_prefix(dir).unwrap_or(path).display().to_string(), readable(place, path, dir))
        }
        KeptIn::Env(variable) => (variable.clone(), None),
    };
    let found = ParamSecret::find(kept)
        .map_err(|error| Problem::error(place.clone(), format!("can't use the secret in `{named}`: {error}")));
    match found {
        Ok(secret) => {
            warning.into_iter().for_each(report);
            Some(secret)
        }
        Err(problem) => {
            report(problem);
            None
        }
    }
}

fn warn_if_readable(table: &TomlTable<'_>, place: &ConfigPlace, path: &Path) {
    readable(place, path, table.dir()).into_iter().for_each(|warning| table.report(warning));
}

/// Makes a warning of a file with a secret that every user of this machine may read.
fn readable(place: &ConfigPlace, path: &Path, dir: &Path) -> Option<Problem> {
    let found = fs::metadata(path).ok().filter(ownership::is_readable_by_others);
    found.map(|_| {
        let shown = path.strip_prefix(dir).unwrap_or(path).display();
        let warning = Problem::warning(place.clone(), format!("all users of this machine can read `{shown}`"));
        warning.hint(format!("keep it to yourself: `chmod o-r {shown}`"))
    })
}
