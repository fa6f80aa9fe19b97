//! One connection: a request is written, its answer read and timed.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::{Head, Reading};
use super::plan::{Manner, Shot};
use super::target::Target;
use crate::receipts::Told;

/// Bytes of one read, and of one read of a client that reads slowly.
const READ_BYTES: usize = 16 << 10;
const SLOW_READ_BYTES: usize = 1 << 10;
/// The largest body that is kept to be read as a receipt; of a larger one the usage is not known.
const BODY_BYTES_MAX: usize = 4 << 20;
/// How long a connection may have been idle and still be used: servers close them some time.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// A connection, with buffers that are used again.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reading: Reading,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A body that is not streamed.
    body: Vec<u8>,
    used: Instant,
}

/// What came back on a request.
#[derive(Debug)]
pub(super) struct Answered {
    /// When the first byte of the request was about to be written.
    pub(super) written: Instant,
    /// The head, if one came.
    pub(super) head: Option<Head>,
    /// When the first byte of the body was read.
    pub(super) first_byte: Option<Instant>,
    /// When the last byte was read, or the reading given up.
    pub(super) over: Instant,
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// How it ended.
    pub(super) ended: Ended,
    /// What a streamed answer told.
    pub(super) told: Told,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Whole, and if streamed with the mark of its dialect.
    Whole,
    /// The client hung up, as the mix says.
    HungUp,
    /// It broke, by this.
    Broken(&'static str),
}

impl Connection {
    pub(super) async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reading: Reading::default(),
            input: vec![0; READ_BYTES],
            output: Vec::new(),
            body: Vec::new(),
            used: Instant::now(),
        })
    }

    /// Whether it has been idle for so short that the server has certainly not closed it.
    pub(super) fn is_fresh(&self) -> bool {
        self.used.elapsed() < IDLE_MAX
    }

    /// The body of the last answer that was not streamed.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sends a request and reads its answer within a time; `gap` hears the time between the reads of
    /// a stream.
    pub(super) async fn exchange(
        &mut self,
        shot: &Shot<'_>,
        within: Duration,
        mut gap: impl FnMut(Duration),
    ) -> Answered {
        shot.shape.write(shot.user, &mut self.output);
        self.reading.begin();
        self.body.clear();
        let written = Instant::now();
        let mut answered = Answered {
            written,
            head: None,
            first_byte: None,
            over: written,
            bytes: 0,
            ended: Ended::Broken("not sent"),
            told: Told::default(),
        };
        let both = async {
            // Who cannot write may still be told why: the answer counts.
            drop(self.stream.write_all(&self.output).await);
            self.read(shot, &mut gap, &mut answered).await
        };
        answered.ended = match tokio::time::timeout(within, both).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Ended::Broken("connection lost"),
            Err(_) => Ended::Broken("timeout"),
        };
        self.used = Instant::now();
        answered
    }

    /// Whether the next request can use it.
    pub(super) fn is_reusable(&self, answered: &Answered) -> bool {
        let whole = self.reading.is_over() && answered.ended != Ended::HungUp;
        whole && answered.head.as_ref().is_some_and(|head| !head.closes)
    }

    async fn read(
        &mut self,
        shot: &Shot<'_>,
        gap: &mut impl FnMut(Duration),
        answered: &mut Answered,
    ) -> io::Result<Ended> {
        let streamed = shot.shape.stream;
        let most = match shot.manner {
            Manner::Slowly(_) => SLOW_READ_BYTES,
            Manner::Reads | Manner::HangsUp(_) => READ_BYTES,
        };
        loop {
            let buffer = self.input.get_mut(..most).unwrap_or_default();
            let count = self.stream.read(buffer).await?;
            let now = Instant::now();
            if count == 0 {
                return Ok(if self.reading.ends_with_connection() {
                    end(streamed, answered)
                } else {
                    Ended::Broken("connection closed")
                });
            }
            let before = answered.bytes;
            let (told, body, bytes) = (&mut answered.told, &mut self.body, &mut answered.bytes);
            let read = self.input.get(..count).unwrap_or_default();
            let taken = self.reading.take(read, |piece| {
                *bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                if streamed {
                    told.push(piece);
                } else if body.len().saturating_add(piece.len()) <= BODY_BYTES_MAX {
                    body.extend_from_slice(piece);
                }
            });
            let Ok(head) = taken else { return Ok(Ended::Broken("not HTTP")) };
            answered.head = answered.head.take().or(head);
            if answered.bytes > before {
                if answered.first_byte.is_none() {
                    answered.first_byte = Some(now);
                } else if streamed {
                    gap(now.saturating_duration_since(answered.over));
                }
            }
            answered.over = now;
            if self.reading.is_over() {
                return Ok(end(streamed, answered));
            }
            match shot.manner {
                Manner::Reads => {}
                Manner::HangsUp(events) if answered.told.events() >= events => {
                    return Ok(Ended::HungUp);
                }
                Manner::HangsUp(_) => {}
                Manner::Slowly(pause) => tokio::time::sleep(pause).await,
            }
        }
    }
}

/// A body that is whole is a whole answer, if it is not a stream without its last event.
fn end(streamed: bool, answered: &Answered) -> Ended {
    let success = answered.head.as_ref().is_some_and(|head| head.status == 200);
    if streamed && success && !answered.told.is_over() {
        return Ended::Broken("stream without its end");
    }
    Ended::Whole
}
