//! What a directory is on: a disk of this machine, memory, or somebody else's; and whether it can be written to. Asks the
//! kernel, decides nothing.

use std::{io, path::Path};

use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

/// What a file system is, as far as that matters to who keeps state there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A disk of this machine, as far as can be told.
    Local,
    /// Memory: it is empty after a reboot.
    Memory,
    /// Another machine's, or a program's: locks, renamings and flushes are as good as theirs.
    Remote(&'static str),
}

/// The numbers that `statfs` gives (linux/magic.h and the file systems' own headers).
const KINDS: [(u32, Kind); 15] = [
    (0x0102_1994, Kind::Memory), // tmpfs
    (0x8584_58f6, Kind::Memory), // ramfs
    (0x0000_6969, Kind::Remote("nfs")),
    (0xff53_4d42, Kind::Remote("cifs")),
    (0xfe53_4d42, Kind::Remote("smb")),
    (0x0000_517b, Kind::Remote("smb")),
    (0x0102_1997, Kind::Remote("9p")),
    (0x6573_5546, Kind::Remote("fuse")),
    (0x00c3_6400, Kind::Remote("ceph")),
    (0x5346_414f, Kind::Remote("afs")),
    (0x6b41_4653, Kind::Remote("afs")),
    (0x7375_7245, Kind::Remote("coda")),
    (0x0bd0_0bd0, Kind::Remote("lustre")),
    (0x0116_1970, Kind::Remote("gfs2")),
    (0x786f_4256, Kind::Remote("vboxsf")),
];

impl Kind {
    /// By the number that the kernel gives.
    fn of(magic: u32) -> Self {
        KINDS.iter().find(|(known, _)| *known == magic).map_or(Self::Local, |(_, kind)| *kind)
    }
}

/// What is known of the file system under a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What it is.
    pub kind: Kind,
    /// Nothing on it can be changed.
    pub read_only: bool,
    /// Bytes that are free for us.
    pub free_bytes: u64,
}

impl Disk {
    /// Asks for that of an existing path.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn under(path: &Path) -> io::Result<Self> {
        let stat = statvfs(path)?;
        Ok(Self {
            kind: Kind::of(statfs(path)?.f_type as u32),
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            free_bytes: stat.f_bavail * stat.f_frsize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        assert_eq!(
            [0x6969, 0xff53_4d42, 0x6573_5546, 0x0102_1994, 0xef53].map(Kind::of),
            [Kind::Remote("nfs"), Kind::Remote("cifs"), Kind::Remote("fuse"), Kind::Memory, Kind::Local,]
        );
        let proc = Disk::under(Path::new("/proc")).unwrap();
        assert_eq!((proc.kind, proc.free_bytes), (Kind::Local, 0));
        assert!(Disk::under(Path::new("/nowhere")).is_err());
    }
}
