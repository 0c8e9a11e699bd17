//! Sources of a router's components, and the detection of their changes.

use std::{
    fs,
    path::{self, Path, PathBuf},
    process::Stdio,
    time::{Instant, SystemTime},
};

use tokio::process::Command;

use super::say;
use crate::ownership;

/// Folders with generated content.
const MADE: [&str; 5] = ["target", "node_modules", "build-js", "__pycache__", "sdk"];

/// Plugins of a router that have a `build` script.
pub(super) struct PluginSources {
    dir: PathBuf,
    plugins: Vec<PluginSource>,
    settings: SourceStamp,
}

struct PluginSource {
    folder: PathBuf,
    stamp: SourceStamp,
    /// True if a build is due; at first for all, since nothing may be built yet.
    is_changed: bool,
}

/// Time of the newest modification among some files, and their number.
type SourceStamp = (Option<SystemTime>, usize);

/// Changes since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SourceChanges {
    /// A source of a component has changed.
    pub(super) built: bool,
    /// A file that a router reads only at its start has changed.
    pub(super) settings: bool,
}

impl PluginSources {
    pub(super) fn find(dir: &Path) -> Self {
        let inner = fs::read_dir(dir.join("plugins")).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut folders: Vec<_> = std::iter::once(dir.to_owned()).chain(inner).collect();
        folders.retain(|folder| folder.join("build").is_file());
        folders.sort();
        let plugin = |folder: PathBuf| PluginSource { stamp: stamp(&folder), folder, is_changed: true };
        Self { dir: dir.to_owned(), plugins: folders.into_iter().map(plugin).collect(), settings: settings(dir) }
    }

    /// Every folder that has to be watched.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders =
            vec![self.dir.clone(), self.dir.join("keys"), self.dir.join("schemas"), self.dir.join("plugins")];
        for plugin in &self.plugins {
            walk(&plugin.folder, &mut |path, is_folder| {
                if is_folder {
                    folders.push(path.to_owned());
                }
            });
        }
        folders.sort();
        folders.dedup();
        folders
    }

    pub(super) fn changed(&mut self) -> SourceChanges {
        let mut changed = SourceChanges::default();
        for plugin in &mut self.plugins {
            let now = stamp(&plugin.folder);
            if now != plugin.stamp {
                plugin.is_changed = true;
                changed.built = true;
            }
        }
        let now = settings(&self.dir);
        changed.settings = now != self.settings;
        self.settings = now;
        changed
    }

    /// Runs the `build` scripts of changed plugins. A failed build leaves the previous component in
    /// place.
    pub(super) async fn build_changed(&mut self) {
        for plugin in self.plugins.iter_mut().filter(|plugin| plugin.is_changed) {
            plugin.is_changed = false;
            let began = stamp(&plugin.folder);
            build(&plugin.folder).await;
            plugin.stamp = stamp(&plugin.folder);
            if plugin.stamp != began {
                // A source was saved meanwhile, or the build writes beside its sources: one more
                // build, never a loop.
                build(&plugin.folder).await;
                plugin.stamp = stamp(&plugin.folder);
            }
        }
    }
}

async fn build(folder: &Path) {
    let shown = folder.display();
    let began = Instant::now();
    // The script runs in another folder, where a relative path would be wrong.
    let script = path::absolute(folder.join("build")).unwrap_or_else(|_| folder.join("build"));
    if let Err((path, why)) = check(folder, &script) {
        return say(&format!("`{shown}/build` is not run, for `{}` is not ours alone: {why}", path.display()));
    }
    let ended = Command::new(script).current_dir(folder).stdin(Stdio::null()).status().await;
    match ended {
        Ok(status) if status.success() => say(&format!("built `{shown}` in {:.1} s", began.elapsed().as_secs_f64())),
        Ok(status) => say(&format!("`{shown}/build` failed ({status}): what was built before stays")),
        Err(error) => say(&format!("can't run `{shown}/build`: {error}")),
    }
}

/// Checks that no other user can have written the script: neither the file, nor what it links to,
/// nor its folder.
fn check<'a>(folder: &'a Path, script: &'a Path) -> Result<(), (&'a Path, String)> {
    let all = [(folder, fs::metadata(folder)), (script, fs::metadata(script))];
    for (path, found) in all {
        let found = found.map_err(|error| (path, error.to_string()))?;
        ownership::check(&found).map_err(|foreign| (path, foreign.to_string()))?;
    }
    Ok(())
}

/// State of `trommel.toml` and the files that lines are read from.
fn settings(dir: &Path) -> SourceStamp {
    let mut found = (None, 0);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "trommel.toml" || (name.ends_with(".ndjson") && name != "dead-letters.ndjson") {
            count(&mut found, &path);
        }
    }
    found
}

fn stamp(folder: &Path) -> SourceStamp {
    let mut found = (None, 0);
    walk(folder, &mut |path, is_folder| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_made = [".wasm", ".tmp", ".log", ".lock", ".ndjson"].iter().any(|end| name.ends_with(end))
            || ["trommel.toml", "package-lock.json", "go.sum"].contains(&&*name);
        if !is_folder && !is_made {
            count(&mut found, path);
        }
    });
    found
}

fn count((newest, number): &mut SourceStamp, path: &Path) {
    *newest = (*newest).max(fs::metadata(path).and_then(|data| data.modified()).ok());
    *number += 1;
}

/// Visits every file and folder below, except generated and hidden ones.
fn walk(folder: &Path, each: &mut impl FnMut(&Path, bool)) {
    each(folder, true);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || MADE.contains(&&*name) {
            continue;
        }
        // Links are not followed: one could lead in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if name != "keys" && name != "schemas" {
                walk(&path, each);
            }
        } else {
            each(&path, false);
        }
    }
}
