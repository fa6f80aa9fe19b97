//! A request in the one form.

use serde_json::{Number, Value};

use opencredits_wire::Dialect;

use crate::{Block, CacheMark, Content};

/// What a caller asks of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// The model as the caller names it.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether a chat completion's stream is to end with the usage chunk.
    pub usage_chunk: bool,
    /// The conversation, system texts included, in the order given. Decoders put the results of
    /// tools into user turns, before what the user says in the same turn; they merge neighbours of
    /// one role, and drop empty texts and empty turns.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; `None` is the provider's default, which is yes.
    pub parallel_tools: Option<bool>,
    /// The most tokens of an answer, thinking included.
    pub max_output: Option<u64>,
    /// How words are drawn.
    pub sampling: Sampling,
    /// How much it may think.
    pub reasoning: Option<Reasoning>,
    /// The form of the answer; `None` is text.
    pub format: Option<Format>,
    /// OpenAI's `verbosity`.
    pub verbosity: Option<String>,
    /// The caller's name for its own user.
    pub user: Option<String>,
    /// The tier asked for, in OpenAI's words: `auto`, `default`, `flex`, `priority`.
    pub service_tier: Option<String>,
}

/// Words of one side.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Whose.
    pub role: Role,
    /// In order.
    pub blocks: Vec<Block>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The caller's instructions (`system`, `developer`, `instructions`), anywhere in the
    /// conversation.
    System,
    /// The user, and the tools.
    User,
    /// The model.
    Assistant,
}

/// What a model may call.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// A function of the caller.
    Function(Function),
    /// A tool that only its own dialect knows; encoders of other dialects answer 400 with its
    /// name.
    Own {
        /// Whose.
        dialect: Dialect,
        /// Its name or type, for the message.
        name: String,
        /// As it came.
        json: Value,
    },
}

/// A function of the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments, as given (key order kept); `None` where there is none.
    pub schema: Option<Value>,
    /// Whether arguments are held to the schema.
    pub strict: Option<bool>,
    /// As [`Block::cache`].
    pub cache: Option<CacheMark>,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// At least one.
    Required,
    /// None.
    None,
    /// This one.
    Function(String),
}

/// How words are drawn. Numbers are as the caller wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2 at OpenAI, xAI and Google, 0 to 1 at Anthropic.
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// Anthropic and Google only.
    pub top_k: Option<Number>,
    /// OpenAI, xAI, Google.
    pub seed: Option<Number>,
    /// OpenAI, xAI, Google.
    pub presence_penalty: Option<Number>,
    /// OpenAI, xAI, Google.
    pub frequency_penalty: Option<Number>,
    /// Answers asked for; `None` is one.
    pub n: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

/// How much a model may think, and what of it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Anthropic's `thinking.type`, Gemini's `thinkingBudget`.
    pub thinking: Option<Thinking>,
    /// `reasoning_effort`, `reasoning.effort`, `output_config.effort`, `thinkingLevel`.
    pub effort: Option<Effort>,
    /// Whether the text of the thinking is shown: Gemini's `includeThoughts`, Responses'
    /// `reasoning.summary`, Anthropic's `display` (`omitted` is no). `None` is the default of the
    /// caller's dialect.
    pub show: Option<bool>,
}

/// Whether a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// No.
    Off,
    /// As long as it likes.
    Adaptive,
    /// Up to so many tokens, which are part of the output limit.
    Budget(u64),
}

/// How hard a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// `minimal`
    Minimal,
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `xhigh`
    XHigh,
    /// `max`
    Max,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// Its name; some dialects have none.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// As given, key order kept.
        schema: Value,
        /// Whether the answer is held to it.
        strict: Option<bool>,
    },
}

impl Prompt {
    /// Adds words as [`Prompt::turns`] wants them: empty texts are dropped, neighbours of one role
    /// merge, and the results of tools stand before what the user says.
    pub fn say(&mut self, role: Role, blocks: Vec<Block>) {
        let is_empty =
            |block: &Block| block.as_text().is_some_and(str::is_empty) && !block.is_signed();
        let blocks = blocks.into_iter().filter(|block| !is_empty(block));
        match self.turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => {
                let blocks: Vec<_> = blocks.collect();
                if !blocks.is_empty() {
                    self.turns.push(Turn { role, blocks });
                }
            }
        }
        if let Some(turn) = self.turns.last_mut().filter(|turn| turn.role == Role::User) {
            // Stable: the order among results, and among words, stays.
            turn.blocks.sort_by_key(|block| !matches!(block.content, Content::ToolResult(_)));
        }
    }
}

impl Effort {
    /// The highest of these that is not above this one, or the lowest of all; `None` of none.
    #[must_use]
    pub fn within(self, supported: &[Self]) -> Option<Self> {
        let lower = supported.iter().filter(|effort| **effort <= self).max();
        lower.or_else(|| supported.iter().min()).copied()
    }

    /// The word of OpenAI and Anthropic for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads such a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::None,
            Self::Minimal,
            Self::Low,
            Self::Medium,
            Self::High,
            Self::XHigh,
            Self::Max,
        ];
        all.into_iter().find(|effort| effort.as_str() == word)
    }

    /// The effort that a thinking budget stands for (`providers.md` 3.3).
    #[must_use]
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..4_096 => Self::Low,
            4_096..16_384 => Self::Medium,
            _ => Self::High,
        }
    }

    /// The thinking budget that stands for an effort, in tokens (`providers.md` 3.1).
    #[must_use]
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::XHigh | Self::Max => 24_576,
        }
    }
}
