//! Discovery of files in a router's folder.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::{FolderTexts, UnknownName, UnreadableFile, read_text, suggest};

/// The files of a router's folder that are text: those on the disk, or what a program gives in
/// their place.
#[derive(Clone)]
pub(crate) struct FolderFiles {
    pub(crate) dir: PathBuf,
    pub(crate) texts: Option<Arc<FolderTexts>>,
}

impl FolderFiles {
    /// Lists the files in `folder` with this extension, as [`files`].
    pub(crate) fn list(&self, folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
        let Some((texts, folder)) = self.inside(folder) else { return files(folder, extension) };
        let of_folder = texts.keys().filter(|path| path.parent() == Some(folder));
        let fits = of_folder.filter(|path| path.extension().is_some_and(|found| found == extension));
        Ok(fits.filter_map(|path| path.file_name().map(PathBuf::from)).collect())
    }

    /// Reads a file, as [`read_text`].
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, UnreadableFile> {
        let Some((texts, path)) = self.inside(path) else { return read_text(path, limit) };
        let text = texts.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let size = text.len() as u64;
        if size > limit {
            return Err(UnreadableFile::TooLarge { size, limit });
        }
        Ok(text.trim_start_matches('\u{feff}').as_bytes().to_vec())
    }

    /// Returns the texts and the path among them, for what lies in the folder.
    fn inside<'a>(&'a self, path: &'a Path) -> Option<(&'a FolderTexts, &'a Path)> {
        Some((self.texts.as_deref()?, path.strip_prefix(&self.dir).ok()?))
    }
}

/// Entries of a folder that [`files`] passes over though they look as if they were meant: files
/// whose extension is written otherwise or one of `others`, and folders that hold such files.
pub(crate) fn passed_over(folder: &Path, extension: &str, others: &[&str]) -> Vec<PathBuf> {
    // A folder that can't be listed is reported where its files are read.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut passed: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                return false;
            }
            if path.is_dir() {
                return files(path, extension).is_ok_and(|found| !found.is_empty());
            }
            let found = path.extension().and_then(|found| found.to_str()).unwrap_or_default();
            let is_meant = |meant: &str| found.eq_ignore_ascii_case(meant);
            found != extension && (is_meant(extension) || others.iter().any(|other| is_meant(other)))
        })
        .collect();
    passed.sort_unstable();
    passed
}

/// The names of the files in `folder` with this extension, sorted; none if the folder does not
/// exist. Hidden files are skipped, including those that editors and Kubernetes put beside the real
/// ones.
pub(crate) fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry?.file_name());
        let hidden = name.as_os_str().as_encoded_bytes().starts_with(b".");
        if !hidden && name.extension().is_some_and(|found| found == extension) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The available components.
pub(crate) struct AvailablePlugins {
    /// The folder as written in the configuration.
    folder: PathBuf,
    names: BTreeSet<String>,
}

impl AvailablePlugins {
    pub(crate) fn list(dir: &Path, folder: &Path) -> io::Result<Self> {
        let names = files(folder, "wasm")?;
        let stems = names.iter().filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned()));
        let shown = folder.strip_prefix(dir).unwrap_or(folder);
        Ok(Self { folder: shown.to_owned(), names: stems.collect() })
    }

    /// Returns whether the components are this router's alone: those of a folder elsewhere may be
    /// there for others.
    pub(crate) fn are_own(&self) -> bool {
        self.folder.is_relative() && !self.folder.starts_with("..")
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The file of a component, as the configuration writes its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.wasm"))
    }

    /// Checks that the filter's component exists.
    pub(crate) fn find(&self, filter: &str) -> Result<(), UnknownName> {
        if self.names.contains(filter) {
            return Ok(());
        }
        let folder = self.folder.display();
        let message = format!("filter `{filter}` has no component: there is no `{folder}/{filter}.wasm`");
        let introduction = format!("components in `{folder}/`");
        let nothing = format!("there is no component in `{folder}/`");
        Err(UnknownName {
            message,
            hint: suggest(filter, self.names.iter().map(String::as_str), &introduction, &nothing),
        })
    }
}
