//! Sources on JetStream: their streams, and their consumers on the server.

use futures_util::future::join_all;

use super::{account::limit, finding::Finding, server::ServerView, streams::stream_subjects};
use crate::{
    app,
    cli::streams::chain,
    config::{ConfigPlace, JetStreamSource, SourceKind, SourcePartitions, nearest, quoted},
    event::Pattern,
    nats::{AccountUsage, ApiError, FieldDifference, StreamError, StreamInfo},
    source::jetstream::{ConsumerError, ConsumerPlan, own_durable, own_subjects, partition_settings, plan_consumer},
};

/// What was found of a source, or of a key's own consumer.
#[derive(Default)]
struct ExaminedSource {
    findings: Vec<Finding>,
    /// Consumers that a run makes.
    created: u64,
}

pub(super) async fn examine(view: &ServerView<'_>) -> Vec<Finding> {
    let sources = view.config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::JetStream(settings) => Some((&*source.name, settings)),
        _ => None,
    });
    let examined = join_all(sources.map(|(name, settings)| source(view, name, settings))).await;
    let created = examined.iter().map(|examined| examined.created).sum();
    let findings = examined.into_iter().flat_map(|examined| examined.findings);
    findings.chain(room(view, created)).collect()
}

async fn source(view: &ServerView<'_>, name: &str, settings: &JetStreamSource) -> ExaminedSource {
    let (stream, place) = (&settings.stream, view.places.of("source", Some(name)));
    let only = |findings| ExaminedSource { findings, created: 0 };
    let info = match view.connection.stream_info(stream).await {
        Ok(Some(info)) => info,
        Ok(None) => return missing(view, name, settings, &place).await,
        Err(StreamError::Read(_, ApiError::NoPermission(denial))) => {
            let message = format!("the stream of source `{name}` can't be looked at: {denial}");
            return only(vec![Finding::warning("not_looked_at", message)]);
        }
        Err(error) => return only(vec![Finding::error("stream", chain(error))]),
    };
    let mut examined = only(outside(name, settings, &info, &place));
    examined.findings.extend(bounded(view, name, &info, &place));
    match settings.partitions {
        None => examined.add(view, &format!("source `{name}`"), settings, &place).await,
        Some(SourcePartitions { count, .. }) => {
            for partition in 0..count {
                let own = partition_settings(settings, partition);
                examined.add(view, &format!("partition {partition} of source `{name}`"), &own, &place).await;
            }
        }
    }
    for key in view.config.registry.keys.iter().filter(|key| key.is_isolated) {
        let Some(subject) = &key.subject else { continue };
        let (durable, subjects) = (own_durable(&settings.durable, &key.name), own_subjects(settings, subject));
        let own = JetStreamSource { durable, subjects, ..settings.clone() };
        examined.add(view, &format!("isolated key `{}`", key.name), &own, &key.place).await;
    }
    examined
}

/// Consumers that a run makes, if the account has no room for them.
fn room(view: &ServerView<'_>, created: u64) -> Option<Finding> {
    let AccountUsage { consumers, limits, .. } = view.account.as_ref().ok()?.usage;
    let most = limit(limits.max_consumers).filter(|most| created > 0 && consumers + created > *most)?;
    let message = format!("a run makes {created} consumers, and the account has {consumers} of {most} already");
    Some(Finding::error("account_limit", message).hint("raise the limit, or delete consumers"))
}

/// A stream that lets its consumers have fewer messages than the router would.
fn bounded(view: &ServerView<'_>, name: &str, info: &StreamInfo, place: &ConfigPlace) -> Option<Finding> {
    let (wanted, limits) = (app::outstanding(view.config) as u64, info.config.get("consumer_limits")?);
    let most = limits.get("max_ack_pending")?.as_u64().filter(|most| (1..wanted).contains(most))?;
    let message = format!("the stream of source `{name}` lets a consumer have {most} open messages, not {wanted}");
    let hint = "events that wait keep others from being delivered: raise `consumer_limits` of the stream, or lower \
        `in_flight` under `[pipeline]`";
    Some(Finding::warning("max_ack_pending", message).hint(hint).at(place.clone()))
}

/// A stream that is not there, which a run may make.
async fn missing(view: &ServerView<'_>, name: &str, settings: &JetStreamSource, place: &ConfigPlace) -> ExaminedSource {
    let stream = &settings.stream;
    if view.config.streams.iter().any(|declared| declared.name == *stream) {
        let fine = Finding::ok(format!("source `{name}` reads `{stream}`, which a run makes"));
        return ExaminedSource { findings: vec![fine], created: 1 };
    }
    let names = view.connection.streams_of(">").await.unwrap_or_default();
    let near = nearest(stream, names.iter().map(String::as_str));
    let hint = match near.is_empty() {
        true => "declare it as a `[[stream]]`, or create it".to_owned(),
        false => format!("did you mean {}?", quoted(near, "or")),
    };
    let message = format!("source `{name}` reads stream `{stream}`, and the server has no such stream");
    let finding = Finding::error("no_stream", message).hint(hint).at(place.clone());
    ExaminedSource { findings: vec![finding], created: 0 }
}

/// Subjects of a source that its stream does not have.
fn outside(name: &str, settings: &JetStreamSource, info: &StreamInfo, place: &ConfigPlace) -> Vec<Finding> {
    let theirs = stream_subjects(info);
    // What a mirror or a stream with transforms stores may have other subjects than it takes.
    let is_plain = ["mirror", "sources", "subject_transform"].iter().all(|field| !info.config.contains_key(*field));
    let is_outside = |subject: &&Pattern| is_plain && theirs.iter().all(|own| own.intersection(subject).is_none());
    let finding = |subject: &Pattern| {
        let has = quoted(theirs.iter().map(|own| own.as_str()), "and");
        let message =
            format!("source `{name}` asks stream `{}` for `{subject}`, and that has only {has}", settings.stream);
        Finding::error("source_subject", message).hint("nothing would ever come: mend `subjects`").at(place.clone())
    };
    settings.subjects.iter().filter(is_outside).map(finding).collect()
}

impl ExaminedSource {
    /// Looks at a consumer.
    async fn add(&mut self, view: &ServerView<'_>, reader: &str, settings: &JetStreamSource, place: &ConfigPlace) {
        let plan = plan_consumer(view.connection.clone(), settings, app::outstanding(view.config)).await;
        self.created += u64::from(matches!(plan, Ok(ConsumerPlan::Create)));
        self.findings.push(planned(plan, reader, settings, place));
    }
}

fn planned(
    plan: Result<ConsumerPlan, ConsumerError>,
    reader: &str,
    settings: &JetStreamSource,
    place: &ConfigPlace,
) -> Finding {
    let JetStreamSource { stream, durable, .. } = settings;
    match plan {
        Ok(ConsumerPlan::Create) => Finding::ok(format!("{reader} gets a new consumer `{durable}` of `{stream}`")),
        Ok(ConsumerPlan::AsWanted) => Finding::ok(format!("{reader} reads consumer `{durable}` of `{stream}`")),
        Ok(ConsumerPlan::Update(differences)) => {
            let listed = differences.iter().map(FieldDifference::to_string).collect::<Vec<_>>().join("; ");
            if differences.iter().any(FieldDifference::is_fixed_in_consumer) {
                let message = format!("consumer `{durable}` of stream `{stream}` can't be changed: {listed}");
                let hint = "set the source to what it has, or give it another `durable`, which begins anew";
                return Finding::error("consumer_fixed", message).hint(hint).at(place.clone());
            }
            let message = format!("a run changes consumer `{durable}` of stream `{stream}`: {listed}");
            Finding::warning("consumer_differs", message).hint("does another program count on it?").at(place.clone())
        }
        Err(ConsumerError::Read { source: ApiError::NoPermission(denial), .. }) => {
            Finding::warning("not_looked_at", format!("the consumer of {reader} can't be looked at: {denial}"))
        }
        Err(error) => Finding::error("consumer", format!("{reader}: {}", chain(error))).at(place.clone()),
    }
}
