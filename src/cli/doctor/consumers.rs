//! Sources on JetStream: their streams, and their consumers on the server.

use futures_util::future::join_all;

use super::{finding::Finding, server::ServerView, streams::stream_subjects};
use crate::{
    app,
    cli::streams::chain,
    config::{ConfigPlace, JetStreamSource, SourceKind, nearest, quoted},
    nats::{ApiError, FieldDifference, StreamError, StreamInfo},
    source::jetstream::{ConsumerError, ConsumerPlan, own_durable, own_subjects, plan_consumer},
};

pub(super) async fn examine(view: &ServerView<'_>) -> Vec<Finding> {
    let sources = view.config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::JetStream(settings) => Some((&*source.name, settings)),
        _ => None,
    });
    join_all(sources.map(|(name, settings)| source(view, name, settings))).await.concat()
}

async fn source(view: &ServerView<'_>, name: &str, settings: &JetStreamSource) -> Vec<Finding> {
    let (stream, place) = (&settings.stream, view.places.of("source", Some(name)));
    let info = match view.connection.stream_info(stream).await {
        Ok(Some(info)) => info,
        Ok(None) => return missing(view, name, settings, &place).await,
        Err(StreamError::Read(_, ApiError::NoPermission(denial))) => {
            let message = format!("the stream of source `{name}` can't be looked at: {denial}");
            return vec![Finding::warning("not_looked_at", message)];
        }
        Err(error) => return vec![Finding::error("stream", chain(error))],
    };
    let mut findings = outside(name, settings, &info, &place);
    findings.push(consumer(view, &format!("source `{name}`"), settings, &place).await);
    for key in view.config.registry.keys.iter().filter(|key| key.is_isolated) {
        let Some(subject) = &key.subject else { continue };
        let (durable, subjects) = (own_durable(&settings.durable, &key.name), own_subjects(settings, subject));
        let own = JetStreamSource { durable, subjects, ..settings.clone() };
        findings.push(consumer(view, &format!("isolated key `{}`", key.name), &own, &key.place).await);
    }
    findings
}

/// A stream that is not there, which a run may make.
async fn missing(view: &ServerView<'_>, name: &str, settings: &JetStreamSource, place: &ConfigPlace) -> Vec<Finding> {
    let stream = &settings.stream;
    if view.config.streams.iter().any(|declared| declared.name == *stream) {
        return vec![Finding::ok(format!("source `{name}` reads `{stream}`, which a run makes"))];
    }
    let names = view.connection.streams_of(">").await.unwrap_or_default();
    let near = nearest(stream, names.iter().map(String::as_str));
    let hint = match near.is_empty() {
        true => "declare it as a `[[stream]]`, or create it".to_owned(),
        false => format!("did you mean {}?", quoted(near, "or")),
    };
    let message = format!("source `{name}` reads stream `{stream}`, and the server has no such stream");
    vec![Finding::error("no_stream", message).hint(hint).at(place.clone())]
}

/// Subjects of a source that its stream does not have.
fn outside(name: &str, settings: &JetStreamSource, info: &StreamInfo, place: &ConfigPlace) -> Vec<Finding> {
    let theirs = stream_subjects(info);
    // What a mirror or a stream with transforms stores may have other subjects than it takes.
    let is_plain = ["mirror", "sources", "subject_transform"].iter().all(|field| !info.config.contains_key(*field));
    let is_outside =
        |subject: &&crate::event::Pattern| is_plain && theirs.iter().all(|own| own.intersection(subject).is_none());
    let finding = |subject: &crate::event::Pattern| {
        let has = quoted(theirs.iter().map(|own| own.as_str()), "and");
        let message =
            format!("source `{name}` asks stream `{}` for `{subject}`, and that has only {has}", settings.stream);
        Finding::error("source_subject", message).hint("nothing would ever come: mend `subjects`").at(place.clone())
    };
    settings.subjects.iter().filter(is_outside).map(finding).collect()
}

async fn consumer(view: &ServerView<'_>, reader: &str, settings: &JetStreamSource, place: &ConfigPlace) -> Finding {
    let JetStreamSource { stream, durable, .. } = settings;
    let plan = plan_consumer(view.connection.clone(), settings, app::outstanding(view.config)).await;
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
