//! `trommel keys list DIR` (L110).

use std::collections::BTreeSet;

use clap::Args;

use super::{FolderArgs, definition::KeyDefinition, json};
use crate::{
    cli::{
        columns::TableColumns,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{AuthType, KeyConfig, quoted},
};

#[derive(Args, Debug)]
pub(super) struct ListKeys {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Only the keys whose name begins with this, up to the first dot
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
}

impl ListKeys {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let (keys, lifecycles) = self.folder.keys()?;
        let domains: BTreeSet<&str> = keys.iter().map(KeyConfig::domain).collect();
        if let Some(domain) = &self.domain
            && !domains.contains(domain.as_str())
        {
            return Err(unknown(domain, &domains));
        }
        let is_wanted = |domain: &str| self.domain.as_ref().is_none_or(|wanted| wanted == domain);
        if self.folder.json {
            let definitions =
                keys.iter().filter(|key| is_wanted(key.domain())).map(|key| KeyDefinition::of(key, lifecycles.of(key)));
            return json(&definitions.collect::<Vec<_>>());
        }
        let dir = self.folder.dir.display();
        if keys.is_empty() {
            return Ok(format!("{dir} declares no keys: they go into `keys/*.toml`"));
        }
        let title = ["KEY", "AUTH", "PARAMS", "DESCRIPTION"].map(str::to_owned);
        let rows: Vec<_> = keys.iter().map(row).collect();
        // Fitted to all rows, so that a domain alone has the same columns as among all.
        let columns = TableColumns::fit(rows.iter().chain([&title]));
        let mut lines = Vec::new();
        for domain in domains.into_iter().filter(|domain| is_wanted(domain)) {
            lines.extend([domain.to_owned(), columns.line(&title)]);
            let rows = keys.iter().zip(&rows).filter(|(key, _)| key.domain() == domain);
            lines.extend(rows.map(|(_, row)| columns.line(row)));
            lines.push(String::new());
        }
        lines.push(format!("`trommel keys schema {dir} KEY` shows a key's params and what its outputs look like"));
        Ok(lines.join("\n"))
    }
}

fn row(key: &KeyConfig) -> [String; 4] {
    let auth: Vec<_> = key.auth_types.iter().copied().map(AuthType::word).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    // Only the first line of a long description.
    let description = key.description.trim().lines().next().unwrap_or_default();
    [key.name.clone(), or_dash(auth.join("|")), key.params.len().to_string(), or_dash(description.to_owned())]
}

fn unknown(domain: &str, domains: &BTreeSet<&str>) -> CommandRefusal {
    let hint = if domains.is_empty() {
        "no key is declared in `keys/`".to_owned()
    } else {
        format!("domains: {}", quoted(domains.iter().copied(), "and"))
    };
    let refusal =
        CommandRefusal::new(RefusalKind::Validation, "unknown_domain", format!("there is no domain `{domain}`"));
    refusal.param("--domain").hint(hint)
}
