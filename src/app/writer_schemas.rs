//! Schemas that sinks write by, from the schema registry to the cache, before a router's folder is
//! read.

use std::path::Path;

use crate::{
    config::{Config, Problem, Problems, SchemaRegistryConfig, WriterSubject},
    folder,
    schema_registry::{RegistryError, SchemaRegistry},
};

/// Loads a router's folder as [`folder::load`], after asking the schema registry for the schemas
/// that its sinks write by. Those in the cache are used while the registry is away.
///
/// # Errors
/// Returns all problems of all files.
pub async fn load(dir: &Path) -> Result<Config, Problems> {
    let wanted = folder::writer_subjects(dir).filter(|(_, subjects)| !subjects.is_empty());
    let failures = match wanted {
        Some((settings, subjects)) => fetch(&settings, &subjects).await,
        None => Vec::new(),
    };
    match folder::load(dir) {
        Ok(mut config) => {
            config.warnings.extend(failures);
            Ok(config)
        }
        Err(problems) => Err(Problems::new(problems.iter().cloned().chain(failures).collect())),
    }
}

/// Puts the schemas of subjects into the cache. A version that is there already never changes, and
/// is not asked for again. Returns the failures as warnings.
async fn fetch(settings: &SchemaRegistryConfig, subjects: &[WriterSubject]) -> Vec<Problem> {
    let cache = &settings.cache;
    let failure = |what: String| Problem::warning(settings.place.clone(), what);
    let is_cached =
        |subject: &WriterSubject| subject.version.is_some() && cache.id(subject).is_some_and(|id| cache.has(id));
    let mut wanted = subjects.iter().filter(|subject| !is_cached(subject)).peekable();
    if wanted.peek().is_none() {
        return Vec::new();
    }
    let registry = match SchemaRegistry::new(settings) {
        Ok(registry) => registry,
        Err(error) => return vec![failure(format!("the schema registry can't be asked: {error:#}"))],
    };
    let mut failures = Vec::new();
    for subject in wanted {
        let error = match registry.writer(subject).await {
            Ok(schema) => match cache.store_version(subject, &schema) {
                Ok(()) => continue,
                Err(error) => format!("{subject} can't be stored in `{}`: {error}", cache.folder().display()),
            },
            Err(RegistryError::Away(error)) => format!("the schema registry can't be asked for {subject}: {error}"),
            Err(error) => format!("the schema registry does not give {subject}: {error}"),
        };
        failures.push(failure(error));
    }
    failures
}
