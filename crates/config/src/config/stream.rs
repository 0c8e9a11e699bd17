//! Streams that the router creates and updates.

use std::time::Duration;

use jiff::Timestamp;

use crate::event::Pattern;

/// A stream that is created if absent and updated where it differs. `None` keeps the server's
/// value. Subjects that an existing stream has besides the declared ones stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamConfig {
    pub name: String,
    /// Stored subjects. Empty only if the stream has a mirror or sources.
    pub subjects: Vec<Pattern>,
    pub description: Option<String>,
    pub retention: Option<Retention>,
    pub storage: Option<Storage>,
    pub replicas: Option<usize>,
    pub max_age: Option<StreamLimit<Duration>>,
    pub max_msgs: Option<StreamLimit<u64>>,
    /// Bytes of all messages.
    pub max_bytes: Option<StreamLimit<u64>>,
    /// Bytes of one message.
    pub max_msg_size: Option<StreamLimit<u64>>,
    pub max_msgs_per_subject: Option<StreamLimit<u64>>,
    pub max_consumers: Option<StreamLimit<u64>>,
    pub discard: Option<DiscardPolicy>,
    /// Time for which a `Nats-Msg-Id` is remembered.
    pub duplicate_window: Option<Duration>,
    pub compression: Option<Compression>,
    pub allow_direct: Option<bool>,
    /// True if atomic batches may be published, which are stored completely or not at all.
    pub allow_atomic: Option<bool>,
    /// True if messages may have a time to live of their own.
    pub allow_msg_ttl: Option<bool>,
    pub deny_delete: Option<bool>,
    pub deny_purge: Option<bool>,
    /// Transform of the subjects of incoming messages.
    pub subject_transform: Option<SubjectTransform>,
    /// Number of partitions that the transform makes, if it makes any.
    pub partitions: Option<u32>,
    pub republish: Option<Republish>,
    pub mirror: Option<UpstreamStream>,
    pub sources: Vec<UpstreamStream>,
    pub placement: Option<Placement>,
    /// Settings of a preset for a stream that is created, where the others say nothing. An existing
    /// stream keeps its own.
    pub at_creation: Option<Box<StreamConfig>>,
}

/// A limit, or explicitly none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamLimit<T> {
    Unlimited,
    Most(T),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Limits,
    Interest,
    WorkQueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    File,
    Memory,
}

/// Messages that a full stream gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardPolicy {
    Old,
    New,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    S2,
}

/// Destination to which stored messages are published again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Republish {
    /// Subjects that are republished; all if not given.
    pub src: Option<Pattern>,
    pub dest: String,
    pub headers_only: Option<bool>,
}

/// Another stream that this one copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStream {
    pub name: String,
    pub filter_subject: Option<Pattern>,
    /// Transforms of subjects; messages under other subjects are not copied.
    pub subject_transforms: Vec<SubjectTransform>,
    /// Start position; the first message if not given.
    pub start: Option<UpstreamStart>,
    /// Set if the stream is in another domain or account.
    pub external: Option<ExternalApi>,
}

/// Access to the API of another domain or account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalApi {
    /// Prefix of the subjects of its API: `$JS.edge.API`.
    pub api: String,
    /// Prefix of the subjects that its messages are delivered to.
    pub deliver: Option<String>,
}

/// Mapping of subjects to the ones they are stored under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectTransform {
    pub src: Pattern,
    /// Target subject, with functions such as `{{wildcard(1)}}`.
    pub dest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamStart {
    Sequence(u64),
    Time(Timestamp),
}

/// Constraints on the servers that may hold the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub cluster: Option<String>,
    pub tags: Vec<String>,
}
