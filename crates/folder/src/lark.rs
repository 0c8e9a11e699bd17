//! `[[source.lark_app]]`.

use crate::{
    config::LarkApp,
    http, secret,
    table::{PlacedValue, TomlTable},
};

/// Fields that authenticate clients in other ways.
const OTHERS: [&str; 7] =
    ["token_file", "token_env", "secret_file", "secret_env", "client", "tenants_file", "tenants_env"];

/// The Lark apps of a source of type `http`; `None` if it is not for Lark. An app that is not
/// valid is left out, after it was reported.
pub(crate) fn apps(table: &mut TomlTable<'_>) -> Option<Vec<LarkApp>> {
    let apps = table.tables("lark_app", app);
    if !table.has("lark_app") {
        return None;
    }
    if let Some(other) = OTHERS.into_iter().find(|field| table.has(field)) {
        let message = format!("Lark proves its requests by what `lark_app` names, so `{other}` means nothing");
        table.error(table.place_of(other), message, None);
    }
    let apps: Vec<_> = apps.into_iter().flatten().collect();
    for (number, PlacedValue { value, place }) in apps.iter().enumerate() {
        if apps[..number].iter().any(|other| other.value.app_id == value.app_id) {
            let message = format!("app `{}` appears twice", value.app_id);
            let hint = "one `lark_app` can have two keys and two tokens, for a rotation".to_owned();
            table.error(place.clone(), message, Some(hint));
        }
    }
    Some(apps.into_iter().map(|app| app.value).collect())
}

fn app(table: &mut TomlTable<'_>) -> Option<PlacedValue<LarkApp>> {
    let app_id = table.required("app_id", |table, field| table.parsed(field, app_id));
    let encrypt_keys = secret::kept_in(table, "encrypt_key_file", "encrypt_key_env");
    let encrypt_keys = http::checked(table, encrypt_keys, "encrypt_key_env");
    let tokens = secret::kept_in(table, "verification_token_file", "verification_token_env");
    let tokens = http::checked(table, tokens, "verification_token_env");
    let is_open = encrypt_keys.is_empty() && tokens.is_empty();
    if is_open {
        let hint = "name a file with `encrypt_key_file`, or `verification_token_file` if the app has no key";
        let message = "nothing proves that a request is of this app";
        table.error(table.place(), message, Some(hint.to_owned()));
    }
    let value = LarkApp { app_id: app_id?, encrypt_keys, tokens };
    (!is_open).then(|| PlacedValue { value, place: table.place() })
}

/// Checks an app's id, which is the end of a URL.
fn app_id(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if good { Ok(text.to_owned()) } else { Err("an app's id looks like `cli_a1b2c3d4e5f6`") }
}
