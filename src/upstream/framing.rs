//! Where a response's body ends, and what of the connection's bytes is its data (RFC 9112, 6 and 7).

use bytes::BytesMut;

use super::head::BadAnswer;

/// Most bytes of extensions and trailers of one body; they are read over.
const SPARE_MAX: u16 = 16 << 10;

/// The most digits of a chunk's size that fit its number.
const DIGITS_MAX: u8 = 16;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, each behind its size.
    Chunked(Chunks),
    /// All until the connection's end.
    Close,
    /// Nothing.
    Done,
}

/// A place among chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    step: Step,
    spare: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size, before its line's end.
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the begin of a line behind the last chunk.
    LastLine,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Default for Step {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Framing {
    /// A body of so many bytes.
    pub(super) const fn of_length(length: u64) -> Self {
        if length == 0 { Self::Done } else { Self::Length(length) }
    }

    /// Appends the data among `input` to `out`. Returns how much of `input` is the body's: less than all
    /// only where the body ends.
    ///
    /// # Errors
    /// The chunks break their rules; nothing behind that place can be trusted.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut BytesMut) -> Result<usize, BadAnswer> {
        let (taken, is_done) = match self {
            Self::Done => (0, true),
            Self::Close => {
                out.extend_from_slice(input);
                (input.len(), false)
            }
            Self::Length(left) => {
                let taken = take_data(input, left, out).len();
                (taken, *left == 0)
            }
            Self::Chunked(chunks) => (chunks.decode(input, out)?, chunks.step == Step::End),
        };
        if is_done {
            *self = Self::Done;
        }
        Ok(taken)
    }
}

impl Chunks {
    fn decode(&mut self, input: &[u8], out: &mut BytesMut) -> Result<usize, BadAnswer> {
        let mut rest = input;
        while let Some((byte, behind)) = rest.split_first().filter(|_| self.step != Step::End) {
            if let Step::Data(left) = &mut self.step {
                let data = take_data(rest, left, out);
                rest = rest.get(data.len()..).unwrap_or_default();
                if *left == 0 {
                    self.step = Step::DataCr;
                }
            } else {
                self.step = self.behind(*byte)?;
                rest = behind;
            }
        }
        Ok(input.len().saturating_sub(rest.len()))
    }

    /// The step behind a byte that is no data.
    fn behind(&mut self, byte: u8) -> Result<Step, BadAnswer> {
        Ok(match (self.step, byte) {
            (Step::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS_MAX {
                    return Err(BadAnswer::Chunks);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Step::Size {
                    size: (size << 4) | u64::from(digit),
                    digits: digits.saturating_add(1),
                }
            }
            (Step::Size { size, digits: 1.. } | Step::Extension(size), b'\r') => Step::SizeLf(size),
            (Step::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => Step::Extension(size),
            (Step::SizeLf(0) | Step::TrailerLf, b'\n') => Step::LastLine,
            (Step::SizeLf(size), b'\n') => Step::Data(size),
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::default(),
            (Step::LastLine, b'\r') => Step::EndLf,
            (Step::EndLf, b'\n') => Step::End,
            (Step::Trailer, b'\r') => Step::TrailerLf,
            (Step::Extension(size), byte) if byte != b'\n' => self.spare(Step::Extension(size))?,
            (Step::LastLine | Step::Trailer, byte) if byte != b'\n' => self.spare(Step::Trailer)?,
            _ => return Err(BadAnswer::Chunks),
        })
    }

    fn spare(&mut self, step: Step) -> Result<Step, BadAnswer> {
        self.spare = self.spare.saturating_add(1);
        if self.spare > SPARE_MAX { Err(BadAnswer::Chunks) } else { Ok(step) }
    }
}

/// Moves as much as there is of the data that is left.
fn take_data<'a>(input: &'a [u8], left: &mut u64, out: &mut BytesMut) -> &'a [u8] {
    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    let data = input.get(..size).unwrap_or_default();
    out.extend_from_slice(data);
    *left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Framing =
        Framing::Chunked(Chunks { step: Step::Size { size: 0, digits: 0 }, spare: 0 });

    /// Decodes pieces; what was data, how much was the body's, and whether it is done.
    fn decode<'a>(
        mut framing: Framing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, usize, bool), BadAnswer> {
        let (mut out, mut taken) = (BytesMut::new(), 0);
        for piece in pieces {
            taken += framing.decode(piece, &mut out)?;
        }
        Ok((out.to_vec(), taken, framing == Framing::Done))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let chunks = "5\r\nhello\r\n001;a=\"b\"\r\n \r\nA \r\n0123456789\r\n0\r\nx-sum: 1\r\ny: 2\r\n\r\nHTTP/1.1 ";
        let body = chunks.find("HTTP").unwrap();
        for (framing, text, size, data) in [
            (CHUNKED, chunks, body, "hello 0123456789"),
            (CHUNKED, "0\r\n\r\n", 5, ""),
            (Framing::of_length(3), "abcdef", 3, "abc"),
            (Framing::of_length(0), "abc", 0, ""),
        ] {
            let expected = (data.as_bytes().to_vec(), size, true);
            let bytes = text.as_bytes();
            for at in 0..=bytes.len() {
                let (one, two) = bytes.split_at(at);
                assert_eq!(decode(framing, [one, two]).unwrap(), expected, "{text:?} at {at}");
            }
            assert_eq!(decode(framing, bytes.chunks(1)).unwrap(), expected, "{text:?}");
            for at in 0..size {
                let (_, taken, is_done) = decode(framing, [&bytes[..at]]).unwrap();
                assert_eq!((taken, is_done), (at, false), "{text:?} cut at {at}");
            }
        }
        assert_eq!(
            decode(Framing::Close, [b"ab".as_slice(), b"cd"]).unwrap(),
            (b"abcd".to_vec(), 4, false)
        );
    }

    #[test]
    fn chunks_that_break_their_rules_are_refused() {
        let long = format!("1;{}", "x".repeat(usize::from(SPARE_MAX) + 1));
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "5\nhello",
            "5;a\nhello",
            "5\r\nhelloX",
            "5\r\nhello\rX",
            "5\rX",
            "10000000000000000\r\n",
            "0\r\nx: 1\n",
            "0\r\n\n",
            "0\r\n\rX",
            &long,
        ] {
            assert_eq!(decode(CHUNKED, [text.as_bytes()]), Err(BadAnswer::Chunks), "{text:?}");
        }
        let (data, _, is_done) = decode(CHUNKED, [b"FFFFFFFFFFFFFFFF\r\nab".as_slice()]).unwrap();
        assert_eq!((data.as_slice(), is_done), (b"ab".as_slice(), false));
    }
}
