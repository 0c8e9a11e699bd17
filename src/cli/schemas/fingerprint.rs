//! `trommel schemas fingerprint DIR|FILE`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    input::of_file,
    row::{SchemaRow, fingerprint},
};
use crate::{
    cli::{columns::TableColumns, keys::json as pretty, refusal::CommandRefusal},
    folder,
};

#[derive(Args, Debug)]
pub(super) struct PrintFingerprints {
    /// A router's folder, a schema, or an Avro container file
    #[arg(value_name = "DIR|FILE")]
    from: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

impl PrintFingerprints {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let rows: Vec<[String; 2]> = if self.from.is_dir() {
            let config = folder::load(&self.from)?;
            SchemaRow::all(&config).into_iter().map(|row| [row.fingerprint, row.name]).collect()
        } else {
            vec![[fingerprint(&of_file(&self.from)?), self.from.display().to_string()]]
        };
        if self.json {
            let rows: Vec<_> = rows.iter().map(|[print, name]| json!({ "name": name, "fingerprint": print })).collect();
            return pretty(&json!({ "schemas": rows }));
        }
        let columns = TableColumns::fit(&rows);
        Ok(rows.iter().map(|row| columns.line(row).trim_start().to_owned()).collect::<Vec<_>>().join("\n"))
    }
}
