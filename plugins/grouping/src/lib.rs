//! Names for what a component remembers of events: of a group, by the values of some fields, and of
//! one event.

use sha2::{Digest, Sha256};
use trommel_filter::{Event, Result};

/// Fields that tell one event from all others. Those of a repeat by its producer differ; those of an
/// event that is delivered again do not.
pub const IDENTITY: [&str; 4] = ["source", "stream", "sequence", "id"];

/// The names of the fields that [`name`] and [`identity`] read.
pub fn reads(by: &[String]) -> Vec<String> {
    let own = IDENTITY.into_iter().chain(["route"]).map(str::to_owned);
    own.chain(by.iter().cloned()).collect()
}

/// A name for the events of a route that agree in these fields, absent ones too.
///
/// # Errors
/// If a field is not among those that are read.
pub fn name(event: &Event<'_>, by: &[String]) -> Result<String> {
    digest(event, by.iter().map(String::as_str).chain(["route"]))
}

/// A name for this event alone.
///
/// # Errors
/// If a field is not among those that are read.
pub fn identity(event: &Event<'_>) -> Result<String> {
    digest(event, IDENTITY.into_iter().chain(["route"]))
}

fn digest<'a>(event: &Event<'_>, fields: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut hash = Sha256::new();
    for field in fields {
        let value = event.bytes(field)?;
        // With the length, so that `ab` and `c` are not `a` and `bc`.
        hash.update([u8::from(value.is_some())]);
        let value = value.unwrap_or_default();
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
