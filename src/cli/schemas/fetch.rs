//! `trommel schemas fetch DIR [SUBJECT]...`.

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Builder;

use crate::{
    cli::{
        FolderArgs,
        columns::TableColumns,
        keys::json as pretty,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{SchemaRegistryConfig, WriterSubject},
    folder,
    schema_registry::{RegistryError, SchemaRegistry},
};

#[derive(Args, Debug)]
pub(super) struct FetchSchemas {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    /// Subjects of which every version is fetched; without one, all that the registry has
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<String>,
}

/// A version that is in the cache now, or why it is not.
#[derive(Serialize)]
struct FetchedVersion {
    subject: String,
    version: String,
    id: Option<u32>,
    #[serde(rename = "type")]
    full_name: Option<String>,
    /// Reason why the schema can't be used.
    skipped: Option<String>,
}

impl FetchSchemas {
    pub(super) fn text(&self) -> Result<String, CommandRefusal> {
        let dir = &self.folder.dir;
        let Some((settings, writers)) = folder::writer_subjects(dir) else {
            folder::load(dir)?;
            let message = format!("{} has no schema registry", dir.display());
            let refusal = CommandRefusal::new(RefusalKind::Precondition, "no_schema_registry", message);
            return Err(refusal.hint("add `[avro.registry]` with its `url` to `trommel.toml`"));
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| CommandRefusal::new(RefusalKind::Internal, "runtime", error.to_string()))?;
        let fetched = runtime.block_on(self.fetch(&settings, writers))?;
        if self.folder.json {
            return pretty(&json!({ "cache": settings.cache.folder(), "schemas": fetched }));
        }
        let title = ["SUBJECT", "VERSION", "ID", "TYPE"].map(str::to_owned);
        let cells = |row: FetchedVersion| {
            let about = row.skipped.map(|why| format!("skipped: {why}")).or(row.full_name).unwrap_or("-".to_owned());
            [row.subject, row.version, row.id.map_or("-".to_owned(), |id| id.to_string()), about]
        };
        let rows: Vec<_> = [title].into_iter().chain(fetched.into_iter().map(cells)).collect();
        let columns = TableColumns::fit(&rows);
        let mut lines: Vec<_> = rows.iter().map(|row| columns.line(row)).collect();
        let folder = settings.cache.folder();
        lines
            .extend([String::new(), format!("they are in `{}`", folder.strip_prefix(dir).unwrap_or(folder).display())]);
        Ok(lines.join("\n"))
    }

    async fn fetch(
        &self,
        settings: &SchemaRegistryConfig,
        mut wanted: Vec<WriterSubject>,
    ) -> Result<Vec<FetchedVersion>, CommandRefusal> {
        let unreadable =
            |error: anyhow::Error| CommandRefusal::new(RefusalKind::Auth, "registry_credentials", format!("{error:#}"));
        let registry = SchemaRegistry::new(settings).map_err(unreadable)?;
        let subjects = match self.subjects.as_slice() {
            [] => registry.subjects().await.map_err(refused)?,
            named => named.to_vec(),
        };
        for name in subjects {
            for version in registry.versions(&name).await.map_err(refused)? {
                wanted.push(WriterSubject { name: name.clone(), version: Some(version) });
            }
        }
        let mut fetched = Vec::new();
        for subject in wanted {
            let version = subject.version.map_or("latest".to_owned(), |version| version.to_string());
            let row =
                FetchedVersion { subject: subject.name.clone(), version, id: None, full_name: None, skipped: None };
            match registry.writer(&subject).await {
                Ok(schema) => {
                    settings.cache.store_version(&subject, &schema).map_err(|error| unstored(settings, &error))?;
                    let full_name = schema.full_name().map(str::to_owned);
                    fetched.push(FetchedVersion { id: schema.registry_id(), full_name, ..row });
                }
                Err(RegistryError::Unusable(why)) => fetched.push(FetchedVersion { skipped: Some(why), ..row }),
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(fetched)
    }
}

fn refused(error: RegistryError) -> CommandRefusal {
    match error {
        RegistryError::Away(why) => {
            let message = format!("the schema registry can't be asked: {why}");
            let refusal = CommandRefusal::new(RefusalKind::Network, "registry_away", message);
            refusal.hint("what is in the cache already stays there")
        }
        RegistryError::Absent(why) | RegistryError::Unusable(why) => {
            let refusal = CommandRefusal::new(RefusalKind::Validation, "unknown_subject", why);
            refusal.hint("`trommel schemas fetch DIR` fetches all that the registry has")
        }
    }
}

fn unstored(settings: &SchemaRegistryConfig, error: &std::io::Error) -> CommandRefusal {
    let message = format!("can't write to the cache `{}`: {error}", settings.cache.folder().display());
    CommandRefusal::new(RefusalKind::Internal, "cache", message)
}
