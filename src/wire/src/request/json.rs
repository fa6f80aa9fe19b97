//! A request's JSON in one pass that goes over long strings (images, documents) as fast as memory is read.
//!
//! It knows structure and strings without escapes; numbers, words, escapes and values that are only
//! skipped are serde_json's to judge. What it does not take it declines, without a reason: the body is
//! then read by serde_json alone, whose word counts. So it may be strict, but must never take what
//! serde_json refuses, nor read it otherwise.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep it follows by itself: well below serde_json's own limit.
const DEPTH_MAX: usize = 100;

/// How much of a string is looked at in one go, in bytes: what the first-level cache holds.
const BLOCK: usize = 16 * 1024;

/// A text that is read, and how far.
#[derive(Debug)]
pub(super) struct Json<'b> {
    text: &'b str,
    at: usize,
    depth: usize,
}

/// It is not for this reader.
#[derive(Debug, thiserror::Error)]
#[error("declined")]
pub(super) struct Declined;

impl serde::de::Error for Declined {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl From<serde_json::Error> for Declined {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

impl<'b> Json<'b> {
    pub(super) fn new(text: &'b str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// That nothing but space is left.
    pub(super) fn end(&mut self) -> Result<(), Declined> {
        if self.peek().is_none() { Ok(()) } else { Err(Declined) }
    }

    fn rest(&self) -> &'b str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next sign that is no space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let sign = self.text.as_bytes().get(self.at).copied();
            if !matches!(sign, Some(b' ' | b'\n' | b'\r' | b'\t')) {
                return sign;
            }
            self.at = self.at.saturating_add(1);
        }
    }

    /// Takes this sign, which must be the next.
    fn expect(&mut self, sign: u8) -> Result<(), Declined> {
        if self.peek() != Some(sign) {
            return Err(Declined);
        }
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    /// Takes as much, and gives it.
    fn take(&mut self, length: usize) -> Result<&'b str, Declined> {
        let taken = self.rest().get(..length).ok_or(Declined)?;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    /// Takes a value as it stands, without space around it.
    fn raw(&mut self) -> Result<&'b str, Declined> {
        if self.peek() == Some(b'"') {
            let string = self.string()?;
            if string.escaped {
                serde_json::from_str::<&RawValue>(string.raw)?;
            }
            return Ok(string.raw);
        }
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<&RawValue>();
        values.next().ok_or(Declined)??;
        self.take(values.byte_offset())
    }

    /// Takes a string, whose opening quote is the next sign. Escapes in it are not judged yet.
    fn string(&mut self) -> Result<Quoted<'b>, Declined> {
        let bytes = self.rest().as_bytes();
        let (mut end, mut escaped) = (1_usize, false);
        loop {
            let rest = bytes.get(end..).ok_or(Declined)?;
            end = end.saturating_add(plain(rest).ok_or(Declined)?);
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            escaped = true;
            end = end.saturating_add(2);
        }
        let raw = self.take(end.saturating_add(1))?;
        Ok(Quoted { raw, escaped })
    }

    /// Goes into an array or an object, whose opening sign is the next, and out again.
    fn inside<T>(
        &mut self,
        close: u8,
        visit: impl FnOnce(Parts<'_, 'b>) -> Result<T, Declined>,
    ) -> Result<T, Declined> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err(Declined);
        }
        self.take(1)?;
        let value = visit(Parts { json: self, close, first: true })?;
        self.expect(close)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(value)
    }
}

/// A string with its quotes.
#[derive(Debug)]
struct Quoted<'b> {
    raw: &'b str,
    escaped: bool,
}

/// How many bytes stand before the next quote or backslash; `None` if there is neither, or a sign before
/// it that must be escaped.
fn plain(bytes: &[u8]) -> Option<usize> {
    let mut before = 0_usize;
    for block in bytes.chunks(BLOCK) {
        let end = memchr::memchr2(b'"', b'\\', block);
        let length = end.unwrap_or(block.len());
        let text = block.get(..length).unwrap_or_default();
        if has_control(text) {
            return None;
        }
        before = before.saturating_add(length);
        if end.is_some() {
            return Some(before);
        }
    }
    None
}

/// Whether a byte is below a space, eight at a time: such a byte borrows from its highest bit.
fn has_control(bytes: &[u8]) -> bool {
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks();
    let borrows = words.iter().fold(0, |borrows, word| {
        let word = u64::from_ne_bytes(*word);
        borrows | (word.wrapping_sub(SPACES) & !word)
    });
    borrows & HIGHEST != 0 || rest.iter().any(|byte| *byte < b' ')
}

impl<'b> Deserializer<'b> for &mut Json<'b> {
    type Error = Declined;

    fn deserialize_any<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Declined> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            _ => Ok(serde_json::Deserializer::from_str(self.raw()?).deserialize_any(visitor)?),
        }
    }

    fn deserialize_str<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Declined> {
        if self.peek() != Some(b'"') {
            return Err(Declined);
        }
        let Quoted { raw, escaped } = self.string()?;
        if escaped {
            return Ok(serde_json::Deserializer::from_str(raw).deserialize_str(visitor)?);
        }
        visitor.visit_borrowed_str(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default())
    }

    fn deserialize_map<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Declined> {
        if self.peek() != Some(b'{') {
            return Err(Declined);
        }
        self.inside(b'}', |members| visitor.visit_map(members))
    }

    fn deserialize_seq<V: Visitor<'b>>(self, visitor: V) -> Result<V::Value, Declined> {
        if self.peek() != Some(b'[') {
            return Err(Declined);
        }
        self.inside(b']', |elements| visitor.visit_seq(elements))
    }

    /// The value as it stands; see [`Raw`].
    fn deserialize_newtype_struct<V: Visitor<'b>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Declined> {
        visitor.visit_borrowed_str(self.raw()?)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'b>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char string bytes byte_buf option unit
        unit_struct tuple tuple_struct struct enum identifier ignored_any
    }
}

/// What stands in an array or an object, one after the other.
#[derive(Debug)]
struct Parts<'j, 'b> {
    json: &'j mut Json<'b>,
    close: u8,
    first: bool,
}

impl Parts<'_, '_> {
    /// Goes to the next one, if there is one.
    fn next(&mut self) -> Result<bool, Declined> {
        if self.json.peek() == Some(self.close) {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.first, false) {
            self.json.expect(b',')?;
        }
        Ok(true)
    }
}

impl<'b> MapAccess<'b> for Parts<'_, 'b> {
    type Error = Declined;

    fn next_key_seed<K: DeserializeSeed<'b>>(
        &mut self,
        key: K,
    ) -> Result<Option<K::Value>, Declined> {
        if !self.next()? {
            return Ok(None);
        }
        if self.json.peek() != Some(b'"') {
            return Err(Declined);
        }
        key.deserialize(&mut *self.json).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'b>>(&mut self, value: V) -> Result<V::Value, Declined> {
        self.json.expect(b':')?;
        value.deserialize(&mut *self.json)
    }
}

impl<'b> SeqAccess<'b> for Parts<'_, 'b> {
    type Error = Declined;

    fn next_element_seed<T: DeserializeSeed<'b>>(
        &mut self,
        element: T,
    ) -> Result<Option<T::Value>, Declined> {
        if !self.next()? {
            return Ok(None);
        }
        element.deserialize(&mut *self.json).map(Some)
    }
}

/// A value as it stands in the text, from this reader or from serde_json.
#[derive(Debug)]
pub(super) struct Raw;

impl<'b> DeserializeSeed<'b> for Raw {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        json.deserialize_newtype_struct("Raw", self)
    }
}

impl<'b> Visitor<'b> for Raw {
    type Value = &'b str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, raw: &'b str) -> Result<&'b str, E> {
        Ok(raw)
    }

    fn visit_newtype_struct<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        let raw: &'b RawValue = serde::Deserialize::deserialize(json)?;
        Ok(raw.get())
    }
}
