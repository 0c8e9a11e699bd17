//! Limits and checks of what `process` returns, the same for every version of the contract.

use bytestring::ByteString;

use super::{
    Emission,
    error::{Violation, cut_name},
};
use crate::event::{MAX_ID, check_subject};

/// Bytes that a header counts for besides its text: its size in the guest's list.
const HEADER: usize = 16;

/// Limits of what `process` may return for one event.
#[derive(Clone, Copy)]
pub(super) struct OutputLimits {
    /// Bytes of one output.
    pub(super) size: usize,
    pub(super) emissions: usize,
}

impl OutputLimits {
    pub(super) fn check_count(self, count: usize) -> Result<(), Violation> {
        if count > self.emissions {
            return Err(Violation::Emissions { count, limit: self.emissions });
        }
        Ok(())
    }

    /// Checks a payload that takes the place of the event's.
    pub(super) fn check_payload(self, size: usize) -> Result<(), Violation> {
        self.check_size(|| "the payload".to_owned(), size)
    }

    /// Checks the emission with this position among those of its event.
    pub(super) fn check(self, index: usize, emission: &Emission) -> Result<(), Violation> {
        let Emission { payload, id, subject, headers, .. } = emission;
        let of = |(name, value): &(ByteString, Option<ByteString>)| {
            name.len() + value.as_ref().map_or(0, |value| value.len()) + HEADER
        };
        let texts = [id, subject].into_iter().flatten().map(|text| text.len()).sum::<usize>();
        let size = payload.len() + texts + headers.iter().map(of).sum::<usize>();
        self.check_size(|| format!("emission {index}"), size)?;
        if let Some(subject) = subject {
            let bad = |problem| Violation::Subject { index, subject: cut_name(subject.to_string()), problem };
            check_subject(subject).map_err(bad)?;
        }
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID || id.contains(char::is_control)) {
            return Err(Violation::OutputId { index });
        }
        Ok(())
    }

    fn check_size(self, what: impl FnOnce() -> String, size: usize) -> Result<(), Violation> {
        if size > self.size {
            return Err(Violation::Output { what: what(), size, limit: self.size });
        }
        Ok(())
    }
}

/// Checks a guest's emission.
#[cfg(fuzzing)]
pub fn checked_emission(
    payload: Vec<u8>,
    subject: Option<String>,
    headers: Vec<(String, String)>,
    output: usize,
) -> Result<Emission, String> {
    let headers = headers.into_iter().map(|(name, value)| (name.into(), Some(value.into()))).collect();
    let emission = Emission { subject: subject.map(Into::into), headers, ..Emission::new(payload) };
    let checked = OutputLimits { size: output, emissions: 1 }.check(0, &emission);
    checked.map(|()| emission).map_err(|violation| violation.to_string())
}
