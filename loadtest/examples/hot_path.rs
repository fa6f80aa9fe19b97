//! The pure parts of a request's way, again and again, for whoever counts what they cost: `hot_path PART
//! TIMES` prints the heap allocations that it made (`tests/it/cost.rs` counts its instructions as well).

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use opencredits::live::{Live, Terms};
use opencredits_loadtest::bench::commands::{grant, place, settle};
use opencredits_schema::{
    Account, AccountId, Basis, Command, Credits, Hold, KeyId, PartnerId, PriceBook, Provider,
    ReferralRate, RequestId, Status, Timestamp,
};
use opencredits_wire::{Dialect, Edits, Meter, Request, usage_of_body};

type Failure = Box<dyn std::error::Error>;

const MODEL: &str = "openai/gpt-4o";

const CHUNK: Bytes = Bytes::from_static(
    b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1766084611,\
      \"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\
      \"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"TL37PeOHjq\"}\n\n",
);
const LAST: Bytes = Bytes::from_static(
    b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1766084611,\
      \"model\":\"gpt-4o-2024-08-06\",\"choices\":[],\"usage\":{\"prompt_tokens\":150,\
      \"completion_tokens\":200,\"total_tokens\":350}}\n\ndata: [DONE]\n\n",
);

fn main() -> Result<(), Failure> {
    let usage = "hot_path request|answer|chunk|charge|account TIMES";
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().ok_or(usage)?;
    let times: u64 = arguments.next().ok_or(usage)?.parse()?;
    let mut run: Box<dyn FnMut() -> Result<(), Failure>> = match part.as_str() {
        "request" => requests()?,
        "answer" => answers(),
        "chunk" => chunks(),
        "charge" => charges()?,
        "account" => places_and_settles()?,
        _ => return Err(usage.into()),
    };
    let mut done = Ok(());
    let counted = allocation_counter::measure(|| {
        for _ in 0..times {
            if done.is_ok() {
                done = run();
            }
        }
    });
    done?;
    println!("{}", counted.count_total);
    Ok(())
}

/// A chat request of about 700 bytes, read, and made into what the provider gets.
fn requests() -> Result<Box<dyn FnMut() -> Result<(), Failure>>, Failure> {
    let book = PriceBook::built_in()?;
    let model = book.model(MODEL).ok_or("there is no such model")?.clone();
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(12);
    let body = Bytes::from(format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"system\",\"content\":\"Be brief.\"}},\
         {{\"role\":\"user\",\"content\":\"{words}\"}}],\"stream\":true}}"
    ));
    Ok(Box::new(move || {
        let request = Request::parse(Dialect::ChatCompletions, body.clone());
        let request = request.map_err(|bad| format!("{bad:?}"))?;
        black_box(request.upstream_body(&model, Edits::default()));
        Ok(())
    }))
}

/// What a chat completion of 50 tokens says that it used.
fn answers() -> Box<dyn FnMut() -> Result<(), Failure>> {
    let words = "The quick brown fox jumps over the lazy dog. ".repeat(5);
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1766084611,\
         \"model\":\"gpt-4o-2024-08-06\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{words}\",\"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":150,\"completion_tokens\":50,\"total_tokens\":200,\
         \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,\
         \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}},\
         \"service_tier\":\"default\"}}"
    );
    Box::new(move || {
        let told = usage_of_body(Provider::OpenAi, Dialect::ChatCompletions, body.as_bytes());
        black_box(told.ok_or("it tells no usage")?);
        Ok(())
    })
}

/// A chunk of a stream, metered.
fn chunks() -> Box<dyn FnMut() -> Result<(), Failure>> {
    let mut meter = Meter::new(Provider::OpenAi, Dialect::ChatCompletions, true);
    let mut out = Vec::with_capacity(8);
    Box::new(move || {
        meter.push(CHUNK, &mut out).map_err(|fault| format!("{fault:?}"))?;
        black_box(&out);
        out.clear();
        Ok(())
    })
}

/// What a stream of 200 chunks costs whose provider has told what it used: its words are not counted.
fn charges() -> Result<Box<dyn FnMut() -> Result<(), Failure>>, Failure> {
    let book = Arc::new(PriceBook::built_in()?);
    let model = book.model(MODEL).ok_or("there is no such model")?.clone();
    let mut meter = Meter::new(Provider::OpenAi, Dialect::ChatCompletions, true);
    for chunk in std::iter::repeat_n(CHUNK, 200).chain([LAST]) {
        meter.push(chunk, &mut Vec::new()).map_err(|fault| format!("{fault:?}"))?;
    }
    let hold = Hold {
        request: RequestId::new(1),
        amount: Credits::from_micro(1_000_000),
        key: KeyId::new(1),
        partner: PartnerId::new(1),
        expires_at: Timestamp::from_millis(0),
    };
    let terms = Terms {
        account: AccountId::new(1),
        hold,
        model,
        book,
        rate: ReferralRate::default(),
        dialect: Dialect::ChatCompletions,
        upstream: Dialect::ChatCompletions,
        input_estimate: 150,
        countable: None,
        may_reason: false,
        searches: 0,
    };
    let live = Live::new(terms, meter);
    live.received(1);
    Ok(Box::new(move || {
        let charged = live.charged(Status::Completed, Basis::Counted).ok_or("nothing came")?;
        (charged.basis == Basis::Provider).then_some(()).ok_or("its usage was not told")?;
        black_box(charged);
        Ok(())
    }))
}

/// A hold that is placed and settled.
fn places_and_settles() -> Result<Box<dyn FnMut() -> Result<(), Failure>>, Failure> {
    let (id, key) = (AccountId::new(1), KeyId::new(1));
    let mut account = Account::new(id);
    decide(&mut account, &grant(id))?;
    let mut number = 0_u128;
    Ok(Box::new(move || {
        number = number.wrapping_add(1);
        let request = RequestId::new(number);
        decide(&mut account, &place(request, key))?;
        decide(&mut account, &settle(request, key))
    }))
}

fn decide(account: &mut Account, command: &Command) -> Result<(), Failure> {
    let event = account.decide(black_box(command)).map_err(|refusal| format!("{refusal:?}"))?;
    account.apply(&event);
    Ok(())
}
