//! `trommel schemas list DIR`.

use clap::Args;
use serde_json::json;

use super::row::SchemaRow;
use crate::{
    cli::{FolderArgs, columns::TableColumns, keys::json as pretty, refusal::CommandRefusal},
    folder,
};

#[derive(Args, Debug)]
pub(super) struct ListSchemas {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
}

impl ListSchemas {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let config = folder::load(&self.folder.dir)?;
        let rows = SchemaRow::all(&config);
        if self.folder.json {
            return pretty(&json!({ "schemas": rows }));
        }
        let dir = self.folder.dir.display();
        if rows.is_empty() {
            return Ok(format!("{dir} has no Avro schemas: they go into `schemas/*.avsc`"));
        }
        let title = ["NAME", "TYPE", "FINGERPRINT", "IDS", "READ BY", "WRITTEN BY"].map(str::to_owned);
        let rows: Vec<_> = [title].into_iter().chain(rows.into_iter().map(cells)).collect();
        let columns = TableColumns::fit(&rows);
        let mut lines: Vec<_> = rows.iter().map(|row| columns.line(row)).collect();
        lines.extend([String::new(), format!("`trommel schemas show {dir} NAME` shows a schema")]);
        Ok(lines.join("\n"))
    }
}

fn cells(row: SchemaRow) -> [String; 6] {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let ids: Vec<_> = row.ids.iter().map(u32::to_string).collect();
    let full_name = row.full_name.unwrap_or_default();
    let (ids, read_by, written_by) = (ids.join(", "), row.read_by.join(", "), row.written_by.join(", "));
    [row.name, or_dash(full_name), row.fingerprint, or_dash(ids), or_dash(read_by), or_dash(written_by)]
}
