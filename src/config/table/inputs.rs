//! Files that must be there already.

use std::path::{Path, PathBuf};

use super::{Place, Table};

impl Table<'_> {
    /// A file that must be there already.
    pub(in crate::config) fn input_path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = self.path(name)?;
        self.check_input(&path, self.place_of(name));
        Some(path)
    }

    /// Several of them; one alone stands for a list of one.
    pub(in crate::config) fn input_paths(&mut self, name: &'static str) -> Option<Vec<PathBuf>> {
        let texts = self.texts(name)?;
        let path = |text: super::At<String>| {
            let path = self.document.dir.join(text.value);
            self.check_input(&path, text.place);
            path
        };
        Some(texts.into_iter().map(path).collect())
    }

    fn check_input(&self, path: &Path, place: Place) {
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                self.error(place, format!("`{}` is a folder, not a file", path.display()), None);
            }
            Ok(_) => {}
            Err(error) => self.error(place, format!("can't read `{}`: {error}", path.display()), None),
        }
    }
}
