//! The fields that no request may carry: they name state in the operator's account, or leave work
//! behind that no bill would show.

use super::BadRequest;
use super::fields::names_nothing;
use super::scan::Fields;

/// Top-level fields that are refused unless they say nothing (`null`, `false`, empty).
const REFUSED: [&str; 10] = [
    "store",
    "background",
    "deferred",
    "previous_response_id",
    "conversation",
    "prompt",
    "mcp_servers",
    "container",
    "vector_store_ids",
    "cachedContent",
];

/// Refuses a request that carries one of them.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), BadRequest> {
    let refused = fields.iter().find(|(name, value)| {
        REFUSED.contains(name) && value.is_some_and(|value| !names_nothing(value))
    });
    match refused {
        Some((name, _)) => Err(BadRequest::state(name, name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::request::{Dialect, Request};

    /// Each refused field, in both dialects, as a member of the top level, of the tools or of the
    /// content; and its harmless form where there is one.
    const TOP: [(&str, &str); 12] = [
        (r#""store":true"#, r#""store":false"#),
        (r#""background":true"#, r#""background":null"#),
        (r#""deferred":true"#, r#""deferred":false"#),
        (r#""previous_response_id":"resp_1""#, r#""previous_response_id":null"#),
        (r#""conversation":"conv_1""#, r#""conversation":null"#),
        (r#""conversation":{"id":"conv_1"}"#, r#""conversation":{}"#),
        (r#""prompt":{"id":"pmpt_1"}"#, r#""prompt":null"#),
        (r#""mcp_servers":[{"type":"url","url":"https://a"}]"#, r#""mcp_servers":[]"#),
        (r#""container":"cntr_1""#, r#""container":null"#),
        (r#""container":{"skills":[]}"#, r#""container": { }"#),
        (r#""vector_store_ids":["vs_1"]"#, r#""vector_store_ids":[ ]"#),
        // A key hidden behind an escape is the same key.
        (r#""st\u006fre":true"#, r#""st\u006fre":false"#),
    ];
    const TOOLS: [(&str, &str); 7] = [
        (r#"{"type":"mcp","server_url":"https://a"}"#, r#"{"type":"function","name":"mcp"}"#),
        (r#"{"type":"mcp_toolset","mcp_server_name":"a"}"#, r#"{"type":"custom","name":"a"}"#),
        (r#"{"type":"file_search","vector_store_ids":["vs_1"]}"#, r#"{"name":"file_search"}"#),
        (r#"{"name":"a","vector_store_ids":["vs_1"]}"#, r#"{"name":"a","vector_store_ids":[]}"#),
        (r#"{"type":"code_interpreter","container":"cntr_1"}"#, r#"{"name":"code_interpreter"}"#),
        (
            r#"{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}"#,
            r#"{"name":"a","input_schema":{"properties":{"container":{"type":"string"}}}}"#,
        ),
        (r#"{"ty\u0070e":"m\u0063p"}"#, r#"{"name":"a","description":"{\"type\":\"mcp\"}"}"#),
    ];
    const CONTENT: [(&str, &str); 8] = [
        (r#"{"type":"file","file":{"file_id":"f"}}"#, r#"{"type":"text","text":"file_id"}"#),
        (
            r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#,
            r#"{"type":"text","text":"\"file_id\":\"f\""}"#,
        ),
        (
            r#"{"type":"document","source":{"file_id":"f","type":"file"}}"#,
            r#"{"type":"tool_use","id":"a","name":"b","input":{"file_id":"f"}}"#,
        ),
        (
            r#"{"type":"tool_result","content":[{"type":"image","source":{"file_id":"f"}}]}"#,
            r#"{"type":"tool_result","content":[{"type":"text","text":"a"}]}"#,
        ),
        (r#"{"type":"container_upload","file_id":"f"}"#, r#"{"type":"text","text":"a"}"#),
        (r#"{"type":"container_upload"}"#, r#"{"type":"text","text":"container_upload"}"#),
        (
            r#"{"type":"file","file":{"f\u0069le_id":"f"}}"#,
            r#"{"type":"file","file":{"file_id":null,"file_data":"data:text/plain;base64,"}}"#,
        ),
        (r#"{"audio":{"id":"audio_1"}}"#, r#"{"audio":null}"#),
    ];

    fn check(member: &str, refused: bool) {
        for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
            let body = format!(r#"{{"model":"m","max_tokens":9,{member}}}"#);
            let read = Request::parse(dialect, Bytes::from(body));
            assert_eq!(read.is_err(), refused, "{dialect:?} {member}: {read:?}");
        }
    }

    #[test]
    fn fields_that_name_state_of_the_operator_are_refused() {
        let messages = r#""messages":[{"role":"user","content":"store, container, mcp"}]"#;
        for (refused, harmless) in TOP {
            check(&format!("{messages},{refused}"), true);
            check(&format!("{messages},{harmless}"), false);
        }
        for (refused, harmless) in TOOLS {
            check(&format!(r#"{messages},"tools":[{refused}]"#), true);
            check(&format!(r#"{messages},"tools":[{harmless}]"#), false);
        }
        for (refused, harmless) in CONTENT {
            let of = |part| format!(r#""messages":[{{"role":"user","content":[{part}]}}]"#);
            check(&of(refused), true);
            check(&of(harmless), false);
            check(&format!(r#"{messages},"system":[{refused}]"#), true);
        }
    }
}
