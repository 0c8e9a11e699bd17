//! `trommel plugin ls`: the components that a running router has loaded.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{
    cli::{
        columns::TableColumns,
        keys::{json, print},
        refusal::CommandRefusal,
        running::{running, unreachable},
        runtime,
    },
    control::{client::plugins, protocol::PluginStatus},
};

/// Show the components that a running router has loaded: version, digest, keys, state, calls, time
/// and breaks
#[derive(Args, Debug)]
pub struct ListPlugins {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl ListPlugins {
    pub fn execute(self) -> ExitCode {
        self.show().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.json))
    }

    fn show(&self) -> Result<(), CommandRefusal> {
        let plugins = runtime()?.block_on(async {
            let mut link = running(&self.dir).await?;
            plugins(&mut link).await.map_err(|error| unreachable(&self.dir, &error))
        })?;
        print(&if self.json { json(&serde_json::json!({ "plugins": plugins }))? } else { text(&plugins) })
    }
}

fn text(plugins: &[PluginStatus]) -> String {
    if plugins.is_empty() {
        return "no component is in service: no key with a route names one".to_owned();
    }
    let title = ["PLUGIN", "VERSION", "DIGEST", "STATE", "MATCHES", "TIME", "PROCESSES", "TIME", "BREAKS", "KEYS"];
    let time = |nanos: Option<u64>| nanos.map_or("-".to_owned(), |nanos| format!("{:.2} µs", nanos as f64 / 1e3));
    let rows = plugins.iter().map(|plugin| {
        [
            plugin.name.clone(),
            plugin.version.clone(),
            plugin.digest.chars().take(12).collect(),
            if plugin.quarantined { "quarantined" } else { "in service" }.to_owned(),
            plugin.matches.to_string(),
            time(plugin.match_ns),
            plugin.processes.to_string(),
            time(plugin.process_ns),
            plugin.breaks.to_string(),
            plugin.keys.join(", "),
        ]
    });
    let rows: Vec<_> = std::iter::once(title.map(str::to_owned)).chain(rows).collect();
    let columns = TableColumns::fit(&rows);
    rows.iter().map(|row| columns.line(row)).collect::<Vec<_>>().join("\n")
}
