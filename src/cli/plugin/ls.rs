//! `trommel plugin ls`: the components that a running router has loaded.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use tokio::time::sleep;

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
    /// Go on, and print them again when they have changed, once a second at most
    #[arg(long)]
    watch: bool,
}

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

impl ListPlugins {
    pub fn execute(self) -> ExitCode {
        self.show().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.json))
    }

    fn show(&self) -> Result<(), CommandRefusal> {
        runtime()?.block_on(async {
            let mut shown = None;
            loop {
                // A connection for each look: the router answers one question on each.
                let mut link = running(&self.dir).await?;
                let plugins = plugins(&mut link).await.map_err(|error| unreachable(&self.dir, &error))?;
                if shown.as_ref() != Some(&plugins) {
                    let answer = serde_json::json!({ "plugins": plugins });
                    print(&match (self.json, self.watch) {
                        (true, true) => answer.to_string(),
                        (true, false) => json(&answer)?,
                        (false, true) if shown.is_some() => format!("\n{}", text(&plugins)),
                        (false, _) => text(&plugins),
                    })?;
                    shown = Some(plugins);
                }
                if !self.watch {
                    return Ok(());
                }
                sleep(LOOK).await;
            }
        })
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
