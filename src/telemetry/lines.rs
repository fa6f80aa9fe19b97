//! The log's way out: lines gather for a moment and leave in one write, on a thread of their own.
//!
//! A write for each line would cost a request more than its line does, and a reader that is slow would
//! hold up who writes. Warnings and errors leave at once, with all that came before them.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::lock::lock;

/// How long lines gather: what a kill takes of them.
const GATHER: Duration = Duration::from_millis(10);

/// With so many bytes gathered, whoever writes takes them out himself: a reader that reads nothing
/// holds up the writers, and the memory stays bounded.
const GATHERED_MAX: usize = 1 << 20;

/// Lines on their way to an output; clones share it.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    gathered: Mutex<Vec<u8>>,
    came: Condvar,
    out: Mutex<Box<dyn Write + Send>>,
}

/// One line's writer.
pub(super) struct Line<'a> {
    lines: &'a Lines,
    at_once: bool,
}

impl Lines {
    /// Starts the thread, which lives as long as the process.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self::to(out);
        let gathering = lines.clone();
        let run = move || {
            loop {
                gathering.wait();
                std::thread::sleep(GATHER);
                // Nobody else could be told that the log cannot be written.
                gathering.leave().ok();
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(run)?;
        Ok(lines)
    }

    fn to(out: impl Write + Send + 'static) -> Self {
        let (gathered, came) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { gathered, came, out: Mutex::new(Box::new(out)) }))
    }

    fn wait(&self) {
        let mut gathered = lock(&self.0.gathered);
        while gathered.is_empty() {
            gathered = self.0.came.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes what has gathered; what gathers meanwhile leaves behind it.
    ///
    /// # Errors
    /// As the output says; the lines are gone then.
    pub(super) fn leave(&self) -> io::Result<()> {
        let mut out = lock(&self.0.out);
        let gathered = std::mem::take(&mut *lock(&self.0.gathered));
        out.write_all(&gathered)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, at_once: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, at_once: *meta.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Shared { gathered, came, .. } = &*self.lines.0;
        let mut gathered = lock(gathered);
        let first = gathered.is_empty();
        gathered.extend_from_slice(line);
        let leaves = self.at_once || gathered.len() >= GATHERED_MAX;
        drop(gathered);
        if leaves {
            self.lines.leave()?;
        } else if first {
            came.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.leave()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Longer than lines take, however busy the machine is.
    const WAIT: Duration = Duration::from_secs(60);

    /// An output that tells each write.
    struct Told(Sender<String>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told() -> (Told, Receiver<String>) {
        let (told, writes) = mpsc::channel();
        (Told(told), writes)
    }

    fn write(lines: &Lines, text: &str) {
        Line { lines, at_once: false }.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_gather_and_leave_in_one_write() {
        let (out, writes) = told();
        let lines = Lines::to(out);
        for text in ["a\n", "b\n", "c\n"] {
            write(&lines, text);
        }
        assert!(writes.try_recv().is_err());
        lines.leave().unwrap();
        assert_eq!(writes.try_recv().unwrap(), "a\nb\nc\n");
        lines.leave().unwrap();
        assert!(writes.try_recv().is_err());
    }

    #[test]
    fn they_leave_by_themselves_and_in_order() {
        let (out, writes) = told();
        let lines = Lines::start(out).unwrap();
        let all: String = (0..100).map(|number| format!("{number}\n")).collect();
        all.split_inclusive('\n').for_each(|text| write(&lines, text));
        let mut came = String::new();
        while came.len() < all.len() {
            came.push_str(&writes.recv_timeout(WAIT).unwrap());
        }
        assert_eq!(came, all);
    }

    #[test]
    fn a_warning_leaves_at_once_behind_what_came_before() {
        let (out, writes) = told();
        let log = tracing_subscriber::fmt().with_ansi(false).without_time();
        let log = log.with_target(false).with_writer(Lines::to(out)).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!("before");
            assert!(writes.try_recv().is_err());
            tracing::warn!("now");
        });
        assert_eq!(writes.try_recv().unwrap(), " INFO before\n WARN now\n");
    }

    #[test]
    fn more_than_may_gather_is_taken_out_by_who_writes() {
        let (out, writes) = told();
        let lines = Lines::to(out);
        write(&lines, &"x".repeat(GATHERED_MAX - 1));
        assert!(writes.try_recv().is_err());
        write(&lines, "y");
        assert_eq!(writes.try_recv().unwrap().len(), GATHERED_MAX);
    }
}
