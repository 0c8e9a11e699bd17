//! Which files of a router's folder are read, when they are read again, and what they may hold.

use crate::config_defaults::{KEY, ROUTE, SMALL};
use crate::config_folder::ConfigFolder;
use crate::config_loads::{FULL, FULL_KEYS};

use std::fs;

use insta::assert_snapshot;
use proptest::prelude::{Strategy, proptest};
use trommel::folder::{load, load_registry};

/// Editors and Kubernetes put files beside the real ones.
#[test]
fn other_files_are_passed_over() {
    let broken = "[[key\n";
    let folder = ConfigFolder::of(&[
        ("trommel.toml", SMALL),
        ("keys/orders.toml", KEY),
        ("keys/orders.toml~", broken),
        ("keys/.orders.toml.swp", broken),
        ("keys/.#orders.toml", broken),
        ("keys/#orders.toml#", broken),
        ("keys/orders.toml.tmp", broken),
        ("keys/.hidden.toml", broken),
        ("keys/README.md", broken),
        ("keys/..data/orders.toml", broken),
    ]);
    let config = folder.load();
    assert_eq!(config.registry.keys.len(), 1);
}

#[test]
fn the_registry_is_read_again() {
    let folder = ConfigFolder::of(&[("trommel.toml", SMALL), ("keys/orders.toml", KEY)]);
    let config = folder.load();
    assert_eq!(load_registry(&config).as_ref(), Ok(&config.registry));

    folder.write("keys/routes.toml", ROUTE);
    let registry = load_registry(&config).unwrap();
    assert_eq!((registry.keys.len(), registry.routes.len()), (1, 1));

    folder.write("keys/routes.toml", ROUTE.replace("\"out\"", "\"gone\""));
    assert_snapshot!(load_registry(&config).unwrap_err(), @r"
    keys/routes.toml:3:10: there is no sink `gone`
      known sinks: `out`
    ");

    folder.write("keys/routes.toml", format!("{KEY}filter = \"orders\"\n").replace("orders\"", "more\""));
    assert_snapshot!(load_registry(&config).unwrap_err(), @r"
    keys/routes.toml:4:10: filter `more` has no component: there is no `plugins/more.wasm`
      there is no component in `plugins/`
    ");
    folder.write("plugins/more.wasm", "");
    assert_eq!(load_registry(&config).unwrap().keys.len(), 2);
}

/// Who copies a file over another first makes it empty.
#[test]
fn a_file_that_declares_nothing_any_more_is_refused_until_it_is_deleted() {
    let folder =
        ConfigFolder::of(&[("trommel.toml", SMALL), ("keys/orders.toml", KEY), ("keys/notes.toml", "# nothing yet\n")]);
    let config = folder.load();
    for text in ["", "\n", "# to be written\n"] {
        folder.write("keys/orders.toml", text);
        folder.write("keys/notes.toml", text);
        let expected = "keys/orders.toml: the file declares nothing any more, as if it were still being written\n  \
                        delete it if what it declared is to go";
        assert_eq!(load_registry(&config).unwrap_err().to_string(), expected, "{text:?}");
    }
    fs::remove_file(folder.file("keys/orders.toml")).unwrap();
    assert_eq!(load_registry(&config).unwrap().keys.len(), 0);
    assert_eq!(folder.load().registry.keys.len(), 0, "nothing was there before");
}

/// Nothing that lies in a folder holds up who reads it, or fills the memory.
#[test]
fn what_is_no_file_or_too_large_is_named_and_not_read() {
    let key = format!("{KEY}[key.schema.custom]\nfile = \"order.json\"\n");
    let folder = ConfigFolder::of(&[("trommel.toml", SMALL), ("keys/orders.toml", &key), ("schemas/none", "")]);
    let mkfifo = |name| {
        let status = std::process::Command::new("mkfifo").arg(folder.file(name)).status();
        assert!(status.unwrap().success(), "{name}");
    };
    mkfifo("keys/pipe.toml");
    mkfifo("schemas/order.json");
    for name in ["keys/sparse.toml", "schemas/sparse.avsc"] {
        fs::File::create(folder.file(name)).unwrap().set_len(3 << 30).unwrap();
    }
    assert_snapshot!(folder.problems(), @r"
    keys/pipe.toml: this is a named pipe, not a file: nothing is read from it
    keys/sparse.toml: the file has 3221225472 bytes, more than the limit of 4194304
    schemas/order.json: this is a named pipe, not a file: nothing is read from it
    schemas/sparse.avsc: the file has 3221225472 bytes, more than the limit of 16777216
    ");
    fs::remove_file(folder.file("trommel.toml")).unwrap();
    mkfifo("trommel.toml");
    let problems = folder.problems();
    assert!(problems.contains("trommel.toml: this is a named pipe"), "{problems}");
}

/// Some editors begin a file with a mark.
#[test]
fn a_byte_order_mark_is_no_part_of_a_file() {
    let marked = |text: &str| format!("\u{feff}{text}");
    let key = format!("{KEY}decode = \"json\"\n[key.schema.custom]\nfile = \"order.json\"\n");
    let folder = ConfigFolder::of(&[
        ("trommel.toml", &marked(SMALL)),
        ("keys/orders.toml", &marked(&key)),
        ("schemas/order.json", &marked(r#"{"type":"object"}"#)),
        ("schemas/order.avsc", &marked(r#""string""#)),
    ]);
    let config = folder.load();
    assert_eq!(config.registry.keys.len(), 1);
}

proptest! {
    /// Whatever a file holds, the answer names it or takes it.
    #[test]
    fn bytes_of_any_kind_are_refused_with_their_place(
        bytes: Vec<u8>,
        text in "[\\[\\]{}\"'=.,#\n\\\\ a-z0-9\u{feff}\u{0}ü]{0,80}",
        which in 0..4_usize,
    ) {
        let name = ["trommel.toml", "keys/a.toml", "schemas/order.json", "schemas/a.avsc"][which];
        let key = format!("{KEY}[key.schema.custom]\nfile = \"order.json\"\n");
        for content in [&bytes[..], text.as_bytes()] {
            let folder = ConfigFolder::of(&[("trommel.toml", SMALL), ("keys/orders.toml", &key), ("schemas/order.json", "{\"a\":1}")]);
            folder.write(name, content);
            if let Err(problems) = load(folder.path()) {
                let places: Vec<_> = problems.iter().map(|problem| problem.place.to_string()).collect();
                assert!(places.iter().any(|place| place.starts_with(name)), "{places:?} {}", content.escape_ascii());
            }
        }
    }

    /// Whatever is cut from a file or put into it, the answer is a configuration or a list of problems.
    #[test]
    fn damaged_files_are_refused_and_nothing_worse(
        settings in damaged(FULL),
        keys in damaged(FULL_KEYS),
    ) {
        let folder = ConfigFolder::of(&[("trommel.toml", &settings), ("keys/orders.toml", &keys)]);
        let problems = load(folder.path()).unwrap_err();
        assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        assert!(!problems.to_string().is_empty());
    }
}

/// `text` with one stretch replaced by something else.
fn damaged(text: &'static str) -> impl Strategy<Value = String> {
    (0..text.len(), 0..20_usize, "[\\[\\]{}\"'=.,#\n 0-9a-zü]{0,6}").prop_map(move |(start, length, inserted)| {
        let end = (start + length).min(text.len());
        [&text[..start], &inserted, &text[end..]].concat()
    })
}
