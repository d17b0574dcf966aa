//! What runs in the foreground of a terminal, as the kernel has it: there where no program tells.

use std::path::PathBuf;

use procfs::process::Process;

/// Longest directory that is shown: what a listing takes is reckoned before this is known.
const CWD_BYTES_MAX: usize = 512;

/// The leader of a terminal's foreground process group.
pub(super) struct Foreground {
    /// Its process id.
    pub(super) pid: u32,
    /// Its program's name, as the kernel cuts it: 15 bytes.
    pub(super) program: String,
    /// Where it is, if that may be known.
    pub(super) cwd: Option<PathBuf>,
}

impl Foreground {
    /// That of the terminal that a process is on. Reads a few files of `/proc`.
    pub(super) fn of(child: u32) -> Option<Self> {
        let group = Process::new(i32::try_from(child).ok()?).ok()?.stat().ok()?.tpgid;
        let leader = Process::new(Some(group).filter(|group| *group > 0)?).ok()?;
        let program = leader.stat().ok()?.comm;
        let cwd = leader.cwd().ok().filter(|cwd| cwd.as_os_str().len() <= CWD_BYTES_MAX);
        Some(Self { pid: group as u32, program, cwd })
    }
}
