//! What the disk itself takes for a sync, to hold a store's commits against.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Instant;

use super::micros::Micros;

/// Syncs that are timed.
const SYNCS: usize = 100;
/// Bytes before each of them.
const BYTES: usize = 4 << 10;

/// Times `fdatasync`s of 4 KiB appended to a file of its own in a folder.
///
/// # Errors
/// As the disk says.
pub(crate) fn syncs(folder: &Path) -> io::Result<Micros> {
    let path = folder.join("sync-probe");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut took = Micros::default();
    for _ in 0..SYNCS {
        file.write_all(&[7; BYTES])?;
        let began = Instant::now();
        file.sync_data()?;
        took.note(began.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sync_is_timed_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let took = syncs(folder.path()).unwrap();
        assert_eq!(took.count(), u64::try_from(SYNCS).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
