//! The ahead log's two files: batches that are durable before the database holds them.
//!
//! A record is one batch: a head of 32 bytes (CRC-32 of all that follows it, length, log, generation,
//! place; little-endian), then the batch as JSON, without the heads of accounts: these follow from the
//! database's and the events. Generations take the two files in turn. A file is
//! written over from its start once the database holds what stood there, is not made shorter, and grows by
//! steps of zeros, for an overwrite costs the disk less than growth. A record counts if its sum is right
//! and its log, generation and place are those that are looked for, so what older generations left behind
//! does not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use opencredits_schema::{AccountId, Checkpoint, Event, RequestId};
use serde::{Deserialize, Serialize, Serializer as _};
use serde_json::value::RawValue;

use crate::store::Write;
use crate::store::sqlite::body::Body;
use crate::store::sqlite::entry::Entry;

const HEAD: usize = 32;

/// Of a write, about what stands in a record beside its own JSON, in bytes.
const BESIDE: usize = 100;

/// What a file grows by at a time, in bytes: some 3,500 settlements.
const STEP: u64 = 1024 * 1024;

/// A write as it stands in the log: as [`Write`], with less of the head.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store::sqlite) enum Line<E, C> {
    Event { event: E, head: Named, forget: bool },
    Checkpoint(C),
    Forget { account: AccountId, request: RequestId },
}

/// A write that was read from the log.
pub(in crate::store::sqlite) type Logged = Line<Body<Event>, Box<Checkpoint>>;

/// Of an account's head: whose it is, and the number of its last event.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store::sqlite) struct Named {
    pub(in crate::store::sqlite) id: AccountId,
    pub(in crate::store::sqlite) seq: u64,
}

type Json<'a> = Option<&'a RawValue>;

impl<'a> From<&'a Entry> for Line<Json<'a>, Json<'a>> {
    fn from(Entry { write, json }: &'a Entry) -> Self {
        match write.as_ref() {
            Write::Event { head, forget, .. } => {
                let head = Named { id: head.id, seq: head.seq };
                Self::Event { event: json.as_deref(), head, forget: *forget }
            }
            Write::Checkpoint(_) => Self::Checkpoint(json.as_deref()),
            Write::Forget { account, request } => {
                Self::Forget { account: *account, request: *request }
            }
        }
    }
}

/// Both files, and where the next record goes.
#[derive(Debug)]
pub(super) struct Log {
    files: [File; 2],
    /// The database's own number for its log: a copy of it has another.
    name: u64,
    generation: u64,
    place: u64,
    offset: u64,
    /// How far the generation's file reaches, as far as is known.
    room: u64,
}

impl Log {
    /// Opens or makes the files beside the database.
    ///
    /// # Errors
    /// When they cannot be opened or made.
    pub(super) fn open(database: &Path, name: u64) -> io::Result<Self> {
        let [even, odd] = paths(database);
        let files = [file(&even)?, file(&odd)?];
        if let Some(folder) = database.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            // The names of new files must be as safe as what will stand in them.
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { files, name, generation: 0, place: 0, offset: 0, room: 0 })
    }

    /// Begins a generation at the start of its file; what stood there must be in the database.
    pub(super) fn begin(&mut self, generation: u64) {
        (self.generation, self.place, self.offset) = (generation, 0, 0);
        self.room = which(&self.files, generation).metadata().map_or(0, |file| file.len());
    }

    /// Makes a batch durable. After an error the same place is written again by the next call.
    ///
    /// # Errors
    /// When the file cannot be written or synced; whether the batch is durable is unknown then.
    pub(super) fn append(&mut self, batch: &[Entry]) -> io::Result<()> {
        let mut record = vec![0; HEAD];
        record.reserve(batch.iter().map(|entry| entry.text().len().saturating_add(BESIDE)).sum());
        serde_json::Serializer::new(&mut record).collect_seq(batch.iter().map(Line::from))?;
        let body = record.len().saturating_sub(HEAD);
        let head = [number(body), self.name, self.generation, self.place].map(u64::to_le_bytes);
        // The length and the sum share eight bytes: a batch is far below 4 GiB.
        let [length, name, generation, place] = head;
        for (at, bytes) in [(4, &length[..4]), (8, &name), (16, &generation), (24, &place)] {
            put(&mut record, at, bytes);
        }
        let sum = crc32fast::hash(record.get(4..).unwrap_or_default());
        put(&mut record, 0, &sum.to_le_bytes());
        let end = self.offset.saturating_add(number(record.len()));
        let file = which(&self.files, self.generation);
        file.write_all_at(&record, self.offset)?;
        if end > self.room && grow(file, end).is_ok() {
            self.room = room(end);
        }
        file.sync_data()?;
        self.place = self.place.saturating_add(1);
        self.offset = end;
        Ok(())
    }

    /// The generations that the files begin with, the older one first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn generations(&self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for file in &self.files {
            let mut head = vec![0; HEAD];
            let begins = file.metadata()?.len() >= number(HEAD);
            if begins {
                file.read_exact_at(&mut head, 0)?;
            }
            if begins && long(&head, 8) == self.name {
                found.push(long(&head, 16));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// All that is durable of a generation, in order.
    ///
    /// # Errors
    /// When the file cannot be read, or a record that is whole is not a batch of ours.
    pub(super) fn read(&self, generation: u64) -> io::Result<Vec<Logged>> {
        let mut writes = Vec::new();
        let file = which(&self.files, generation);
        let size = file.metadata()?.len();
        let (mut place, mut offset) = (0, 0);
        while let Some(body) = self.record(file, size, offset, [generation, place])? {
            writes.extend(serde_json::from_slice::<Vec<Logged>>(&body)?);
            place = place.saturating_add(1);
            offset = offset.saturating_add(number(HEAD)).saturating_add(number(body.len()));
        }
        Ok(writes)
    }

    /// The body of the record that begins there, if it is the one that is looked for.
    fn record(
        &self,
        file: &File,
        size: u64,
        offset: u64,
        [generation, place]: [u64; 2],
    ) -> io::Result<Option<Vec<u8>>> {
        let left = size.saturating_sub(offset);
        let mut record = vec![0; HEAD];
        if left < number(HEAD) {
            return Ok(None);
        }
        file.read_exact_at(&mut record, offset)?;
        let length = u64::from(word(&record, 4));
        let found = [8, 16, 24].map(|at| long(&record, at));
        if found != [self.name, generation, place] || length > left.saturating_sub(number(HEAD)) {
            return Ok(None);
        }
        let mut body = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut body, offset.saturating_add(number(HEAD)))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(record.get(4..).unwrap_or_default());
        sum.update(&body);
        Ok((sum.finalize() == word(&record, 0)).then_some(body))
    }
}

/// Where the files of a database stand.
pub(super) fn paths(database: &Path) -> [PathBuf; 2] {
    ["-ahead0", "-ahead1"].map(|end| {
        let mut path = database.as_os_str().to_owned();
        path.push(end);
        path.into()
    })
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Writes zeros behind the newest record: nothing of this generation stands there, whatever is known of the
/// file's length. Without room for them the record stands by itself.
fn grow(file: &File, end: u64) -> io::Result<()> {
    let zeros = usize::try_from(room(end).saturating_sub(end)).unwrap_or_default();
    file.write_all_at(&vec![0; zeros], end)
}

/// How far a file reaches once it has grown for a record that ends there.
const fn room(end: u64) -> u64 {
    end.div_ceil(STEP).saturating_mul(STEP)
}

const fn which([even, odd]: &[File; 2], generation: u64) -> &File {
    if generation.is_multiple_of(2) { even } else { odd }
}

fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    let place = record.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len()));
    if let Some(place) = place {
        place.copy_from_slice(bytes);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
