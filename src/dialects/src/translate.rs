//! From one dialect into another: requests, whole answers, streams.

use bytes::Bytes;
use opencredits_schema::{Model, Provider, Usage};
use opencredits_wire::{BadRequest, Dialect, Event as SseEvent, Fields, Scanner};

use crate::{
    Answer, Asked, DecodeStream, EncodeStream, Prompt, Stop, Undecodable, chat, gemini, messages,
    responses,
};

/// Reads a request.
///
/// # Errors
/// What the caller has to mend.
pub fn decode_request(dialect: Dialect, body: &[u8]) -> Result<Prompt, BadRequest> {
    match dialect {
        Dialect::ChatCompletions => chat::decode_request(body),
        Dialect::Messages => messages::decode_request(body),
        Dialect::Responses => responses::decode_request(body),
        Dialect::GenerateContent => gemini::decode_request(body),
    }
}

/// Writes a request as this model's provider takes it in this dialect.
///
/// # Errors
/// What can't be said in the dialect, or not to this model, and must not be left out.
pub fn encode_request(
    dialect: Dialect,
    prompt: &Prompt,
    model: &Model,
) -> Result<Vec<u8>, BadRequest> {
    match dialect {
        Dialect::ChatCompletions => chat::encode_request(prompt, model),
        Dialect::Messages => messages::encode_request(prompt, model),
        Dialect::Responses => responses::encode_request(prompt, model),
        Dialect::GenerateContent => gemini::encode_request(prompt, model),
    }
}

/// Turns a provider's whole answer into the caller's dialect. `usage` is what the meter read of
/// the same bytes.
///
/// # Errors
/// [`Undecodable`].
pub fn translate_answer(
    provider: Provider,
    from: Dialect,
    to: Dialect,
    body: &[u8],
    usage: &Usage,
    asked: &Asked,
) -> Result<Vec<u8>, Undecodable> {
    let answer = decode_answer(provider, from, body)?;
    let silent =
        |choice: &crate::Choice| choice.stop == Some(Stop::Malformed) && choice.blocks.is_empty();
    if !answer.choices.is_empty() && answer.choices.iter().all(silent) {
        return Err(Undecodable::NoValidCall);
    }
    Ok(encode_answer(to, &answer, usage, asked))
}

/// Reads a whole answer.
///
/// # Errors
/// [`Undecodable`].
pub fn decode_answer(
    provider: Provider,
    dialect: Dialect,
    body: &[u8],
) -> Result<Answer, Undecodable> {
    match dialect {
        Dialect::ChatCompletions => chat::decode_answer(provider, body),
        Dialect::Messages => messages::decode_answer(provider, body),
        Dialect::Responses => responses::decode_answer(provider, body),
        Dialect::GenerateContent => gemini::decode_answer(provider, body),
    }
}

/// Writes a whole answer.
#[must_use]
pub fn encode_answer(dialect: Dialect, answer: &Answer, usage: &Usage, asked: &Asked) -> Vec<u8> {
    match dialect {
        Dialect::ChatCompletions => chat::encode_answer(answer, usage, asked),
        Dialect::Messages => messages::encode_answer(answer, usage, asked),
        Dialect::Responses => responses::encode_answer(answer, usage, asked),
        Dialect::GenerateContent => gemini::encode_answer(answer, usage, asked),
    }
}

/// Reads a provider's stream.
#[must_use]
pub fn stream_decoder(provider: Provider, dialect: Dialect) -> Box<dyn DecodeStream> {
    match dialect {
        Dialect::ChatCompletions => Box::new(chat::StreamDecoder::new(provider)),
        Dialect::Messages => Box::new(messages::StreamDecoder::new(provider)),
        Dialect::Responses => Box::new(responses::StreamDecoder::new(provider)),
        Dialect::GenerateContent => Box::new(gemini::StreamDecoder::new(provider)),
    }
}

/// Writes a stream for a caller.
#[must_use]
pub fn stream_encoder(dialect: Dialect, asked: Asked) -> Box<dyn EncodeStream> {
    match dialect {
        Dialect::ChatCompletions => Box::new(chat::StreamEncoder::new(asked)),
        Dialect::Messages => Box::new(messages::StreamEncoder::new(asked)),
        Dialect::Responses => Box::new(responses::StreamEncoder::new(asked)),
        Dialect::GenerateContent => Box::new(gemini::StreamEncoder::new(asked)),
    }
}

/// Turns one provider's stream into the caller's dialect, at any split of its bytes.
pub struct Translator {
    scanner: Scanner,
    flow: Flow,
}

/// All of the translator but the scanner.
struct Flow {
    decoder: Box<dyn DecodeStream>,
    encoder: Box<dyn EncodeStream>,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").finish_non_exhaustive()
    }
}

impl Translator {
    /// A translator of one stream.
    #[must_use]
    pub fn new(provider: Provider, from: Dialect, to: Dialect, asked: Asked) -> Self {
        let flow =
            Flow { decoder: stream_decoder(provider, from), encoder: stream_encoder(to, asked) };
        Self { scanner: Scanner::default(), flow }
    }

    /// Takes bytes of the provider and appends what the caller reads for them.
    ///
    /// # Errors
    /// [`Undecodable`]: the stream is to be given up; what was appended stands.
    pub fn push(&mut self, bytes: Bytes, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let Self { scanner, flow } = self;
        let mut fault = None;
        let scanned = scanner.push(bytes, |event| {
            if fault.is_none() {
                fault = flow.take(&event, out).err();
            }
        });
        match (fault, scanned) {
            (Some(fault), _) => Err(fault),
            (None, Err(_)) => Err(Undecodable::TooLarge),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Ends a stream that ended well, with the final usage.
    ///
    /// # Errors
    /// [`Undecodable`]: nothing that can be shown was said.
    pub fn end(&mut self, usage: &Usage, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        if let Some(event) = self.scanner.finish() {
            self.flow.take(&event, out)?;
        }
        let Flow { decoder, encoder } = &mut self.flow;
        decoder.end(&mut |event| encoder.event(&event, out))?;
        encoder.end(usage, out);
        Ok(())
    }
}

impl Flow {
    fn take(&mut self, event: &SseEvent, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let Fields { name, data: Some(data) } = event.fields() else { return Ok(()) };
        let Self { decoder, encoder } = self;
        decoder.event(name, &data, &mut |event| encoder.event(&event, out))
    }
}
