//! `trommel schemas show DIR NAME`.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{input::named, row::SchemaRow};
use crate::{
    avro::AvroSchema,
    cli::{FolderArgs, columns::TableColumns, keys::json, refusal::CommandRefusal},
    folder,
};

#[derive(Args, Debug)]
pub(super) struct ShowSchema {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Name of the schema's file without `.avsc`, or its full name
    name: String,
}

/// A schema in full.
#[derive(Serialize)]
struct ShownSchema<'a> {
    #[serde(flatten)]
    row: SchemaRow,
    canonical_form: String,
    /// As written, with the types of other files in it.
    schema: &'a Value,
}

impl ShowSchema {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let config = folder::load(&self.folder.dir)?;
        let schema = named(&config, &self.name)?;
        let row = SchemaRow::of(&schema, &config);
        let canonical_form = schema.canonical_form();
        if self.folder.json {
            return json(&ShownSchema { row, canonical_form, schema: schema.json() });
        }
        let facts = [
            ("type", row.full_name.unwrap_or_default()),
            ("fingerprint", row.fingerprint),
            ("ids", row.ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
            ("read by", row.read_by.join(", ")),
            ("written by", row.written_by.join(", ")),
        ];
        let facts = facts.into_iter().filter(|(_, fact)| !fact.is_empty());
        let facts: Vec<_> = facts.map(|(name, fact)| [name.to_owned(), fact]).collect();
        let columns = TableColumns::fit(&facts);
        let mut lines = vec![row.name];
        lines.extend(facts.iter().map(|fact| columns.line(fact)));
        lines.extend(fields(&schema));
        lines.extend([String::new(), "canonical form".to_owned(), canonical_form]);
        Ok(lines.join("\n"))
    }
}

fn fields(schema: &AvroSchema) -> Vec<String> {
    let fields = schema.fields();
    if fields.is_empty() {
        return Vec::new();
    }
    let title = ["FIELD", "TYPE"].map(str::to_owned);
    let fields = fields.into_iter().map(|(name, of)| [name.to_owned(), of.to_owned()]);
    let rows: Vec<_> = [title].into_iter().chain(fields).collect();
    let columns = TableColumns::fit(&rows);
    [String::new()].into_iter().chain(rows.iter().map(|row| columns.line(row))).collect()
}
