//! One partition of a source: a consumer of its own for the messages whose subjects begin with the
//! partition's number, which a transform of the stream puts there. The events have their subjects
//! without it.

use std::sync::Arc;

use bytestring::ByteString;

use super::{
    JetStream,
    consumer::{ConsumerError, ConsumerStart},
};
use crate::{config, event::Pattern, fence::Fence, nats::Connection};

/// First token of stored subjects; the number of the partition is the second.
const PART: &str = "part.";

/// Returns the subject under which a message of a stream with partitions was published.
pub(super) fn published(stored: ByteString) -> ByteString {
    let behind = stored.strip_prefix(PART).and_then(|rest| rest.split_once('.'));
    match behind.filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((_, published)) => stored.slice_ref(published),
        None => stored,
    }
}

/// Returns the patterns of the stored subjects for those of published ones; `number` is that of the
/// partition, or `*`.
pub(super) fn stored_subjects(published: &[Pattern], number: &str) -> Vec<Pattern> {
    let all = [">".to_owned()];
    let subjects = published.iter().map(|subject| subject.as_str().to_owned());
    let subjects: Vec<String> = if published.is_empty() { all.into() } else { subjects.collect() };
    // A pattern behind literals is one.
    subjects.iter().filter_map(|subject| format!("{PART}{number}.{subject}").parse().ok()).collect()
}

/// Settings of the source of one partition.
pub fn partition_settings(settings: &config::JetStreamSource, partition: u32) -> config::JetStreamSource {
    let durable = format!("{}-{partition}", settings.durable);
    let subjects = stored_subjects(&settings.subjects, &partition.to_string());
    config::JetStreamSource { durable, subjects, ..settings.clone() }
}

impl JetStream {
    /// As [`Self::open`] for one partition, for as long as the fence holds.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_partition(
        connection: Connection,
        source: &config::SourceConfig,
        settings: &config::JetStreamSource,
        in_flight: usize,
        (partition, fence): (u32, Arc<Fence>),
    ) -> Result<Self, ConsumerError> {
        let own = partition_settings(settings, partition);
        let opened = Self::open_at(connection, source, &own, in_flight, |_| ConsumerStart::AsConfigured).await?;
        Ok(Self { fence: Some(fence), ..opened })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_subject_that_it_was_published_under() {
        for (stored, expected) in [
            ("part.1.a.b", "a.b"),
            ("part.12.a", "a"),
            ("part.x.a", "part.x.a"),
            ("a.part.1.b", "a.part.1.b"),
            ("part.1", "part.1"),
        ] {
            assert_eq!(published(stored.into()), expected);
        }
    }

    #[test]
    fn a_partition_has_its_part_of_each_subject() {
        let shown = |published: &[&str], number| {
            let published: Vec<Pattern> = published.iter().map(|subject| subject.parse().unwrap()).collect();
            stored_subjects(&published, number).iter().map(Pattern::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&[], "7"), "part.7.>");
        assert_eq!(shown(&["a.*", "b.>"], "*"), "part.*.a.* part.*.b.>");
    }
}
