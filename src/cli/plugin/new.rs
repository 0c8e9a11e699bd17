//! `trommel plugin new`: creates a folder that builds and passes its own test at once.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};

use crate::cli::{
    refusal::{CommandRefusal, RefusalKind},
    terminal,
};

mod files;

use files::TemplateFile;

/// Name of the plugin inside the templates.
const NAME: &str = "my-filter";

/// Create a plugin: a folder with its source, a key, cases, a build script, and a router to try it
/// with
#[derive(Args, Debug)]
pub struct NewPlugin {
    /// The folder to make. The last part of its path is the plugin's name
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The language of its source
    #[arg(long, value_name = "LANGUAGE")]
    lang: PluginLanguage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PluginLanguage {
    Rust,
    C,
    Cpp,
    Zig,
    Js,
    Ts,
    Python,
    Go,
    #[value(name = "assemblyscript")]
    AssemblyScript,
    /// Any toolchain that makes WebAssembly: the contract and its ABI
    Other,
}

impl PluginLanguage {
    fn files(self) -> &'static [TemplateFile] {
        match self {
            Self::Rust => &files::RUST,
            Self::C => &files::C,
            Self::Cpp => &files::CPP,
            Self::Zig => &files::ZIG,
            Self::Js => &files::JS,
            Self::Ts => &files::TS,
            Self::Python => &files::PYTHON,
            Self::Go => &files::GO,
            Self::AssemblyScript => &files::ASSEMBLYSCRIPT,
            Self::Other => &files::OTHER,
        }
    }

    /// Files of a kit that several languages have in common.
    fn kit(self) -> &'static [TemplateFile] {
        match self {
            Self::C | Self::Cpp | Self::Zig => &files::SDK_C,
            _ => &[],
        }
    }

    /// Main source file of the template.
    fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::C => "filter.c",
            Self::Cpp => "filter.cpp",
            Self::Zig => "filter.zig",
            Self::Js => "filter.js",
            Self::Ts | Self::AssemblyScript => "filter.ts",
            Self::Python => "app.py",
            Self::Go => "main.go",
            Self::Other => "filter.wat",
        }
    }
}

/// Files that the templates of all languages have in common.
const COMMON: [TemplateFile; 5] = [
    ("README.md", include_bytes!("new/README.md")),
    ("trommel.toml", include_bytes!("new/trommel.toml")),
    ("events.ndjson", include_bytes!("new/events.ndjson")),
    ("tests/cases.ndjson", include_bytes!("new/cases.ndjson")),
    (".gitignore", include_bytes!("new/gitignore")),
];
const KEY: &[u8] = include_bytes!("new/key.toml");

impl NewPlugin {
    pub fn execute(self) -> ExitCode {
        self.make().err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(false))
    }

    fn make(&self) -> Result<(), CommandRefusal> {
        let name = name(&self.folder)?;
        let folder = self.folder.display();
        let failed = |path: &Path, error: io::Error| {
            let message = format!("can't write `{}`: {error}", path.display());
            CommandRefusal::new(RefusalKind::Precondition, "unwritable", message).param("NAME")
        };
        fs::create_dir(&self.folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let message = format!("`{folder}` is there already");
                CommandRefusal::new(RefusalKind::Validation, "exists", message)
                    .param("NAME")
                    .hint("choose another name")
            }
            _ => failed(&self.folder, error),
        })?;
        let key = format!("keys/{name}.toml");
        let all = self.lang.files().iter().chain(self.lang.kit()).chain(&COMMON).copied();
        for (place, content) in all.chain([(key.as_str(), KEY)]) {
            let path = self.folder.join(place);
            let content = self.filled(place, content, &name);
            write(&path, &content, place == "build").map_err(|error| failed(&path, error))?;
        }
        let next = format!("{folder}/build && trommel plugin test {folder}");
        let said = writeln!(
            terminal::stdout(),
            "`{folder}` is made; next: {next}\nits source is `{folder}/{}`",
            self.lang.source()
        );
        said.map_err(|error| failed(Path::new("standard output"), error))
    }

    /// Fills in the plugin's name. Files of the SDK and the contract stay as they are.
    fn filled(&self, place: &str, content: &[u8], name: &str) -> Vec<u8> {
        let is_ours = place.starts_with("sdk/") || place == "wit/filter.wit";
        let Some(text) = std::str::from_utf8(content).ok().filter(|_| !is_ours) else { return content.to_vec() };
        let text = match (place, self.lang) {
            // Only Python keeps the raised limit: CPython leaks what it returns, and with more
            // memory its instances are replaced less often.
            ("trommel.toml", lang) if lang != PluginLanguage::Python => text.replace(MEMORY, ""),
            ("README.md", lang) => text.replace("{source}", lang.source()),
            _ => text.to_owned(),
        };
        let text = text.replace(NAME, name).replace(&NAME.replace('-', "_"), &name.replace('-', "_"));
        text.replace("MyFilter", &type_name(name)).into_bytes()
    }
}

/// Part of `trommel.toml` that gives an interpreter, and its compiler, more memory.
const MEMORY: &str =
    "[[filter]]\nname = \"my-filter\"\nlimits = { memory = \"256MiB\", compile_memory = \"1GiB\" }\n\n";

/// Checks the plugin's name, which appears in file names, in WIT and as an identifier of every
/// language.
fn name(folder: &Path) -> Result<String, CommandRefusal> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if name.split('-').all(is_word) && name.len() <= 64 {
        return Ok(name);
    }
    let message = format!("`{name}` can't be a plugin's name");
    let hint = "names are lower-case words of letters and digits with `-` in between, each with a letter first, such as \
                `large-orders`";
    Err(CommandRefusal::new(RefusalKind::Validation, "bad_name", message).param("NAME").hint(hint))
}

/// Converts a name to a type's: `LargeOrders` for `large-orders`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        format!("{}{rest}", first.to_ascii_uppercase())
    };
    name.split('-').map(capital).collect()
}

fn write(path: &Path, content: &[u8], is_script: bool) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mode = if is_script { 0o755 } else { 0o644 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "target", "__pycache__", "node_modules"].contains(&name) {
                walk(&path, found);
            } else if path.is_file() && !["README.md", "Cargo.lock"].contains(&name) {
                found.insert(path);
            }
        }
    }

    /// A file added to the kit must also come with new plugins.
    #[test]
    fn nothing_of_a_template_or_a_kit_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (language, template, kit) in [
            (PluginLanguage::Rust, "rust", "sdk-rust"),
            (PluginLanguage::C, "c", "sdk-c"),
            (PluginLanguage::Cpp, "cpp", "sdk-c"),
            (PluginLanguage::Zig, "zig", "sdk-c"),
            (PluginLanguage::Js, "js", "sdk-js"),
            (PluginLanguage::Ts, "ts", "sdk-js"),
            (PluginLanguage::Python, "python", "sdk-python/src"),
            (PluginLanguage::Go, "go", "sdk-go"),
            (PluginLanguage::AssemblyScript, "assemblyscript", "sdk-assemblyscript"),
        ] {
            let (template, kit) =
                (root.join("examples/languages/templates").join(template), root.join("plugins").join(kit));
            let (mut files, mut sdk) = (BTreeSet::new(), BTreeSet::new());
            walk(&template, &mut files);
            walk(&kit, &mut sdk);
            let files = files.iter().map(|path| path.strip_prefix(&template).unwrap().to_owned());
            let sdk = sdk.iter().map(|path| Path::new("sdk").join(path.strip_prefix(&kit).unwrap()));
            let expected: BTreeSet<_> = files.chain(sdk).collect();
            let given: BTreeSet<_> =
                language.files().iter().chain(language.kit()).map(|(place, _)| PathBuf::from(place)).collect();
            assert_eq!(given, expected, "{language:?}");
        }
    }

    #[test]
    fn the_name_is_put_in_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        for language in PluginLanguage::value_variants() {
            let path = folder.path().join(format!("large-{language:?}").to_lowercase());
            NewPlugin { folder: path.clone(), lang: *language }.make().unwrap();
            let mut files = BTreeSet::new();
            walk(&path, &mut files);
            for file in files.iter().filter(|file| !file.starts_with(path.join("sdk"))) {
                let text = fs::read_to_string(file).unwrap();
                assert!(
                    !text.contains("my-filter") && !text.contains("MyFilter") && !text.contains("my_filter"),
                    "{file:?}"
                );
            }
            assert_eq!(
                fs::read_to_string(path.join("trommel.toml")).unwrap().contains("memory"),
                *language == PluginLanguage::Python
            );
        }
    }

    #[test]
    fn names_that_mean_something_else_somewhere_are_refused() {
        for bad in ["Large", "large_orders", "1st", "a--b", "-a", "a-", "a b", "ä", ".", "a-1"] {
            assert!(name(Path::new(bad)).is_err(), "{bad}");
        }
        assert_eq!(name(Path::new("plugins/large-orders2")).unwrap(), "large-orders2");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let again = NewPlugin { folder: folder.path().join("a"), lang: PluginLanguage::C };
        again.make().unwrap();
        fs::write(again.folder.join("filter.c"), "mine").unwrap();
        assert_eq!(again.make().unwrap_err().subtype, "exists");
        assert_eq!(fs::read_to_string(again.folder.join("filter.c")).unwrap(), "mine");
    }
}
