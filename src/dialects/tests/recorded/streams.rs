//! Streams in pieces: whatever the splits and the ends of lines, the same words come out; whatever
//! the bytes, nothing breaks.

use bytes::Bytes;
use opencredits_dialects::{Asked, Translator, Undecodable, decode_answer, decode_request};
use opencredits_schema::{Provider, Usage};
use opencredits_wire::Dialect;
use proptest::prelude::*;

use crate::recordings::{self, Recording};

const DIALECTS: [Dialect; 4] =
    [Dialect::ChatCompletions, Dialect::Messages, Dialect::Responses, Dialect::GenerateContent];

fn translator(provider: Provider, from: Dialect, to: Dialect) -> Translator {
    let asked = Asked {
        model: "x/y".to_owned(),
        request: "0".repeat(32),
        usage_chunk: true,
        ..Asked::default()
    };
    Translator::new(provider, from, to, asked)
}

/// The stream in another dialect, from pieces of these lengths, over and over.
fn translate(
    recording: &Recording,
    to: Dialect,
    body: &[u8],
    lengths: &[usize],
) -> Result<String, Undecodable> {
    let mut translator = translator(recording.provider, recording.dialect, to);
    let (mut rest, mut out) = (body, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, left) = rest.split_at((*length).min(rest.len()));
        translator.push(Bytes::copy_from_slice(piece), &mut out)?;
        rest = left;
    }
    translator.end(&Usage::default(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// With the other ends of lines.
fn other_ends(body: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(body).unwrap();
    let plain = text.replace("\r\n", "\n");
    if plain.len() == text.len() { plain.replace('\n', "\r\n").into() } else { plain.into() }
}

#[test]
fn s9_one_byte_at_a_time_and_other_line_ends_say_the_same() {
    let mut count = 0;
    for recording in recordings::streams() {
        for to in DIALECTS {
            let id = &recording.path;
            let whole = translate(recording, to, &recording.response, &[usize::MAX]);
            let whole = whole.unwrap_or_else(|error| panic!("{id} to {to:?}: {error}"));
            assert!(!whole.is_empty(), "{id}");
            let crumbs = translate(recording, to, &recording.response, &[1]);
            assert_eq!(crumbs.as_ref(), Ok(&whole), "{id} to {to:?}");
            let other = other_ends(&recording.response);
            assert_eq!(translate(recording, to, &other, &[7]), Ok(whole), "{id} to {to:?}");
        }
        count += 1;
    }
    assert!(count > 120, "only {count}");
}

#[test]
fn s9_comments_say_nothing() {
    let recording = recordings::streams().find(|r| r.dialect == Dialect::ChatCompletions).unwrap();
    let text = std::str::from_utf8(&recording.response).unwrap();
    let noisy = format!(": OPENROUTER PROCESSING\n\n{}", text.replace("\n\n", "\n\n: ping\n\n"));
    for to in DIALECTS {
        let plain = translate(recording, to, &recording.response, &[usize::MAX]);
        assert_eq!(translate(recording, to, noisy.as_bytes(), &[5]), plain, "{to:?}");
    }
}

/// Bytes that are nearly a recording: some of them are others, and it may end early.
fn damaged() -> impl Strategy<Value = (&'static Recording, Vec<u8>)> {
    let changes = proptest::collection::vec((any::<usize>(), any::<u8>()), 0..12);
    (any::<prop::sample::Index>(), changes, any::<usize>()).prop_map(|(at, changes, end)| {
        let recording = at.get(recordings::all());
        let mut body = recording.response.clone();
        for (place, byte) in changes {
            let length = body.len();
            body[place % length] = byte;
        }
        body.truncate(end % (body.len() * 2));
        (recording, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_gives_the_same(
        at in any::<prop::sample::Index>(),
        lengths in proptest::collection::vec(1usize..90, 1..20),
    ) {
        let streams: Vec<_> = recordings::streams().collect();
        let recording = *at.get(&streams);
        for to in DIALECTS {
            let whole = translate(recording, to, &recording.response, &[usize::MAX]);
            prop_assert_eq!(translate(recording, to, &recording.response, &lengths), whole);
        }
    }

    #[test]
    fn damaged_answers_never_panic((recording, body) in damaged()) {
        for to in DIALECTS {
            // It may be refused, and it may be read: it must not break.
            drop(translate(recording, to, &body, &[61]));
        }
        for from in DIALECTS {
            drop(decode_answer(recording.provider, from, &body));
            drop(decode_request(from, &body));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for from in DIALECTS {
            let mut out = Vec::new();
            let mut translator = translator(Provider::OpenAi, from, Dialect::Messages);
            let framed = [b"data: ", &body[..], b"\n\n"].concat();
            drop(translator.push(framed.into(), &mut out));
            drop(translator.end(&Usage::default(), &mut out));
            drop(decode_answer(Provider::Google, from, &body));
            drop(decode_request(from, &body));
        }
    }

    #[test]
    fn arbitrary_json_never_panics(body in json(), kind in "(message|content_block|response|error)[a-z_.]{0,30}") {
        for from in DIALECTS {
            let mut out = Vec::new();
            let mut translator = translator(Provider::XAi, from, Dialect::ChatCompletions);
            let framed = format!("event: {kind}\ndata: {body}\n\n");
            drop(translator.push(framed.into(), &mut out));
            drop(decode_answer(Provider::Anthropic, from, body.as_bytes()));
            drop(decode_request(from, body.as_bytes()));
        }
    }
}

/// JSON with the words of the dialects in odd places.
fn json() -> impl Strategy<Value = String> {
    const KEYS: [&str; 24] = [
        "choices",
        "delta",
        "message",
        "messages",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "type",
        "text",
        "id",
        "index",
        "role",
        "candidates",
        "parts",
        "functionCall",
        "output",
        "item",
        "input",
        "system",
        "tools",
        "name",
        "signature",
        "contents",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a-z_]{0,12}".prop_map(serde_json::Value::from),
        prop::sample::select(&KEYS[..]).prop_map(serde_json::Value::from),
    ];
    let tree = leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            proptest::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..6).prop_map(
                |pairs| {
                    let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
                    serde_json::Value::Object(pairs.collect())
                }
            ),
        ]
    });
    tree.prop_map(|value| value.to_string())
}

/// A stream that never ends what it began: the decoder gives up before it holds much.
#[test]
fn what_a_decoder_keeps_is_bounded() {
    const PIECE: usize = 1 << 20;
    let filler = "a".repeat(PIECE);
    let endless: [(Dialect, Vec<String>, String); 3] = [
        (
            Dialect::ChatCompletions,
            vec![
                r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}}]}"#.to_owned(),
            ],
            format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":1,"id":"b","function":{{"name":"f","arguments":"{filler}"}}}}]}}}}]}}"#),
        ),
        (
            Dialect::Messages,
            vec![
                r#"{"type":"message_start","message":{"id":"m","model":"m","content":[]}}"#.to_owned(),
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#.to_owned(),
            ],
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{filler}"}}}}"#),
        ),
        (
            Dialect::GenerateContent,
            vec![],
            format!(r#"{{"candidates":[{{"index":0,"content":{{"role":"model","parts":[{{"functionCall":{{"name":"f","args":{{"a":"{filler}"}}}}}}]}}}}]}}"#),
        ),
    ];
    for (from, begin, more) in endless {
        let mut translator = translator(Provider::OpenAi, from, Dialect::Messages);
        let send = |translator: &mut Translator, data: &str| {
            let mut out = Vec::new();
            let sent = translator.push(format!("data: {data}\n\n").into(), &mut out);
            (sent, out.len())
        };
        for data in &begin {
            assert_eq!(send(&mut translator, data).0, Ok(()), "{from:?}");
        }
        let mut kept = 0_usize;
        for _ in 0..200 {
            match send(&mut translator, &more) {
                // What went out is not kept.
                (Ok(()), out) => kept += PIECE.saturating_sub(out),
                (Err(error), _) => {
                    assert_eq!(error, Undecodable::TooLarge, "{from:?}");
                    break;
                }
            }
            assert!(kept < 64 << 20, "{from:?} keeps {kept} bytes");
        }
    }
}
