//! Files that a sink has written, for reading them.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::rotation;
use crate::config::{PathPart, PathTemplate};

/// Returns a file of a sink with those that were rotated away from it, oldest first. The file
/// itself may be missing.
///
/// # Errors
/// Returns an error if its folder can't be read.
pub fn written_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = match rotation::rotated_files(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        rotated => rotated?,
    };
    files.extend(path.is_file().then(|| path.to_owned()));
    Ok(files)
}

/// Returns the files that match a template, with any values in its placeholders, without those that
/// were rotated away.
///
/// # Errors
/// Returns an error if a folder can't be read.
pub fn partitions(template: &PathTemplate) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![template.root.clone()];
    for (depth, name) in template.names.iter().enumerate() {
        let is_file = depth + 1 == template.names.len();
        let mut below = Vec::new();
        for folder in found {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                // The sink does not follow links when it writes, so none is followed here.
                let kind = entry.file_type()?;
                let is_such = if is_file { kind.is_file() } else { kind.is_dir() };
                let file_name = entry.file_name();
                let is_named = file_name.to_str().is_some_and(|text| fits(name, text));
                if is_such && is_named && !(is_file && file_name.to_str().is_some_and(rotation::is_rotated)) {
                    below.push(entry.path());
                }
            }
        }
        found = below;
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns whether a name may have been made of these parts.
fn fits(parts: &[PathPart], name: &str) -> bool {
    let literal = |part: Option<&PathPart>| match part {
        Some(PathPart::Literal(text)) => text.clone(),
        _ => String::new(),
    };
    if let [PathPart::Literal(text)] = parts {
        return name == text;
    }
    let (start, end) = (literal(parts.first()), literal(parts.last()));
    name.len() >= start.len() + end.len() && name.starts_with(&start) && name.ends_with(&end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_template_are_found_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "k-a/x.ndjson",
            "k-b/x.ndjson",
            "k-b/x.20240501T100000.123456789Z.ndjson",
            "k-b/x.txt",
            "other/x.ndjson",
            "k-c/deep/x.ndjson",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let names = vec![
            vec![PathPart::Literal("k-".into()), PathPart::Key],
            vec![PathPart::Date, PathPart::Literal(".ndjson".into())],
        ];
        let template = PathTemplate { root: folder.path().to_owned(), names };
        let found: Vec<_> = partitions(&template).unwrap();
        let expected = ["k-a/x.ndjson", "k-b/x.ndjson"].map(|file| folder.path().join(file));
        assert_eq!(found, expected);
        let written = written_files(&expected[1]).unwrap();
        assert_eq!(written, [folder.path().join("k-b/x.20240501T100000.123456789Z.ndjson"), expected[1].clone()]);
        assert!(written_files(&folder.path().join("none/x.ndjson")).unwrap().is_empty());
    }
}
