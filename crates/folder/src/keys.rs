//! `keys/*.toml`: the registry of keys and routes.

use std::num::NonZeroUsize;

use crate::{
    condition::{self, ConditionLists},
    config::{
        ConfigPlace, KEY_RETRY, KeyConfig, LimitOverrides, OrderBy, ParamDeclaration, ParamKind, ParamSecret, Problem,
        UnknownName, ValidationMode, WireFormat, known_schema, normalize, values,
    },
    endpoint::Endpoint,
    event::Pattern,
    field::Field,
    limits::{overrides, retry},
    listing::AvailablePlugins,
    schema::schema,
    schemas::SchemaFiles,
    secret,
    table::{GivenValue, PlacedValue, TomlTable, params::kept},
    unique::ClaimedValues,
};
use trommel_avro::{self as wire, TimeForm};

const BUFFER_SIZE: NonZeroUsize = NonZeroUsize::new(100).unwrap();
const MAX_BUFFER_SIZE: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// The contents of a folder that keys can refer to; `None` for what can't be listed, which is then
/// not looked up.
#[derive(Clone, Copy)]
pub(crate) struct FolderContents<'a> {
    pub(crate) plugins: Option<&'a AvailablePlugins>,
    pub(crate) schemas: Option<&'a SchemaFiles>,
    pub(crate) avro: Option<&'a wire::AvroSchemas>,
}

/// A key whose name could be read.
pub(crate) struct NamedKey {
    pub(crate) name: String,
    /// `None` if the rest of it is invalid.
    pub(crate) key: Option<KeyConfig>,
}

pub(crate) fn key(table: &mut TomlTable<'_>, names: &mut ClaimedValues, ready: FolderContents<'_>) -> Option<NamedKey> {
    let name = name(table, names);
    domain(table, name.as_deref());
    let display_name = table.text("display_name").unwrap_or_default();
    let description = table.text("description").unwrap_or_default();
    let subject = table.parsed("subject", str::parse::<Pattern>);
    let event_type = event_type(table);
    if !table.has("subject") && !table.has("event_type") {
        let hint = "give it a `subject`, an `event_type` or both".to_owned();
        table.error(table.place(), "the key does not say which events it takes", Some(hint));
    }
    let filter = table.parsed("filter", values::name);
    if let (Some(filter), Some(plugins)) = (&filter, ready.plugins)
        && let Err(missing) = plugins.find(filter)
    {
        table.error(table.place_of("filter"), missing.message, Some(missing.hint));
    }
    let conditions = conditions(table);
    let api = table.list("api", str::parse::<Endpoint>).unwrap_or_default();
    // L06: zero or less means one.
    let workers = table.integer("workers").and_then(positive).unwrap_or(NonZeroUsize::MIN);
    let buffer_size = buffer_size(table);
    let order_by = table.parsed("order_by", values::order_by).unwrap_or(OrderBy::Field(Field::Subject));
    let retry = retry(table, KEY_RETRY);
    let limits = table.table("limits", overrides).unwrap_or_default();
    let mut declared = ClaimedValues::default();
    let params = table.tables("params", |table| declaration(table, &mut declared));
    let auth_types = table.list("auth_types", values::auth_type).unwrap_or_default();
    let scopes = table.list("scopes", values::scope).unwrap_or_default();
    let console_events = table.list("console_events", values::literal).unwrap_or_default();
    let single_consumer = table.flag("single_consumer").unwrap_or_default();
    let is_isolated = isolation(table);
    let schema = schema(table, ready.schemas);
    let validate = validate(table);
    let decode = decode(table, ready.avro);
    let times = times(table, decode.as_ref());
    let name = name?;
    let complete = subject.is_some() == table.has("subject") && params.iter().all(Option::is_some);
    let schema = schema.ok().filter(|_| complete);
    let key = schema.zip(decode).map(|(schema, decode)| KeyConfig {
        name: name.clone(),
        display_name,
        description,
        subject,
        event_type,
        conditions,
        filter,
        api,
        params: params.into_iter().flatten().collect(),
        auth_types,
        scopes,
        console_events,
        single_consumer,
        is_isolated,
        decode,
        times,
        schema,
        validate,
        workers,
        buffer_size,
        order_by,
        retry,
        limits,
        place: table.place(),
    });
    Some(NamedKey { name, key })
}

/// A key with defaults for all but its name.
pub(crate) fn plain(name: String, place: ConfigPlace) -> KeyConfig {
    KeyConfig {
        name,
        display_name: String::new(),
        description: String::new(),
        subject: None,
        event_type: None,
        conditions: ConditionLists::new(),
        filter: None,
        api: Vec::new(),
        params: Vec::new(),
        auth_types: Vec::new(),
        scopes: Vec::new(),
        console_events: Vec::new(),
        single_consumer: false,
        is_isolated: false,
        decode: WireFormat::Raw,
        times: TimeForm::Integer,
        schema: None,
        validate: ValidationMode::default(),
        workers: NonZeroUsize::MIN,
        buffer_size: BUFFER_SIZE,
        order_by: OrderBy::Field(Field::Subject),
        retry: KEY_RETRY,
        limits: LimitOverrides::default(),
        place,
    }
}

/// Reads `where`. An invalid one is reported and read as empty.
pub(crate) fn conditions(table: &mut TomlTable<'_>) -> ConditionLists {
    table.parsed("where", condition::checked).unwrap_or_default()
}

/// The name, written as `key` or, as everywhere else, `name`.
fn name(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<String> {
    if table.has("key") && table.has("name") {
        table.error(table.place(), "`key` and `name` are two words for the same: give one", None);
    }
    let field = if table.has("name") { "name" } else { "key" };
    let other = if table.has("name") { "key" } else { "name" };
    let name = table.required(field, |table, field| table.parsed(field, values::name));
    table.text(other);
    let name = name?;
    names.claim(table, &name, table.place_of(field), format!("key `{name}`"));
    Some(name)
}

/// Checks the redundant `domain` of a key: it follows from the name (L07), so a given one must be
/// the same.
fn domain(table: &mut TomlTable<'_>, name: Option<&str>) {
    let Some((given, name)) = table.text("domain").zip(name) else { return };
    let domain = KeyConfig::domain_of(name);
    if given != domain {
        let message = format!("the domain of key `{name}` is `{domain}`, not `{given}`");
        let hint = "it is what comes before the first dot of the name: leave `domain` out, or name the key otherwise";
        table.error(table.place_of("domain"), message, Some(hint.to_owned()));
    }
}

fn event_type(table: &mut TomlTable<'_>) -> Option<String> {
    let event_type = table.parsed("event_type", values::literal)?;
    if event_type.contains(['*', '>']) {
        let message = "`event_type` is compared as it stands: wildcards mean nothing there";
        table.report(Problem::warning(table.place_of("event_type"), message).hint("patterns belong in `subject`"));
    }
    Some(event_type)
}

/// Returns whether the key has a consumer of its own. The server then needs a subject to select its
/// messages by.
fn isolation(table: &mut TomlTable<'_>) -> bool {
    let is_isolated = table.choice("isolation", &[("source", false), ("key", true)]).unwrap_or_default();
    if is_isolated && !table.has("subject") {
        let hint = "give the key a `subject`, `>` if need be, or leave `isolation` out";
        let message = "a consumer of its own is told by `subject` what to deliver, and the key has none";
        table.error(table.place_of("isolation"), message, Some(hint.to_owned()));
    }
    is_isolated
}

/// The format in which the key's events are read. Returns `None` if a setting of it is invalid; the
/// error is then in the report.
fn decode(table: &mut TomlTable<'_>, schemas: Option<&wire::AvroSchemas>) -> Option<WireFormat> {
    let choices = [
        ("raw", WireFormat::Raw),
        ("json", WireFormat::Json),
        ("avro", WireFormat::Avro(None)),
        ("auto", WireFormat::Auto(None)),
    ];
    let decode = table.choice("decode", &choices);
    let reader = table.text("reader_schema");
    if !table.has("reader_schema") {
        return decode.or_else(|| (!table.has("decode")).then_some(WireFormat::Raw));
    }
    let found = known_schema(schemas?, &reader?).map_err(|UnknownName { message, hint }| {
        table.error(table.place_of("reader_schema"), message, Some(hint));
    });
    let reader = Some(found.ok()?);
    match decode {
        Some(WireFormat::Avro(_)) => Some(WireFormat::Avro(reader)),
        Some(WireFormat::Auto(_)) => Some(WireFormat::Auto(reader)),
        _ => {
            let hint = "add `decode = \"avro\"`, or `\"auto\"` where JSON comes too".to_owned();
            table.error(table.place_of("reader_schema"), "`reader_schema` is for Avro", Some(hint));
            None
        }
    }
}

/// The form of timestamps, for keys that read Avro.
fn times(table: &mut TomlTable<'_>, decode: Option<&WireFormat>) -> TimeForm {
    let times = table.choice("times", &[("integer", TimeForm::Integer), ("rfc3339", TimeForm::Rfc3339)]);
    if table.has("times") && matches!(decode, Some(WireFormat::Raw | WireFormat::Json)) {
        let hint = "add `decode = \"avro\"`, or `\"auto\"` where JSON comes too".to_owned();
        table.error(table.place_of("times"), "`times` is for Avro", Some(hint));
    }
    times.unwrap_or_default()
}

/// Validation of outputs: on by default if a schema is declared.
fn validate(table: &mut TomlTable<'_>) -> ValidationMode {
    let choices = [("off", ValidationMode::Off), ("sample", ValidationMode::Sample), ("all", ValidationMode::All)];
    let validate = table.choice("validate", &choices);
    if table.has("validate") && !table.has("schema") {
        let hint = "declare the shape of the outputs in `[key.schema]`".to_owned();
        table.error(table.place_of("validate"), "there is no schema to validate against", Some(hint));
    }
    validate.unwrap_or_default()
}

fn positive(number: i64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

/// Reads the buffer size (L05): zero or less means the default, too much the maximum.
fn buffer_size(table: &mut TomlTable<'_>) -> NonZeroUsize {
    let size = table.integer("buffer_size").and_then(positive).unwrap_or(BUFFER_SIZE);
    if size > MAX_BUFFER_SIZE {
        let message =
            format!("`buffer_size` is at most {MAX_BUFFER_SIZE}: {MAX_BUFFER_SIZE} is used instead of {size}");
        table.report(Problem::warning(table.place_of("buffer_size"), message));
    }
    size.min(MAX_BUFFER_SIZE)
}

/// One entry of `[[key.params]]` (L20). Without a type it is a string (L21).
fn declaration(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<ParamDeclaration> {
    let name = names.name(table, "param");
    let kind = table.choice("type", &ParamKind::ALL);
    let required = table.flag("required").unwrap_or(false);
    let (secret, default) = match kind {
        Some(ParamKind::Secret) => (secret_default(table), None),
        _ => (None, table.text("default")),
    };
    let description = table.text("description").unwrap_or_default();
    let subscription_key = table.flag("subscription_key").unwrap_or(false);
    if subscription_key && kind == Some(ParamKind::Secret) {
        let message = "a secret can't tell subscriptions apart: its value must not be seen in their names";
        table.error(table.place_of("subscription_key"), message, None);
    }
    if kind.is_none() && table.has("type") {
        table.ignore_rest();
        return None;
    }
    let kind = kind.unwrap_or(ParamKind::String);
    let values = values(table, kind);
    let mut declaration = ParamDeclaration {
        name: name?,
        kind,
        required,
        default: None,
        secret,
        description,
        values: values?,
        subscription_key,
    };
    if let Some(default) = default {
        match normalize(&declaration, &default) {
            Ok(default) => declaration.default = Some(default),
            Err(problem) => table.error(table.place_of("default"), problem.message, problem.hint),
        }
    }
    Some(declaration)
}

/// The place of a secret in routes that name none.
fn secret_default(table: &mut TomlTable<'_>) -> Option<ParamSecret> {
    if !table.has("default") {
        return None;
    }
    let place = table.place_of("default");
    let given = table.json("default")?;
    match kept(&given, table.dir()) {
        Some(kept) => secret::param(kept, &place, table.dir(), |problem| table.report(problem)),
        None => {
            table.error(place, "a secret has its default in a place", Some(secret::PLACES.into()));
            None
        }
    }
}

/// The values of an enum or multi, each with its meaning (L22):
/// `values = { eu = "Europe", us = "America" }`.
fn values(table: &mut TomlTable<'_>, kind: ParamKind) -> Option<Vec<(String, String)>> {
    let given = table.map("values");
    if !kind.has_values() {
        if table.has("values") {
            let hint = "give it `type = \"enum\"` or `type = \"multi\"`".to_owned();
            table.error(table.place_of("values"), "only enums and multis have `values`", Some(hint));
            return None;
        }
        return Some(Vec::new());
    }
    if given.as_ref().map_or(!table.has("values"), Vec::is_empty) {
        let hint = "write them with what they mean: `values = { eu = \"Europe\", us = \"America\" }`".to_owned();
        table.error(table.place_of("values"), "an enum or multi needs `values`", Some(hint));
        return None;
    }
    let described = |(value, meaning): (PlacedValue<String>, PlacedValue<GivenValue>)| {
        let (PlacedValue { value, place }, GivenValue::One(meaning)) = (value, meaning.value) else {
            table.error(meaning.place, "what a value means is a string", None);
            return None;
        };
        if meaning.is_empty() {
            table.error(place, format!("the value `{value}` does not say what it means"), None);
            return None;
        }
        if kind == ParamKind::Multi && (value.contains(',') || value.trim() != value || value.is_empty()) {
            let message = format!("the value `{value}` can't be told apart in a comma-separated list");
            table.error(place, message, None);
            return None;
        }
        Some((value, meaning))
    };
    let values: Vec<_> = given?.into_iter().map(described).collect();
    values.into_iter().collect()
}
