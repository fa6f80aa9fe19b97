//! What a power loss may take: any part of the writes that no sync had made safe.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::dice::Dice;

/// Bytes that a disk writes as one: a write can stop between two of these.
const SECTOR: usize = 512;
/// Bytes before each note: kind, offset, length, length of what stood there.
const HEAD: usize = 32;

/// What was done to a store whose process is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Torn {
    /// Writes that no sync had made safe.
    pub(super) unsafe_writes: usize,
    /// Of these, those that are lost or spoiled now.
    pub(super) taken: usize,
}

/// A file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Database,
    /// Its write-ahead log.
    Wal,
    /// The log ahead of it.
    Ahead0,
    Ahead1,
}

impl Part {
    /// By the letter that the shim notes.
    fn of(kind: u64) -> Option<Self> {
        match u8::try_from(kind).ok()? {
            b'd' => Some(Self::Database),
            b'w' => Some(Self::Wal),
            b'0' => Some(Self::Ahead0),
            b'1' => Some(Self::Ahead1),
            _ => None,
        }
    }

    fn open(self, store: &Path) -> io::Result<File> {
        let mut path = store.as_os_str().to_owned();
        path.push(match self {
            Self::Database => "",
            Self::Wal => "-wal",
            Self::Ahead0 => "-ahead0",
            Self::Ahead1 => "-ahead1",
        });
        OpenOptions::new().read(true).write(true).open(PathBuf::from(path))
    }
}

/// A write that no sync has made safe.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    /// In which file of the store.
    part: Part,
    offset: u64,
    /// What stood there; shorter than `new` where the file ended.
    old: Vec<u8>,
    new: Vec<u8>,
}

/// Takes back the unsafe writes of a dead process, then lets some of them happen after all: whole, in
/// part, or garbled, and not in their order, as a disk is free to do.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn tear(undo: &Path, store: &Path, dice: &mut Dice) -> io::Result<Torn> {
    let notes = read(&std::fs::read(undo)?);
    if notes.is_empty() {
        return Ok(Torn::default());
    }
    for note in notes.iter().rev() {
        take_back(&note.part.open(store)?, note)?;
    }
    let survives = dice.one_of(&[0, 50, 90]);
    let mut torn = Torn { unsafe_writes: notes.len(), taken: 0 };
    for note in &notes {
        let file = note.part.open(store)?;
        if dice.percent(survives) {
            file.write_all_at(&note.new, note.offset)?;
            continue;
        }
        torn.taken = torn.taken.saturating_add(1);
        if dice.percent(50) {
            spoil(&file, note, dice)?;
        }
    }
    std::fs::write(undo, b"")?;
    Ok(torn)
}

fn take_back(file: &File, note: &Note) -> io::Result<()> {
    file.write_all_at(&note.old, note.offset)?;
    let (old, new) = (length(&note.old), length(&note.new));
    // Where the write made the file longer, it ends again where it did.
    if old < new && file.metadata()?.len() <= note.offset.saturating_add(new) {
        file.set_len(note.offset.saturating_add(old))?;
    }
    Ok(())
}

/// Some of its sectors happen: the first ones, or each as it falls, one of them with other bytes.
fn spoil(file: &File, note: &Note, dice: &mut Dice) -> io::Result<()> {
    let sectors = note.new.chunks(SECTOR).enumerate();
    let count = length(&note.new).div_ceil(length(&[0; SECTOR]));
    let (stops, in_order) = (dice.between(0, count), dice.percent(50));
    for (at, sector) in sectors {
        let at = u64::try_from(at).unwrap_or_default();
        let happens = if in_order { at < stops } else { dice.percent(50) };
        if !happens {
            continue;
        }
        let offset = note.offset.saturating_add(at.saturating_mul(length(&[0; SECTOR])));
        let garbled: Vec<u8> = sector.iter().map(|byte| byte ^ 0x5a).collect();
        let garble = dice.percent(10);
        file.write_all_at(if garble { &garbled } else { sector }, offset)?;
    }
    Ok(())
}

/// The notes of the shim; one that is cut off was never followed by its write.
fn read(mut bytes: &[u8]) -> Vec<Note> {
    let mut notes = Vec::new();
    while let Some((note, rest)) = one(bytes) {
        notes.push(note);
        bytes = rest;
    }
    notes
}

fn one(bytes: &[u8]) -> Option<(Note, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let mut numbers = head.chunks_exact(8).map(|number| {
        let number: [u8; 8] = number.try_into().unwrap_or_default();
        u64::from_ne_bytes(number)
    });
    let part = Part::of(numbers.next()?)?;
    let offset = numbers.next()?;
    let (new, old) =
        (usize::try_from(numbers.next()?).ok()?, usize::try_from(numbers.next()?).ok()?);
    let (old, rest) = rest.split_at_checked(old)?;
    let (new, rest) = rest.split_at_checked(new)?;
    Some((Note { part, offset, old: old.to_vec(), new: new.to_vec() }, rest))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note as the shim writes it.
    fn noted(kind: u8, offset: u64, old: &[u8], new: &[u8]) -> Vec<u8> {
        let numbers = [u64::from(kind), offset, length(new), length(old)];
        let head = numbers.into_iter().flat_map(u64::to_ne_bytes);
        head.chain(old.iter().copied()).chain(new.iter().copied()).collect()
    }

    #[test]
    fn only_what_was_not_synced_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let (store, log) = (folder.path().join("oc.db"), folder.path().join("oc.db-wal"));
        let undo = folder.path().join("undo");
        for seed in 0..50 {
            let safe = vec![b's'; 3 * SECTOR];
            std::fs::write(&store, &safe).unwrap();
            // The log had grown by a sector, and its second one was written over.
            let mut grown = [safe.clone(), vec![b'n'; SECTOR]].concat();
            grown[SECTOR..2 * SECTOR].fill(b'o');
            std::fs::write(&log, &grown).unwrap();
            let notes = [
                noted(b'w', 3 * 512, b"", &[b'n'; SECTOR]),
                noted(b'w', 512, &[b's'; SECTOR], &[b'o'; SECTOR]),
                noted(b'w', 0, &[b's'; SECTOR], &[b'x'; SECTOR])[..HEAD + 5].to_vec(),
            ];
            std::fs::write(&undo, notes.concat()).unwrap();
            let torn = tear(&undo, &store, &mut Dice::new(seed)).unwrap();
            assert_eq!(torn.unsafe_writes, 2, "the third was never followed by its write");
            assert_eq!(std::fs::read(&store).unwrap(), safe);
            let left = std::fs::read(&log).unwrap();
            assert_eq!(left[..SECTOR], safe[..SECTOR]);
            assert_eq!(left[2 * SECTOR..3 * SECTOR], safe[..SECTOR]);
            let second = &left[SECTOR..2 * SECTOR];
            assert!([b's', b'o', b'o' ^ 0x5a].iter().any(|byte| second == [*byte; SECTOR]));
            assert!(left.len() == 3 * SECTOR || left.len() == 4 * SECTOR);
            assert!(torn.taken > 0 || left == grown);
        }
    }
}
