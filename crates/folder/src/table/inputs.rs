//! Files that must exist at startup.

use std::path::{Path, PathBuf};

use crate::table::{ConfigPlace, TomlTable};

impl TomlTable<'_> {
    /// Reads the path of a file that must exist.
    pub(crate) fn input_path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = self.path(name)?;
        self.check_input(&path, self.place_of(name));
        Some(path)
    }

    /// Reports a missing file.
    pub(crate) fn check_input(&self, path: &Path, place: ConfigPlace) {
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                self.error(place, format!("`{}` is a folder, not a file", path.display()), None);
            }
            Ok(_) => {}
            Err(error) => self.error(place, format!("can't read `{}`: {error}", path.display()), None),
        }
    }
}
