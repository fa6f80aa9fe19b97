//! One process at a time serves a file, and says which it is.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{StoreError, unavailable};

/// The file that says which process serves a database: locked for as long as it does.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path, holder: &str) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
        let mut file =
            open.map_err(|error| unavailable(&format!("{}: {error}", name.display())))?;
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        if rustix::fs::flock(&file, exclusive).is_err() {
            let mut other = String::new();
            file.read_to_string(&mut other).map_err(|error| unavailable(&error))?;
            let (path, other) = (path.display(), other.trim());
            return Err(StoreError::Conflict(format!("{path} is in use by {other}")));
        }
        let note = file.set_len(0).and_then(|()| file.rewind());
        note.and_then(|()| writeln!(file, "process {}, {holder}", std::process::id()))
            .map_err(|error| unavailable(&error))?;
        Ok(Self { _file: file })
    }
}
