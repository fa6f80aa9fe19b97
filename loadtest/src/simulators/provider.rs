//! Which provider a request is for, and the one way to each provider's rules and shapes.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use super::playback::Piece;
use super::turn::{Asked, Turn, media_types};
use super::{BAD_KEY, anthropic, google, openai, responses, strict, xai};

/// A provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    OpenAiResponses,
    Anthropic,
    AnthropicCount,
    Xai,
    XaiResponses,
    Google,
}

/// What the path of a request says.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) dialect: Dialect,
    pub(super) found: bool,
    /// The model, where the path names it.
    model: Option<String>,
    /// Whether it is streamed, where the path says it.
    stream: bool,
}

impl Route {
    /// The route of a method and a path with its query.
    pub(super) fn find(method: &Method, path: &str) -> Self {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let (dialect, found) = match path {
            "/v1/chat/completions" => (Dialect::OpenAi, true),
            "/v1/responses" => (Dialect::OpenAiResponses, true),
            "/v1/messages" => (Dialect::Anthropic, true),
            "/v1/messages/count_tokens" => (Dialect::AnthropicCount, true),
            _ => (Dialect::OpenAi, false),
        };
        let gemini = path.strip_prefix("/v1beta/models/").and_then(|rest| rest.rsplit_once(':'));
        let post = method == Method::POST;
        match gemini {
            Some((model, verb @ ("generateContent" | "streamGenerateContent"))) => Self {
                dialect: Dialect::Google,
                found: post,
                model: Some(model.to_owned()),
                stream: verb == "streamGenerateContent",
            },
            Some(_) | None => Self { dialect, found: found && post, model: None, stream: false },
        }
    }

    /// The model of a request, empty where it names none.
    pub(super) fn model(&self, body: &Value) -> String {
        self.model.clone().unwrap_or_else(|| openai::text_of(body, "model"))
    }
}

impl Dialect {
    /// OpenAI's routes serve xAI's models as well, by their names.
    pub(super) fn of_model(self, model: &str) -> Self {
        match self {
            Self::OpenAi if model.starts_with("grok") => Self::Xai,
            Self::OpenAiResponses if model.starts_with("grok") => Self::XaiResponses,
            Self::OpenAi
            | Self::OpenAiResponses
            | Self::Anthropic
            | Self::AnthropicCount
            | Self::Xai
            | Self::XaiResponses
            | Self::Google => self,
        }
    }

    /// Refuses a request without the provider's key or with [`BAD_KEY`].
    pub(super) fn check_key(self, headers: &HeaderMap) -> Result<(), &'static str> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|v| v.strip_prefix("Bearer "));
        let (key, bad) = match self {
            Self::OpenAi | Self::OpenAiResponses => {
                (bearer, "Incorrect API key provided: bad-key.")
            }
            Self::Xai | Self::XaiResponses => (bearer, "Incorrect API key provided: ba***ey."),
            Self::Anthropic | Self::AnthropicCount => {
                (text("x-api-key").or(bearer), "invalid x-api-key")
            }
            Self::Google => {
                (text("x-goog-api-key"), "API key not valid. Please pass a valid API key.")
            }
        };
        match key {
            None | Some("") => Err("no API key provided"),
            Some(BAD_KEY) => Err(bad),
            Some(_) => Ok(()),
        }
    }

    /// Refuses a request without a header that the provider needs.
    pub(super) fn check_headers(self, headers: &HeaderMap) -> Result<(), &'static str> {
        let anthropic = matches!(self, Self::Anthropic | Self::AnthropicCount);
        if anthropic && !headers.contains_key("anthropic-version") {
            return Err("anthropic-version: header is required");
        }
        Ok(())
    }

    /// Reads the request; the error is the provider's word on it.
    pub(super) fn asked(self, body: &Value, route: &Route, model: &str) -> Result<Asked, String> {
        if model.is_empty() {
            return Err("you must provide a model parameter".to_owned());
        }
        let asked = match self {
            Self::OpenAi => openai::asked(body),
            Self::Xai => xai::asked(body),
            Self::OpenAiResponses | Self::XaiResponses => responses::asked(body),
            Self::Anthropic => anthropic::asked(body),
            Self::AnthropicCount => anthropic::counted(body),
            Self::Google => google::asked(body, model, route.stream),
        };
        asked.map(|asked| Asked { media: media_types(body), ..asked })
    }

    /// What the provider would refuse, as far as a translation could get it wrong.
    pub(super) fn check(self, body: &Value, model: &str) -> Result<(), String> {
        match self {
            Self::OpenAi | Self::Xai => strict::chat(body, self == Self::OpenAi),
            Self::OpenAiResponses | Self::XaiResponses => strict::responses(body),
            Self::Anthropic => strict::anthropic(body),
            Self::AnthropicCount => Ok(()),
            Self::Google => strict::google(body, model),
        }
    }

    /// The whole answer.
    pub(super) fn answer(self, asked: &Asked, turn: &Turn) -> Value {
        match self {
            Self::OpenAi => openai::answer(turn),
            Self::Xai => xai::answer(turn),
            Self::OpenAiResponses | Self::XaiResponses => responses::answer(turn),
            Self::Anthropic => anthropic::answer(turn),
            Self::AnthropicCount => anthropic::count(asked, turn),
            Self::Google => google::answer(turn),
        }
    }

    /// The answer as a stream.
    pub(super) fn stream(self, turn: &Turn, include_usage: bool) -> Vec<Piece> {
        match self {
            Self::OpenAi => openai::stream(turn, include_usage),
            Self::Xai => xai::stream(turn, include_usage),
            Self::OpenAiResponses | Self::XaiResponses => responses::stream(turn),
            Self::Anthropic | Self::AnthropicCount => anthropic::stream(turn),
            Self::Google => google::stream(turn),
        }
    }

    /// The status and the body of an error; two providers say 400 to a bad key.
    pub(super) fn error(self, status: u16, message: &str) -> (u16, Value) {
        match self {
            Self::OpenAi | Self::OpenAiResponses => (status, openai::error(status, message)),
            Self::Xai | Self::XaiResponses => xai::error(status, message),
            Self::Anthropic | Self::AnthropicCount => (status, anthropic::error(status, message)),
            Self::Google => google::error(status, message),
        }
    }

    /// The event that tells of an error in the middle of a stream.
    pub(super) fn error_event(self) -> Bytes {
        match self {
            Self::OpenAi => openai::error_event(),
            Self::Xai => xai::error_event(),
            Self::OpenAiResponses | Self::XaiResponses => responses::error_event(),
            Self::Anthropic | Self::AnthropicCount => anthropic::error_event(),
            Self::Google => google::error_event(),
        }
    }
}
