//! A client's socket, whose events go to the runtime that it is polled on.

use std::io;
use std::net;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::workers;

/// A socket. Polled on another worker than before, it leaves that runtime for this one.
#[derive(Debug)]
pub(super) struct Socket(State);

#[derive(Debug)]
enum State {
    /// No runtime has it.
    Loose(net::TcpStream),
    /// The runtime of the worker of this number has it.
    At(usize, TcpStream),
    /// It was lost between two.
    Lost,
}

impl Socket {
    pub(super) const fn new(stream: net::TcpStream) -> Self {
        Self(State::Loose(stream))
    }

    /// The stream, on this worker's runtime. Whoever waits for it asks again: it tells anew what is ready.
    fn here(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let here = workers::index();
        if !matches!(self.0, State::At(worker, _) if worker == here) {
            let stream = match std::mem::replace(&mut self.0, State::Lost) {
                State::Loose(stream) => stream,
                State::At(_, stream) => stream.into_std()?,
                State::Lost => return Err(io::ErrorKind::NotConnected.into()),
            };
            self.0 = State::At(here, TcpStream::from_std(stream)?);
        }
        match &mut self.0 {
            State::At(_, stream) => Ok(Pin::new(stream)),
            State::Loose(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has nothing of its own to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.here()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
