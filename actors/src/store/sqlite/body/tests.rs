//! What is written is read, in either form.

use opencredits_schema::{Account, Tier, ToolCalls};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::store::{Store as _, Write};
use crate::tests::stores::{settle, step};
use crate::tests::{ACCOUNT, PARTNER, grant, partner};
use crate::{SqliteStore, StoreError};

fn written(event: &Event) -> String {
    serde_json::to_string(&Body(event)).unwrap()
}

fn read(text: &str) -> Event {
    serde_json::from_str::<Body<Event>>(text).unwrap().0
}

fn credits() -> impl Strategy<Value = Credits> {
    any::<i64>().prop_map(Credits::from_micro)
}

fn usage() -> impl Strategy<Value = Usage> {
    let counts = any::<[u64; 4]>();
    let tier = select(vec![Tier::Standard, Tier::Flex, Tier::Priority, Tier::Fast, Tier::Batch]);
    let passes = vec((option::of("[a-z/]{0,8}"), any::<u64>()), 0..3);
    let usage = (counts, tier, option::of("\\PC{0,4}"), option::of(any::<u64>()), passes);
    usage.prop_map(|([input, cache_read, output, web_search], tier, geo, cost_ticks, passes)| {
        let pass = |(model, output)| (model, Usage { output, ..Usage::default() });
        let passes = passes.into_iter().map(pass).collect();
        let tool_calls = ToolCalls { web_search, ..ToolCalls::default() };
        Usage {
            input,
            cache_read,
            output,
            tool_calls,
            tier,
            geo,
            cost_ticks,
            passes,
            ..Usage::default()
        }
    })
}

fn charge() -> impl Strategy<Value = Charged> {
    let names = (any::<u128>(), any::<u64>(), any::<u64>(), "\\PC{0,20}", "\\PC{0,20}");
    let rate = (0..=5000_u16).prop_map(|points| ReferralRate::from_basis_points(points).unwrap());
    let basis = vec![Basis::Provider, Basis::Partial, Basis::Counted, Basis::Estimated];
    let status = vec![
        Status::Completed,
        Status::ClientGone,
        Status::UpstreamCut,
        Status::LimitReached,
        Status::Recovered,
    ];
    let sums = (any::<i64>(), credits(), credits());
    (names, rate, usage(), sums, select(basis), select(status)).prop_map(
        |((request, key, partner, model, price_id), rate, usage, sums, basis, status)| Charged {
            request: RequestId::new(request),
            key: KeyId::new(key),
            partner: PartnerId::new(partner),
            model: model.into(),
            price_id: price_id.into(),
            rate,
            usage,
            provider_cost: PicoUsd(sums.0),
            cost: sums.1,
            share: sums.2,
            basis,
            status,
        },
    )
}

fn settlement() -> impl Strategy<Value = Settlement> {
    let by = select(vec![SettledBy::Request, SettledBy::Checkpoint, SettledBy::Expiry]);
    let spend = (any::<u64>(), credits(), credits());
    let spend = spend.prop_map(|(lot, taken, share)| LotSpend { lot, taken, share });
    let debt = (option::of(any::<u64>().prop_map(PartnerId::new)), credits(), credits());
    let debt = debt.prop_map(|(partner, amount, share)| Debt { partner, amount, share });
    (charge(), by, any::<i64>(), vec(spend, 0..4), option::of(debt)).prop_map(
        |(charged, by, at, lots, debt)| Settlement {
            charged,
            by,
            at: Timestamp::from_millis(at),
            lots: lots.into(),
            debt,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_settlement_is_read_as_it_was_written(settlement in settlement(), adjusts: bool) {
        let settlement = Box::new(settlement);
        let event = if adjusts { Event::Adjusted(settlement) } else { Event::Settled(settlement) };
        let text = written(&event);
        prop_assert!(text.starts_with('['), "{text}");
        prop_assert_eq!(&read(&text), &event);
        let named = serde_json::to_string(&event).unwrap();
        prop_assert!(text.len() < named.len());
        prop_assert_eq!(&read(&named), &event);
    }
}

/// The very text: what databases hold must be read by every later program.
#[test]
fn a_settlement_stands_in_this_order() {
    let mut account = Account::new(ACCOUNT);
    step(&mut account, &grant("g", 18));
    let usual = "[7,1,3,2,\"openai/gpt-4o\",\"p\",0,{\"input\":3},100000,10,1,[[1,11,1]]]";
    let indebted = "[8,1,3,2,\"openai/gpt-4o\",\"p\",0,{\"input\":3},100000,10,1,[[1,7,0]],\
                    {\"debt\":{\"partner\":2,\"amount\":4,\"share\":1}}]";
    for (request, text) in [(7, usual), (8, indebted)] {
        let write = step(&mut account, &settle(request, 10));
        let Write::Event { event, .. } = write.as_ref() else { panic!("{write:?}") };
        assert_eq!(written(event), text);
        assert_eq!(read(text), *event);
    }
    let Event::Adjusted(settlement) = read(&indebted.replace("{\"debt\"", UNUSUAL)) else {
        panic!("no adjustment")
    };
    let Settlement { charged: Charged { basis, status, .. }, by, debt, .. } = *settlement;
    assert_eq!((basis, status), (Basis::Counted, Status::ClientGone));
    assert_eq!((by, debt.is_some()), (SettledBy::Expiry, true));
    let longer = indebted.replace("}}]", "}},1]");
    for spoiled in ["[]", "[7]", "7", "{}", "[[7]]", &longer] {
        assert!(serde_json::from_str::<Body<Event>>(spoiled).is_err(), "{spoiled}");
    }
}

const UNUSUAL: &str = "{\"basis\":\"counted\",\"status\":\"client_gone\",\"by\":\"expiry\",\
                       \"adjusts\":true,\"debt\"";

#[tokio::test]
async fn rows_with_names_are_read_beside_new_ones() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let mut account = Account::new(ACCOUNT);
    let store = SqliteStore::open(&path, "a test")?;
    store.put_partner(partner()).await?;
    store.create_account(ACCOUNT, None, Timestamp::default()).await?;
    let commands = [grant("a", 100), settle(1, 10), settle(2, 20)];
    let writes: Vec<_> = commands.iter().map(|command| step(&mut account, command)).collect();
    store.commit(Arc::new(writes.clone())).await?;
    let query = opencredits_schema::UsageQuery {
        model: Some("openai/gpt-4o".to_owned()),
        limit: 10,
        ..Default::default()
    };
    let (history, _) = store.history(ACCOUNT, 10, 0).await?;
    let usage = store.partner_usage(PARTNER, query.clone()).await?;
    assert_eq!((history.len(), usage.len()), (3, 2));
    drop(store);

    let Write::Event { event, .. } = writes[1].as_ref() else { panic!("{writes:?}") };
    let named = serde_json::to_string(event).unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    let sql = "UPDATE events SET body = ?1 WHERE seq = 2 AND body LIKE '[%'";
    assert_eq!(file.execute(sql, [named]).unwrap(), 1);
    drop(file);

    let store = SqliteStore::open(&path, "a test")?;
    assert_eq!(store.history(ACCOUNT, 10, 0).await?.0, history);
    assert_eq!(store.partner_usage(PARTNER, query).await?, usage);
    assert_eq!(store.audit().await?.differences, Vec::<String>::new());
    // A repeat of what stands with its names is known as one.
    assert_eq!(store.commit(Arc::new(vec![Arc::clone(&writes[1])])).await?, vec![]);
    Ok(())
}
