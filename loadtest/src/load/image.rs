//! Images of any size for requests: a PNG's head, so that its dimensions can be read, and nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What they are.
pub(super) const MEDIA_TYPE: &str = "image/png";

/// The signature, and the chunk that says 1024 × 1024 pixels of 8-bit RGBA.
const HEAD: [u8; 33] =
    *b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x04\0\x08\x06\0\0\0\x7f\x1d\x2b\x83";

/// An image of about so many bytes of base64.
pub(super) fn base64(bytes: usize) -> String {
    let mut image = vec![0; (bytes / 4).saturating_mul(3).max(HEAD.len())];
    image.iter_mut().zip(HEAD).for_each(|(byte, head)| *byte = head);
    BASE64_STANDARD.encode(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_size_and_begins_like_one() {
        assert_eq!(base64(5_000_000).len(), 5_000_000);
        assert!(base64(0).starts_with("iVBORw0KGgoAAAANSUhEUgAABAAAAAQACAYAAAB"));
    }
}
