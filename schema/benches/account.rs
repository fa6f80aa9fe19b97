//! What deciding and applying cost: one hold placed and settled.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use opencredits_schema::{
    Account, AccountId, Basis, Charged, Command, Credits, KeyId, LotKind, PartnerId, PicoUsd,
    Place, ReferralRate, RequestId, SettledBy, Status, Timestamp, Usage,
};

fn funded() -> Account {
    let mut account = Account::new(AccountId::new(1));
    let grant = Command::Receive {
        source: "bench".to_owned(),
        kind: LotKind::Grant,
        credits: Credits::MAX,
        reason: String::new(),
        partner: None,
        at: Timestamp::default(),
    };
    if let Ok(event) = account.decide(&grant) {
        account.apply(&event);
    }
    account
}

fn place(request: RequestId) -> Command {
    Command::Place(Place {
        request,
        key: KeyId::new(1),
        partner: PartnerId::new(1),
        amount: Credits::from_micro(5_000_000),
        least: Credits::from_micro(1_000_000),
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: 2000,
        expires_at: Timestamp::from_millis(60_000),
        resumed: false,
    })
}

fn settle(request: RequestId) -> Command {
    Command::Settle {
        charged: Box::new(Charged {
            request,
            key: KeyId::new(1),
            partner: PartnerId::new(1),
            model: "openai/gpt-4o".into(),
            price_id: "0123456789abcdef".into(),
            rate: ReferralRate::default(),
            usage: Usage { input: 1000, output: 50, ..Usage::default() },
            provider_cost: PicoUsd(10_000),
            cost: Credits::from_micro(1),
            share: Credits::ZERO,
            basis: Basis::Provider,
            status: Status::Completed,
        }),
        by: SettledBy::Request,
        at: Timestamp::default(),
    }
}

fn place_and_settle(criterion: &mut Criterion) {
    let mut account = funded();
    let mut number = 0u128;
    criterion.bench_function("decide and apply: place, settle", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(1);
            let request = RequestId::new(number);
            for command in [place(request), settle(request)] {
                if let Ok(event) = account.decide(black_box(&command)) {
                    account.apply(&event);
                }
            }
        });
    });
}

criterion_group!(benches, place_and_settle);
criterion_main!(benches);
