//! Reads a whole `generateContent` answer: a stream of one chunk.

use opencredits_schema::Provider;

use super::StreamDecoder;
use crate::{Answer, Collector, DecodeStream as _, Undecodable};

/// Reads an answer.
///
/// # Errors
/// [`Undecodable::Malformed`] for what is no such answer, [`Undecodable::NoValidCall`].
pub fn decode_answer(provider: Provider, body: &[u8]) -> Result<Answer, Undecodable> {
    let mut decoder = StreamDecoder::new(provider);
    let mut collector = Collector::default();
    decoder.event(None, body, &mut |event| collector.take(&event))?;
    decoder.end(&mut |event| collector.take(&event))?;
    Ok(collector.answer())
}
