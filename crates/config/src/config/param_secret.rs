//! Params that are secrets: their values stay in the environment or in a file, and are read where a
//! filter is handed them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use super::KeptIn;

/// Place of a secret param's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParamSecret {
    pub kept: KeptIn,
    /// Shows a change of the value, in this process alone.
    fingerprint: u64,
}

impl ParamSecret {
    /// Finds the value in its place, to be read again by [`KeptIn::read`].
    ///
    /// # Errors
    /// Returns an error if it is missing or unreadable. Errors never contain any of it.
    pub fn find(kept: KeptIn) -> Result<Self, String> {
        // Keyed at random: nothing can be learned from it.
        static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let fingerprint = STATE.hash_one(kept.read()?);
        Ok(Self { kept, fingerprint })
    }
}
