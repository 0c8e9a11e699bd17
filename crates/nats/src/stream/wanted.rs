//! A declared stream in the server's JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    WantedFields,
    config::{
        Compression, DiscardPolicy, ExternalApi, Placement, Republish, Retention, Storage, StreamConfig, StreamLimit,
        SubjectTransform, UpstreamStart, UpstreamStream,
    },
};

pub(super) fn wanted(stream: &StreamConfig) -> WantedFields {
    let count = |bound: StreamLimit<u64>| match bound {
        StreamLimit::Unlimited => json!(-1),
        StreamLimit::Most(count) => json!(count),
    };
    let age = |bound: StreamLimit<Duration>| match bound {
        StreamLimit::Unlimited => json!(0),
        StreamLimit::Most(age) => nanoseconds(age),
    };
    let subjects: Vec<_> = stream.subjects.iter().map(|subject| subject.as_str()).collect();
    let sources: Vec<_> = stream.sources.iter().map(upstream).collect();
    let fields = [
        ("subjects", (!subjects.is_empty()).then(|| json!(subjects))),
        ("description", stream.description.as_ref().map(|text| json!(text))),
        ("retention", stream.retention.map(retention)),
        ("storage", stream.storage.map(storage)),
        ("num_replicas", stream.replicas.map(|replicas| json!(replicas))),
        ("max_age", stream.max_age.map(age)),
        ("max_msgs", stream.max_msgs.map(count)),
        ("max_bytes", stream.max_bytes.map(count)),
        ("max_msg_size", stream.max_msg_size.map(count)),
        ("max_msgs_per_subject", stream.max_msgs_per_subject.map(count)),
        ("max_consumers", stream.max_consumers.map(count)),
        ("discard", stream.discard.map(discard)),
        ("duplicate_window", stream.duplicate_window.map(nanoseconds)),
        ("compression", stream.compression.map(compression)),
        ("allow_direct", stream.allow_direct.map(Value::Bool)),
        ("allow_atomic", stream.allow_atomic.map(Value::Bool)),
        ("allow_msg_ttl", stream.allow_msg_ttl.map(Value::Bool)),
        ("deny_delete", stream.deny_delete.map(Value::Bool)),
        ("deny_purge", stream.deny_purge.map(Value::Bool)),
        ("subject_transform", stream.subject_transform.as_ref().map(transform)),
        ("republish", stream.republish.as_ref().map(republish)),
        ("mirror", stream.mirror.as_ref().map(upstream)),
        ("sources", (!sources.is_empty()).then(|| json!(sources))),
        ("placement", stream.placement.as_ref().map(placement)),
        // A router can't use a stream that confirms nothing, or takes no messages any more.
        ("no_ack", Some(json!(false))),
        ("sealed", Some(json!(false))),
    ];
    fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

fn nanoseconds(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn retention(retention: Retention) -> Value {
    json!(match retention {
        Retention::Limits => "limits",
        Retention::Interest => "interest",
        Retention::WorkQueue => "workqueue",
    })
}

fn storage(storage: Storage) -> Value {
    json!(match storage {
        Storage::File => "file",
        Storage::Memory => "memory",
    })
}

fn discard(discard: DiscardPolicy) -> Value {
    json!(match discard {
        DiscardPolicy::Old => "old",
        DiscardPolicy::New => "new",
    })
}

fn compression(compression: Compression) -> Value {
    json!(match compression {
        Compression::None => "none",
        Compression::S2 => "s2",
    })
}

fn republish(republish: &Republish) -> Value {
    object([
        ("src", republish.src.as_ref().map(|src| json!(src.as_str()))),
        ("dest", Some(json!(republish.dest))),
        ("headers_only", republish.headers_only.map(Value::Bool)),
    ])
}

fn upstream(upstream: &UpstreamStream) -> Value {
    let (sequence, time) = match upstream.start {
        None => (None, None),
        Some(UpstreamStart::Sequence(sequence)) => (Some(json!(sequence)), None),
        Some(UpstreamStart::Time(time)) => (None, Some(json!(time.to_string()))),
    };
    let transforms: Vec<_> = upstream.subject_transforms.iter().map(transform).collect();
    object([
        ("name", Some(json!(upstream.name))),
        ("filter_subject", upstream.filter_subject.as_ref().map(|filter| json!(filter.as_str()))),
        ("subject_transforms", (!transforms.is_empty()).then(|| json!(transforms))),
        ("opt_start_seq", sequence),
        ("opt_start_time", time),
        ("external", upstream.external.as_ref().map(external)),
    ])
}

fn external(external: &ExternalApi) -> Value {
    let deliver = external.deliver.as_ref().map(|deliver| json!(deliver));
    object([("api", Some(json!(external.api))), ("deliver", deliver)])
}

fn transform(transform: &SubjectTransform) -> Value {
    json!({ "src": transform.src.as_str(), "dest": transform.dest })
}

fn placement(placement: &Placement) -> Value {
    let tags = (!placement.tags.is_empty()).then(|| json!(placement.tags));
    object([("cluster", placement.cluster.as_ref().map(|cluster| json!(cluster))), ("tags", tags)])
}

/// The members that are set.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    members.collect::<Map<_, _>>().into()
}
