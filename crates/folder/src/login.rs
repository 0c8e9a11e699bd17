//! `[api.login]`: the login that fetches the token for `[api]`.

use crate::{
    api::address,
    config::{ApiLogin, KeptIn, LoginKind, values},
    secret,
    table::TomlTable,
};

#[derive(Clone, Copy)]
enum Protocol {
    Lark,
    OAuth2,
}

pub(crate) fn login(table: &mut TomlTable<'_>) -> Option<ApiLogin> {
    let protocols = [("lark", Protocol::Lark), ("oauth2", Protocol::OAuth2)];
    let protocol = table.required("type", |table, field| table.choice(field, &protocols));
    let id = table.required("id", |table, field| table.parsed(field, values::literal));
    let secret = kept_secret(table);
    let url = url(table);
    let scope = table.list("scope", values::scope).map(|scopes| scopes.join(" "));
    let kind = match protocol? {
        Protocol::Lark => {
            for field in ["url", "scope"].into_iter().filter(|field| table.has(field)) {
                let hint = "Lark is asked at `base_url`, for what the app may do".to_owned();
                table.error(table.place_of(field), format!("a login of type `lark` has no `{field}`"), Some(hint));
            }
            LoginKind::Lark
        }
        Protocol::OAuth2 => {
            if !table.has("url") {
                let hint = "a token endpoint looks like `https://login.example.com/oauth2/token`".to_owned();
                table.error(table.place(), "`url` is missing", Some(hint));
            }
            LoginKind::OAuth2 { url: url?, scope }
        }
    };
    Some(ApiLogin { kind, id: id?, secret: secret? })
}

fn kept_secret(table: &mut TomlTable<'_>) -> Option<KeptIn> {
    let file = secret::path(table, "secret_file").map(KeptIn::File);
    let variable = table.text("secret_env").map(KeptIn::Env);
    match (table.has("secret_file"), table.has("secret_env")) {
        (true, true) => {
            let message = "the secret comes from `secret_file` or from `secret_env`, not from both";
            table.error(table.place_of("secret_env"), message, None);
        }
        (false, false) => {
            let hint = "name a file with `secret_file`, or an environment variable with `secret_env`".to_owned();
            table.error(table.place(), "there is no secret to log in with", Some(hint));
        }
        _ => {}
    }
    file.or(variable)
}

/// The token endpoint. Messages never quote it, as it may contain a password.
fn url(table: &mut TomlTable<'_>) -> Option<url::Url> {
    let text = table.text("url")?;
    let report = |error: String| {
        let hint = Some("a token endpoint looks like `https://login.example.com/oauth2/token`".to_owned());
        table.error(table.place_of("url"), format!("`url` is not a token endpoint: {error}"), hint);
    };
    address(&text, "`id` and `secret_file`").map_err(report).ok()
}
