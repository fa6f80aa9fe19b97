//! What a streamed answer of 200 chunks costs: cut into events, and metered.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use opencredits_schema::Provider;
use opencredits_wire::{Dialect, Meter, Scanner, StreamEnd};

const CHUNKS: u64 = 200;

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
    let mut chunks = vec![Bytes::from(chunk); CHUNKS as usize];
    chunks.push(last.into());
    chunks
}

fn anthropic() -> Vec<Bytes> {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_01\",\
        \"content\":[],\"usage\":{\"input_tokens\":450,\"output_tokens\":1}}}\n\n";
    let chunk = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\
        \"delta\":{\"type\":\"text_delta\",\"text\":\" someone with multiple W2s an\"}        }\n\n";
    let last = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\
        \"end_turn\"},\"usage\":{\"output_tokens\":124}}\n\nevent: message_stop\n\
        data: {\"type\":\"message_stop\"}\n\n";
    let mut chunks = vec![Bytes::from_static(start.as_bytes())];
    chunks.extend(vec![Bytes::from_static(chunk.as_bytes()); CHUNKS as usize]);
    chunks.push(Bytes::from_static(last.as_bytes()));
    chunks
}

fn stream(c: &mut Criterion) {
    for (name, provider, dialect, chunks) in [
        ("openai", Provider::OpenAi, Dialect::ChatCompletions, openai()),
        ("anthropic", Provider::Anthropic, Dialect::Messages, anthropic()),
    ] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(chunks.len() as u64));
        group.bench_function("scan", |b| {
            b.iter(|| {
                let (mut scanner, mut bytes) = (Scanner::default(), 0);
                for chunk in &chunks {
                    let pushed = scanner.push(chunk.clone(), |event| bytes += event.raw.len());
                    assert_eq!(pushed, Ok(()));
                }
                black_box(bytes)
            });
        });
        group.bench_function("meter", |b| {
            b.iter(|| {
                let mut meter = Meter::new(provider, dialect, true);
                let mut out = Vec::with_capacity(chunks.len());
                for chunk in &chunks {
                    assert_eq!(meter.push(chunk.clone(), &mut out), Ok(()));
                }
                assert!(matches!(meter.end(), StreamEnd::Complete { .. }));
                black_box((out, meter.usage()))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, stream);
criterion_main!(benches);
