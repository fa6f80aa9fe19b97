//! What a streamed answer of 200 chunks costs: passed through, and translated. Both are metered;
//! the mark is 3 for the ratio of each pair.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opencredits_dialects::{Asked, Translator};
use opencredits_schema::Provider;
use opencredits_wire::{Dialect, Meter, StreamEnd};

const CHUNKS: usize = 200;

fn openai() -> Vec<Bytes> {
    let head = r#"data: {"id":"chatcmpl-CoDZbCJzzNw0Ev4LYevfHfP7pzmxB","object":"chat.completion.chunk","created":1766084611,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_ff5f7093b3","#;
    let chunk = format!(
        "{head}\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" token\"}},\"logprobs\":null,\
         \"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"TL37PeOHjq\"}}\n\n"
    );
    let last = format!(
        "{head}\"choices\":[],\"usage\":{{\"prompt_tokens\":200,\"completion_tokens\":200,\
         \"total_tokens\":400}}}}\n\ndata: [DONE]\n\n"
    );
    let mut chunks = vec![Bytes::from(chunk); CHUNKS];
    chunks.push(last.into());
    chunks
}

fn anthropic() -> Vec<Bytes> {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\
        \"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\
        \"stop_reason\":null,\"stop_sequence\":null,\
        \"usage\":{\"input_tokens\":450,\"output_tokens\":1}}}\n\n\
        event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
        \"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
    let chunk = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
        \"delta\":{\"type\":\"text_delta\",\"text\":\" someone with multiple W2s an\"}        }\n\n";
    let last = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
        event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\
        \"end_turn\"},\"usage\":{\"output_tokens\":124}}\n\nevent: message_stop\n\
        data: {\"type\":\"message_stop\"}\n\n";
    let mut chunks = vec![Bytes::from_static(start.as_bytes())];
    chunks.extend(vec![Bytes::from_static(chunk.as_bytes()); CHUNKS]);
    chunks.push(Bytes::from_static(last.as_bytes()));
    chunks
}

fn google() -> Vec<Bytes> {
    let chunk = |text: &str, end: &str| {
        Bytes::from(format!(
            "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{text}\"}}],\
             \"role\": \"model\"}},{end}\"index\": 0}}],\"usageMetadata\": {{\"promptTokenCount\": 8,\
             \"candidatesTokenCount\": 12,\"totalTokenCount\": 20,\"promptTokensDetails\": \
             [{{\"modality\": \"TEXT\",\"tokenCount\": 8}}]}},\"modelVersion\": \"gemini-2.5-flash\",\
             \"responseId\": \"jLAVacHuCLS4vdIP\"}}\r\n\r\n"
        ))
    };
    let mut chunks = vec![chunk(" someone with multiple W2s an", ""); CHUNKS];
    chunks.push(chunk("", "\"finishReason\": \"STOP\","));
    chunks
}

/// What the gateway does to a stream, translated if `to` is another dialect.
fn run(provider: Provider, from: Dialect, to: Dialect, chunks: &[Bytes]) -> usize {
    let mut meter = Meter::new(provider, from, false);
    let asked = Asked { model: "x/y".to_owned(), request: "0".repeat(32), ..Asked::default() };
    let mut translator = (from != to).then(|| Translator::new(provider, from, to, asked));
    let (mut sent, mut passed) = (0, Vec::new());
    let mut show = |translator: &mut Option<Translator>, pieces: Vec<Bytes>| match translator {
        None => sent += pieces.iter().map(Bytes::len).sum::<usize>(),
        Some(translator) => {
            let mut out = Vec::new();
            for piece in pieces {
                assert_eq!(translator.push(piece, &mut out), Ok(()));
            }
            sent += black_box(out).len();
        }
    };
    for chunk in chunks {
        assert_eq!(meter.push(chunk.clone(), &mut passed), Ok(()));
        show(&mut translator, std::mem::take(&mut passed));
    }
    let tail = if let StreamEnd::Complete { tail } = meter.end() { tail } else { Bytes::new() };
    assert!(!tail.is_empty());
    show(&mut translator, vec![tail]);
    let usage = meter.usage().map(|(usage, _)| usage).unwrap_or_default();
    if let Some(translator) = &mut translator {
        let mut out = Vec::new();
        assert_eq!(translator.end(&usage, &mut out), Ok(()));
        sent += out.len();
    }
    sent
}

fn translate(c: &mut Criterion) {
    use Dialect::{ChatCompletions, GenerateContent, Messages, Responses};
    for (name, provider, from, chunks) in [
        ("openai", Provider::OpenAi, ChatCompletions, openai()),
        ("anthropic", Provider::Anthropic, Messages, anthropic()),
        ("google", Provider::Google, GenerateContent, google()),
    ] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(chunks.len() as u64));
        let own = if from == GenerateContent { "metered" } else { "passed through" };
        group.bench_function(own, |b| b.iter(|| run(provider, from, from, &chunks)));
        for (name, to) in
            [("to chat", ChatCompletions), ("to messages", Messages), ("to responses", Responses)]
        {
            if to != from {
                group.bench_function(name, |b| b.iter(|| run(provider, from, to, &chunks)));
            }
        }
        group.finish();
    }
}

criterion_group!(benches, translate);
criterion_main!(benches);
