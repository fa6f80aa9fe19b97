//! The head of a response: its status, the headers that anyone here reads, and how its body ends
//! (RFC 9112, 4 to 6).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::framing::{Chunks, Framing};
use super::headers;

/// Largest head, with the interim ones before it.
pub(super) const HEAD_MAX: usize = 64 << 10;

/// Most header lines of a head.
const LINES_MAX: usize = 100;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// No head of HTTP/1.
    #[error("its head cannot be read: {0}")]
    Head(#[from] httparse::Error),
    /// Larger than [`HEAD_MAX`].
    #[error("its head is above {HEAD_MAX} bytes")]
    LargeHead,
    /// Lengths that contradict each other or are none, or an unknown coding.
    #[error("its head does not tell where the body ends")]
    Length,
    /// A protocol that was not asked for.
    #[error("it changes the protocol")]
    Protocol,
    /// Chunks that break their rules.
    #[error("its chunks cannot be read")]
    Chunks,
}

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// Those of [`headers::is_read`].
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether another request may follow on the connection, once the body is done.
    pub(super) reusable: bool,
}

/// Reads the head at the begin of `bytes`, over interim ones (1xx); `None` until it is whole. Also tells
/// how much of `bytes` it is.
///
/// # Errors
/// The bytes are no answer; see [`BadAnswer`].
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, BadAnswer> {
    let mut begin = 0_usize;
    loop {
        let rest = bytes.get(begin..).unwrap_or_default();
        let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
        let mut response = httparse::Response::new(&mut lines);
        let httparse::Status::Complete(size) = response.parse(rest)? else {
            return if bytes.len() < HEAD_MAX { Ok(None) } else { Err(BadAnswer::LargeHead) };
        };
        begin = begin.saturating_add(size);
        let code = response.code.unwrap_or_default();
        let status = StatusCode::from_u16(code).map_err(|_| httparse::Error::Status)?;
        match status {
            StatusCode::SWITCHING_PROTOCOLS => return Err(BadAnswer::Protocol),
            _ if status.is_informational() => {}
            _ => {
                let modern = response.version == Some(1);
                return read(status, modern, response.headers).map(|head| Some((head, begin)));
            }
        }
    }
}

fn read(
    status: StatusCode,
    modern: bool,
    lines: &[httparse::Header<'_>],
) -> Result<Head, BadAnswer> {
    let mut kept = HeaderMap::new();
    let (mut length, mut chunked, mut close) = (None, false, !modern);
    for line in lines {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let told = decimal(line.value).ok_or(BadAnswer::Length)?;
            if length.is_some_and(|before| before != told) {
                return Err(BadAnswer::Length);
            }
            length = Some(told);
        } else if is("transfer-encoding") {
            if chunked || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(BadAnswer::Length);
            }
            chunked = true;
        } else if is("connection") {
            let mut options = line.value.split(|byte| *byte == b',');
            close |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if headers::is_read(line.name)
            && let Ok(name) = HeaderName::from_bytes(line.name.as_bytes())
            && let Ok(value) = HeaderValue::from_bytes(line.value)
        {
            kept.append(name, value);
        }
    }
    let framing = match length {
        _ if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED => {
            Framing::Done
        }
        _ if chunked => Framing::Chunked(Chunks::default()),
        Some(length) => Framing::of_length(length),
        None => Framing::Close,
    };
    // Whoever tells both may mean either.
    let clear = framing != Framing::Close && !(chunked && length.is_some());
    Ok(Head { status, headers: kept, framing, reusable: clear && !close })
}

/// Digits only: `+5`, `5, 5` and the like are refused.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &str) -> Result<Head, BadAnswer> {
        let text = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
        for end in 0..text.len() {
            assert!(parse(&text.as_bytes()[..end])?.is_none(), "{text:?} cut at {end}");
        }
        let followed = format!("{text}behind");
        let (head, size) = parse(followed.as_bytes())?.unwrap();
        assert_eq!(size, text.len());
        Ok(head)
    }

    #[test]
    fn the_end_of_a_body_is_told_by_its_head() {
        let chunked = Framing::Chunked(Chunks::default());
        for (lines, framing, reusable) in [
            ("HTTP/1.1 200 OK\nContent-Length: 12", Framing::Length(12), true),
            ("HTTP/1.1 200 OK\ncontent-length: 0", Framing::Done, true),
            ("HTTP/1.1 200 OK\ncontent-length: 5\nContent-Length: 5", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked", chunked, true),
            ("HTTP/1.1 200 OK\ntransfer-encoding: chunked\ncontent-length: 5", chunked, false),
            ("HTTP/1.1 200 OK\ncontent-length: 5\nconnection: x, Close", Framing::Length(5), false),
            ("HTTP/1.0 200 OK\ncontent-length: 5", Framing::Length(5), false),
            ("HTTP/1.1 200", Framing::Close, false),
            ("HTTP/1.1 204 No Content", Framing::Done, true),
            (
                "HTTP/1.1 103 Early\nlink: x\n\nHTTP/1.1 200 OK\ncontent-length: 1",
                Framing::Length(1),
                true,
            ),
        ] {
            let head = head(lines).unwrap();
            assert_eq!((head.framing, head.reusable), (framing, reusable), "{lines}");
        }
    }

    #[test]
    fn a_head_that_is_none_or_not_clear_is_refused() {
        for (lines, error) in [
            ("HTTP/2 200 OK", BadAnswer::Head(httparse::Error::Version)),
            ("SSH-2.0-x", BadAnswer::Head(httparse::Error::Version)),
            ("HTTP/1.1 099 X", BadAnswer::Head(httparse::Error::Status)),
            ("HTTP/1.1 101 X", BadAnswer::Protocol),
            ("HTTP/1.1 200 OK\ncontent-length: 5\ncontent-length: 6", BadAnswer::Length),
            ("HTTP/1.1 200 OK\ncontent-length: +5", BadAnswer::Length),
            ("HTTP/1.1 200 OK\ncontent-length: 99999999999999999999", BadAnswer::Length),
            ("HTTP/1.1 200 OK\ncontent-length:", BadAnswer::Length),
            ("HTTP/1.1 200 OK\ntransfer-encoding: gzip, chunked", BadAnswer::Length),
        ] {
            assert_eq!(head(lines).unwrap_err(), error, "{lines}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_MAX));
        assert_eq!(parse(endless.as_bytes()).unwrap_err(), BadAnswer::LargeHead);
    }

    #[test]
    fn only_headers_that_are_read_are_kept() {
        let lines =
            "HTTP/1.1 429 Slow\nX-Request-ID: r\nset-cookie: a\nRetry-After: 3\ncontent-length: 0";
        let head = head(lines).unwrap();
        assert_eq!(head.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(head.headers.len(), 2);
        assert_eq!(
            (&head.headers["x-request-id"], &head.headers["retry-after"]),
            (&"r".parse().unwrap(), &"3".parse().unwrap())
        );
    }
}
