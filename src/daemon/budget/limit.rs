//! How much memory the supervisor may use: by the configuration, or else by the control group that it is in.
//!
//! **Invariant.** A group's limit is compared with what the supervisor itself uses, never with what is used in the group: its
//! terminals' children may be in it as well, and what they use is no reason to refuse anybody anything.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// How much, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bytes.
    pub(crate) bytes: u64,
    /// `memory.limit`, or the group's file.
    pub(crate) source: String,
}

/// The limit in force, if there is one.
pub(super) fn find(configured: Option<u64>) -> Option<Limit> {
    let of_config = configured.map(|bytes| Limit { bytes, source: "memory.limit".to_owned() });
    of_config.or_else(|| {
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        of_groups(&cgroup, &mounts)
    })
}

/// The smallest limit of the groups that this process is in, each within the one above it.
fn of_groups(cgroup: &str, mounts: &str) -> Option<Limit> {
    let unified = hierarchy(cgroup, mounts, "0::", "cgroup2", "").map(|dir| (dir, ["memory.high", "memory.max"].as_slice()));
    let old = hierarchy(cgroup, mounts, "memory:", "cgroup", "memory").map(|dir| (dir, ["memory.limit_in_bytes"].as_slice()));
    let limits = unified.into_iter().chain(old).flat_map(|((root, dir), files)| {
        let levels = dir.ancestors().take_while(|level| level.starts_with(&root)).map(Path::to_owned).collect::<Vec<_>>();
        levels.into_iter().flat_map(|level| files.iter().filter_map(move |file| read(&level.join(file))))
    });
    limits.min_by_key(|limit| limit.bytes)
}

/// Where a hierarchy is mounted, and this process's group in it.
fn hierarchy(cgroup: &str, mounts: &str, line: &str, kind: &str, option: &str) -> Option<(PathBuf, PathBuf)> {
    let path = cgroup.lines().find_map(|found| found.split_once(line).map(|(_, path)| path))?;
    let is_wanted = |mount: &&str| {
        let Some((_, end)) = mount.split_once(" - ") else { return false };
        let mut words = end.split(' ');
        words.next() == Some(kind) && (option.is_empty() || words.nth(1).is_some_and(|all| all.split(',').any(|o| o == option)))
    };
    let root = PathBuf::from(mounts.lines().find(is_wanted)?.split(' ').nth(4)?);
    let group = root.join(path.trim_start_matches('/'));
    Some((root, group))
}

/// The limit in a group's file; none if it says `max`, or as much as no machine has.
fn read(file: &Path) -> Option<Limit> {
    let bytes = fs::read_to_string(file).ok()?.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)?;
    Some(Limit { bytes, source: file.display().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "33 24 0:28 / {dir}/old rw - cgroup cgroup rw,memory\n42 24 0:29 / {dir}/new rw shared:9 - cgroup2 cgroup2 rw\n"
        )
    }

    fn world(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts_in_either_hierarchy() {
        let dir = world(&[
            ("new/a/b/memory.max", "max\n"),
            ("new/a/b/memory.high", "9000\n"),
            ("new/a/memory.max", "5000\n"),
            ("new/other/memory.max", "1\n"),
            ("memory.max", "2\n"),
            ("old/c/memory.limit_in_bytes", "7000\n"),
            ("old/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let found = of_groups("4:memory:/c\n0::/a/b\n", &mounts(dir.path())).unwrap();
        assert_eq!((found.bytes, found.source.ends_with("new/a/memory.max")), (5000, true));
        assert_eq!(of_groups("4:memory:/c\n", &mounts(dir.path())).unwrap().bytes, 7000);
        assert_eq!(of_groups("4:memory:/\n0::/\n", &mounts(dir.path())), None);
        assert_eq!(of_groups("", ""), None);
    }

    #[test]
    fn the_configuration_goes_before_any_group() {
        assert_eq!(find(Some(3)), Some(Limit { bytes: 3, source: "memory.limit".to_owned() }));
    }
}
