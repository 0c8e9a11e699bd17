//! Streams on the server, against those that the folder declares.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use super::{account::limit, finding::Finding, server::ServerView};
use crate::{
    app,
    cli::streams::chain,
    config::{ConfigPlace, StreamConfig, StreamLimit},
    event::Pattern,
    nats::{ApiError, FieldDifference, StreamChange, StreamCluster, StreamError, StreamInfo, StreamReplica},
};

/// A declared stream, as far as the server has it.
struct ExaminedStream {
    findings: Vec<Finding>,
    is_missing: bool,
}

pub(super) async fn examine(view: &ServerView<'_>) -> Vec<Finding> {
    let streams = app::declared_streams(view.config, &view.connection).await;
    let examined = join_all(streams.iter().map(|stream| declared(view, stream))).await;
    let missing: Vec<_> =
        streams.iter().zip(&examined).filter(|(_, examined)| examined.is_missing).map(|(stream, _)| stream).collect();
    let mut findings: Vec<_> = examined.into_iter().flat_map(|examined| examined.findings).collect();
    if !missing.is_empty() {
        findings.extend(room(view, &missing));
    }
    findings
}

async fn declared(view: &ServerView<'_>, stream: &StreamConfig) -> ExaminedStream {
    let name = &stream.name;
    let place = view.places.of("stream", Some(name));
    let mut is_missing = false;
    let mut findings = match view.connection.plan_stream(stream).await {
        Err(error) => vec![unread(name, error)],
        Ok(compared) => match compared.change {
            StreamChange::AsWanted => vec![Finding::ok(format!("`{name}` is as declared"))],
            StreamChange::Created(_) => {
                is_missing = true;
                let mut findings = overlaps(view, stream, &stream.subjects).await;
                findings.extend(alone(view, stream, &place));
                if findings.is_empty() {
                    findings.push(Finding::ok(format!("`{name}` is not there yet: a run makes it")));
                }
                findings
            }
            StreamChange::Updated(differences) => {
                let mut findings = changes(name, differences, &place);
                findings.extend(overlaps(view, stream, &stream.subjects).await);
                findings
            }
        },
    };
    if !is_missing && let Ok(Some(info)) = view.connection.stream_info(name).await {
        findings.extend(cluster(name, &info));
    }
    ExaminedStream { findings, is_missing }
}

fn unread(name: &str, error: StreamError) -> Finding {
    match &error {
        StreamError::Read(_, ApiError::NoPermission(denial)) => {
            Finding::warning("not_looked_at", format!("stream `{name}` can't be looked at: {denial}"))
        }
        _ => Finding::error("stream", chain(error)),
    }
}

/// What a run would change, and what it can't.
fn changes(name: &str, differences: Vec<FieldDifference>, place: &ConfigPlace) -> Vec<Finding> {
    let (fixed, open): (Vec<_>, Vec<_>) = differences.into_iter().partition(FieldDifference::is_fixed_in_stream);
    let listed = |differences: &[FieldDifference]| {
        differences.iter().map(FieldDifference::to_string).collect::<Vec<_>>().join("; ")
    };
    let mut findings = Vec::new();
    if !fixed.is_empty() {
        let message = format!("stream `{name}` can't be changed: {}", listed(&fixed));
        let hint = "declare what it has, or recreate it, which deletes its messages";
        findings.push(Finding::error("stream_fixed", message).hint(hint).at(place.clone()));
    }
    if !open.is_empty() {
        let message = format!("a run changes stream `{name}`: {}", listed(&open));
        let hint = "declare what it has if others count on that";
        findings.push(Finding::warning("stream_differs", message).hint(hint).at(place.clone()));
    }
    findings
}

/// Other streams that have some of these subjects.
async fn overlaps(view: &ServerView<'_>, stream: &StreamConfig, subjects: &[Pattern]) -> Vec<Finding> {
    let mut others = BTreeSet::new();
    for subject in subjects {
        // A missing permission is told with the permissions.
        let Ok(names) = view.connection.streams_of(subject.as_str()).await else { continue };
        others.extend(names.into_iter().filter(|name| *name != stream.name));
    }
    let mut findings = Vec::new();
    for other in others {
        let Ok(Some(info)) = view.connection.stream_info(&other).await else { continue };
        let theirs = stream_subjects(&info);
        let pairs = subjects.iter().flat_map(|ours| theirs.iter().map(move |theirs| (ours, theirs)));
        let Some((ours, theirs)) = pairs.into_iter().find(|(ours, theirs)| ours.intersection(theirs).is_some()) else {
            continue;
        };
        let message = format!(
            "stream `{}` can't have `{ours}`: stream `{other}` has `{theirs}`, and a subject is in one stream \
                only",
            stream.name
        );
        let hint =
            format!("declare subjects that do not overlap, or have `{}` copy `{other}` with `sources`", stream.name);
        let place = view.places.of("stream", Some(&stream.name));
        findings.push(Finding::error("stream_overlap", message).hint(hint).at(place));
    }
    findings
}

/// The subjects of a stream on the server.
pub(super) fn stream_subjects(info: &StreamInfo) -> Vec<Pattern> {
    let subjects = info.config.get("subjects").and_then(Value::as_array).into_iter().flatten();
    subjects.filter_map(|subject| subject.as_str()?.parse().ok()).collect()
}

/// Replicas on a server that is alone.
fn alone(view: &ServerView<'_>, stream: &StreamConfig, place: &ConfigPlace) -> Option<Finding> {
    let replicas = stream.replicas.filter(|replicas| *replicas > 1)?;
    view.connection.server().cluster.is_none().then(|| {
        let message = format!("stream `{}` wants {replicas} replicas, and the server is in no cluster", stream.name);
        Finding::error("replicas", message).hint("set `replicas = 1`, or use a cluster").at(place.clone())
    })
}

fn cluster(name: &str, info: &StreamInfo) -> Vec<Finding> {
    let Some(StreamCluster { name: Some(_), leader, replicas }) = &info.cluster else { return Vec::new() };
    let mut findings = Vec::new();
    if leader.is_none() {
        let finding = Finding::error("no_leader", format!("stream `{name}` has no leader: nothing is read or stored"));
        findings.push(finding.hint("bring most of its servers back"));
    }
    let behind = replicas.iter().filter(|replica| replica.offline || !replica.current);
    findings.extend(behind.map(|StreamReplica { name: server, offline, lag, .. }| {
        let state = if *offline { "is offline".to_owned() } else { format!("is {lag} messages behind") };
        let finding = Finding::warning("replica", format!("the replica of stream `{name}` on `{server}` {state}"));
        finding.hint("bring the server back: another one that fails may take the stream along")
    }));
    findings
}

/// Limits of the account that the missing streams would break.
fn room(view: &ServerView<'_>, missing: &[&StreamConfig]) -> Vec<Finding> {
    // A missing permission is told with the account.
    let Ok(account) = &view.account else { return Vec::new() };
    let (usage, limits) = (account.usage, account.usage.limits);
    let mut findings = Vec::new();
    if let Some(most) = limit(limits.max_streams).filter(|most| usage.streams + missing.len() as u64 > *most) {
        let message =
            format!("a run makes {} streams, and the account has {} of {most} already", missing.len(), usage.streams);
        findings.push(Finding::error("account_limit", message).hint("raise the limit, or delete streams"));
    }
    let is_open = |stream: &&&StreamConfig| !matches!(stream.max_bytes, Some(StreamLimit::Most(_)));
    if limits.max_bytes_required {
        findings.extend(missing.iter().filter(is_open).map(|stream| {
            let message =
                format!("stream `{}` has no `max_bytes`, which the account wants of every stream", stream.name);
            let place = view.places.of("stream", Some(&stream.name));
            Finding::error("max_bytes", message).hint("declare `max_bytes`").at(place)
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::FindingLevel;

    fn info(cluster: Value) -> StreamInfo {
        let time = "2026-01-01T00:00:00Z";
        let state = json!({ "messages": 0, "bytes": 0, "first_seq": 1, "first_ts": time, "last_seq": 0, "last_ts": time,
            "consumer_count": 0 });
        let info = json!({ "config": {}, "created": time, "state": state, "cluster": cluster });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn a_stream_without_a_leader_is_told_and_replicas_that_are_behind() {
        let levels = |cluster| cluster_levels(&info(cluster));
        assert!(
            levels(json!({ "name": "C", "leader": "a", "replicas": [{ "name": "b", "current": true }] })).is_empty()
        );
        let behind = json!({ "name": "C", "leader": null, "replicas": [{ "name": "b", "current": false, "lag": 7 }] });
        assert_eq!(levels(behind), [FindingLevel::Error, FindingLevel::Warning]);
    }

    fn cluster_levels(info: &StreamInfo) -> Vec<FindingLevel> {
        cluster("S", info).iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn what_can_not_be_changed_is_told_apart() {
        let difference = |field: &str| FieldDifference { field: field.into(), found: json!(1), wanted: json!(2) };
        let found =
            changes("S", vec![difference("storage"), difference("max_age")], &ConfigPlace::file("trommel.toml"));
        assert_eq!(
            found.iter().map(|finding| finding.level).collect::<Vec<_>>(),
            [FindingLevel::Error, FindingLevel::Warning]
        );
        assert!(found[0].message.contains("`storage`") && !found[0].message.contains("`max_age`"), "{}", found[0]);
    }
}
