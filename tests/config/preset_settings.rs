//! Presets bring streams and keys of their own, and envelopes have names.

use crate::config_folder::ConfigFolder;

use std::{collections::BTreeMap, time::Duration};

use trommel::config::{Config, EnvelopeFormat, Storage, StreamLimit};

#[test]
fn lark_is_an_envelope() {
    let source = "[nats]\nurl = \"nats://localhost\"\n[[source]]\nname = \"in\"\ntype = \"jetstream\"\nstream = \"S\"\n\
        durable = \"d\"\nenvelope = \"lark\"\n";
    for (more, verify_header) in [("", false), ("verify_header = true\n", true)] {
        let folder = ConfigFolder::of(&[("trommel.toml", &format!("{source}{more}"))]);
        assert_eq!(folder.load().sources[0].envelope, EnvelopeFormat::Lark { verify_header });
    }
}

/// H01, H02, H16, X1
#[test]
fn a_preset_brings_streams_and_keys() {
    let preset = |fields: &str| {
        let settings =
            format!("[nats]\nurl = \"nats://a\"\n[[preset]]\n{fields}\n[[source]]\nname = \"in\"\ntype = \"lines\"\n");
        ConfigFolder::of(&[("trommel.toml", &settings)]).load()
    };
    let subjects = |config: &Config| {
        let streams = config.streams.iter();
        streams.map(|stream| format!("{} {}", stream.name, stream.subjects[0].as_str())).collect::<Vec<_>>()
    };
    let keys = |config: &Config| config.registry.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    let helix = preset("name = \"helix\"");
    assert_eq!(
        subjects(&helix),
        [
            "HELIX_NODES helix.nodes.>",
            "HELIX_SESSIONS helix.sessions.>",
            "HELIX_SCHEDULER helix.scheduler.>",
            "HELIX_HEALTH helix.health.>",
            "HELIX_ALERTS helix.alerts.>",
        ]
    );
    assert_eq!(keys(&helix), ["helix.node", "helix.session", "helix.scheduler", "helix.health", "helix.alert"]);
    let other = preset("name = \"helix\"\nsubject_prefix = \"acme.eu\"\naudit = true");
    assert_eq!(subjects(&other)[0], "HELIX_NODES acme.eu.nodes.>");
    assert_eq!(subjects(&other)[5], "HELIX_AUDIT acme.eu.audit.>");
    assert_eq!(keys(&other).last().unwrap(), "helix.audit");
    assert_eq!(other.registry.keys[0].subject, Some("acme.eu.nodes.>".parse().unwrap()));
    assert_eq!(keys(&preset("name = \"jb-mesh\"")).len(), 10);
    assert_eq!(keys(&preset("name = \"flowcraft\"")), ["graph.run", "graph.node", "kanban"]);
}

/// H12, H17: the subjects of each wire, and of a custom prefix.
#[test]
fn the_wire_of_helix_decides_subjects_and_streams() {
    let preset = |fields: &str| {
        let settings = format!(
            "[nats]\nurl = \"nats://a\"\n[[preset]]\nname = \"helix\"\n{fields}\n[[source]]\nname = \"in\"\ntype = \"lines\"\n"
        );
        ConfigFolder::of(&[("trommel.toml", &settings)]).load()
    };
    let streams = |config: &Config| {
        config.streams.iter().map(|stream| format!("{} {}", stream.name, stream.subjects[0])).collect::<Vec<_>>()
    };
    let subjects = |config: &Config| {
        let subjects = config.registry.keys.iter().filter_map(|key| key.subject.as_ref());
        subjects.map(|subject| subject.as_str().to_owned()).collect::<Vec<_>>()
    };
    let backend = preset("wire = \"helix-backend\"\naudit = true");
    assert_eq!(streams(&backend)[..2], ["HELIX_NODES nodes.>", "HELIX_SESSIONS sessions.>"]);
    assert_eq!(subjects(&backend), ["nodes.>", "sessions.>", "scheduler.>", "health.>", "alerts.>", "audit.>"]);
    let bus = preset("wire = \"nats-backend\"\naudit = true");
    assert_eq!(streams(&bus), ["EVENTBUS eventbus.>"]);
    assert_eq!(subjects(&bus)[..2], ["eventbus.nodes.>", "eventbus.sessions.>"]);
    assert_eq!(subjects(&bus)[5], "eventbus.audit.>");
    assert_eq!(streams(&preset("wire = \"helix\"")), streams(&preset("")));
    assert!(streams(&preset("streams = false")).is_empty());
}

/// H02, H07: what the page says is for streams that are made; what the folder says is for all.
#[test]
fn streams_of_a_preset_take_single_settings() {
    let settings = "[nats]\nurl = \"nats://a\"\n[[preset]]\nname = \"helix\"\nreplicas = 3\n\
        [[stream]]\nname = \"HELIX_NODES\"\nmax_age = \"7d\"\n[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let config = ConfigFolder::of(&[("trommel.toml", settings)]).load();
    let day = Some(StreamLimit::Most(Duration::from_hours(24)));
    let of = |name: &str| config.streams.iter().find(|stream| stream.name == name).unwrap();
    let nodes = of("HELIX_NODES");
    assert_eq!(nodes.subjects, ["helix.nodes.>".parse().unwrap()]);
    assert_eq!((nodes.replicas, nodes.max_age), (Some(3), Some(StreamLimit::Most(Duration::from_hours(7 * 24)))));
    for name in ["HELIX_NODES", "HELIX_SESSIONS", "HELIX_SCHEDULER", "HELIX_HEALTH", "HELIX_ALERTS"] {
        let made = of(name).at_creation.as_ref().unwrap();
        assert_eq!((made.max_age, made.replicas, made.storage), (day, Some(1), Some(Storage::File)), "{name}");
    }
    assert_eq!((of("HELIX_ALERTS").replicas, of("HELIX_ALERTS").max_age), (Some(3), None));
}

/// C04, C05: a key for each type, by its own name.
#[test]
fn the_preset_of_a_ctrlplane_has_a_key_for_each_type() {
    let settings = "[[preset]]\nname = \"ctrlplane\"\n[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let config = ConfigFolder::of(&[("trommel.toml", settings)]).load();
    assert!(config.streams.is_empty());
    let mut families = BTreeMap::<_, Vec<_>>::new();
    for key in &config.registry.keys {
        assert_eq!(key.event_type.as_deref(), Some(&*key.name));
        let (family, what) = key.name.split_once('.').unwrap();
        families.entry(family).or_default().push(what);
    }
    let instance = ["created", "started", "stopped", "failed", "deleted", "scaled", "suspended", "unsuspended"];
    assert_eq!(families["instance"], instance);
    assert_eq!(families["deploy"], ["started", "succeeded", "failed", "rolled_back"]);
    assert_eq!(families["health"], ["passed", "failed", "degraded", "recovered"]);
    let counts: Vec<_> = families.iter().map(|(family, types)| (*family, types.len())).collect();
    let [networks, admin] = [[("cert", 2), ("domain", 3)], [("quota", 1), ("tenant", 3)]];
    let others = [("datacenter", 4), ("route", 3), ("template", 3), ("workload", 9)];
    let mut expected = [&[("instance", 8), ("deploy", 4), ("health", 4)][..], &networks, &admin, &others].concat();
    expected.sort();
    assert_eq!(counts, expected);
}

/// Every key has the name of its event type, and the console event that makes it come; cards are
/// callbacks, which are no events.
#[test]
fn the_preset_of_lark_says_what_each_key_needs() {
    let settings = "[api]\nbase_url = \"https://open.example\"\nauth_types = \"bot\"\n[[preset]]\nname = \"lark\"\n\
        [[source]]\nname = \"in\"\ntype = \"lines\"\nenvelope = \"lark\"\n";
    let config = ConfigFolder::of(&[("trommel.toml", settings)]).load();
    assert!(config.streams.is_empty());
    assert_eq!(config.registry.keys.len(), 25);
    let mut families = BTreeMap::<_, usize>::new();
    for key in &config.registry.keys {
        assert_eq!(key.event_type.as_deref(), Some(&*key.name));
        let console_events = if key.name == "card.action.trigger" { vec![] } else { vec![key.name.clone()] };
        assert_eq!(key.console_events, console_events);
        assert!(!key.auth_types.is_empty() && !key.description.is_empty() && key.schema.is_some(), "{}", key.name);
        *families.entry(key.name.split('.').next().unwrap()).or_default() += 1;
    }
    let families: Vec<_> = families.into_iter().collect();
    let expected = [("application", 1), ("approval", 2), ("board", 1), ("card", 1), ("im", 11), ("minutes", 1)];
    assert_eq!(families, [&expected[..], &[("task", 1), ("vc", 7)]].concat());
    let message = config.registry.keys.iter().find(|key| key.name == "im.message.receive_v1").unwrap();
    assert_eq!(message.scopes, ["im:message.p2p_msg:readonly"]);
}
