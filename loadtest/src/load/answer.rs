//! An HTTP/1.1 answer, read as its bytes come: the few headers that matter and the bounds of the
//! body. Pure.

/// The largest head that is read.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of one head.
const HEADERS_MAX: usize = 64;

/// The head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The status.
    pub(super) status: u16,
    /// Whether the server closes the connection behind it.
    pub(super) closes: bool,
    /// The gateway's own name of the request; empty where there is none.
    pub(super) request: String,
    /// The charge that the head tells, in credits; empty where there is none.
    pub(super) charge: String,
}

/// Bytes that are no HTTP/1.1 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    /// The head is too large or not understood.
    #[error("bad head")]
    Head,
    /// The chunks of the body are not understood.
    #[error("bad chunk")]
    Chunk,
    /// Bytes came behind the end.
    #[error("bytes behind the end")]
    Behind,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Over,
}

/// Where in a chunked body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    SizeEnd(u64),
    Data(u64),
    DataEnd,
    Trailer { empty: bool },
}

/// A head, the kind of body, and the bytes behind the head.
type Begun<'b> = (Head, Body, &'b [u8]);

/// Reads one answer.
#[derive(Debug, Default)]
pub(super) struct Reading {
    head: Vec<u8>,
    body: Option<Body>,
}

impl Reading {
    /// Makes it ready for the next answer.
    pub(super) fn begin(&mut self) {
        self.head.clear();
        self.body = None;
    }

    /// Takes the bytes of one read: the head, if they complete it, and through `body` each piece of
    /// the body in them.
    ///
    /// # Errors
    /// [`BadAnswer`]; the connection is of no more use then.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<Option<Head>, BadAnswer> {
        let mut head = None;
        if self.body.is_none() {
            let Some((found, length, rest)) = self.read_head(bytes)? else { return Ok(None) };
            self.body = Some(length);
            head = Some(found);
            bytes = rest;
        }
        self.read_body(bytes, &mut body)?;
        Ok(head)
    }

    /// Whether the body is whole. One that ends with its connection never is before.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.body == Some(Body::Over)
    }

    /// Whether the end of the connection is the end of the body.
    #[must_use]
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.body, Some(Body::UntilClose | Body::Over))
    }

    /// What begins the answer, once its head is whole.
    fn read_head<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<Begun<'b>>, BadAnswer> {
        if self.head.is_empty() {
            // Almost always the head is whole in one read: nothing is copied.
            if let Some((head, body, length)) = parse(bytes)? {
                return Ok(Some((head, body, bytes.get(length..).unwrap_or_default())));
            }
        }
        let known = self.head.len();
        self.head.extend_from_slice(bytes);
        let parsed = parse(&self.head)?;
        if parsed.is_none() && self.head.len() > HEAD_BYTES_MAX {
            return Err(BadAnswer::Head);
        }
        let of = |(head, body, length): (Head, Body, usize)| {
            (head, body, bytes.get(length.saturating_sub(known)..).unwrap_or_default())
        };
        Ok(parsed.map(of))
    }

    fn read_body(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), BadAnswer> {
        match self.body {
            Some(Body::Length(left)) => {
                let (piece, behind) = split(bytes, left);
                if !behind.is_empty() {
                    return Err(BadAnswer::Behind);
                }
                if !piece.is_empty() {
                    sink(piece);
                }
                let left = left.saturating_sub(count(piece));
                self.body = Some(if left == 0 { Body::Over } else { Body::Length(left) });
                Ok(())
            }
            Some(Body::Chunked(chunk)) => {
                let next = chunked(chunk, bytes, sink)?;
                self.body = Some(next.map_or(Body::Over, Body::Chunked));
                Ok(())
            }
            Some(Body::UntilClose) => {
                sink(bytes);
                Ok(())
            }
            Some(Body::Over) if !bytes.is_empty() => Err(BadAnswer::Behind),
            Some(Body::Over) | None => Ok(()),
        }
    }
}

/// Reads on in a chunked body; none at its end.
fn chunked(
    mut at: Chunk,
    mut bytes: &[u8],
    sink: &mut impl FnMut(&[u8]),
) -> Result<Option<Chunk>, BadAnswer> {
    loop {
        if let Chunk::Data(left) = at {
            let (piece, rest) = split(bytes, left);
            if !piece.is_empty() {
                sink(piece);
            }
            let left = left.saturating_sub(count(piece));
            (at, bytes) = (if left == 0 { Chunk::DataEnd } else { Chunk::Data(left) }, rest);
        }
        let Some((byte, rest)) = bytes.split_first() else { return Ok(Some(at)) };
        bytes = rest;
        at = match (at, *byte) {
            (Chunk::Size(0), b'\n') | (Chunk::SizeEnd(0), b'\n') => Chunk::Trailer { empty: true },
            (Chunk::Size(size) | Chunk::SizeEnd(size), b'\n') => Chunk::Data(size),
            // What an extension says is of no interest.
            (Chunk::Size(size), b'\r' | b';' | b' ') | (Chunk::SizeEnd(size), _) => {
                Chunk::SizeEnd(size)
            }
            (Chunk::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(BadAnswer::Chunk)?;
                let larger = size.checked_mul(16).and_then(|n| n.checked_add(digit.into()));
                Chunk::Size(larger.ok_or(BadAnswer::Chunk)?)
            }
            (Chunk::DataEnd, b'\r') => Chunk::DataEnd,
            (Chunk::DataEnd, b'\n') => Chunk::Size(0),
            (Chunk::DataEnd, _) => return Err(BadAnswer::Chunk),
            (Chunk::Trailer { empty: true }, b'\n') if bytes.is_empty() => return Ok(None),
            (Chunk::Trailer { empty: true }, b'\n') => return Err(BadAnswer::Behind),
            (Chunk::Trailer { empty: false }, b'\n') => Chunk::Trailer { empty: true },
            (Chunk::Trailer { empty }, b'\r') => Chunk::Trailer { empty },
            (Chunk::Trailer { .. }, _) => Chunk::Trailer { empty: false },
            (Chunk::Data(left), _) => Chunk::Data(left),
        };
    }
}

/// The head, its kind of body and its length, if it is whole.
fn parse(bytes: &[u8]) -> Result<Option<(Head, Body, usize)>, BadAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(|_| BadAnswer::Head)?
    else {
        return Ok(None);
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head { status, closes: response.version == Some(0), ..Head::default() };
    let mut body = Body::UntilClose;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let text = || std::str::from_utf8(header.value).unwrap_or_default();
        if is("content-length") {
            let length = text().trim().parse().map_err(|_| BadAnswer::Head)?;
            body = if length == 0 { Body::Over } else { Body::Length(length) };
        } else if is("transfer-encoding") && text().eq_ignore_ascii_case("chunked") {
            body = Body::Chunked(Chunk::Size(0));
        } else if is("connection") && text().eq_ignore_ascii_case("close") {
            head.closes = true;
        } else if is("x-opencredits-request-id") {
            text().clone_into(&mut head.request);
        } else if is("x-opencredits-charge") {
            text().clone_into(&mut head.charge);
        }
    }
    if matches!(status, 204 | 304) {
        body = Body::Over;
    }
    head.closes |= body == Body::UntilClose;
    Ok(Some((head, body, length)))
}

/// The first so many bytes, and the others.
fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer in pieces of so many bytes: its head and its body.
    fn read(answer: &str, split: usize) -> Result<(Head, String, bool), BadAnswer> {
        let mut reading = Reading::default();
        let (mut head, mut body) = (None, Vec::new());
        for piece in answer.as_bytes().chunks(split) {
            let found = reading.take(piece, |bytes| body.extend_from_slice(bytes))?;
            head = head.or(found);
        }
        Ok((head.unwrap_or_default(), String::from_utf8(body).unwrap(), reading.is_over()))
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
        X-OpenCredits-Request-Id: r1\r\n\r\n5\r\nhello\r\nA;x=y\r\n, my world\r\n0\r\nt: 1\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 402 No\r\ncontent-length: 4\r\nx-opencredits-charge: 0.5\r\n\
        connection: close\r\n\r\nbody";

    #[test]
    fn an_answer_reads_the_same_however_its_bytes_are_split() {
        for split in 1..CHUNKED.len() {
            let (head, body, over) = read(CHUNKED, split).unwrap();
            assert_eq!((head.status, head.request.as_str(), head.closes), (200, "r1", false));
            assert_eq!((body.as_str(), over), ("hello, my world", true), "{split}");
        }
        for split in 1..SIZED.len() {
            let (head, body, over) = read(SIZED, split).unwrap();
            assert_eq!((head.status, head.charge.as_str(), head.closes), (402, "0.5", true));
            assert_eq!((body.as_str(), over), ("body", true), "{split}");
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        let answer = "HTTP/1.1 200 OK\r\n\r\nall of it";
        let mut reading = Reading::default();
        let head = reading.take(answer.as_bytes(), |_| {}).unwrap().unwrap();
        assert!(head.closes && !reading.is_over() && reading.ends_with_connection());
        let empty = read("HTTP/1.1 204 No Content\r\n\r\n", 100).unwrap();
        assert!(empty.2);
    }

    #[test]
    fn a_cut_answer_is_not_over_and_a_bad_one_is_told() {
        for end in 1..CHUNKED.len() {
            assert!(!read(CHUNKED.get(..end).unwrap(), 7).unwrap().2, "{end}");
        }
        assert_eq!(read("SSH-2.0\r\n\r\n", 100).unwrap_err(), BadAnswer::Head);
        let junk = CHUNKED.replace("5\r\n", "z\r\n");
        assert_eq!(read(&junk, 9).unwrap_err(), BadAnswer::Chunk);
        assert_eq!(read(&format!("{SIZED}x"), 500).unwrap_err(), BadAnswer::Behind);
        assert_eq!(read(&format!("{CHUNKED}x"), 500).unwrap_err(), BadAnswer::Behind);
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(read(&endless, 1 << 10).unwrap_err(), BadAnswer::Head);
    }

    #[test]
    fn a_reading_is_used_again() {
        let mut reading = Reading::default();
        for _ in 0..2 {
            reading.begin();
            assert!(!reading.is_over());
            reading.take(SIZED.as_bytes(), |_| {}).unwrap();
            assert!(reading.is_over());
        }
    }
}
