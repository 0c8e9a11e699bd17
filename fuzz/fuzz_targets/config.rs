//! Whatever a router's folder holds, it is a configuration, or every problem has its place.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use trommel::folder;

/// The files that one input may be: what a folder has beside them is good.
const FILES: [&str; 4] = ["trommel.toml", "keys/fuzzed.toml", "schemas/fuzzed.avsc", "schemas/fuzzed.json"];
const SETTINGS: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n[[sink]]\nname = \"out\"\ntype = \"stdout\"\n";

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("trommel-fuzz-{}", std::process::id()));
    for part in ["keys", "schemas", "plugins"] {
        fs::create_dir_all(folder.join(part)).expect("a folder can be made");
    }
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, content)) = data.split_first() else { return };
    let name = FILES[usize::from(*choice) % FILES.len()];
    // What the settings name must not lead out of the folder, such as to a device that never ends.
    let path = FOLDER.join(name);
    fs::write(FOLDER.join("trommel.toml"), SETTINGS).expect("a file can be written");
    fs::write(&path, content).expect("a file can be written");
    let loaded = folder::load(&FOLDER);
    fs::remove_file(&path).expect("it was written");
    if let Err(problems) = loaded {
        let told = problems.to_string();
        assert!(!told.trim().is_empty(), "nobody is told what is wrong");
        assert!(!told.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{told:?}");
    }
});
