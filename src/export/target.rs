//! Where an export goes: a file that is there only once it is whole, a device or pipe that is written as it is, or stdout.
//!
//! ```text
//!   create: DIR/.kaval-export-XXXXXX ─► written ─► finish: synced, then renamed to DIR/FILE
//!                                         └─► dropped: removed
//! ```
//!
//! **Invariant.** Under the final name stands what stood there before, or the whole export; however it ends.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// Written at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// Of a new file, before the user's mask.
const MODE: u32 = 0o666;

/// Where an export cannot go.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} cannot be written")]
pub struct TargetError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// See the module's head.
pub struct Target(Kind);

enum Kind {
    /// To be renamed to the path.
    File(BufWriter<NamedTempFile>, PathBuf),
    /// A device, a pipe.
    Special(BufWriter<File>, PathBuf),
    Stdout(BufWriter<io::Stdout>),
}

impl Target {
    /// Stdout.
    pub fn stdout() -> Self {
        Self(Kind::Stdout(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())))
    }

    /// Whether what goes there is written to a file beside it first, which is to be removed whatever happens.
    pub fn is_file_at(path: &Path) -> bool {
        fs::metadata(path).map_or(true, |there| there.is_file())
    }

    /// A file, in place of one that is there; of a link the file that it leads to.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn create(path: &Path) -> Result<Self, TargetError> {
        Self::open(path).map_err(|source| TargetError { path: path.to_owned(), source })
    }

    fn open(path: &Path) -> io::Result<Self> {
        let there = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                let file = OpenOptions::new().write(true).open(path)?;
                return Ok(Self(Kind::Special(BufWriter::with_capacity(BUFFER_BYTES, file), path.to_owned())));
            }
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there.is_some() {
            // What may not be written may not be replaced either.
            OpenOptions::new().write(true).open(path)?;
        }
        let path = if there.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file =
            tempfile::Builder::new().prefix(".kaval-export-").permissions(Permissions::from_mode(MODE)).tempfile_in(dir)?;
        if let Some(there) = there {
            file.as_file().set_permissions(there.permissions())?;
        }
        Ok(Self(Kind::File(BufWriter::with_capacity(BUFFER_BYTES, file), path)))
    }

    /// What it is called.
    pub fn name(&self) -> String {
        match &self.0 {
            Kind::File(_, path) | Kind::Special(_, path) => path.display().to_string(),
            Kind::Stdout(_) => "stdout".to_owned(),
        }
    }

    /// All is written.
    ///
    /// # Errors
    /// The system's; a file is not there then.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::File(writer, path) => {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(path)?;
                Ok(())
            }
            Kind::Special(mut writer, _) => writer.flush(),
            Kind::Stdout(mut writer) => writer.flush(),
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::File(writer, _) => writer.write(bytes),
            Kind::Special(writer, _) => writer.write(bytes),
            Kind::Stdout(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::File(writer, _) => writer.flush(),
            Kind::Special(writer, _) => writer.flush(),
            Kind::Stdout(writer) => writer.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_there_once_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for content in ["first", "second"] {
            let before = fs::read_to_string(&path).ok();
            let mut target = Target::create(&path).unwrap();
            target.write_all(content.as_bytes()).unwrap();
            target.flush().unwrap();
            assert_eq!(fs::read_to_string(&path).ok(), before);
            target.finish().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn of_one_that_is_given_up_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "before").unwrap();
        let mut target = Target::create(&path).unwrap();
        target.write_all(&vec![b'x'; 3 * BUFFER_BYTES]).unwrap();
        drop(target);
        assert_eq!((names(dir.path()), fs::read_to_string(&path).unwrap()), (vec!["f".to_owned()], "before".to_owned()));
    }

    #[test]
    fn a_link_stays_one_and_a_files_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o646)).unwrap();
        symlink(&file, &link).unwrap();
        let mut target = Target::create(&link).unwrap();
        target.write_all(b"x").unwrap();
        target.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o646);
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let mut target = Target::create(Path::new("/dev/null")).unwrap();
        assert!(!Target::is_file_at(Path::new("/dev/null")));
        target.write_all(b"x").unwrap();
        target.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_directory_and_a_place_that_is_not_there_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("no/file")] {
            assert!(Target::create(&path).is_err());
        }
    }
}
