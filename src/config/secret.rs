//! Secrets that bodies are signed with, from files or the environment.

use std::{env, fs};

use super::table::{At, Table};
use crate::signature::Secret;

/// Enough to go from one to the other.
const MAX_SECRETS: usize = 2;

/// `secret_file` and `secret_env`, one or two of them: those that sign, the first one first. `None` when there is none or
/// one can't be used, which the report then says without showing it.
pub(super) fn secrets(table: &mut Table<'_>) -> Option<Vec<Secret>> {
    let mut secrets = Vec::new();
    for (field, read) in [("secret_file", file as fn(&Table<'_>, &str) -> _), ("secret_env", |_, name| variable(name))]
    {
        let given = table.texts(field);
        if given.as_ref().is_some_and(Vec::is_empty) {
            table.error(table.place_of(field), format!("`{field}` names no secret"), None);
        }
        for At { value, place } in given.unwrap_or_default() {
            let secret = read(table, &value);
            let secret = secret.and_then(|text| text.parse::<Secret>().map_err(|error| error.to_string()));
            let report = |error| table.error(place, format!("can't use the secret in `{value}`: {error}"), None);
            secrets.push(secret.map_err(report).ok());
        }
    }
    if !table.has("secret_file") && !table.has("secret_env") {
        let hint = "name a file with `secret_file`, or an environment variable with `secret_env`".to_owned();
        table.error(table.place(), "there is no secret to sign with", Some(hint));
    }
    if secrets.len() > MAX_SECRETS {
        let field = if table.has("secret_env") { "secret_env" } else { "secret_file" };
        table.error(table.place_of(field), format!("at most {MAX_SECRETS} secrets count at a time"), None);
    }
    let secrets: Vec<Secret> = secrets.into_iter().collect::<Option<_>>()?;
    (1..=MAX_SECRETS).contains(&secrets.len()).then_some(secrets)
}

fn file(table: &Table<'_>, path: &str) -> Result<String, String> {
    let bytes = fs::read(table.dir().join(path)).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

fn variable(name: &str) -> Result<String, String> {
    // The variable's own error would quote what is no UTF-8.
    let text = env::var_os(name).ok_or("it is not set")?;
    text.into_string().map_err(|_| "it is not UTF-8".to_owned())
}
