//! A request body in pieces that are never joined: a 5 MB image goes out of the buffer in which it
//! came in.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of known length, sent piece by piece.
#[derive(Clone, Debug)]
pub struct Segments {
    rest: std::vec::IntoIter<Bytes>,
    remaining: u64,
}

impl Segments {
    /// The pieces in their order.
    #[must_use]
    pub fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let remaining = pieces.iter().map(length).sum();
        Self { rest: pieces.into_iter(), remaining }
    }
}

impl Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.rest.next() else { return Poll::Ready(None) };
        self.remaining = self.remaining.saturating_sub(length(&piece));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

fn length(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_length_is_exact_at_each_step() {
        let pieces = ["ab", "", "cde"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut body = Segments::new(pieces.to_vec());
        assert_eq!(body.size_hint().exact(), Some(5));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first.as_ptr(), pieces[0].as_ptr(), "no copy");
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "cde");
        assert!(Segments::new(vec![Bytes::new()]).is_end_stream());
    }
}
