//! Machine code of single functions, shared by components with the same interpreter.
//!
//! Components of one interpreter differ in their data, and hardly in their code. A file holds the
//! functions of all components whose largest code section is the same. It is as trusted as all else
//! in the folder of compiled code; what is torn or foreign is not read.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};

use super::cache::CacheFolder;
use crate::poison::ignore_poison;

/// Smallest code section worth sharing, in bytes: less is compiled in half a second.
const WORTH_SHARING: usize = 512 << 10;
/// Most bytes of a file. CPython has 30 MB.
const MOST_OF_ONE: usize = 64 << 20;
/// Most bytes of all files together.
const MOST_OF_ALL: u64 = 256 << 20;
/// Bytes of a SHA-256, which is what functions are found by, and what ends a file.
const DIGEST: usize = 32;
/// Bytes before a function's code: its key and its length.
const HEAD: usize = DIGEST + 4;

type CompiledFunctions = HashMap<[u8; DIGEST], Vec<u8>>;

/// The functions of a file, and those that were compiled since.
#[derive(Debug)]
pub(super) struct FunctionStore {
    path: PathBuf,
    known: CompiledFunctions,
    added: Mutex<CompiledFunctions>,
}

impl FunctionStore {
    /// Opens the file for a component. `None` if the component's code is not worth sharing, or
    /// others may write to the files.
    pub(super) fn open(folder: &Path, component: &[u8], version: u64) -> Option<Self> {
        let code = largest_code(component).filter(|code| code.len() >= WORTH_SHARING)?;
        let folder = CacheFolder::open(&folder.join("functions")).ok()?;
        Some(Self::read(folder.path().join(format!("{}-{version:016x}", super::digest(code)))))
    }

    fn read(path: PathBuf) -> Self {
        let is_small = fs::metadata(&path).is_ok_and(|found| found.len() <= MOST_OF_ONE as u64);
        let known = if is_small { fs::read(&path).ok().as_deref().and_then(parse) } else { None };
        Self { path, known: known.unwrap_or_default(), added: Mutex::default() }
    }

    /// Writes the file if there is more to be kept, and removes the files used least recently, if
    /// there are too many.
    pub(super) fn save(&self) -> io::Result<()> {
        let added = self.added();
        if added.is_empty() {
            return File::options().append(true).open(&self.path)?.set_modified(SystemTime::now());
        }
        let mut text = Vec::new();
        // What is new first, for it is what the next build has, too.
        for (key, code) in added.iter().chain(&self.known) {
            let Ok(length) = u32::try_from(code.len()) else { continue };
            if text.len() + HEAD + code.len() + DIGEST <= MOST_OF_ONE {
                text.extend(key);
                text.extend(length.to_le_bytes());
                text.extend(code);
            }
        }
        let digest = Sha256::digest(&text);
        text.extend(digest);
        // Beside it, and then in its place: another process may read it meanwhile.
        let beside = self.path.with_extension(format!("{:016x}", fastrand::u64(..)));
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| evict(folder, MOST_OF_ALL))
    }

    fn added(&self) -> MutexGuard<'_, CompiledFunctions> {
        ignore_poison(self.added.lock())
    }
}

impl wasmtime::CacheStore for FunctionStore {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.known.get(key).map(|code| code.into()).or_else(|| self.added().get(key).cloned().map(Cow::Owned))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let Ok(key) = key.try_into() else { return false };
        self.added().insert(key, value);
        true
    }
}

/// Returns the content of the largest code section, of the modules inside too.
fn largest_code(component: &[u8]) -> Option<&[u8]> {
    let payloads = Parser::new(0).parse_all(component).map_while(Result::ok);
    let codes = payloads.filter_map(|payload| match payload {
        Payload::CodeSectionStart { unchecked_range: std::ops::Range { start, end }, .. } => {
            component.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        }
        _ => None,
    });
    codes.max_by_key(|code| code.len())
}

/// Reads the content of a file. `None` if it is not whole.
fn parse(file: &[u8]) -> Option<CompiledFunctions> {
    let (mut text, digest) = file.split_last_chunk::<DIGEST>()?;
    if *digest != *Sha256::digest(text) {
        return None;
    }
    let mut functions = HashMap::new();
    while !text.is_empty() {
        let (key, rest) = text.split_first_chunk::<DIGEST>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (code, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        functions.insert(*key, code.to_vec());
        text = rest;
    }
    Some(functions)
}

/// Removes the files that were not used for the longest time, until the rest is small enough.
fn evict(folder: &Path, most: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have removed it.
        let Ok(found) = entry.metadata() else { continue };
        files.push((found.modified()?, found.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if total <= most {
            break;
        }
        fs::remove_file(path)?;
        total -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

    use wasmtime::{Engine, component::Component};

    use super::*;
    use crate::filter::engine::{CodeQuality, config};

    fn component(data: &str) -> Vec<u8> {
        let function = |number: usize| format!("(func (export \"f{number}\") (result i32) (i32.const {number}))");
        let functions: String = (0..20).map(function).collect();
        let module = format!("(core module (memory 1) (data (i32.const 0) \"{data}\") {functions})");
        wat::parse_str(format!("(component {module})")).unwrap()
    }

    /// Compiles with the store in a file, and returns how many functions were not in it.
    fn compile(path: &Path, component: &[u8]) -> usize {
        let store = Arc::new(FunctionStore::read(path.to_owned()));
        let mut config = config(CodeQuality::Optimised, None);
        let shared: Arc<dyn wasmtime::CacheStore> = store.clone();
        config.enable_incremental_compilation(shared).unwrap();
        Component::new(&Engine::new(&config).unwrap(), component).unwrap();
        let added = store.added().len();
        store.save().unwrap();
        added
    }

    #[test]
    fn components_that_differ_in_data_share_their_functions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(largest_code(&component("one")), largest_code(&component("other")));
        assert!(compile(&path, &component("one")) >= 20);
        assert_eq!(compile(&path, &component("other")), 0);
    }

    #[test]
    fn a_torn_or_foreign_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let all = compile(&path, &component("one"));
        let file = fs::read(&path).unwrap();
        let mut changed = file.clone();
        changed[HEAD + 5] ^= 1;
        for wrong in
            [&file[..file.len() - 7], &file[..10], &changed, b"", b"something else that is longer than a digest"]
        {
            fs::write(&path, wrong).unwrap();
            assert_eq!(compile(&path, &component("one")), all);
            assert_eq!(compile(&path, &component("one")), 0);
        }
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        for (age, name) in [(3, "oldest"), (1, "newest"), (2, "old")] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        evict(dir.path(), 200).unwrap();
        let names = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert!(names().len() == 2 && !names().contains(&"oldest".into()), "{:?}", names());
        evict(dir.path(), 100).unwrap();
        assert_eq!(names(), ["newest"]);
    }

    #[test]
    fn files_that_others_may_write_to_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let nops = "nop ".repeat(WORTH_SHARING);
        let large = wat::parse_str(format!("(component (core module (func {nops})))")).unwrap();
        assert!(FunctionStore::open(dir.path(), &large, 0).is_some());
        fs::set_permissions(dir.path().join("functions"), Permissions::from_mode(0o777)).unwrap();
        assert!(FunctionStore::open(dir.path(), &large, 0).is_none());
    }

    #[test]
    fn little_code_is_not_shared() {
        assert!(FunctionStore::open(Path::new("/nowhere"), &component("one"), 0).is_none());
    }
}
