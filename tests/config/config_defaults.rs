//! What is not said has a value, and what is perhaps not meant a warning.

use crate::config_folder::ConfigFolder;
use crate::config_loads::{count, seconds};

use insta::assert_snapshot;
use trommel::{
    bus::OverflowPolicy,
    config::{
        BusSource, Config, DeadLetterTarget, DedupBy, DedupConfig, KeyConfig, LinesSource, NatsAuth, OrderBy,
        SourceKind, TypeSelection,
    },
    field::Field,
};

pub const SMALL: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\n";

pub const KEY: &str = "[[key]]\nkey = \"orders\"\nsubject = \"orders.>\"\n";

pub const ROUTE: &str = "[[route]]\nkey = \"orders\"\nsinks = [\"out\"]\n";

fn small(keys: &str) -> Config {
    ConfigFolder::of(&[("trommel.toml", SMALL), ("keys/orders.toml", keys)]).load()
}

#[test]
fn the_least_that_can_be_said() {
    let config = small(KEY);
    assert_eq!(config.dead_letter, DeadLetterTarget::File(config.dir.join("dead-letters.ndjson")));
    assert_eq!(config.plugins, config.dir.join("plugins"));
    assert_eq!(config.dedup, Some(DedupConfig { ttl: seconds(300), capacity: count(10_000), by: DedupBy::Sequence }));
    assert!(config.pipeline.lanes >= count(4));
    assert_eq!(config.pipeline.in_flight, count(4096));
    assert_eq!(config.sources[0].kind, SourceKind::Lines(LinesSource { path: None }));
    let key = &config.registry.keys[0];
    assert_eq!((key.workers, key.buffer_size), (count(1), count(100)));
    assert_eq!(key.order_by, OrderBy::Field(Field::Subject));
    assert_eq!(key.filter, None);
}

#[test]
fn dead_letters_go_to_a_stream_where_there_is_a_server() {
    let folder = ConfigFolder::of(&[("trommel.toml", &format!("[nats]\nurl = \"nats://bob:pw@localhost\"\n{SMALL}"))]);
    let config = folder.load();
    let stream = DeadLetterTarget::Stream { stream: "TROMMEL_DEAD".into(), subject: "trommel.dead".into() };
    assert_eq!(config.dead_letter, stream);
    let nats = config.nats.unwrap();
    assert_eq!(nats.urls, ["nats://localhost"]);
    assert_eq!(nats.auth, NatsAuth::Password { user: "bob".into(), password: "pw".into() });
    assert!(!nats.tls_required);
    assert_eq!(nats.connect_timeout, seconds(5));
}

#[test]
fn the_dedup_window_can_be_turned_off() {
    let folder = ConfigFolder::of(&[("trommel.toml", &format!("[dedup]\nenabled = false\n{SMALL}"))]);
    assert_eq!(folder.load().dedup, None);
}

/// L05 and L06
#[test]
fn workers_and_buffer_size_are_brought_into_range() {
    for (written, workers, buffer) in [("0", 1, 100), ("-3", 1, 100), ("1000", 1000, 1000), ("1001", 1001, 1000)] {
        let config = small(&format!("{ROUTE}{KEY}workers = {written}\nbuffer_size = {written}\n"));
        let key = &config.registry.keys[0];
        assert_eq!((key.workers, key.buffer_size), (count(workers), count(buffer)), "{written}");
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        if written == "1001" {
            assert_snapshot!(warnings.join("\n"), @"keys/orders.toml:8:15: warning: `buffer_size` is at most 1000: 1000 is used instead of 1001");
        } else {
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}

#[test]
fn what_is_perhaps_not_meant_is_a_warning() {
    let settings = r#"
[nats]
url = "nats://localhost"

[[stream]]
name = "ORDERS"
subjects = ["orders.>"]

[[source]]
name = "orders"
type = "jetstream"
stream = "ORDERS"
durable = "trommel"

[[source]]
name = "alerts"
type = "jetstream"
stream = "ALERTS"
durable = "trommel"
subjects = ["alerts.>"]

[[source]]
name = "whole"
type = "jetstream"
stream = "DECLARED-ELSEWHERE"
durable = "trommel"

[[sink]]
name = "again"
type = "nats"
subject = "orders.large"

[[sink]]
name = "alerts"
type = "nats"
subject = "alerts.large"

[[sink]]
name = "elsewhere"
type = "nats"
subject = "large.orders"

[[sink]]
name = "same"
type = "nats"
subject = "{subject}"

[[sink]]
name = "below"
type = "nats"
subject = "large.{subject}"
"#;
    let key = "[[key]]\nkey = \"orders\"\nevent_type = \"order.*\"\n";
    let folder = ConfigFolder::of(&[("trommel.toml", settings), ("keys/orders.toml", key)]);
    assert_snapshot!(folder.warnings(), @r#"
    keys/orders.toml:1:1: warning: key `orders` has no route: nothing of it reaches a sink
      add `[[route]]` with `key = "orders"` and `sinks`; without one, only `trommel consume` gets its events
    keys/orders.toml:3:14: warning: `event_type` is compared as it stands: wildcards mean nothing there
      patterns belong in `subject`
    trommel.toml:28:1: warning: sink `again` publishes what source `orders` reads
      events may go round for ever, unless every key turns the router's own outputs away
    trommel.toml:33:1: warning: sink `alerts` publishes what source `alerts` reads
      events may go round for ever, unless every key turns the router's own outputs away
    trommel.toml:43:1: warning: sink `same` publishes what source `orders` reads
      events may go round for ever, unless every key turns the router's own outputs away
    "#);
}

#[test]
fn a_route_keeps_its_derived_name() {
    let declared = format!("{KEY}params = [{{ name = \"min\", type = \"int\", default = \"1\" }}]\n");
    let names = |routes: &str| -> Vec<String> {
        small(&format!("{declared}{routes}")).registry.routes.into_iter().map(|route| route.name).collect()
    };
    let alone = names(ROUTE);
    assert_snapshot!(alone[0], @"orders-9ca896a3");
    let other = format!("{ROUTE}params = {{ min = 2 }}\n");
    let both = names(&format!("{other}{ROUTE}"));
    assert_eq!(both[1], alone[0], "other routes do not matter");
    assert_ne!(both[0], both[1]);
    assert_eq!(names(&format!("{ROUTE}params = {{ min = \"01\" }}\n")), alone, "nor how a value is written");
}

/// L129: routes that take events by their type have no key, and the name of one.
#[test]
fn routes_without_a_key() {
    let routes = r#"
[[route]]
match_regex = '^im\.message\.'
sinks = ["out"]

[[route]]
name = "others"
fallthrough = true
sinks = ["out"]
"#;
    let registry = small(&format!("{KEY}{routes}")).registry;
    assert_eq!((registry.keys.len(), registry.routes.len()), (1, 0));
    let [regex, rest] = &registry.type_routes[..] else { panic!("{registry:?}") };
    assert_snapshot!(regex.key.name, @"match_regex-89496538");
    assert_eq!(regex.types, TypeSelection::Matching(r"^im\.message\.".parse().unwrap()));
    assert_eq!(
        (rest.key.name.as_str(), &rest.types, &rest.sinks),
        ("others", &TypeSelection::Rest, &vec!["out".to_owned()])
    );
    let key = &registry.keys[0];
    let place = rest.key.place.clone();
    assert_eq!(
        rest.key,
        KeyConfig { name: "others".into(), subject: None, place, ..key.clone() },
        "with a key's defaults"
    );
}

/// F20, F24 and X2: on a bus the newest is dropped, unless a source says otherwise.
#[test]
fn a_bus_source_has_a_pattern_a_buffer_and_a_policy() {
    let text = r#"
[[source]]
name = "a"
type = "bus"

[[source]]
name = "b"
type = "bus"
pattern = "orders.*"
buffer = 10
policy = "sample"
sample = 0.1

[[source]]
name = "c"
type = "bus"
policy = "drop_oldest"
"#;
    let folder = ConfigFolder::of(&[("trommel.toml", text)]);
    let sources = folder.load().sources;
    let expected = [
        (">", 64, OverflowPolicy::DropNewest),
        ("orders.*", 10, OverflowPolicy::Sample(0.1)),
        (">", 64, OverflowPolicy::DropOldest),
    ];
    for (source, (pattern, buffer, policy)) in sources.iter().zip(expected) {
        let SourceKind::Bus(BusSource { pattern: has, buffer: holds, policy: does, .. }) = &source.kind else {
            panic!("{source:?}")
        };
        assert_eq!((has.as_str(), *holds, *does), (pattern, buffer, policy), "{}", source.name);
    }
    assert_eq!(sources.len(), expected.len());
}

#[test]
fn whoever_says_what_to_trust_means_tls() {
    for (settings, required) in
        [("", false), ("tls_ca = \"ca.pem\"", true), ("tls_cert = \"ca.pem\"\ntls_key = \"ca.pem\"", true)]
    {
        let text = format!("[nats]\nurl = \"nats://a\"\n{settings}\n{SMALL}");
        let folder = ConfigFolder::of(&[("trommel.toml", &text), ("ca.pem", "")]);
        assert_eq!(folder.load().nats.unwrap().tls_required, required, "{settings}");
    }
}

/// As `echo` leaves it in a file, or in what becomes a variable.
#[test]
fn space_around_a_secret_is_no_part_of_it() {
    let text = format!("[nats]\nurl = \"nats://a\"\ntoken = {{ file = \"token\" }}\n{SMALL}");
    let folder = ConfigFolder::of(&[("trommel.toml", &text), ("token", " s3cret\r\n\n")]);
    assert_eq!(folder.load().nats.unwrap().auth, NatsAuth::Token("s3cret".into()));
}
