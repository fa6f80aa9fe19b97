//! A connection to a provider: one request out, one answer in, in the task of whoever asked.
//!
//! Nothing is kept for a connection that waits: bytes are read into a buffer of the thread's, and what
//! of them is data is copied out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::head::{self, BadAnswer, Head};
use super::request::Request;

/// Most that is read at once.
const READ_MAX: usize = 64 << 10;

/// Pieces of a request that are written at once.
const PIECES_MAX: usize = 16;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into());
}

/// What a connection runs over.
pub(super) type Socket = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Why an answer did not come whole.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The provider closed the connection before the end.
    #[error("it was closed early")]
    Closed,
    /// The provider does not speak HTTP/1 as it should.
    #[error(transparent)]
    BadAnswer(#[from] BadAnswer),
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Not a byte of it left: it may go another way.
    Unsent(Request, io::Error),
    /// It may have arrived.
    Broken(Broken),
}

/// A connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Boxed: its room for TLS makes it large, and each request moves its connection a dozen times.
    socket: Box<Socket>,
    /// The request until all of it is out.
    unsent: Option<Request>,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket: Box::new(socket), unsent: None }
    }

    /// Whether all of the last request is out.
    pub(super) const fn has_sent(&self) -> bool {
        self.unsent.is_none()
    }

    /// Whether the provider has neither closed it nor said anything since its last answer.
    pub(super) fn is_idle(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_read(&mut cx, |_| ()).is_pending()
    }

    /// Sends a request and waits for the head of its answer. With it comes what was read behind it.
    pub(super) async fn ask(&mut self, request: Request) -> Result<(Head, Bytes), Failed> {
        let whole = request.remaining();
        self.unsent = Some(request);
        let mut partial = Vec::new();
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                let request = self.unsent.take_if(|request| request.remaining() == whole);
                if let Some(request) = request {
                    return Poll::Ready(Err(Failed::Unsent(request, error)));
                }
                // The provider may have answered before it closed.
            }
            self.poll_head(cx, &mut partial).map_err(Failed::Broken)
        })
        .await
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        partial: &mut Vec<u8>,
    ) -> Poll<Result<(Head, Bytes), Broken>> {
        loop {
            let read = ready!(self.poll_read(cx, |bytes| take_head(partial, bytes)))?;
            if let Some(taken) = read.ok_or(Broken::Closed)?? {
                return Poll::Ready(Ok(taken));
            }
        }
    }

    /// Hands what has come to `take`; `None` at the connection's end.
    pub(super) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Poll<io::Result<Option<T>>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *self.socket).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            Poll::Ready(Ok(if bytes.is_empty() { None } else { Some(take(bytes)) }))
        })
    }

    /// Sends what is left of the request; ready when there is nothing.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(request) = &mut self.unsent else { return Poll::Ready(Ok(())) };
        let mut socket = Pin::new(&mut *self.socket);
        while request.remaining() > 0 {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0_usize;
            for (slice, piece) in slices.iter_mut().zip(request.pieces()) {
                *slice = IoSlice::new(piece);
                count = count.saturating_add(1);
            }
            let written = match slices.get(..count) {
                Some([one]) => socket.as_mut().poll_write(cx, one),
                several => socket.as_mut().poll_write_vectored(cx, several.unwrap_or_default()),
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            request.sent(written);
        }
        ready!(socket.poll_flush(cx))?;
        self.unsent = None;
        Poll::Ready(Ok(()))
    }
}

/// The head, once `bytes` completes it, and what stands behind it.
fn take_head(partial: &mut Vec<u8>, bytes: &[u8]) -> Result<Option<(Head, Bytes)>, BadAnswer> {
    let so_far = if partial.is_empty() {
        bytes
    } else {
        partial.extend_from_slice(bytes);
        partial.as_slice()
    };
    match head::parse(so_far)? {
        Some((head, size)) => {
            let behind = so_far.get(size..).unwrap_or_default();
            Ok(Some((head, Bytes::copy_from_slice(behind))))
        }
        None => {
            if partial.is_empty() {
                partial.extend_from_slice(bytes);
            }
            Ok(None)
        }
    }
}
