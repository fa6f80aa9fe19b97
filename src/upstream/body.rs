//! The body of a provider's answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::CHUNK_TIMEOUT;
use super::connection::{Broken, Connection};
use super::framing::Framing;
use super::head::BadAnswer;
use super::pool::Pool;

/// Largest answer that is not streamed.
pub const ANSWER_MAX: usize = 64 << 20;
/// Largest error body that is read of a provider.
pub const ERROR_MAX: usize = 1 << 20;

/// Pieces of up to this size lie side by side in a slab; larger ones have an allocation each.
const SMALL: usize = 1 << 10;
/// As much is kept by each small piece that waits for a slow client.
const SLAB: usize = 4 << 10;

thread_local! {
    static FREE: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(SLAB));
}

/// A body as it comes. Its connection is kept for another request once it is done, and closed if it is
/// dropped before.
#[derive(Debug)]
pub struct Body {
    /// What came with the head.
    first: Bytes,
    /// `None` once all has come.
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    connection: Connection,
    framing: Framing,
    reusable: bool,
    /// What is wrong behind the data that came.
    fault: Option<BadAnswer>,
    home: Arc<Pool>,
}

impl Body {
    /// A body that begins with what was read behind its head.
    pub(super) fn new(
        connection: Connection,
        framing: Framing,
        reusable: bool,
        home: &Arc<Pool>,
        behind: &[u8],
    ) -> Self {
        let home = Arc::clone(home);
        let mut source = Source { connection, framing, reusable, fault: None, home };
        let first = decode(&mut source.framing, &mut source.reusable, &mut source.fault, behind);
        let mut body = Self { first, source: Some(source) };
        body.give_back_if_done();
        body
    }

    /// The next bytes, never none at all; `None` when all have come.
    ///
    /// # Errors
    /// It broke off. Nothing comes after that.
    pub async fn data(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// As [`Self::data`].
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.first))));
        }
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let read = ready!(source.poll_data(cx)).transpose();
        match &read {
            Some(Ok(_)) => self.give_back_if_done(),
            None | Some(Err(_)) => self.source = None,
        }
        // The end may come by itself.
        Poll::Ready(read.filter(|read| !matches!(read, Ok(data) if data.is_empty())))
    }

    /// How much is known to come.
    fn expected(&self) -> usize {
        let Some(Source { framing: Framing::Length(left), .. }) = &self.source else {
            return self.first.len();
        };
        usize::try_from(*left).unwrap_or(usize::MAX).saturating_add(self.first.len())
    }

    fn give_back_if_done(&mut self) {
        let done = self.source.take_if(|source| source.framing == Framing::Done);
        if let Some(Source { connection, reusable: true, home, .. }) = done
            && connection.has_sent()
        {
            home.keep(connection);
        }
    }
}

impl Source {
    /// The next bytes, none only with the end; `None` where the connection's end is the body's.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Broken>> {
        let Self { connection, framing, reusable, fault, .. } = self;
        // An answer may begin before the provider has read all. If it does not take the rest, the
        // connection is not used again.
        let _taken: Poll<_> = connection.poll_send(cx);
        loop {
            if let Some(fault) = fault.take() {
                return Poll::Ready(Err(fault.into()));
            }
            let read = connection.poll_read(cx, |bytes| decode(framing, reusable, fault, bytes));
            match ready!(read)? {
                Some(data) if data.is_empty() && *framing != Framing::Done => {}
                Some(data) => return Poll::Ready(Ok(Some(data))),
                None if *framing == Framing::Close => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(Broken::Closed)),
            }
        }
    }
}

/// The data among the bytes of a connection, up to a fault. What follows the body was not asked for: who
/// sends it is not asked again on that connection.
fn decode(
    framing: &mut Framing,
    reusable: &mut bool,
    fault: &mut Option<BadAnswer>,
    bytes: &[u8],
) -> Bytes {
    let mut decode = |data: &mut BytesMut| {
        match framing.decode(bytes, data) {
            Ok(taken) => *reusable &= taken == bytes.len(),
            Err(bad) => *fault = Some(bad),
        }
        data.split().freeze()
    };
    if bytes.len() > SMALL {
        return decode(&mut BytesMut::with_capacity(bytes.len()));
    }
    FREE.with_borrow_mut(|free| {
        // A slab whose pieces are all gone is written over, else another one begins.
        free.reserve(bytes.len());
        decode(free)
    })
}

/// Why a provider's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection broke.
    #[error("the provider's answer broke off: {0}")]
    Broken(#[from] Broken),
    /// Nothing came for [`CHUNK_TIMEOUT`].
    #[error("the provider was silent for too long")]
    Silent,
    /// It is larger than is read.
    #[error("the provider's answer is above {0} bytes")]
    TooLarge(usize),
}

/// Reads a provider's body, in bounded memory and with a bound on each silence. `seen` is told the
/// size of each piece.
///
/// # Errors
/// [`ReadError`].
pub async fn collect(
    mut body: Body,
    max: usize,
    mut seen: impl FnMut(usize),
) -> Result<Bytes, ReadError> {
    let hint = body.expected().min(ERROR_MAX);
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let silence: Duration = CHUNK_TIMEOUT;
    loop {
        let data = tokio::time::timeout(silence, body.data()).await;
        let Some(data) = data.map_err(|_| ReadError::Silent)? else { break };
        let data = data?;
        seen(data.len());
        if whole.len().saturating_add(data.len()) > max {
            return Err(ReadError::TooLarge(max));
        }
        match first.take() {
            None if whole.is_empty() => first = Some(data),
            None => whole.extend_from_slice(&data),
            Some(piece) => {
                whole.reserve(hint.max(piece.len().saturating_add(data.len())));
                whole.extend_from_slice(&piece);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8]) -> Bytes {
        decode(&mut Framing::Close, &mut true, &mut None, bytes)
    }

    #[test]
    fn small_pieces_take_no_allocation_of_their_own() {
        // A new thread begins at the start of a slab, whatever other tests took of theirs.
        let fresh = std::thread::spawn(|| {
            let (one, two) = (piece(b"one"), piece(b"two"));
            assert_eq!(one.as_ptr_range().end, two.as_ptr());
            let begin = one.as_ptr();
            drop((one, two));
            let again = (0..SLAB).any(|_| piece(b"again").as_ptr() == begin);
            assert!(again, "the slab is used again once its pieces are gone");
        });
        fresh.join().unwrap();
    }

    #[test]
    fn a_piece_stays_as_it_came() {
        let mut kept = Vec::new();
        for number in 0_usize..2_000 {
            let came = vec![number.to_le_bytes()[0]; number * 37 % (SMALL + 50)];
            let piece = piece(&came);
            assert_eq!(piece, came);
            if number % 3 == 0 {
                kept.push((piece, came));
            }
        }
        for (piece, came) in kept {
            assert_eq!(piece, came);
        }
    }
}
