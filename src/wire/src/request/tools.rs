//! The tools that a request declares: which run at the provider, and how often they may.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::BadRequest;
use super::fields;
use super::scan::{Scan, Skip};

/// How often a server tool without `max_uses` may be used; sent to the provider.
pub(super) const MAX_USES_DEFAULT: u64 = 5;
/// The largest `max_uses` of one tool.
pub(super) const MAX_USES_MAX: u64 = 100;

/// One declared tool.
#[derive(Clone, Debug, Default)]
pub(super) struct Tool {
    /// What it is.
    pub(super) kind: Kind,
    /// The `type` as the caller wrote it; empty when absent.
    pub(super) name: String,
    /// How often it may be used.
    pub(super) max_uses: Uses,
    /// An advisor's model.
    pub(super) model: Option<String>,
    /// An advisor's output limit.
    pub(super) max_tokens: Option<u64>,
    /// Where a field can be inserted: behind the value of `type`.
    pub(super) insert_at: usize,
}

/// What a tool is, by its `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Described by the caller and run by it.
    #[default]
    Custom,
    /// Known to the provider, run by the caller: computer, bash, text editor, memory.
    Client,
    /// Anthropic's search among the declared tools: free beyond its tokens.
    ToolSearch,
    /// A search of the web by the provider.
    WebSearch,
    /// A fetch of pages by the provider.
    WebFetch,
    /// Another model that is asked for advice.
    Advisor,
    /// Code run by the provider.
    CodeExecution,
    /// Anything else.
    Unknown,
}

/// A tool's `max_uses`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Uses {
    /// Not given.
    #[default]
    Absent,
    /// Given as `null`, here.
    Null(Range<usize>),
    /// Given.
    Given(u64),
}

impl Tool {
    /// The most uses, with the default that will be sent.
    pub(super) fn uses(&self) -> u64 {
        match self.max_uses {
            Uses::Given(uses) => uses,
            Uses::Absent | Uses::Null(_) => MAX_USES_DEFAULT,
        }
    }

    /// Whether the provider takes `max_uses` for it.
    pub(super) fn counts_uses(&self) -> bool {
        matches!(self.kind, Kind::WebSearch | Kind::WebFetch | Kind::Advisor)
    }

    /// Whether the provider puts instructions of its own for it into the prompt.
    pub(super) fn has_hidden_prompt(&self) -> bool {
        self.kind != Kind::Custom
    }
}

impl Kind {
    /// Reads a `type`. OpenAI and xAI name no version, Anthropic does.
    fn read(name: &str) -> Self {
        const PREFIXES: [(&str, Kind); 11] = [
            ("bash_", Kind::Client),
            ("text_editor_", Kind::Client),
            ("computer_", Kind::Client),
            ("memory_", Kind::Client),
            ("tool_search_tool_", Kind::ToolSearch),
            ("web_search_20", Kind::WebSearch),
            ("web_fetch_", Kind::WebFetch),
            ("advisor_", Kind::Advisor),
            ("code_execution_20", Kind::CodeExecution),
            ("function", Kind::Custom),
            ("custom", Kind::Custom),
        ];
        let whole = |kind| matches!(kind, Self::Custom);
        PREFIXES
            .into_iter()
            .find(
                |(prefix, kind)| {
                    if whole(*kind) { name == *prefix } else { name.starts_with(prefix) }
                },
            )
            .map_or(Self::Unknown, |(_, kind)| kind)
    }
}

/// A tool's object.
pub(super) struct Declaration<'s, 'b>(pub(super) &'s mut Scan<'b>);

impl<'b> DeserializeSeed<'b> for Declaration<'_, 'b> {
    type Value = Tool;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<Tool, D::Error> {
        json.deserialize_map(self)
    }
}

fn tool_key(key: &str) -> &'static str {
    match key {
        "type" => "type",
        "model" => "model",
        "max_uses" => "max_uses",
        "max_tokens" => "max_tokens",
        "cache_control" => "cache_control",
        "container" => "container",
        "vector_store_ids" => "vector_store_ids",
        "file_ids" => "file_ids",
        "server_url" => "server_url",
        "mcp_server_name" => "mcp_server_name",
        // Google's own tools: no bound, no price.
        "googleSearch" | "googleSearchRetrieval" => "googleSearch",
        "codeExecution" => "codeExecution",
        "urlContext" => "urlContext",
        "fileSearch" => "fileSearch",
        "googleMaps" => "googleMaps",
        "computerUse" => "computerUse",
        _ => "",
    }
}

impl<'b> Visitor<'b> for Declaration<'_, 'b> {
    type Value = Tool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Tool, A::Error> {
        let scan = self.0;
        let mut tool = Tool::default();
        let (mut typed, mut used, mut limited, mut named) = (false, false, false, false);
        while let Some(key) = map.next_key_seed(super::scan::Word(tool_key))? {
            let value = map.next_value_seed(Skip(scan))?;
            let read = match key {
                "type" => once(&mut typed, key).and_then(|()| {
                    tool.insert_at = scan.span(value).end;
                    if let Some(name) = fields::string(value, "tools")? {
                        tool.kind = Kind::read(&name);
                        tool.name = name;
                    }
                    refuse_kind(&tool.name)
                }),
                "max_uses" => once(&mut used, key).and_then(|()| {
                    tool.max_uses = match fields::integer(value, "tools")? {
                        Some(uses) => Uses::Given(uses),
                        None => Uses::Null(scan.span(value)),
                    };
                    Ok(())
                }),
                "max_tokens" => once(&mut limited, key).and_then(|()| {
                    tool.max_tokens = fields::integer(value, "tools")?;
                    Ok(())
                }),
                "model" => once(&mut named, key).and_then(|()| {
                    tool.model = fields::string(value, "tools")?;
                    Ok(())
                }),
                "cache_control" => {
                    scan.mark_cache(value);
                    Ok(())
                }
                "" => Ok(()),
                // An empty object turns Google's tools on.
                name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                    Err(BadRequest::state(name, "tools"))
                }
                _ if fields::names_nothing(value) => Ok(()),
                name => Err(BadRequest::state(name, "tools")),
            };
            read.map_err(|fault| scan.fail(fault))?;
        }
        let checked = check_uses(&tool);
        checked.map_err(|fault| scan.fail(fault))?;
        Ok(tool)
    }
}

fn once(seen: &mut bool, key: &str) -> Result<(), BadRequest> {
    if std::mem::replace(seen, true) {
        return Err(BadRequest::new(format!("duplicate field `{key}` in `tools`"), "tools"));
    }
    Ok(())
}

/// Tools that reach into the operator's account or out to servers of the caller's choice.
fn refuse_kind(name: &str) -> Result<(), BadRequest> {
    let refused = name.starts_with("mcp") || name == "file_search" || name == "collections_search";
    if refused { Err(BadRequest::state(name, "tools")) } else { Ok(()) }
}

fn check_uses(tool: &Tool) -> Result<(), BadRequest> {
    if tool.counts_uses() && tool.uses() > MAX_USES_MAX {
        let message = format!("`max_uses` of `{}` must be at most {MAX_USES_MAX}", tool.name);
        return Err(BadRequest::new(message, "tools"));
    }
    Ok(())
}
