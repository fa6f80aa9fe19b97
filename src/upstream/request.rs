//! A request as it goes out.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// Bodies up to this size are written as one piece with their head.
const JOINED_MAX: usize = 8 << 10;

/// Head and body in pieces. Those of a large body are never joined: an image of 5 MB leaves from the
/// buffer in which it came in.
#[derive(Debug)]
pub(super) struct Request {
    pieces: VecDeque<Bytes>,
}

impl Request {
    /// A request of a head, which lacks the length and the empty line at its end, and a body.
    pub(super) fn new(mut head: Vec<u8>, body: Vec<Bytes>) -> Self {
        let length: usize = body.iter().map(Bytes::len).sum();
        head.extend_from_slice(b"content-length: ");
        head.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        if length <= JOINED_MAX {
            body.iter().for_each(|piece| head.extend_from_slice(piece));
            return Self { pieces: VecDeque::from([head.into()]) };
        }
        let body = body.into_iter().filter(|piece| !piece.is_empty());
        Self { pieces: std::iter::once(Bytes::from(head)).chain(body).collect() }
    }

    /// How many bytes are still to go out.
    pub(super) fn remaining(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// What is to go out, in its order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Bytes::as_ref)
    }

    /// Notes that so many bytes went out.
    pub(super) fn sent(&mut self, mut size: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let part = size.min(piece.len());
            piece.advance(part);
            size = size.saturating_sub(part);
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &Request) -> Vec<u8> {
        request.pieces().flatten().copied().collect()
    }

    #[test]
    fn a_small_body_is_joined_and_a_large_one_is_not_copied() {
        let small = Request::new(b"POST / HTTP/1.1\r\n".to_vec(), vec!["{".into(), "}".into()]);
        assert_eq!(text(&small), b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(small.pieces().count(), 1);
        let image = Bytes::from(vec![b'x'; JOINED_MAX]);
        let body = vec!["{".into(), Bytes::new(), image.clone()];
        let large = Request::new(Vec::new(), body);
        assert!(text(&large).starts_with(b"content-length: 8193\r\n\r\n{xx"));
        assert_eq!(large.pieces().last().unwrap().as_ptr(), image.as_ptr());
        assert_eq!(large.pieces().count(), 3);
    }

    #[test]
    fn what_was_sent_is_not_sent_again() {
        let body = vec![Bytes::from_static(b"a"), Bytes::from(vec![b'x'; JOINED_MAX])];
        let whole = text(&Request::new(b"head".to_vec(), body.clone()));
        for step in [1, 3, 30, 5000, whole.len()] {
            let (mut request, mut left) =
                (Request::new(b"head".to_vec(), body.clone()), whole.as_slice());
            while !left.is_empty() {
                assert_eq!((text(&request).as_slice(), request.remaining()), (left, left.len()));
                let size = step.min(left.len());
                request.sent(size);
                left = &left[size..];
            }
            assert_eq!(request.pieces().count(), 0);
        }
    }
}
