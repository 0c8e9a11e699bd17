//! Partitions of a stream, and of the sources that read it.

use std::time::Duration;

use crate::{
    config::{
        AckMode, KeyConfig, OrderBy, Problem, SourceConfig, SourceKind, SourcePartitions, StreamConfig,
        SubjectTransform, values,
    },
    event::Pattern,
    field::Field,
    problem::ProblemReport,
    table::{PlacedValue, TomlTable},
};

/// First token of the subjects of a stream with partitions.
const PART: &str = "part";
/// Most partitions: as many consumers as a server makes for a stream by itself.
const MOST: usize = 1000;
const LEASE: Duration = Duration::from_secs(15);
/// Shortest lease: an election of the server's must not outlast it too often.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// Time after which a connection that is silent is given up, which a router may sleep through
/// beyond its lease.
const SILENCE: Duration = Duration::from_secs(20);

/// Reads `partitions` of a stream: the transform that makes them, and their number.
pub(crate) fn of_stream(table: &mut TomlTable<'_>) -> Option<(SubjectTransform, u32)> {
    let read = table.table("partitions", |table| {
        let count = table.required("count", |table, field| table.positive(field, MOST));
        let of = table.required("of", |table, field| table.parsed(field, values::server_pattern));
        let tokens = table.required("tokens", TomlTable::json_text);
        let (count, of) = (u32::try_from(count?.get()).ok()?, of?);
        let wildcards = of.as_str().split('.').filter(|token| *token == "*").count();
        let numbers: Vec<u64> = serde_json::from_str(&tokens?).unwrap_or_default();
        let is_known = |number: &u64| (1..=wildcards as u64).contains(number);
        if numbers.is_empty() || !numbers.iter().all(is_known) {
            let message = format!("`tokens` are numbers of the `*` in `of`, from 1 on, and `{of}` has {wildcards}");
            let hint = "`tokens = [1]` takes the first one".to_owned();
            table.error(table.place_of("tokens"), message, Some(hint));
            return None;
        }
        Some((transform(&of, count, &numbers), count))
    });
    if table.has("partitions") && table.has("subject_transform") {
        let hint = "leave `subject_transform` out: the stream can have one".to_owned();
        table.error(table.place_of("partitions"), "`partitions` are made by a subject transform", Some(hint));
    }
    read.flatten()
}

/// The transform that puts a message's partition in front of its subject.
fn transform(of: &Pattern, count: u32, tokens: &[u64]) -> SubjectTransform {
    let tokens: Vec<_> = tokens.iter().map(u64::to_string).collect();
    let mut wildcard = 0;
    let kept = of.as_str().split('.').map(|token| {
        if token != "*" {
            return token.to_owned();
        }
        wildcard += 1;
        format!("{{{{wildcard({wildcard})}}}}")
    });
    let kept: Vec<_> = kept.collect();
    let dest = format!("{PART}.{{{{partition({count},{})}}}}.{}", tokens.join(","), kept.join("."));
    SubjectTransform { src: of.clone(), dest }
}

/// Reads `partitions` of a source.
pub(crate) fn of_source(table: &mut TomlTable<'_>, ack: Option<AckMode>) -> Option<SourcePartitions> {
    let count = table.positive("partitions", MOST);
    let lease = table.duration("lease");
    if !table.has("partitions") {
        if table.has("lease") {
            let hint = "add `partitions`, or leave it out".to_owned();
            table.error(table.place_of("lease"), "`lease` is for a source with `partitions`", Some(hint));
        }
        return None;
    }
    if let Some(AckMode::Explicit | AckMode::Auto) = ack {
        let message = "a source with `partitions` acknowledges with `ack = \"all\"`";
        let hint = "leave `ack` out: a partition is read by one router at a time".to_owned();
        table.error(table.place_of("ack"), message, Some(hint));
    }
    if table.has("expect_every") {
        let message = "`expect_every` can't tell whether the partitions of other routers are silent";
        let hint = "leave it out, and watch the sum of `trommel_source_events_received_total` over all routers";
        table.error(table.place_of("expect_every"), message, Some(hint.to_owned()));
    }
    let lease = lease.unwrap_or(LEASE);
    if lease < SHORTEST_LEASE {
        let hint = format!("elections of the servers take seconds: the default is {LEASE:?}");
        table.error(table.place_of("lease"), "`lease` is at least `1s`", Some(hint));
    }
    Some(SourcePartitions { count: u32::try_from(count?.get()).ok()?, lease })
}

/// Reports sources that do not fit the declared partitions of their stream, and sinks whose streams
/// forget too early what a router may repeat that was taken for dead.
pub(crate) fn check_sources(
    table: &TomlTable<'_>,
    streams: &[PlacedValue<StreamConfig>],
    sources: &[PlacedValue<SourceConfig>],
) {
    let mut first: Option<(&str, Duration)> = None;
    for PlacedValue { value: source, place } in sources {
        let SourceKind::JetStream(jetstream) = &source.kind else { continue };
        if let Some(SourcePartitions { lease, .. }) = jetstream.partitions {
            let (other, of_other) = *first.get_or_insert((&source.name, lease));
            if lease != of_other {
                let message =
                    format!("sources `{other}` and `{}` have leases of {of_other:?} and {lease:?}", source.name);
                let hint = "a router has one lease: give them the same".to_owned();
                table.error(place.clone(), message, Some(hint));
            }
        }
        let declared = streams.iter().find(|stream| stream.value.name == jetstream.stream);
        let made = declared.map(|stream| stream.value.partitions);
        let name = &jetstream.stream;
        match (jetstream.partitions, made) {
            (Some(SourcePartitions { count, .. }), Some(Some(made))) if count != made => {
                let message =
                    format!("source `{}` reads {count} partitions, and stream `{name}` has {made}", source.name);
                table.error(place.clone(), message, Some(format!("set `partitions = {made}`")));
            }
            (Some(SourcePartitions { count, .. }), Some(None)) => {
                let message = format!("source `{}` reads partitions of stream `{name}`, which has none", source.name);
                let hint = format!(
                    "add `partitions = {{ count = {count}, of = …, tokens = [1] }}` to the stream, or leave them out here"
                );
                // A stream may copy one that has them, or have a transform of its own.
                let stream = declared.map(|stream| &stream.value);
                if stream.is_some_and(|stream| {
                    stream.subject_transform.is_none() && stream.sources.is_empty() && stream.mirror.is_none()
                }) {
                    table.error(place.clone(), message, Some(hint));
                }
            }
            (Some(SourcePartitions { lease, .. }), _) => check_windows(table, streams, &source.name, lease),
            (None, Some(Some(made))) => {
                let message =
                    format!("stream `{name}` has partitions, and source `{}` reads it as a whole", source.name);
                let hint = format!("set `partitions = {made}`: subjects would begin with `{PART}.` and a number");
                table.report(Problem::warning(place.clone(), message).hint(hint));
            }
            (None, _) => {}
        }
    }
}

fn check_windows(table: &TomlTable<'_>, streams: &[PlacedValue<StreamConfig>], source: &str, lease: Duration) {
    for PlacedValue { value: stream, place } in streams {
        let least = lease + SILENCE;
        if stream.partitions.is_none() && stream.duplicate_window.is_some_and(|window| window < least) {
            let message = format!(
                "stream `{}` forgets ids after less than {least:?}, in which a router of source `{source}` may repeat outputs that another one has sent",
                stream.name
            );
            table.report(Problem::warning(place.clone(), message).hint("give it a longer `duplicate_window`"));
        }
    }
}

/// Warns of keys whose order partitions can't hold: they are made of subjects.
pub(crate) fn check_keys(keys: &[KeyConfig], sources: &[SourceConfig], report: &ProblemReport) {
    let is_split = |source: &&SourceConfig| matches!(&source.kind, SourceKind::JetStream(jetstream) if jetstream.partitions.is_some());
    let Some(source) = sources.iter().find(is_split) else { return };
    for key in keys {
        if key.is_isolated {
            let message = format!(
                "key `{}` can't be isolated: source `{}` has a consumer for each partition",
                key.name, source.name
            );
            let hint = "leave `isolation` out: what waits for the key holds up its partitions alone";
            report.add(Problem::error(key.place.clone(), message).hint(hint));
        }
        let OrderBy::Field(field @ (Field::Header(_) | Field::Pointer(_))) = &key.order_by else { continue };
        let message = format!(
            "`order_by = \"{field}\"` of key `{}` can't hold across partitions: source `{}` has them made of subjects",
            key.name, source.name
        );
        let ways = [
            "have the producer put the value into the subject",
            "order by the subject",
            "route the events by a sink into a stream whose subjects have it",
        ];
        let hint = ways.join("; ");
        report.add(Problem::warning(key.place.clone(), message).hint(hint));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{AckMode, Problem, SourceKind, SourcePartitions};

    const SETTINGS: &str = r#"
[nats]
url = "nats://127.0.0.1:4222"
[[stream]]
name = "ORDERS"
subjects = ["orders.>"]
partitions = { count = 16, of = "orders.*.*.>", tokens = [2, 1] }
[[source]]
name = "in"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"
partitions = 16
[[sink]]
name = "out"
type = "stdout"
"#;
    const KEY: &str = "[[key]]\nname = \"a\"\nsubject = \"orders.>\"\n[[route]]\nkey = \"a\"\nsinks = [\"out\"]\n";

    fn load(settings: &str, keys: &str) -> Result<crate::config::Config, crate::config::Problems> {
        crate::parse(Path::new("."), [("trommel.toml", settings), ("keys/a.toml", keys)])
    }

    #[test]
    fn partitions_are_a_transform_and_a_consumer_each() {
        let config = load(SETTINGS, KEY).unwrap();
        assert_eq!(config.warnings, []);
        let transform = config.streams[0].subject_transform.as_ref().unwrap();
        let shown = (transform.src.as_str(), &*transform.dest);
        let dest = "part.{{partition(16,2,1)}}.orders.{{wildcard(1)}}.{{wildcard(2)}}.>";
        assert_eq!(shown, ("orders.*.*.>", dest));
        let SourceKind::JetStream(source) = &config.sources[0].kind else { panic!() };
        let lease = std::time::Duration::from_secs(15);
        assert_eq!((source.ack, source.partitions), (AckMode::All, Some(SourcePartitions { count: 16, lease })));
    }

    #[test]
    fn what_does_not_fit_together_is_told_with_a_way_out() {
        let cases = [
            (
                "partitions = 16",
                "partitions = 8",
                "reads 8 partitions, and stream `ORDERS` has 16",
                "set `partitions = 16`",
            ),
            (
                "partitions = 16",
                "partitions = 16\nack = \"explicit\"",
                "acknowledges with `ack = \"all\"`",
                "leave `ack` out",
            ),
            ("partitions = 16", "partitions = 16\nlease = \"20ms\"", "`lease` is at least `1s`", "the default is 15s"),
            ("partitions = 16", "lease = \"20s\"", "`lease` is for a source with `partitions`", "add `partitions`"),
            (
                "[[sink]]",
                "[[source]]\nname = \"more\"\ntype = \"jetstream\"\nstream = \"ORDERS\"\ndurable = \"more\"\npartitions = 16\nlease = \"1m\"\n[[sink]]",
                "sources `in` and `more` have leases of 15s and 60s",
                "give them the same",
            ),
            (
                "partitions = 16",
                "partitions = 16\nexpect_every = \"1m\"",
                "partitions of other routers are silent",
                "over all routers",
            ),
            ("partitions = 16\n", "", "source `in` reads it as a whole", "set `partitions = 16`"),
            ("[2, 1]", "[3]", "`orders.*.*.>` has 2", "takes the first one"),
            ("[2, 1]", "[]", "numbers of the `*`", "takes the first one"),
            (
                "partitions = { count = 16, of = \"orders.*.*.>\", tokens = [2, 1] }\n",
                "",
                "which has none",
                "count = 16",
            ),
            (
                "tokens = [2, 1] }",
                "tokens = [2, 1] }\nsubject_transform = { src = \"a\", dest = \"b\" }",
                "made by a subject transform",
                "leave `subject_transform` out",
            ),
            (
                "[[source]]",
                "[[stream]]\nname = \"OUT\"\nsubjects = [\"out\"]\nduplicate_window = \"30s\"\n[[source]]",
                "forgets ids after less than 35s",
                "longer `duplicate_window`",
            ),
        ];
        for (old, new, message, hint) in cases {
            let problems = load(&SETTINGS.replace(old, new), KEY);
            let problems: Vec<Problem> = problems.map_or_else(Into::into, |config| config.warnings);
            let is_told = |problem: &Problem| {
                problem.message.contains(message)
                    && problem.hint.as_ref().is_some_and(|given| given.contains(hint))
                    && problem.place.position.is_some()
            };
            assert!(problems.iter().any(is_told), "{new}: {problems:?}");
        }
    }

    #[test]
    fn keys_that_partitions_can_not_serve_are_told() {
        let keyed = |field: &str| KEY.replace("subject =", &format!("{field}\nsubject ="));
        let warnings = load(SETTINGS, &keyed("order_by = \"/order/id\"")).unwrap().warnings;
        assert!(warnings[0].message.contains("`order_by = \"/order/id\"` of key `a` can't hold across partitions"));
        assert_eq!(load(SETTINGS, &keyed("order_by = \"subject\"")).unwrap().warnings, []);
        let refused = load(SETTINGS, &keyed("isolation = \"key\"")).unwrap_err().to_string();
        assert!(refused.contains("key `a` can't be isolated"), "{refused}");
    }
}
