//! `trommel keys schema DIR KEY` (L111).

use clap::Args;

use super::{
    FolderArgs,
    definition::{KeyDefinition, root_path, validate},
    json, unknown_key,
};
use crate::{
    cli::{columns::TableColumns, refusal::CommandRefusal},
    config::{AuthType, KeyConfig, ParamDeclaration},
    schema::SchemaForm,
};

#[derive(Args, Debug)]
pub(super) struct ShowKeySchema {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// The key's name
    key: String,
}

impl ShowKeySchema {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let (keys, lifecycles) = self.folder.keys()?;
        let Some(key) = keys.iter().find(|key| key.name == self.key) else {
            return Err(unknown_key(&self.key, &keys, &self.folder.dir).param("KEY"));
        };
        let pre_consume = lifecycles.of(key);
        if self.folder.json { json(&KeyDefinition::of(key, pre_consume)) } else { describe(key, pre_consume) }
    }
}

fn describe(key: &KeyConfig, pre_consume: Option<bool>) -> Result<String, CommandRefusal> {
    let display_name = if key.display_name.is_empty() { String::new() } else { format!(": {}", key.display_name) };
    let mut lines = vec![format!("{}{display_name}", key.name)];
    lines.extend(key.description.trim().lines().map(str::to_owned));
    lines.push(String::new());
    lines.extend(facts(key, pre_consume));
    lines.push(String::new());
    lines.extend(params(&key.params));
    lines.push(String::new());
    lines.extend(schema(key)?);
    Ok(lines.join("\n"))
}

/// Facts about the key, one per line.
fn facts(key: &KeyConfig, pre_consume: Option<bool>) -> Vec<String> {
    let auth: Vec<_> = key.auth_types.iter().copied().map(AuthType::word).collect();
    let list = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", "));
    let facts = [
        ("subject", key.subject.as_ref().map(|subject| subject.as_str().to_owned())),
        ("event type", key.event_type.clone()),
        ("filter", key.filter.clone()),
        ("pre-consume", (pre_consume == Some(true)).then(|| "yes".to_owned())),
        ("auth", (!auth.is_empty()).then(|| auth.join("|"))),
        ("scopes", list(&key.scopes)),
        ("console events", list(&key.console_events)),
        ("consumers", key.single_consumer.then(|| "one for each subscription".to_owned())),
    ];
    let rows: Vec<_> = facts.into_iter().filter_map(|(name, fact)| Some([name.to_owned(), fact?])).collect();
    let columns = TableColumns::fit(&rows);
    rows.iter().map(|row| columns.line(row)).collect()
}

fn params(params: &[ParamDeclaration]) -> Vec<String> {
    if params.is_empty() {
        return vec!["params: none".to_owned()];
    }
    let title = ["NAME", "TYPE", "REQUIRED", "SUB-KEY", "DEFAULT", "DESCRIPTION"].map(str::to_owned);
    let rows: Vec<_> = [title].into_iter().chain(params.iter().map(row)).collect();
    let columns = TableColumns::fit(&rows);
    let mut lines = vec!["params".to_owned()];
    lines.extend(rows.iter().map(|row| columns.line(row)));
    for param in params.iter().filter(|param| !param.values.is_empty()) {
        let values: Vec<_> = param.values.iter().map(|(value, meaning)| [value.clone(), meaning.clone()]).collect();
        let columns = TableColumns::fit(&values);
        lines.extend([String::new(), format!("values of {}", param.name)]);
        lines.extend(values.iter().map(|value| columns.line(value)));
    }
    lines
}

fn row(param: &ParamDeclaration) -> [String; 6] {
    let yes_or_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    [
        param.name.clone(),
        param.kind.word().to_owned(),
        yes_or_no(param.required),
        yes_or_no(param.subscription_key),
        or_dash(param.default.as_deref().unwrap_or_default()),
        or_dash(&param.description),
    ]
}

fn schema(key: &KeyConfig) -> Result<Vec<String>, CommandRefusal> {
    let Some(schema) = &key.schema else { return Ok(vec!["output schema: none".to_owned()]) };
    let form = match schema.form() {
        SchemaForm::Native => "native",
        SchemaForm::Custom => "custom",
    };
    let title = format!("output schema ({form}, validated: {}, jq root: {})", validate(key), root_path(key));
    Ok(vec![title, json(schema.json())?])
}
