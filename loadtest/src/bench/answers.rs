//! The answers of the minimal provider, as bytes.

/// Tokens of an answer that is not streamed.
pub(super) const WHOLE_TOKENS: u64 = 50;
/// What the provider says a prompt has.
const PROMPT_TOKENS: u64 = 130;

/// What an answer begins with, of both forms.
const NAMES: &str = "\"id\":\"chatcmpl-BenchBenchBenchBenchBenchBench\",\"created\":1764547200,\
    \"model\":\"gpt-4o-mini-2024-07-18\",\"system_fingerprint\":\"fp_b3nchb3nch\"";

/// All answers, written once.
#[derive(Debug)]
pub(super) struct Answers {
    whole: Vec<u8>,
    first: Vec<u8>,
    chunk: Vec<u8>,
    end: Vec<u8>,
}

impl Answers {
    pub(super) fn new() -> Self {
        let words = " word".repeat(usize::try_from(WHOLE_TOKENS).unwrap_or_default());
        let body = format!(
            "{{{NAMES},\"object\":\"chat.completion\",\"choices\":[{{\"index\":0,\"message\":\
             {{\"role\":\"assistant\",\"content\":\"{words}\",\"refusal\":null}},\"logprobs\":null,\
             \"finish_reason\":\"stop\"}}],\"usage\":{}}}",
            usage(WHOLE_TOKENS)
        );
        let length = body.len();
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
             {body}"
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                    cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
        let delta = |delta: &str, reason: &str| {
            event(&format!("{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{reason}}}"))
        };
        let chunk = delta("\"content\":\" word\"", "null");
        let usage = format!(
            "{{{NAMES},\"object\":\"chat.completion.chunk\",\"choices\":[],\
             \"usage\":{}}}",
            usage(200)
        );
        let end = [delta("", "\"stop\""), framed(&usage), framed("[DONE]")].concat();
        Self {
            whole: whole.into_bytes(),
            first: format!("{head}{chunk}").into_bytes(),
            chunk: chunk.into_bytes(),
            end: format!("{end}0\r\n\r\n").into_bytes(),
        }
    }

    /// An answer of [`WHOLE_TOKENS`] that is not streamed.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// The head and the first chunk of a stream.
    pub(super) fn first(&self) -> &[u8] {
        &self.first
    }

    /// Each further chunk.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// What follows the last chunk: the reason, the usage, the mark of the end.
    pub(super) fn end(&self) -> &[u8] {
        &self.end
    }

    /// A whole stream at once.
    pub(super) fn burst(&self, chunks: usize) -> Vec<u8> {
        let further = self.chunk.repeat(chunks.saturating_sub(1));
        [self.first(), &further, self.end()].concat()
    }
}

fn event(choice: &str) -> String {
    framed(&format!(
        "{{{NAMES},\"object\":\"chat.completion.chunk\",\"choices\":[{choice}],\"usage\":null}}"
    ))
}

/// An event as one chunk of a chunked body.
fn framed(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

fn usage(output: u64) -> String {
    let total = PROMPT_TOKENS.saturating_add(output);
    format!(
        "{{\"prompt_tokens\":{PROMPT_TOKENS},\"completion_tokens\":{output},\
         \"total_tokens\":{total},\"prompt_tokens_details\":{{\"cached_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_their_frames_say() {
        let answers = Answers::new();
        let whole = String::from_utf8(answers.whole().to_vec()).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["usage"]["completion_tokens"], WHOLE_TOKENS);

        let burst = String::from_utf8(answers.burst(200)).unwrap();
        let (_, body) = burst.split_once("\r\n\r\n").unwrap();
        let events: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!((events.len(), events.last()), (203, Some(&"[DONE]")));
        for event in events.iter().take(202) {
            serde_json::from_str::<serde_json::Value>(event).unwrap();
        }
        assert!((200..300).contains(&answers.chunk().len()), "{}", answers.chunk().len());
    }
}
