//! The shim that breaks the disk and the clock of one process: built, loaded, told what to break.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("shim.c");

/// What can be broken: the place of its number in the file of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Each sync takes so many milliseconds longer.
    SlowSync,
    /// Writes to the store fail as on a full disk, if not 0.
    DiskFull,
    /// Writes to the store fail as on a read-only disk, if not 0.
    ReadOnly,
    /// The wall clock is so many milliseconds off.
    ClockStep,
    /// Writes are noted until they are synced, if not 0, so that [`super::tear`] can take them back.
    Undo,
    /// Syncs succeed and make nothing safe, if not 0. No gateway survives that: it shows that the
    /// harness would see a loss.
    LyingDisk,
}

/// All of them, in the order of the file.
const ORDERS: [Order; 6] = [
    Order::SlowSync,
    Order::DiskFull,
    Order::ReadOnly,
    Order::ClockStep,
    Order::Undo,
    Order::LyingDisk,
];
/// Bytes of one number.
const NUMBER: u64 = 8;

/// The shim of one gateway.
#[derive(Debug)]
pub(super) struct Shim {
    library: PathBuf,
    orders_path: PathBuf,
    undo_path: PathBuf,
    orders: File,
}

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoShim {
    /// The compiler does not run, or a file cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The compiler refuses it.
    #[error("cc: {0}")]
    Compiler(String),
}

impl Shim {
    /// Compiles it into a folder with the system's C compiler.
    ///
    /// # Errors
    /// [`NoShim`]: then nothing that needs it can be broken.
    pub(super) async fn build(folder: &Path) -> Result<Self, NoShim> {
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        std::fs::write(&source, SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        cc.stdin(Stdio::null());
        let built = tokio::task::spawn_blocking(move || cc.output());
        let built = built.await.map_err(io::Error::other)??;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            return Err(NoShim::Compiler(said.lines().next().unwrap_or_default().to_owned()));
        }
        let orders_path = folder.join("orders");
        let mut create = OpenOptions::new();
        let orders =
            create.read(true).write(true).create(true).truncate(true).open(&orders_path)?;
        let numbers = u64::try_from(ORDERS.len()).unwrap_or_default().saturating_mul(2);
        orders.set_len(numbers.saturating_mul(NUMBER))?;
        Ok(Self { library, orders_path, undo_path: folder.join("undo"), orders })
    }

    /// What a process has to have in its environment, so that the shim breaks that database of it.
    pub(super) fn environment(&self, store: &Path) -> [(OsString, OsString); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("CRASH_ORDERS", &self.orders_path),
            ("CRASH_UNDO", &self.undo_path),
            ("CRASH_STORE", &store.to_owned()),
        ]
        .map(|(name, path)| (name.into(), path.into()))
    }

    /// The notes of what no sync has made safe.
    pub(super) fn undo_path(&self) -> &Path {
        &self.undo_path
    }

    /// Orders it from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn set(&self, order: Order, value: i64) -> io::Result<()> {
        self.orders.write_all_at(&value.to_ne_bytes(), place(order).saturating_mul(NUMBER))
    }

    /// Breaks nothing any more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn clear(&self) -> io::Result<()> {
        ORDERS.iter().try_for_each(|order| self.set(*order, 0))
    }

    /// How often the process has met it, in all its lives.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn hits(&self, order: Order) -> io::Result<i64> {
        let mut number = [0; 8];
        let counts = u64::try_from(ORDERS.len()).unwrap_or_default();
        let at = place(order).saturating_add(counts);
        self.orders.read_exact_at(&mut number, at.saturating_mul(NUMBER))?;
        Ok(i64::from_ne_bytes(number))
    }
}

fn place(order: Order) -> u64 {
    let at = ORDERS.iter().position(|other| *other == order).unwrap_or_default();
    u64::try_from(at).unwrap_or_default()
}
