//! One request of a client: the few fields that matter, found in one pass, and the body that goes
//! upstream, which is the client's own bytes but for a handful of named edits.

use std::ops::Range;

use bytes::Bytes;
use opencredits_schema::Model;

mod check;
mod content;
mod dialect;
mod edit;
mod fields;
mod json;
mod output;
mod read;
mod refused;
mod route;
mod scan;
mod stateless;
#[cfg(test)]
mod tests;
mod tools;

pub use dialect::Dialect;
pub use edit::Edits;
pub use output::OutputDemand;
pub use route::upstream_dialect;

use crate::bound::{Media, is_recent_claude};
use scan::{CacheMark, Scan};
use stateless::{Include, Store};
use tools::{Kind, Tool};

/// Why a request is answered 400 `invalid_request`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// What is wrong, for the caller to read.
    pub message: String,
    /// The field at fault, if it is one.
    pub param: Option<String>,
}

/// The longest name of a model, in bytes.
pub const MODEL_NAME_MAX: usize = 256;
/// The most answers that one request may ask for.
pub const CHOICES_MAX: u64 = 128;

/// A request as far as the gateway needs to understand it. It owns the client's bytes.
#[derive(Clone, Debug)]
pub struct Request {
    dialect: Dialect,
    purpose: Purpose,
    body: Bytes,
    model: Quoted,
    stream: bool,
    usage_chunk: UsageChunk,
    max_tokens: Option<Limit>,
    max_completion_tokens: Option<Limit>,
    n: u64,
    thinking: Thinking,
    /// Google's `generationConfig`.
    config: Option<Place>,
    store: Store,
    include: Include,
    service_tier: Option<Quoted>,
    speed: Option<String>,
    inference_geo: Option<String>,
    cache: CacheMark,
    tools: Vec<Tool>,
    has_functions: bool,
    media: Vec<Media>,
    search: Search,
    compacts: bool,
    prediction_bytes: u64,
    /// Where a new member may be inserted: behind the first brace.
    insert_at: usize,
}

/// Where a member or an element can be inserted: behind the opening sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: usize,
    /// Nothing else stands there.
    empty: bool,
}

/// Anthropic's `thinking`, or Google's budget.
#[derive(Clone, Debug, Default)]
struct Thinking {
    /// Whether it is asked for, if anything is said.
    asked: Option<bool>,
    /// The budget in tokens and where it stands.
    budget: Option<(u64, Range<usize>)>,
}

/// What Google's `generationConfig` tells.
#[derive(Clone, Debug, Default)]
struct Generation {
    limit: Option<Limit>,
    n: Option<u64>,
    budget: Option<(u64, Range<usize>)>,
    place: Option<Place>,
}

/// What the request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// An answer of the model.
    Answer,
    /// Only the number of its tokens.
    Count,
}

/// A string of the request and where it lies, quotes included.
#[derive(Clone, Debug)]
struct Quoted {
    /// Empty for `null`.
    value: String,
    span: Range<usize>,
}

/// An output limit and where it lies; `null` has no value.
#[derive(Clone, Debug)]
struct Limit {
    value: Option<u64>,
    span: Range<usize>,
}

/// What must be done so that a stream ends with its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UsageChunk {
    /// The caller asked for it.
    Asked,
    /// No `stream_options`.
    NoOptions,
    /// This value (`null` or `false`) is to be replaced.
    Replace(Range<usize>, Wrap),
    /// The member is missing here, in an object that has others or none.
    Insert { at: usize, empty: bool },
}

/// Whether a replaced value is the member or the whole `stream_options`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    Member,
    Options,
}

/// A search that the request asks for outside of its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    None,
    /// OpenAI's `web_search_options`.
    Web,
    /// xAI's `search_parameters`, with the most results.
    Live(u64),
}

impl Request {
    /// Reads a request for an answer.
    ///
    /// # Errors
    /// [`BadRequest`] for a body that is no JSON object, lacks or repeats a field that matters,
    /// gives it a wrong type, or carries one of the refused fields.
    pub fn parse(dialect: Dialect, body: Bytes) -> Result<Self, BadRequest> {
        Self::read(dialect, Purpose::Answer, body, None)
    }

    /// Reads a native request to Google, whose address names the model and whether it streams.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse_native(body: Bytes, model: &str, stream: bool) -> Result<Self, BadRequest> {
        Self::read(Dialect::GenerateContent, Purpose::Answer, body, Some((model, stream)))
    }

    /// Reads a request to count tokens (`/v1/messages/count_tokens`): no output limit is needed.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse_count(body: Bytes) -> Result<Self, BadRequest> {
        Self::read(Dialect::Messages, Purpose::Count, body, None)
    }

    /// The dialect that it is written in.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The model as the caller named it.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model.value
    }

    /// Whether the answer is to be streamed.
    #[must_use]
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// Whether the caller asked for the chunk with the usage (`stream_options.include_usage`).
    #[must_use]
    pub fn wants_usage_chunk(&self) -> bool {
        self.usage_chunk == UsageChunk::Asked
    }

    /// The client's own bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether there are images, documents or recordings in it.
    #[must_use]
    pub fn has_media(&self) -> bool {
        !self.media.is_empty()
    }

    /// Whether the model may reason in it without showing all of that: then its usage is known at
    /// its end only.
    #[must_use]
    pub fn may_reason(&self, model: &Model) -> bool {
        let reasons = model.features.reasoning;
        match self.dialect {
            // Claude thinks when it is asked to; the newest also by themselves.
            Dialect::Messages => {
                reasons && self.thinking.asked.unwrap_or_else(|| is_recent_claude(model))
            }
            Dialect::ChatCompletions | Dialect::Responses | Dialect::GenerateContent => reasons,
        }
    }

    pub(crate) fn media(&self) -> &[Media] {
        &self.media
    }

    /// The body as text; parsing has checked that it is.
    pub(crate) fn text(&self) -> &str {
        simdutf8::basic::from_utf8(&self.body).unwrap_or_default()
    }

    pub(crate) fn has_tools(&self) -> bool {
        !self.tools.is_empty() || self.has_functions
    }

    /// How many tools bring a hidden prompt of the provider, and how many results the provider's
    /// own tools may add to the input.
    pub(crate) fn server_tools(&self) -> (u64, u64) {
        let hidden = self.tools.iter().filter(|tool| tool.has_hidden_prompt()).count();
        let uses = self.tools.iter().map(|tool| match tool.kind {
            // Each search, fetch or run feeds its result back into the prompt.
            Kind::WebSearch | Kind::WebFetch | Kind::Advisor => tool.uses(),
            Kind::CodeExecution => check::CODE_RUNS_MAX,
            Kind::Custom | Kind::Client | Kind::ToolSearch | Kind::Unknown => 0,
        });
        let searches = match self.search {
            Search::None => 0,
            Search::Web => 1,
            Search::Live(results) => results.div_ceil(5),
        };
        let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
        (hidden, uses.fold(searches, u64::saturating_add))
    }

    fn read(
        dialect: Dialect,
        purpose: Purpose,
        body: Bytes,
        native: Option<(&str, bool)>,
    ) -> Result<Self, BadRequest> {
        let text = simdutf8::basic::from_utf8(&body)
            .map_err(|_| BadRequest::whole("the body is not valid UTF-8".to_owned()))?;
        let scan = Scan::run(dialect, text)?;
        refused::check(&scan.fields)?;
        if !scan.has_messages {
            return Err(BadRequest::missing(dialect.conversation()));
        }
        let (model, stream) = match native {
            Some((model, stream)) => (Quoted { value: model.to_owned(), span: 0..0 }, stream),
            None => (read::model(&scan)?, read::stream(&scan)?),
        };
        let usage_chunk = read::stream_options(&scan)?;
        let config = read::generation(&scan)?;
        let max_tokens = match dialect {
            Dialect::ChatCompletions | Dialect::Messages => {
                read::limit(&scan, scan.fields.max_tokens, "max_tokens")?
            }
            Dialect::Responses => {
                read::limit(&scan, scan.fields.max_output_tokens, "max_output_tokens")?
            }
            Dialect::GenerateContent => config.limit,
        };
        let max_completion_tokens =
            read::limit(&scan, scan.fields.max_completion_tokens, "max_completion_tokens")?;
        let given = max_tokens.as_ref().is_some_and(|limit| limit.value.is_some());
        if dialect == Dialect::Messages && purpose == Purpose::Answer && !given {
            return Err(BadRequest::missing("max_tokens"));
        }
        let asked = read::thinking(&scan)?;
        let thinking = Thinking { budget: asked.budget.or(config.budget), ..asked };
        let service_tier = read::tier(&scan)?;
        let speed = read::quoted(&scan, scan.fields.speed, "speed")?.map(|speed| speed.value);
        let inference_geo = read::quoted(&scan, scan.fields.inference_geo, "inference_geo")?;
        let (n, search) = (config.n.unwrap_or(read::choices(&scan)?), read::search(&scan)?);
        let (store, include) = (read::store(&scan), read::include(&scan));
        let compacts = read::compacts(&scan);
        let prediction = scan.fields.prediction.filter(|raw| *raw != "null");
        let prediction_bytes = prediction.map_or(0, str::len);
        let insert_at = text.find('{').map_or(0, |brace| brace.saturating_add(1));
        let has_functions = scan.fields.functions.is_some_and(|raw| !fields::names_nothing(raw));
        let Scan { tools, media, cache, .. } = scan;
        Ok(Self {
            dialect,
            purpose,
            model,
            stream,
            usage_chunk,
            max_tokens,
            max_completion_tokens,
            n,
            thinking,
            config: config.place,
            store,
            include,
            service_tier,
            speed,
            inference_geo: inference_geo.map(|geo| geo.value),
            cache,
            tools: tools.unwrap_or_default(),
            has_functions,
            media,
            search,
            compacts,
            prediction_bytes: u64::try_from(prediction_bytes).unwrap_or(u64::MAX),
            insert_at,
            body,
        })
    }
}

impl BadRequest {
    /// A fault of one field.
    #[must_use]
    pub fn new(message: String, param: &str) -> Self {
        let param = (!param.is_empty()).then(|| param.to_owned());
        Self { message, param }
    }

    /// A fault of the whole body.
    #[must_use]
    pub fn whole(message: String) -> Self {
        Self { message, param: None }
    }

    fn missing(name: &str) -> Self {
        Self::new(format!("missing field `{name}`"), name)
    }

    /// Something that this gateway does not let through.
    pub(crate) fn state(name: &str, param: &str) -> Self {
        let shown: String = name.chars().take(80).collect();
        Self::new(format!("`{shown}` is not supported here"), param)
    }
}
