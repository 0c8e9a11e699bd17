//! `[avro]`: the ids of the Confluent framing, and the schema registry that gives them.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use crate::{
    api::address,
    config::{KeptIn, RegistryAuth, SchemaCache, SchemaRegistryConfig},
    http, secret,
    table::{GivenValue, PlacedValue, TomlTable},
};

const TIMEOUT: Duration = Duration::from_secs(5);
const CACHE: &str = "schema-cache";

/// Settings of `[avro]`.
#[derive(Default)]
pub(crate) struct AvroSettings {
    /// Names of schemas by their ids.
    pub(crate) ids: BTreeMap<u32, String>,
    pub(crate) registry: Option<SchemaRegistryConfig>,
}

pub(crate) fn avro(table: &mut TomlTable<'_>) -> AvroSettings {
    AvroSettings { ids: ids(table), registry: table.table("registry", registry).flatten() }
}

/// Reads `ids`: schema names by the ids of the Confluent framing.
fn ids(table: &mut TomlTable<'_>) -> BTreeMap<u32, String> {
    let mut ids = BTreeMap::new();
    for (id, name) in table.map("ids").unwrap_or_default() {
        match (id.value.parse(), name.value) {
            (Ok(id), GivenValue::One(name)) => {
                ids.insert(id, name);
            }
            (Err(_), _) => {
                table.error(id.place, format!("`{}` is not a valid id: it is a number of 32 bits", id.value), None);
            }
            (Ok(_), _) => table.error(name.place, "this must be the name of an Avro schema", None),
        }
    }
    ids
}

/// Reads `[avro.registry]`.
fn registry(table: &mut TomlTable<'_>) -> Option<SchemaRegistryConfig> {
    let place = table.place();
    let texts = table.required("url", TomlTable::texts);
    if texts.as_ref().is_some_and(Vec::is_empty) {
        table.error(table.place_of("url"), "`url` names no registry", None);
    }
    let given = texts.unwrap_or_default();
    let urls: Vec<_> = given.into_iter().map(|text| url(table, text)).collect();
    let auth = auth(table);
    let cache = SchemaCache::new(table.path("cache").unwrap_or_else(|| table.dir().join(CACHE)));
    let timeout = table.duration("timeout").unwrap_or(TIMEOUT);
    let urls = urls.into_iter().collect::<Option<Vec<_>>>().filter(|urls| !urls.is_empty());
    Some(SchemaRegistryConfig { urls: urls?, auth: auth?, cache, timeout, place })
}

fn url(table: &TomlTable<'_>, PlacedValue { value, place }: PlacedValue<String>) -> Option<Url> {
    // Messages never quote the address, as it may contain a password.
    let report = |error: String| {
        let hint = "an address looks like `https://registry.example.com:8081`".to_owned();
        table.error(place, format!("`url` is not a registry's address: {error}"), Some(hint));
    };
    address(&value, "`user` and `password_file`, or in `token_file`").map_err(report).ok()
}

/// Reads how the router proves who it is. `None` if that is invalid.
fn auth(table: &mut TomlTable<'_>) -> Option<Option<RegistryAuth>> {
    let token = http::token(table);
    let user = table.text("user");
    let password_file = secret::path(table, "password_file").map(KeptIn::File);
    let password_env = table.text("password_env").map(KeptIn::Env);
    if table.has("password_file") && table.has("password_env") {
        let message = "the password comes from `password_file` or from `password_env`, not from both";
        table.error(table.place_of("password_env"), message, None);
        return None;
    }
    let password = password_file.or(password_env);
    if user.is_some() != password.is_some() {
        let hint = "give both, or neither".to_owned();
        let message = "`user` goes together with `password_file` or `password_env`";
        table.error(table.place_of("user"), message, Some(hint));
        return None;
    }
    let basic = user.zip(password).map(|(user, password)| RegistryAuth::Basic { user, password });
    match (token, basic) {
        (Some(_), Some(_)) => {
            table.error(table.place_of("user"), "the registry is told a token or a user, not both", None);
            None
        }
        (token, basic) => Some(token.map(RegistryAuth::Bearer).or(basic)),
    }
}
