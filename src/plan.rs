//! What a client's request becomes: its model, and the words in which its provider is asked.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;
use opencredits_dialects::{
    Asked, Prompt, Translator, decode_request, encode_request, responses, translate_answer,
};
use opencredits_schema::{AccountId, Model, Partner, PriceBook, Provider, RequestId, Usage};
use opencredits_wire::{Dialect, Request, upstream_dialect};

use crate::error::{ApiError, ErrorCode, SHOULD_RETRY};
use crate::gateway::Gateway;
use crate::upstream::UpstreamError;

/// The least that hyper sets aside to read from a connection.
const BUFFER: usize = 8 << 10;

const FALSE: HeaderValue = HeaderValue::from_static("false");

/// A request that is served: the client's words, and the provider's.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The prices of the moment.
    pub book: Arc<PriceBook>,
    /// The model.
    pub model: Arc<Model>,
    /// The request in the client's dialect.
    pub asked: Arc<Request>,
    /// The request in the provider's dialect; the same one where that is the client's.
    pub sent: Arc<Request>,
}

impl Plan {
    /// Reads a request for an answer, and writes it in the provider's dialect.
    ///
    /// # Errors
    /// 400 for what the dialects or the model do not take, 403, 404, 502 without a provider.
    pub fn new(
        gateway: &Gateway,
        account: AccountId,
        partner: &Partner,
        dialect: Dialect,
        body: Bytes,
    ) -> Result<Self, ApiError> {
        let body =
            if dialect == Dialect::Responses { resolved(gateway, account, body)? } else { body };
        let asked = Arc::new(Request::parse(dialect, body)?);
        let (book, model) = find_model(gateway, partner, asked.model())?;
        let upstream = upstream_dialect(dialect, &model);
        let sent = if upstream == dialect {
            Arc::clone(&asked)
        } else {
            let prompt = decode_request(dialect, asked.body())?;
            Arc::new(written(&prompt, upstream, &model)?)
        };
        sent.check(&book, &model)?;
        Ok(Self { book, model, asked, sent })
    }

    /// The dialect of the client.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.asked.dialect()
    }

    /// How its answer is to be translated; `None` where it passes as it comes.
    #[must_use]
    pub fn translation(&self, request: RequestId, created: u64) -> Option<Translation> {
        let (from, to) = (self.sent.dialect(), self.asked.dialect());
        if from == to {
            return None;
        }
        let asked = Asked {
            model: self.asked.model().to_owned(),
            request: request.to_string().replace('-', ""),
            created,
            usage_chunk: self.asked.wants_usage_chunk(),
            input_estimate: self.sent.input_estimate(&self.model),
            body: kept_body(&self.asked),
        };
        Some(Translation { provider: self.model.provider, from, to, asked })
    }
}

/// The way of an answer from the provider's dialect to the client's.
#[derive(Clone, Debug)]
pub struct Translation {
    provider: Provider,
    from: Dialect,
    to: Dialect,
    asked: Asked,
}

impl Translation {
    /// The whole answer in the client's dialect.
    ///
    /// # Errors
    /// 502 for an answer that cannot be shown.
    pub fn answer(&self, body: &[u8], usage: &Usage) -> Result<Bytes, ApiError> {
        let answer = translate_answer(self.provider, self.from, self.to, body, usage, &self.asked);
        // It was billed, so another attempt would be billed again.
        let no_retry = |error: ApiError| error.with_header(SHOULD_RETRY, FALSE);
        answer.map(Bytes::from).map_err(|error| no_retry(ApiError::upstream()).with_source(error))
    }

    /// The translator of a stream.
    #[must_use]
    pub fn stream(self) -> Translator {
        Translator::new(self.provider, self.from, self.to, self.asked)
    }
}

/// A prompt in a provider's dialect, read as a request like any other: the hold, the limits and
/// the edits rest on what is really sent.
pub(crate) fn written(
    prompt: &Prompt,
    upstream: Dialect,
    model: &Model,
) -> Result<Request, ApiError> {
    let body = Bytes::from(encode_request(upstream, prompt, model)?);
    let request = match upstream {
        Dialect::GenerateContent => Request::parse_native(body, &model.upstream_id, prompt.stream),
        Dialect::ChatCompletions | Dialect::Messages | Dialect::Responses => {
            Request::parse(upstream, body)
        }
    };
    Ok(request?)
}

/// The model that a request names, if the partner may use it and a provider can be asked; and the
/// prices of the moment.
pub(crate) fn find_model(
    gateway: &Gateway,
    partner: &Partner,
    name: &str,
) -> Result<(Arc<PriceBook>, Arc<Model>), ApiError> {
    let book = gateway.book();
    let model = book.model(name).ok_or_else(|| ApiError::model_not_found(name))?;
    if !partner.allows(&model.id) {
        return Err(ApiError::model_not_allowed(name));
    }
    if !gateway.upstream.has_key(model.provider) {
        let message = format!("The provider of {:?} is not set up here.", model.id);
        let error = ApiError::new(ErrorCode::UpstreamError, message);
        return Err(error.with_source(UpstreamError::NoKey(model.provider)));
    }
    let model = Arc::clone(model);
    Ok((book, model))
}

/// The body with the account's own recent items in place of references to them.
fn resolved(gateway: &Gateway, account: AccountId, body: Bytes) -> Result<Bytes, ApiError> {
    let now = Instant::now();
    let find = |id: &str| gateway.recent_items.find(account, id, now).map(|json| json.to_string());
    let resolved = responses::resolve_references(&body, find)?;
    Ok(resolved.map_or(body, Bytes::from))
}

/// A request's body for as long as its answer takes. A stream takes long, and a small body is a piece of
/// its connection's buffer, which it would keep whole.
pub(crate) fn kept_body(asked: &Request) -> Bytes {
    let body = asked.body();
    let copied = asked.stream() && body.len() < BUFFER;
    if copied { Bytes::copy_from_slice(body) } else { body.clone() }
}

/// Where a provider is asked in a dialect. Claude Code's `?beta=true` goes along; nothing else of
/// a query does.
#[must_use]
pub fn upstream_path(sent: &Request, model: &Model, query: &str) -> Cow<'static, str> {
    let path = match (sent.dialect(), query) {
        (Dialect::ChatCompletions, _) => "/v1/chat/completions",
        (Dialect::Messages, "beta=true") => "/v1/messages?beta=true",
        (Dialect::Messages, _) => "/v1/messages",
        (Dialect::Responses, _) => "/v1/responses",
        (Dialect::GenerateContent, _) => {
            let verb =
                if sent.stream() { "streamGenerateContent?alt=sse" } else { "generateContent" };
            return format!("/v1beta/models/{}:{verb}", model.upstream_id).into();
        }
    };
    path.into()
}
