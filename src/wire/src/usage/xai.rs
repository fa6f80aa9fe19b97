//! xAI's usage: OpenAI's fields, reasoning beside them, fees, and a bill.

use opencredits_schema::{ToolCalls, Usage};

use super::{Node, count, openai};

/// Reads a `usage` object of chat completions or responses.
pub(super) fn usage(usage: &Node<'_>) -> Option<Usage> {
    let mut read = openai::usage(usage)?;
    // Without a total nothing shows that the reasoning comes on top, but on chat it does.
    if count(usage, &["total_tokens"]).is_none() {
        let reasoning = count(usage, &["completion_tokens_details", "reasoning_tokens"]);
        read.output = read.output.saturating_add(reasoning.unwrap_or(0));
        read.reasoning = reasoning.unwrap_or(read.reasoning);
    }
    read.tool_calls = tool_calls(usage);
    read.cost_ticks = count(usage, &["cost_in_usd_ticks"]);
    Some(read)
}

fn tool_calls(usage: &Node<'_>) -> ToolCalls {
    let calls = |name| count(usage, &["server_side_tool_usage_details", name]).unwrap_or(0);
    if usage.get("server_side_tool_usage_details").is_none_or(Node::is_null) {
        // The old live search was billed by source. Its bill is in the ticks.
        let web_search = count(usage, &["num_sources_used"]).unwrap_or(0);
        return ToolCalls { web_search, ..ToolCalls::default() };
    }
    ToolCalls {
        web_search: calls("web_search_calls"),
        x_search: calls("x_search_calls"),
        code_execution: calls("code_interpreter_calls"),
        file_search: calls("file_search_calls").saturating_add(calls("document_search_calls")),
        web_fetch: 0,
    }
}
