//! In which dialect a model is asked.

use opencredits_schema::{Endpoint, Model, Provider};

use super::{BadRequest, Dialect, Request};

/// The dialect in which the provider of a model is asked, for a client of this one: its own where
/// the model is served in it (`providers.md` 3.6).
#[must_use]
pub fn upstream_dialect(client: Dialect, model: &Model) -> Dialect {
    match (model.provider, model.endpoint, client) {
        (Provider::Anthropic, _, _) => Dialect::Messages,
        (Provider::Google, _, _) => Dialect::GenerateContent,
        (Provider::OpenAi | Provider::XAi, Endpoint::ResponsesOnly, _)
        | (Provider::OpenAi | Provider::XAi, Endpoint::Chat, Dialect::Responses) => {
            Dialect::Responses
        }
        (
            Provider::OpenAi | Provider::XAi,
            Endpoint::Chat,
            Dialect::ChatCompletions | Dialect::Messages | Dialect::GenerateContent,
        ) => Dialect::ChatCompletions,
    }
}

impl Request {
    /// A request that goes to a provider has to be in a dialect in which the model is served.
    pub(super) fn check_route(&self, model: &Model) -> Result<(), BadRequest> {
        if upstream_dialect(self.dialect, model) == self.dialect {
            return Ok(());
        }
        let message = format!("the model `{}` is not served in this dialect", model.id);
        Err(BadRequest::new(message, "model"))
    }
}

#[cfg(test)]
mod tests {
    use Dialect::{ChatCompletions, GenerateContent, Messages, Responses};
    use opencredits_schema::PriceBook;

    use super::*;

    #[test]
    fn a_provider_is_asked_in_its_own_dialect() {
        let book = PriceBook::built_in().unwrap();
        for (model, chat, messages, responses) in [
            ("openai/gpt-4o", ChatCompletions, ChatCompletions, Responses),
            ("openai/gpt-5-pro", Responses, Responses, Responses),
            ("xai/grok-4.3", ChatCompletions, ChatCompletions, Responses),
            ("anthropic/claude-opus-5", Messages, Messages, Messages),
            ("google/gemini-2.5-pro", GenerateContent, GenerateContent, GenerateContent),
        ] {
            let model = book.model(model).unwrap();
            let asked = [ChatCompletions, Messages, Responses].map(|d| upstream_dialect(d, model));
            assert_eq!(asked, [chat, messages, responses], "{}", model.id);
        }
    }
}
