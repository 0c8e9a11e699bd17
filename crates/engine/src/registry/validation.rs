//! Validation of a key's outputs by its schema.

use sha2::{Digest as _, Sha256};

use crate::{
    config::ValidationMode,
    event::Event,
    schema::{OutputSchema, SchemaMismatch},
};

/// Events out of which one is checked with [`ValidationMode::Sample`].
const SAMPLE: u64 = 100;

/// The schema that a key's outputs must fit.
#[derive(Debug)]
pub struct OutputValidation {
    schema: OutputSchema,
    is_sampled: bool,
}

impl OutputValidation {
    /// Creates the validation; `None` if outputs are not checked.
    pub fn new(schema: Option<&OutputSchema>, validate: ValidationMode) -> Option<Self> {
        let is_sampled = match validate {
            ValidationMode::Off => return None,
            ValidationMode::Sample => true,
            ValidationMode::All => false,
        };
        Some(Self { schema: schema?.clone(), is_sampled })
    }

    /// Returns whether the outputs of this event are checked. The answer is the same for every
    /// delivery of it.
    pub fn concerns(&self, event: &Event) -> bool {
        !self.is_sampled || is_in_sample(&event.id)
    }

    /// Checks an output.
    ///
    /// # Errors
    /// Returns the first part of the output that does not fit.
    pub fn check(&self, output: &[u8]) -> Result<(), SchemaMismatch> {
        self.schema.check(output)
    }
}

fn is_in_sample(id: &str) -> bool {
    // The same in every build of the router, so that samples of different builds can be compared.
    let digest: [u8; 32] = Sha256::digest(id).into();
    let [a, b, c, d, ..] = digest;
    u64::from(u32::from_be_bytes([a, b, c, d])).is_multiple_of(SAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_in_a_hundred_and_always_the_same() {
        let sample =
            || (1..=100_000).filter(|sequence| is_in_sample(&format!("ORDERS:{sequence}"))).collect::<Vec<_>>();
        assert!((900..1100).contains(&sample().len()), "{}", sample().len());
        assert_eq!(sample()[..3], [11, 42, 226]);
    }
}
