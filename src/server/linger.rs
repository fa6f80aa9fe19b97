//! A socket that ends so that its client can read the last answer.
//!
//! A socket that is closed while request bytes are still under way is reset, and the reset can
//! overtake the answer: a client that still sends its 40 MB would never read the 413. So where a
//! body was left unread, what still comes is thrown away for a while.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::socket::Socket;

/// Longest time that unread bytes are thrown away after the last answer.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// What is thrown away at a time.
const DISCARD: usize = 16 * 1024;

/// Whether the body of a connection's last request was left unread; the body tells the socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    ended: bool,
    unread: Unread,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, unread: &Unread) -> Self {
        unread.0.store(false, Ordering::Relaxed);
        Self { incoming, ended: false, unread: unread.clone() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            self.unread.0.store(true, Ordering::Relaxed);
        }
    }
}

/// The server's side of a connection.
pub(super) struct Linger {
    stream: Socket,
    unread: Unread,
    /// Runs once our side is closed and the rest is being thrown away.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(super) const fn new(stream: Socket, unread: Unread) -> Self {
        Self { stream, unread, deadline: None }
    }

    /// Throws away what has come; true = the client ended.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [0; DISCARD];
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
        Poll::Ready(read.is_err() || buffer.filled().is_empty())
    }
}

impl AsyncRead for Linger {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Linger {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deadline.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.unread.0.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(LINGER_MAX)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while !ready!(self.poll_discard(cx)) {}
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
