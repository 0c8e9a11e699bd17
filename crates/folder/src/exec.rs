//! `[[sink]]` of type `exec`.

use std::{env, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use crate::{
    config::{ConfigPlace, ExecConfirm, ExecSink, Problem, SinkKind},
    table::{GivenValue, PlacedValue, TomlTable},
};

const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn exec(table: &mut TomlTable<'_>) -> Option<SinkKind> {
    let command = table.required("command", TomlTable::texts);
    let environment = environment(table);
    let pass_env = table.list("pass_env", variable).unwrap_or_default();
    let confirm = table.choice("confirm", &[("line", ExecConfirm::Line), ("write", ExecConfirm::Write)]);
    let stop_timeout = table.duration("stop_timeout").unwrap_or(STOP_TIMEOUT);
    let mut words = command?.into_iter();
    let Some(PlacedValue { value: program, place }) = words.next().filter(|program| !program.value.is_empty()) else {
        let hint = "name a program and its arguments, as in `[\"./bot.py\", \"--quiet\"]`".to_owned();
        table.error(table.place_of("command"), "`command` names no program", Some(hint));
        return None;
    };
    let program = program_path(table, &program, place);
    Some(SinkKind::Exec(ExecSink {
        program,
        arguments: words.map(|word| word.value).collect(),
        directory: table.dir().to_owned(),
        environment: environment?,
        pass_env,
        confirm: confirm.unwrap_or(ExecConfirm::Line),
        stop_timeout,
    }))
}

/// Path of a program. A name without a slash stays for `PATH`.
fn program_path(table: &TomlTable<'_>, program: &str, place: ConfigPlace) -> PathBuf {
    let is_program = |path: &PathBuf| path.metadata().is_ok_and(|f| f.is_file() && f.permissions().mode() & 0o111 != 0);
    if program.contains('/') {
        let path = table.dir().join(program);
        table.check_input(&path, place.clone());
        if path.is_file() && !is_program(&path) {
            let hint = Some(format!("make it one: `chmod +x {program}`"));
            table.error(place, format!("`{program}` is not a program: it can't be executed"), hint);
        }
        return path;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|folder| is_program(&folder.join(program))) {
        let problem = Problem::warning(place, format!("there is no program `{program}` in `PATH`"));
        table.report(problem.hint("a program of this folder begins with `./`; a shell's line goes behind `sh`, `-c`"));
    }
    program.into()
}

/// Variables and their values; `None` if one is not valid, after all were read.
fn environment(table: &mut TomlTable<'_>) -> Option<Vec<(String, String)>> {
    if !table.has("env") {
        return Some(Vec::new());
    }
    let given = table.map("env")?;
    let entries: Vec<_> = given.into_iter().map(|(name, value)| entry(table, name, value)).collect();
    entries.into_iter().collect()
}

fn entry(table: &TomlTable<'_>, name: PlacedValue<String>, given: PlacedValue<GivenValue>) -> Option<(String, String)> {
    let value = match given.value {
        GivenValue::One(value) if !value.contains('\0') => Some(value),
        _ => {
            table.error(given.place, format!("`{}` must be one text", name.value), None);
            None
        }
    };
    let wrong = |why| table.error(name.place, format!("`env` can't set `{}`: {why}", name.value), None);
    let name = variable(&name.value).map_err(wrong).ok();
    Some((name?, value?))
}

/// Checks the name of a variable.
fn variable(name: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = name.chars().all(plain) && name.starts_with(|c: char| !c.is_ascii_digit());
    if good { Ok(name.to_owned()) } else { Err("a variable's name has letters, digits and underscores") }
}
