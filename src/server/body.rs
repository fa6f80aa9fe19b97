//! Reads a request body within its bounds, copying only what came in pieces.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use tokio::time::timeout;
use warp::Stream;

/// Most that is set aside for a body because of its declared length alone.
const PREALLOCATE_MAX: usize = 8 << 20;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is, or says that it is, above the limit.
    #[error("body above {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It did not come whole in time.
    #[error("body not whole in time")]
    Timeout,
    /// The connection or its framing broke.
    #[error("body broken: {0}")]
    Broken(Box<dyn Error + Send + Sync>),
}

/// Reads a whole body, such as `warp::body::stream()` gives it: at most `max` bytes, and within
/// `limit`. A body that came in one piece is returned as it is.
///
/// # Errors
/// See [`BodyError`]. On each of them the rest is left unread, which closes the connection after
/// the answer.
pub async fn read_body<B: Buf, E: Into<Box<dyn Error + Send + Sync>>>(
    body: impl Stream<Item = Result<B, E>>,
    headers: &HeaderMap,
    max: usize,
    limit: Duration,
) -> Result<Bytes, BodyError> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > max) {
        return Err(BodyError::TooLarge { max });
    }
    let reading = collect(body, declared.unwrap_or_default().min(PREALLOCATE_MAX), max);
    timeout(limit, reading).await.unwrap_or(Err(BodyError::Timeout))
}

async fn collect<B: Buf, E: Into<Box<dyn Error + Send + Sync>>>(
    body: impl Stream<Item = Result<B, E>>,
    capacity: usize,
    max: usize,
) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    let mut next = async || {
        let piece = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        piece.transpose().map_err(|error| BodyError::Broken(error.into()))
    };
    let Some(mut first) = next().await? else { return Ok(Bytes::new()) };
    let size = first.remaining();
    if size > max {
        return Err(BodyError::TooLarge { max });
    }
    // warp's pieces are `Bytes` under the `impl Buf`, so this takes them over without a copy.
    let first = first.copy_to_bytes(size);
    let Some(second) = next().await? else { return Ok(first) };
    let mut whole = BytesMut::with_capacity(capacity.max(size));
    whole.put(first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if bytes.remaining() > max.saturating_sub(whole.len()) {
            return Err(BodyError::TooLarge { max });
        }
        whole.put(bytes);
        piece = next().await?;
    }
    Ok(whole.freeze())
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// Pieces that are there, and then either the end or nothing ever again.
    struct Pieces {
        pieces: VecDeque<Result<Bytes, io::Error>>,
        ends: bool,
    }

    impl Stream for Pieces {
        type Item = Result<Bytes, io::Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            match self.pieces.pop_front() {
                None if !self.ends => Poll::Pending,
                piece => Poll::Ready(piece),
            }
        }
    }

    const LIMIT: Duration = Duration::from_millis(20);

    fn pieces<const N: usize>(texts: [&'static str; N], ends: bool) -> Pieces {
        Pieces { pieces: texts.map(|text| Ok(Bytes::from_static(text.as_bytes()))).into(), ends }
    }

    async fn read(pieces: Pieces, max: usize) -> Result<Bytes, BodyError> {
        read_body(pieces, &HeaderMap::new(), max, LIMIT).await
    }

    #[tokio::test]
    async fn a_body_in_one_piece_is_not_copied() {
        let text = "one piece";
        let body = read(pieces([text], true), 9).await.unwrap();
        assert_eq!(body.as_ptr(), text.as_ptr());
    }

    #[tokio::test]
    async fn a_body_in_pieces_comes_whole() {
        assert_eq!(read(pieces(["a", "", "bc", "d"], true), 4).await.unwrap(), "abcd");
        assert_eq!(read(pieces([], true), 4).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_too_large_whatever_it_declares() {
        for body in [pieces(["abcde"], false), pieces(["ab", "cde"], false)] {
            assert!(matches!(read(body, 4).await, Err(BodyError::TooLarge { max: 4 })));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, 5.into());
        let body = read_body(pieces(["a"], false), &headers, 4, LIMIT).await;
        assert!(matches!(body, Err(BodyError::TooLarge { max: 4 })));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_out_of_time() {
        assert!(matches!(read(pieces(["a"], false), 4).await, Err(BodyError::Timeout)));
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error() {
        let pieces = VecDeque::from([Ok(Bytes::new()), Err(io::ErrorKind::BrokenPipe.into())]);
        let body = read(Pieces { pieces, ends: true }, 4).await;
        assert!(matches!(body, Err(BodyError::Broken(_))));
    }
}
