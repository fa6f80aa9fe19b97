//! The body that goes upstream: the client's bytes with a handful of values spliced.

use std::ops::Range;

use bytes::Bytes;
use opencredits_schema::{Model, Provider};

use super::tools::{MAX_USES_DEFAULT, Uses};
use super::{Dialect, Place, Purpose, Request, UsageChunk, Wrap};

/// What the gateway lowers before it sends a request on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// The output limit, if it is lowered below [`super::OutputDemand::limit`].
    pub max_tokens: Option<u64>,
    /// The thinking budget, if it is lowered.
    pub thinking_budget: Option<u64>,
}

/// One splice: what stands here is replaced; an empty range inserts.
pub(super) type Splice = (Range<usize>, String);

impl Place {
    /// Inserts a member or an element before what is there.
    pub(super) fn insert(self, member: &str) -> Splice {
        let comma = if self.empty { "" } else { "," };
        (self.at..self.at, format!("{member}{comma}"))
    }
}

impl Request {
    /// The body to send, in pieces: slices of the client's bytes around the edits, uncopied.
    #[must_use]
    pub fn upstream_body(&self, model: &Model, edits: Edits) -> Vec<Bytes> {
        let mut splices = Vec::new();
        if self.model.value != model.upstream_id && self.dialect != Dialect::GenerateContent {
            splices.push((self.model.span.clone(), quoted(&model.upstream_id)));
        }
        if self.purpose == Purpose::Answer {
            self.splice_usage(&mut splices);
            self.splice_limit(model, edits, &mut splices);
            self.splice_budget(edits, &mut splices);
            self.splice_tier(model, &mut splices);
            self.splice_uses(model, &mut splices);
            self.splice_state(model, &mut splices);
        }
        cut(&self.body, splices)
    }

    /// A stream must end with its usage, whether or not the caller wants to see it.
    fn splice_usage(&self, splices: &mut Vec<Splice>) {
        if self.dialect != Dialect::ChatCompletions || !self.stream {
            return;
        }
        let asked = r#""include_usage":true"#;
        let splice = match &self.usage_chunk {
            UsageChunk::Asked => return,
            UsageChunk::NoOptions => self.insert(&format!(r#""stream_options":{{{asked}}}"#)),
            UsageChunk::Replace(span, Wrap::Member) => (span.clone(), "true".to_owned()),
            UsageChunk::Replace(span, Wrap::Options) => (span.clone(), format!("{{{asked}}}")),
            UsageChunk::Insert { at, empty } => Place { at: *at, empty: *empty }.insert(asked),
        };
        splices.push(splice);
    }

    /// The limit that the hold rests on must be one that the provider keeps.
    fn splice_limit(&self, model: &Model, edits: Edits, splices: &mut Vec<Splice>) {
        let full = self.output(model).limit;
        let limit = edits.max_tokens.map_or(full, |lowered| lowered.min(full));
        let other = match self.dialect {
            Dialect::ChatCompletions => self.max_completion_tokens.as_ref(),
            Dialect::Messages | Dialect::Responses | Dialect::GenerateContent => None,
        };
        let fields: Vec<_> = self.max_tokens.iter().chain(other).collect();
        let given = fields.iter().any(|field| field.value.is_some());
        for field in fields.iter().filter(|field| field.value.is_some_and(|value| value > limit)) {
            splices.push((field.span.clone(), limit.to_string()));
        }
        if given {
            return;
        }
        if self.dialect == Dialect::GenerateContent {
            splices.push(self.google_limit(limit));
            return;
        }
        // Reasoning models of OpenAI take `max_completion_tokens` only; xAI, and OpenAI together
        // with a prediction, `max_tokens`.
        let old_name = model.provider != Provider::OpenAi || self.prediction_bytes > 0;
        let (name, null) = match (self.dialect, old_name) {
            (Dialect::Responses, _) => ("max_output_tokens", &self.max_tokens),
            (_, true) => ("max_tokens", &self.max_tokens),
            (_, false) => ("max_completion_tokens", &self.max_completion_tokens),
        };
        splices.push(match null {
            Some(field) => (field.span.clone(), limit.to_string()),
            None => self.insert(&format!(r#""{name}":{limit}"#)),
        });
    }

    /// Google's limit stands in its `generationConfig`.
    fn google_limit(&self, limit: u64) -> Splice {
        let member = format!(r#""maxOutputTokens":{limit}"#);
        match (&self.max_tokens, &self.config) {
            (Some(null), _) => (null.span.clone(), limit.to_string()),
            (None, Some(place)) => place.insert(&member),
            (None, None) => self.insert(&format!(r#""generationConfig":{{{member}}}"#)),
        }
    }

    fn splice_budget(&self, edits: Edits, splices: &mut Vec<Splice>) {
        if let (Some(lowered), Some((budget, span))) =
            (edits.thinking_budget, &self.thinking.budget)
            && lowered < *budget
        {
            splices.push((span.clone(), lowered.to_string()));
        }
    }

    /// `auto` would let the provider choose a price.
    fn splice_tier(&self, model: &Model, splices: &mut Vec<Splice>) {
        let standard = match model.provider {
            Provider::OpenAi => r#""default""#,
            Provider::Anthropic => r#""standard_only""#,
            Provider::Google | Provider::XAi => return,
        };
        match self.service_tier() {
            None => splices.push(self.insert(&format!(r#""service_tier":{standard}"#))),
            Some(tier) if matches!(&*tier.value, "" | "auto") => {
                splices.push((tier.span.clone(), standard.to_owned()));
            }
            Some(_) => {}
        }
    }

    /// Anthropic's own tools get the bound that the hold counts with.
    fn splice_uses(&self, model: &Model, splices: &mut Vec<Splice>) {
        if model.provider != Provider::Anthropic {
            return;
        }
        for tool in self.tools.iter().filter(|tool| tool.counts_uses()) {
            splices.push(match &tool.max_uses {
                Uses::Given(_) => continue,
                Uses::Null(span) => (span.clone(), MAX_USES_DEFAULT.to_string()),
                Uses::Absent => {
                    let at = tool.insert_at;
                    (at..at, format!(r#","max_uses":{MAX_USES_DEFAULT}"#))
                }
            });
        }
    }

    /// A new member of the request's object, which is never empty.
    pub(super) fn insert(&self, member: &str) -> Splice {
        (self.insert_at..self.insert_at, format!("{member},"))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The body around its splices. They don't overlap: each has a value or a place of its own.
fn cut(body: &Bytes, mut splices: Vec<Splice>) -> Vec<Bytes> {
    splices.sort_by_key(|(span, _)| span.start);
    let mut pieces = Vec::with_capacity(splices.len() * 2 + 1);
    let mut from = 0;
    for (span, text) in splices {
        if from < span.start {
            pieces.push(body.slice(from..span.start));
        }
        pieces.push(Bytes::from(text));
        from = span.end;
    }
    if from < body.len() {
        pieces.push(body.slice(from..));
    }
    pieces
}
