//! Schemas of a registry that speaks Confluent's protocol: asked for by id or by subject, and never
//! registered there.

use serde::Deserialize;

mod client;
mod fetcher;
mod requests;

use client::RegistryClient;
pub use client::RegistryError;
pub use fetcher::SchemaFetcher;
pub use requests::{SchemaGap, SchemaRequests};

use crate::{
    avro::AvroSchema,
    config::{SchemaRegistryConfig, WriterSubject},
};

/// Most schemas that one schema may take types from.
const MOST_REFERENCES: usize = 100;

/// A schema registry.
pub struct SchemaRegistry(RegistryClient);

/// Schema as the registry gives it.
#[derive(Deserialize)]
struct RegisteredSchema {
    schema: String,
    /// `AVRO` if it is left out.
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    references: Option<Vec<SchemaReference>>,
}

/// Version of a subject whose types a schema takes.
#[derive(Deserialize)]
struct SchemaReference {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct SubjectVersion {
    id: u32,
    #[serde(flatten)]
    registered: RegisteredSchema,
}

impl SchemaRegistry {
    /// # Errors
    /// Returns an error if the registry's password or token can't be read.
    pub fn new(settings: &SchemaRegistryConfig) -> anyhow::Result<Self> {
        RegistryClient::new(settings).map(Self)
    }

    /// Asks for the schema of an id.
    ///
    /// # Errors
    /// Returns whether the registry has none, has one that is of no use, or could not be asked.
    pub async fn schema(&self, id: u32) -> Result<AvroSchema, RegistryError> {
        let registered = self.0.get(&["schemas", "ids", &id.to_string()]).await?;
        self.whole(id, registered).await
    }

    /// Asks for the schema of a subject's version.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn writer(&self, WriterSubject { name, version }: &WriterSubject) -> Result<AvroSchema, RegistryError> {
        let version = version.map_or("latest".to_owned(), |version| version.to_string());
        let SubjectVersion { id, registered } = self.0.get(&["subjects", name, "versions", &version]).await?;
        self.whole(id, registered).await
    }

    /// Asks for the names of all subjects.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.0.get(&["subjects"]).await
    }

    /// Asks for the versions of a subject.
    ///
    /// # Errors
    /// As [`Self::schema`].
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        self.0.get(&["subjects", subject, "versions"]).await
    }

    /// Parses a schema with all schemas that it refers to.
    async fn whole(&self, id: u32, registered: RegisteredSchema) -> Result<AvroSchema, RegistryError> {
        let RegisteredSchema { schema, kind, references } = registered;
        let unusable =
            |why: &str| RegistryError::Unusable(format!("the registry's schema of id {id} can't be used: {why}"));
        check_kind(kind.as_deref()).map_err(|why| unusable(&why))?;
        let mut open = references.unwrap_or_default();
        let (mut known, mut texts) = (Vec::new(), Vec::new());
        while let Some(SchemaReference { subject, version }) = open.pop() {
            if known.iter().any(|(name, number)| (name, number) == (&subject, &version)) {
                continue;
            }
            if texts.len() == MOST_REFERENCES {
                return Err(unusable(&format!("it refers to more than {MOST_REFERENCES} others")));
            }
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let SubjectVersion { registered, .. } = self.0.get(&path).await.map_err(|error| match error {
                RegistryError::Absent(why) | RegistryError::Unusable(why) => {
                    unusable(&format!("it refers to version {version} of subject `{subject}`: {why}"))
                }
                away @ RegistryError::Away(_) => away,
            })?;
            check_kind(registered.kind.as_deref()).map_err(|why| unusable(&why))?;
            texts.push(registered.schema);
            open.extend(registered.references.unwrap_or_default());
            known.push((subject, version));
        }
        AvroSchema::registered(id, &schema, &texts).map_err(|why| unusable(&why))
    }
}

fn check_kind(kind: Option<&str>) -> Result<(), String> {
    match kind {
        None | Some("AVRO") => Ok(()),
        Some(other) => Err(format!("it is of type {other}, not of Avro")),
    }
}
