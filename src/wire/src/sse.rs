//! Server-sent events out of bytes that arrive in any pieces.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// The longest event, in bytes: a picture in base64 fits, an endless line does not.
pub const EVENT_MAX: usize = 8 << 20;

/// Why a stream can't be read as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event is longer than [`EVENT_MAX`].
    #[error("an event of the upstream is longer than {EVENT_MAX} bytes")]
    TooLong,
}

/// One block of a stream, up to and with its blank line; a comment is one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its exact bytes, the blank line included.
    pub raw: Bytes,
    /// Where it lies in the pushed chunk, if it lies inside one.
    pub(crate) span: Option<Range<usize>>,
}

/// What an event's lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The value of the last `event:` line.
    pub name: Option<&'a [u8]>,
    /// The values of the `data:` lines, joined by LF; borrowed if there is but one.
    pub data: Option<Cow<'a, [u8]>>,
}

impl Event {
    /// What it says, found in one look at its lines.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        for line in Lines(&self.raw) {
            if let Some(value) = value(line, b"data") {
                match &mut fields.data {
                    None => fields.data = Some(Cow::Borrowed(value)),
                    Some(before) => {
                        let joined = before.to_mut();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                    }
                }
            } else if let Some(value) = value(line, b"event") {
                fields.name = Some(value);
            }
        }
        fields
    }
}

/// The value of a field's line.
fn value<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field)?;
    let Some((colon, value)) = rest.split_first() else { return Some(rest) };
    let value = if *colon == b':' { value } else { return None };
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Cuts bytes into events. Lines end with LF or CRLF, and with nothing else: a peer that also
/// splits on U+2028 corrupts text.
#[derive(Debug, Default)]
pub struct Scanner {
    /// The beginning of an event whose end has not come yet.
    partial: BytesMut,
    line: Line,
    failed: bool,
}

/// What the unfinished line holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    /// A CR: the line is blank if an LF follows.
    Cr,
    Text,
}

impl Scanner {
    /// Takes the next bytes and hands out each event that they complete. An event that lies inside
    /// one chunk is a slice of it, not a copy.
    ///
    /// # Errors
    /// [`SseError::TooLong`], from then on always.
    pub fn push(&mut self, chunk: Bytes, mut out: impl FnMut(Event)) -> Result<(), SseError> {
        if self.failed {
            return Err(SseError::TooLong);
        }
        let (mut start, mut at) = (0, 0);
        while let Some(rest) = chunk.get(at..)
            && let Some(length) = memchr(b'\n', rest)
        {
            let line = self.line.then(rest.get(..length).unwrap_or_default());
            self.line = Line::Empty;
            at += length + 1;
            if line != Line::Text {
                self.check(at - start)?;
                out(self.event(&chunk, start..at));
                start = at;
            }
        }
        self.line = self.line.then(chunk.get(at..).unwrap_or_default());
        self.check(chunk.len() - start)?;
        self.partial.extend_from_slice(chunk.get(start..).unwrap_or_default());
        Ok(())
    }

    /// The end of the bytes: what came after the last blank line, if anything.
    #[must_use]
    pub fn finish(&mut self) -> Option<Event> {
        self.line = Line::Empty;
        let raw = self.partial.split().freeze();
        (!raw.is_empty()).then_some(Event { raw, span: None })
    }

    fn event(&mut self, chunk: &Bytes, span: Range<usize>) -> Event {
        if self.partial.is_empty() {
            return Event { raw: chunk.slice(span.clone()), span: Some(span) };
        }
        self.partial.extend_from_slice(chunk.get(span).unwrap_or_default());
        Event { raw: self.partial.split().freeze(), span: None }
    }

    fn check(&mut self, more: usize) -> Result<(), SseError> {
        if self.partial.len() + more <= EVENT_MAX {
            return Ok(());
        }
        self.failed = true;
        self.partial = BytesMut::new();
        Err(SseError::TooLong)
    }
}

impl Line {
    fn then(self, more: &[u8]) -> Self {
        match (self, more) {
            (line, []) => line,
            (Self::Empty, [b'\r']) => Self::Cr,
            _ => Self::Text,
        }
    }
}

/// The lines of an event without their ends, and without the mark that may begin a stream.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.strip_prefix(b"\n").unwrap_or(rest);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and data of an event.
    type Told = (Option<Vec<u8>>, Option<Vec<u8>>);

    /// What each event tells, whole or unfinished, and all their bytes.
    fn read(pieces: &[&[u8]]) -> (Vec<Told>, Vec<u8>) {
        let (mut scanner, mut events, mut raw) = (Scanner::default(), Vec::new(), Vec::new());
        let mut see = |event: Event| {
            raw.extend_from_slice(&event.raw);
            let Fields { name, data } = event.fields();
            events.push((name.map(<[u8]>::to_vec), data.map(Cow::into_owned)));
        };
        for piece in pieces {
            scanner.push(Bytes::copy_from_slice(piece), &mut see).unwrap();
        }
        if let Some(event) = scanner.finish() {
            see(event);
        }
        assert_eq!(scanner.finish(), None);
        (events, raw)
    }

    fn check(stream: &str, expected: &[(Option<&str>, Option<&str>)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| {
                (name.map(|name| name.as_bytes().to_vec()), data.map(|data| data.as_bytes().into()))
            })
            .collect();
        for text in [stream.to_owned(), stream.replace('\n', "\r\n")] {
            let bytes = text.as_bytes();
            let singly: Vec<_> = bytes.chunks(1).collect();
            for pieces in [vec![bytes], singly] {
                let (events, raw) = read(&pieces);
                assert_eq!(events, expected, "{text:?}");
                assert_eq!(raw, bytes);
            }
        }
    }

    #[test]
    fn s9_comments_crlf_split_characters_and_single_bytes() {
        check("data: a\n\n", &[(None, Some("a"))]);
        check("data:a\n\ndata:  b\n\n", &[(None, Some("a")), (None, Some(" b"))]);
        check("event: x\ndata: {\ndata: }\n\n", &[(Some("x"), Some("{\n}"))]);
        check(": keep-alive\n\ndata: ü€😀\n\n", &[(None, None), (None, Some("ü€😀"))]);
        check("\n\ndata\n\n", &[(None, None), (None, None), (None, Some(""))]);
        check("database: a\nid: 3\nretry: 1\n\n", &[(None, None)]);
        check("data: a\n\nevent: b\ndata: c", &[(None, Some("a")), (Some("b"), Some("c"))]);
        check("\u{feff}data: a\n\n", &[(None, Some("a"))]);
    }

    #[test]
    fn only_lf_and_crlf_end_a_line() {
        for other in ["\u{2028}", "\u{2029}", "\u{85}", "\r", "\u{b}", "\u{c}"] {
            let stream = format!("data: a{other}{other}b\n\n");
            let (events, _) = read(&[stream.as_bytes()]);
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].1.as_deref(), Some(format!("a{other}{other}b").as_bytes()));
        }
    }

    #[test]
    fn an_event_inside_a_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: ");
        let mut at = Vec::new();
        let mut scanner = Scanner::default();
        scanner.push(chunk.clone(), |event| at.push(event.raw.as_ptr())).unwrap();
        assert_eq!(at, [chunk.as_ptr(), chunk[9..].as_ptr()]);
    }

    #[test]
    fn an_endless_event_is_refused_at_event_max() {
        let block = Bytes::from(vec![b'x'; EVENT_MAX / 4]);
        let mut scanner = Scanner::default();
        for _ in 0..4 {
            scanner.push(block.clone(), |_| panic!("no event ends here")).unwrap();
        }
        for _ in 0..3 {
            let push = scanner.push(Bytes::from_static(b"\n\n"), |_| panic!("too long"));
            assert_eq!(push, Err(SseError::TooLong));
            assert_eq!(scanner.partial.capacity(), 0);
        }
        let whole = Bytes::from([&vec![b'x'; EVENT_MAX - 1][..], b"\n\n"].concat());
        let push = Scanner::default().push(whole, |_| panic!("too long"));
        assert_eq!(push, Err(SseError::TooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in prop::collection::vec(
                prop::sample::select(b"\r\n\n:da ev\xe2\x80\xa8".to_vec()), 0..200),
            cuts in prop::collection::vec(0usize..200, 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let whole = read(&[&stream]);
            prop_assert_eq!(&whole.1, &stream);
            prop_assert_eq!(read(&pieces), whole);
        }
    }
}
