//! What pricing costs: a quote and what it can afford before a request, a charge after it.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use opencredits_schema::{
    CacheClass, Credits, Demand, PriceBook, PriceBookError, ReferralRate, Tier, Usage,
};

fn price(criterion: &mut Criterion) {
    if let Err(error) = measure(criterion) {
        criterion.bench_function("price/broken", |bencher| bencher.iter(|| error.to_string()));
    }
}

fn measure(criterion: &mut Criterion) -> Result<(), PriceBookError> {
    let book = PriceBook::built_in()?;
    let rate = ReferralRate::from_basis_points(1000).unwrap_or_default();
    let demand = Demand {
        input: 300_000,
        output: 16_384,
        cache: CacheClass::FiveMinutes,
        tiers: vec![Tier::Standard, Tier::Flex, Tier::Priority],
        ..Demand::default()
    };
    let usage = Usage { input: 2000, cache_read: 290_000, output: 900, ..Usage::default() };
    if let Some(model) = book.model("openai/gpt-5.6") {
        criterion.bench_function("price/quote", |bencher| {
            bencher.iter(|| model.quote(&book, black_box(&demand), rate));
        });
        criterion.bench_function("price/affordable_output", |bencher| {
            let budget = Credits::from_micro(500_000_000);
            bencher.iter(|| model.affordable_output(&book, black_box(&demand), rate, budget));
        });
        criterion.bench_function("price/charge", |bencher| {
            bencher.iter(|| model.charge(&book, black_box(&usage), rate));
        });
    }
    criterion.bench_function("price/model", |bencher| {
        bencher.iter(|| book.model(black_box("anthropic/claude-opus-5-5")).is_some());
    });
    Ok(())
}

criterion_group!(benches, price);
criterion_main!(benches);
