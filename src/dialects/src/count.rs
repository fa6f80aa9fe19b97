//! How many tokens a prompt's text has, for who is not told by the provider.

use serde_json::Value;

use crate::{Block, Content, Format, Prompt, Tool};

/// Tokens around each turn, as OpenAI documents them for its chat format: three marks and the role.
const TURN_TOKENS: u64 = 4;
/// Tokens that begin the answer.
const ANSWER_TOKENS: u64 = 3;

impl Prompt {
    /// The o200k tokens of the text, the tools and the marks around them, media left out. `count`
    /// counts one text.
    #[must_use]
    pub fn text_tokens(&self, count: impl Fn(&str) -> u64) -> u64 {
        let turns =
            self.turns.iter().map(|turn| blocks(&turn.blocks, &count).saturating_add(TURN_TOKENS));
        let tools = self.tools.iter().map(|tool| match tool {
            Tool::Function(function) => {
                let words = [Some(function.name.as_str()), function.description.as_deref()];
                let words = words.into_iter().flatten().map(&count).fold(0, u64::saturating_add);
                words.saturating_add(function.schema.as_ref().map_or(0, |s| json(s, &count)))
            }
            Tool::Own { json: own, .. } => json(own, &count),
        });
        let format = match &self.format {
            Some(Format::JsonSchema { schema, .. }) => json(schema, &count),
            Some(Format::JsonObject) | None => 0,
        };
        turns.chain(tools).fold(format.saturating_add(ANSWER_TOKENS), u64::saturating_add)
    }
}

fn blocks(blocks: &[Block], count: &impl Fn(&str) -> u64) -> u64 {
    blocks.iter().map(|block| self::block(&block.content, count)).fold(0, u64::saturating_add)
}

fn block(content: &Content, count: &impl Fn(&str) -> u64) -> u64 {
    match content {
        Content::Text { text, .. } | Content::Refusal(text) | Content::Thinking { text, .. } => {
            count(text)
        }
        Content::ToolCall(call) => count(&call.name).saturating_add(count(&call.arguments)),
        Content::ToolResult(result) => blocks(&result.content, count),
        Content::Document(document) => match &document.source {
            crate::Source::Text(text) => count(text),
            crate::Source::Base64 { .. } | crate::Source::Url(_) => 0,
        },
        Content::Own { json: own, .. } => json(own, count),
        Content::RedactedThinking(_) | Content::Image(_) | Content::Audio { .. } => 0,
    }
}

fn json(value: &Value, count: &impl Fn(&str) -> u64) -> u64 {
    count(&value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Function, Role, Turn};

    #[test]
    fn text_tools_and_marks_count() {
        let user = Turn { role: Role::User, blocks: vec![Block::text("abc"), Block::text("d")] };
        let function = Function {
            name: "f".to_owned(),
            description: Some("gh".to_owned()),
            schema: Some(json!({"a": 1})),
            strict: None,
            cache: None,
        };
        let bytes = |text: &str| text.len() as u64;
        let mut prompt = Prompt { turns: vec![user], ..Prompt::default() };
        assert_eq!(prompt.text_tokens(bytes), 4 + 4 + 3);
        prompt.tools.push(Tool::Function(function));
        assert_eq!(prompt.text_tokens(bytes), 11 + 1 + 2 + 7);
    }
}
