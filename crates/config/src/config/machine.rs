//! The memory of the machine, or of the container that the router runs in.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of memory that this process can have at most: those of the machine, or less if a control
/// group limits it. `None` if the system does not report it.
pub fn memory() -> Option<u64> {
    memory_below(Path::new("/"))
}

/// [`memory`], with the system's files below `root`.
fn memory_below(root: &Path) -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    let kilobytes = |text: &str| text.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(first_number);
    let machine = read(Path::new("proc/meminfo")).and_then(|text| kilobytes(&text)).map(|kilobytes| kilobytes << 10);
    let groups = read(Path::new("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(limit_files).flatten().filter_map(|file| first_number(&read(&file)?));
    limits.chain(machine).min()
}

/// The limit files of a group and its ancestors, from a line of `/proc/self/cgroup`.
fn limit_files(line: &str) -> Option<impl Iterator<Item = PathBuf>> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    let (folder, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let group = PathBuf::from(group.trim_start_matches('/'));
    let groups: Vec<_> = group.ancestors().map(|group| Path::new(folder).join(group).join(file)).collect();
    Some(groups.into_iter())
}

/// The first number; `None` for `max`, which means unlimited.
fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        memory_below(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        2097152 kB\nMemFree:  1 kB\n");

    #[test]
    fn the_tightest_limit_counts() {
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[MEMINFO]), Some(2 << 30));
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let of = |name: &'static str, text: &'static str| (name, text);
        let (inner, outer) = ("sys/fs/cgroup/a/b/memory.max", "sys/fs/cgroup/a/memory.max");
        assert_eq!(machine(&[MEMINFO, group, of(inner, "max\n")]), Some(2 << 30));
        assert_eq!(machine(&[MEMINFO, group, of(inner, "max\n"), of(outer, "1073741824\n")]), Some(1 << 30));
        assert_eq!(machine(&[MEMINFO, group, of(inner, "4096\n"), of(outer, "1073741824\n")]), Some(4096));
        // In a container the group is the visible root.
        let seen = ("proc/self/cgroup", "0::/\n");
        assert_eq!(machine(&[MEMINFO, seen, of("sys/fs/cgroup/memory.max", "8192\n")]), Some(8192));
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_as_well() {
        let group = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n");
        let limit = ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1048576\n");
        let without = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[MEMINFO, group, limit, without]), Some(1 << 20));
        assert_eq!(machine(&[MEMINFO, group, without]), Some(2 << 30));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(memory().is_none_or(|bytes| bytes > 64 << 20));
    }
}
