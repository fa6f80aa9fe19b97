//! Stories of an account, then properties over random ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{
    Basis, Charged, DisputeStage, Entry, LedgerAccount, LotKind, SettledBy, Status, TrialBalance,
    Usage,
};

const KEY: KeyId = KeyId::new(7);
const PARTNER: PartnerId = PartnerId::new(8);
const EVER: Timestamp = Timestamp::from_millis(i64::MAX);
const NOW: Timestamp = Timestamp::from_millis(0);

const fn micro(amount: i64) -> Credits {
    Credits::from_micro(amount)
}

fn grant(amount: i64) -> Command {
    receive("grant", LotKind::Grant, amount)
}

fn purchase(source: &str, amount: i64) -> Command {
    receive(source, LotKind::Purchase, amount)
}

fn receive(source: &str, kind: LotKind, amount: i64) -> Command {
    let (source, reason) = (source.to_owned(), String::new());
    Command::Receive { source, kind, credits: micro(amount), reason, partner: None, at: NOW }
}

fn refund(source: &str, cumulative: i64) -> Command {
    Command::Refund { source: source.to_owned(), cumulative: micro(cumulative), at: NOW }
}

fn dispute(source: &str, id: &str, stage: DisputeStage, amount: i64) -> Command {
    let (source, dispute) = (source.to_owned(), id.to_owned());
    Command::Dispute { source, dispute, stage, credits: micro(amount), at: NOW }
}

fn place(request: u128, amount: i64) -> Command {
    Command::Place(wish(request, amount, amount))
}

fn wish(request: u128, amount: i64, least: i64) -> Place {
    Place {
        request: RequestId::new(request),
        key: KEY,
        partner: PARTNER,
        amount: micro(amount),
        least: micro(least),
        headroom: Credits::ZERO,
        key_limit: None,
        partner_extra: None,
        holds_max: 5,
        expires_at: EVER,
        resumed: false,
    }
}

fn charged(request: u128, cost: i64, share: i64, basis: Basis) -> Box<Charged> {
    Box::new(Charged {
        request: RequestId::new(request),
        key: KEY,
        partner: PARTNER,
        model: "openai/gpt-4o".into(),
        price_id: "p".into(),
        rate: crate::ReferralRate::default(),
        usage: Usage::default(),
        provider_cost: PicoUsd(cost.saturating_mul(10_000)),
        cost: micro(cost),
        share: micro(share),
        basis,
        status: Status::Completed,
    })
}

fn settle(request: u128, cost: i64) -> Command {
    settle_by(request, cost, 0, SettledBy::Request)
}

fn settle_by(request: u128, cost: i64, share: i64, by: SettledBy) -> Command {
    Command::Settle { charged: charged(request, cost, share, Basis::Provider), by, at: NOW }
}

fn release(request: u128) -> Command {
    Command::Release { request: RequestId::new(request), by: SettledBy::Request }
}

/// Runs a story; each command with what must be refused, and what is available in the end.
fn check(story: &[(Command, Result<(), Refusal>)], available: i64) -> Account {
    let mut account = Account::new(AccountId::new(1));
    for (step, (command, expected)) in story.iter().enumerate() {
        let decision = account.decide(command);
        assert_eq!(decision.as_ref().err(), expected.as_ref().err(), "step {step}");
        if let Ok(event) = decision {
            account.apply(&event);
        }
    }
    assert_eq!(account.available(), micro(available));
    account
}

fn short(required: i64, coverable: i64, held: i64, limit: Limit) -> Result<(), Refusal> {
    let available = if limit == Limit::Balance { coverable } else { 100 - held };
    Err(Refusal::InsufficientCredits(Shortfall {
        required: micro(required),
        coverable: micro(coverable),
        available: micro(available),
        held: micro(held),
        limit,
    }))
}

#[test]
fn ended_requests_are_remembered_in_whichever_order_they_end() {
    let story = [grant(100), settle(5, 1), settle(3, 1), settle(9, 1), settle(4, 1)];
    let mut account = Account::new(AccountId::new(1));
    for command in &story {
        account.apply(&account.decide(command).unwrap());
    }
    let outcomes = [9, 3, 5, 4].map(|request| *account.outcome(RequestId::new(request)).unwrap());
    let started_anew = Account::load(account.head().clone(), outcomes);
    for account in [account, started_anew] {
        for request in [3, 4, 5, 9] {
            let again = account.decide(&settle(request, 1));
            assert!(matches!(again, Ok(Event::Repeated(_))), "{request}: {again:?}");
        }
        for request in [1, 6, 10] {
            let first = account.decide(&settle(request, 1));
            assert!(matches!(first, Ok(Event::Settled(_))), "{request}: {first:?}");
        }
    }
}

#[test]
fn a_hold_settles_once() {
    let other = Err(Refusal::SettledOtherwise(RequestId::new(1)));
    check(
        &[
            (grant(100), Ok(())),
            (place(1, 80), Ok(())),
            (settle(1, 30), Ok(())),
            (settle(1, 30), Ok(())),
            (settle(1, 31), other),
            (settle_by(1, 50, 0, SettledBy::Expiry), Ok(())),
        ],
        70,
    );
}

#[test]
fn what_is_held_cannot_be_held_again() {
    check(
        &[
            (place(1, 1), short(1, 0, 0, Limit::Balance)),
            (grant(100), Ok(())),
            (place(1, 60), Ok(())),
            (place(2, 41), short(41, 40, 60, Limit::Balance)),
            (place(1, 60), Ok(())),
            (place(1, 61), Err(Refusal::HoldExists(RequestId::new(1)))),
            (release(1), Ok(())),
            (release(1), Ok(())),
            (place(1, 60), Err(Refusal::HoldNotOpen(RequestId::new(1)))),
            (place(3, 0), Err(Refusal::BadAmount(micro(0)))),
        ],
        100,
    );
}

#[test]
fn a_hold_is_lowered_to_what_the_account_covers() {
    let account = check(&[(grant(100), Ok(())), (Command::Place(wish(1, 500, 100)), Ok(()))], 0);
    assert_eq!(account.held(), micro(100));
    let refused = wish(1, 500, 101);
    check(
        &[(grant(100), Ok(())), (Command::Place(refused), short(101, 100, 0, Limit::Balance))],
        100,
    );
}

#[test]
fn the_limits_of_key_and_partner_bound_settled_and_held() {
    let key = Place { key_limit: Some(micro(50)), ..wish(2, 20, 20) };
    let partner = Place { partner_extra: Some(micro(45)), ..wish(2, 20, 20) };
    let story = |last: Place, expected| {
        vec![
            (grant(140), Ok(())),
            (place(9, 40), Ok(())),
            (settle(9, 10), Ok(())),
            (settle(8, 30), Ok(())),
            (Command::Place(last), expected),
        ]
    };
    check(&story(key, short(20, 10, 0, Limit::Key)), 100);
    check(&story(partner, short(20, 5, 0, Limit::Partner)), 100);
}

#[test]
fn a_partners_keys_spend_what_was_bought_there_and_what_was_consented_to() {
    let bought = |source: &str, amount: i64, partner: PartnerId| Command::Receive {
        source: source.to_owned(),
        kind: LotKind::Purchase,
        credits: micro(amount),
        reason: String::new(),
        partner: Some(partner),
        at: NOW,
    };
    let here = wish(1, 20, 20).partner;
    let elsewhere = PartnerId::new(here.number() + 1);
    let story = |extra: i64, amount: i64, expected| {
        vec![
            (bought("a", 30, here), Ok(())),
            (bought("b", 85, elsewhere), Ok(())),
            (settle(8, 10), Ok(())),
            (refund("a", 5), Ok(())),
            (
                Command::Place(Place {
                    partner_extra: Some(micro(extra)),
                    ..wish(2, amount, amount)
                }),
                expected,
            ),
        ]
    };
    check(&story(0, 15, Ok(())), 85);
    check(&story(0, 16, short(16, 15, 0, Limit::Partner)), 100);
    check(&story(7, 22, Ok(())), 78);
}

#[test]
fn an_account_has_at_most_so_many_holds() {
    let mut story = vec![(grant(100), Ok(()))];
    story.extend((0..5).map(|request| (place(request, 1), Ok(()))));
    story.push((place(9, 1), Err(Refusal::TooManyHolds(5))));
    story.push((Command::Place(Place { resumed: true, ..wish(10, 1000, 1000) }), Ok(())));
    check(&story, -905);
}

#[test]
fn a_cost_above_the_hold_is_charged_and_refuses_the_next_hold() {
    let account = check(
        &[
            (grant(100), Ok(())),
            (place(1, 100), Ok(())),
            (settle_by(1, 120, 12, SettledBy::Request), Ok(())),
            (place(2, 1), short(1, -32, 0, Limit::Balance)),
        ],
        -32,
    );
    let accrued = account.head().debts.iter().map(|debt| debt.share).sum::<Credits>();
    let paid = account.head().lots.iter().flat_map(|lot| &lot.shares).map(|s| s.1).sum::<Credits>();
    assert_eq!((paid, accrued), (micro(9), micro(3)));
}

#[test]
fn money_repays_debts_first_and_moves_their_shares() {
    let account = check(
        &[
            (settle_by(1, 100, 10, SettledBy::Request), Ok(())),
            (purchase("o1", 55), Ok(())),
            (purchase("o1", 55), Err(Refusal::Received)),
            (purchase("o1", 56), Err(Refusal::ReceivedOtherwise)),
            (purchase("o2", 100), Ok(())),
        ],
        45,
    );
    let head = account.head();
    assert!(head.debts.is_empty());
    assert_eq!(head.lots[0].shares.as_slice(), [(PARTNER, micro(5))]);
    assert_eq!(head.lots[1].shares.as_slice(), [(PARTNER, micro(5))]);
}

#[test]
fn grants_are_spent_before_purchases_and_old_before_new() {
    let account = check(
        &[
            (purchase("o1", 100), Ok(())),
            (grant(10), Ok(())),
            (purchase("o2", 100), Ok(())),
            (settle(1, 130), Ok(())),
        ],
        80,
    );
    let unspent: Vec<_> = account.head().lots.iter().map(|lot| lot.unspent.micro()).collect();
    assert_eq!(unspent, [0, 0, 80]);
}

#[test]
fn the_request_corrects_what_an_expiry_settled() {
    let expired = settle_by(1, 40, 4, SettledBy::Expiry);
    let real = settle_by(1, 20, 2, SettledBy::Request);
    let guess = Command::Settle {
        charged: charged(1, 20, 2, Basis::Counted),
        by: SettledBy::Request,
        at: NOW,
    };
    let start = [(grant(100), Ok(())), (place(1, 50), Ok(())), (expired, Ok(()))];
    check(&[&start[..], &[(real.clone(), Ok(())), (real, Ok(()))]].concat(), 78);
    check(&[&start[..], &[(guess, Ok(()))]].concat(), 56);
    check(&[&start[..], &[(settle_by(1, 60, 6, SettledBy::Request), Ok(()))]].concat(), 34);
}

#[test]
fn a_request_is_charged_though_its_hold_was_released_or_lost() {
    check(&[(grant(100), Ok(())), (settle(5, 30), Ok(()))], 70);
    let expired = Command::Release { request: RequestId::new(1), by: SettledBy::Expiry };
    check(
        &[
            (grant(100), Ok(())),
            (place(1, 50), Ok(())),
            (expired, Ok(())),
            (settle(1, 30), Ok(())),
            (settle(1, 30), Ok(())),
        ],
        70,
    );
}

#[test]
fn a_share_alone_is_corrected() {
    // What a checkpoint charges is cut to the hold, by a share that is one smaller.
    check(
        &[
            (grant(1000), Ok(())),
            (place(1, 131), Ok(())),
            (settle_by(1, 120, 11, SettledBy::Expiry), Ok(())),
            (settle_by(1, 120, 12, SettledBy::Request), Ok(())),
        ],
        868,
    );
}

#[test]
fn a_charge_after_a_release_is_the_first() {
    // A release leaves nothing behind that could tell an adjustment from a second charge.
    let released = check(
        &[
            (grant(100), Ok(())),
            (place(1, 50), Ok(())),
            (Command::Release { request: RequestId::new(1), by: SettledBy::Expiry }, Ok(())),
        ],
        100,
    );
    assert!(matches!(released.decide(&settle(1, 30)), Ok(Event::Settled(_))));
    let nothing = released.decide(&settle(1, 0));
    assert!(matches!(nothing, Ok(Event::Repeated(outcome)) if outcome.released), "{nothing:?}");
    let recovery = released.decide(&settle_by(1, 30, 0, SettledBy::Checkpoint));
    assert!(matches!(recovery, Ok(Event::Repeated(outcome)) if outcome.released), "{recovery:?}");
}

#[test]
fn a_refund_takes_the_unspent_first_and_reverses_shares_of_the_rest() {
    let account = check(
        &[
            (purchase("o1", 110), Ok(())),
            (settle_by(1, 50, 5, SettledBy::Request), Ok(())),
            (refund("o1", 40), Ok(())),
            (refund("o1", 40), Err(Refusal::Received)),
            (refund("o2", 40), Err(Refusal::UnknownOrder)),
            (refund("o1", 110), Ok(())),
        ],
        -55,
    );
    assert_eq!(account.head().lots[0].shares.as_slice(), [(PARTNER, micro(0))]);
    assert_eq!(account.head().debts[0].amount, micro(55));
}

/// A purchase of 110 of which 55 were spent, 5 of them the partner's share.
fn half_spent() -> Vec<(Command, Result<(), Refusal>)> {
    vec![(purchase("o1", 110), Ok(())), (settle_by(1, 50, 5, SettledBy::Request), Ok(()))]
}

#[test]
fn a_dispute_takes_its_credits_and_gives_them_back_when_it_is_won() {
    let mut story = half_spent();
    story.push((dispute("o1", "d", DisputeStage::Opened, 110), Ok(())));
    let account = check(&story, -55);
    assert_eq!(
        account.head().lots[0].shares.as_slice(),
        [(PARTNER, micro(5))],
        "no share goes back yet"
    );
    story.push((dispute("o1", "d", DisputeStage::Opened, 110), Err(Refusal::Received)));
    story.push((dispute("o1", "d", DisputeStage::Won, 110), Ok(())));
    story.push((dispute("o1", "d", DisputeStage::Lost, 110), Err(Refusal::Received)));
    let account = check(&story, 55);
    assert_eq!(account.head().debts, vec![]);
}

#[test]
fn a_lost_dispute_takes_the_shares_too_whatever_order_it_is_told_in() {
    let lost = (dispute("o1", "d", DisputeStage::Lost, 110), Ok(()));
    let opened = dispute("o1", "d", DisputeStage::Opened, 110);
    let in_order = [half_spent(), vec![(opened.clone(), Ok(())), lost.clone()]].concat();
    let reversed = [half_spent(), vec![lost, (opened, Err(Refusal::Received))]].concat();
    for story in [in_order, reversed] {
        let account = check(&story, -55);
        assert_eq!(account.head().lots[0].shares.as_slice(), [(PARTNER, micro(0))]);
    }
    let won_first = [
        half_spent(),
        vec![
            (dispute("o1", "d", DisputeStage::Won, 110), Ok(())),
            (dispute("o1", "d", DisputeStage::Opened, 110), Err(Refusal::Received)),
        ],
    ];
    check(&won_first.concat(), 55);
}

#[test]
fn what_is_disputed_cannot_be_refunded_too() {
    let mut story = half_spent();
    story.push((dispute("o1", "d", DisputeStage::Opened, 80), Ok(())));
    story.push((refund("o1", 110), Ok(())));
    let account = check(&story, -55);
    assert_eq!(account.head().lots[0].refunded, micro(30));
}

#[test]
fn a_grant_can_be_taken_back() {
    let account =
        check(&[(grant(100), Ok(())), (receive("back", LotKind::Grant, -30), Ok(()))], 70);
    assert_eq!(account.head().lots.len(), 1);
}

/// Any command, over few requests and sources so that repeats are frequent.
fn any_command() -> impl Strategy<Value = Command> {
    let request = 0u128..6;
    let amount = 0i64..2000;
    let by = prop_oneof![
        3 => Just(SettledBy::Request),
        1 => Just(SettledBy::Expiry),
        1 => Just(SettledBy::Checkpoint)
    ];
    let basis = prop_oneof![Just(Basis::Provider), Just(Basis::Counted)];
    let stage =
        prop_oneof![Just(DisputeStage::Opened), Just(DisputeStage::Won), Just(DisputeStage::Lost)];
    prop_oneof![
        (request.clone(), amount.clone(), 0i64..2000).prop_map(|(request, amount, less)| {
            Command::Place(wish(request, amount, (amount - less).max(1)))
        }),
        (request.clone(), amount.clone(), 0i64..200, by.clone(), basis).prop_map(
            |(request, cost, share, by, basis)| {
                Command::Settle {
                    charged: charged(request, cost, share.min(cost), basis),
                    by,
                    at: NOW,
                }
            }
        ),
        (request, by)
            .prop_map(|(request, by)| Command::Release { request: RequestId::new(request), by }),
        (0u8..4, any::<bool>(), -500i64..3000).prop_map(|(source, grant, amount)| {
            let kind = if grant { LotKind::Grant } else { LotKind::Purchase };
            receive(&source.to_string(), kind, amount)
        }),
        (0u8..4, amount.clone())
            .prop_map(|(source, cumulative)| refund(&source.to_string(), cumulative)),
        (0u8..4, 0u8..2, stage, amount).prop_map(|(source, id, stage, amount)| {
            dispute(&source.to_string(), &format!("{source}-{id}"), stage, amount)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_books_hold_after_every_command(commands in vec(any_command(), 1..60)) {
        let id = AccountId::new(1);
        let mut live = Account::new(id);
        let mut journal = Vec::new();
        let mut trial = TrialBalance::default();
        for command in &commands {
            let Ok(event) = live.decide(command) else { continue };
            let before = live.clone();
            live.apply(&event);

            // Available is never below zero at a placement.
            if matches!(event, Event::Placed(_)) && before.open_holds() < live.open_holds() {
                prop_assert!(live.available() >= Credits::ZERO);
            }
            // Held equals the sum of the open holds.
            prop_assert_eq!(live.held(), live.holds().map(|hold| hold.amount).sum::<Credits>());
            // Lots and debts explain the balance; a lot is never overspent.
            let head = live.head();
            let unspent = head.lots.iter().map(|lot| lot.unspent).sum::<Credits>();
            let debts = head.debts.iter().map(|debt| debt.amount).sum::<Credits>();
            prop_assert_eq!(unspent.minus(debts), live.balance());
            prop_assert!(head.lots.iter().all(|l| l.unspent >= Credits::ZERO && l.spent() >= Credits::ZERO));
            // The order of the lots is the order of spending.
            prop_assert!(head.lots.is_sorted_by_key(|lot| (lot.kind, lot.seq)));

            // Postings sum to zero and tell the same balance; what accrues is what the debts carry.
            let entry = Entry::of(id, &event);
            prop_assert!(entry.postings.iter().all(|p| p.from != p.to));
            trial.add(&entry);
            prop_assert_eq!(trial.total(), 0);
            prop_assert_eq!(trial.sum(LedgerAccount::User(id)), i128::from(live.balance().micro()));
            let accrued = head.debts.iter().map(|debt| debt.share).sum::<Credits>();
            prop_assert_eq!(trial.sum(LedgerAccount::Accrued), i128::from(accrued.micro()));
            if event.is_durable() {
                journal.push(event);
            }
        }
        // Partners' balances are what the events say.
        let shares: Credits = journal.iter().flat_map(Event::shares).map(|(_, share)| share).sum();
        prop_assert_eq!(trial.sum(LedgerAccount::Partner(PARTNER)), i128::from(shares.micro()));

        // A hold settles at most once: one settlement and one adjustment a request.
        for request in (0..6).map(RequestId::new) {
            let settled = journal.iter().filter(|e| matches!(e, Event::Settled(s) if s.charged.request == request));
            prop_assert!(settled.count() <= 1);
            let adjusted = journal.iter().filter(|e| matches!(e, Event::Adjusted(s) if s.charged.request == request));
            prop_assert!(adjusted.count() <= 1);
        }

        // Replay equals live, also through the journal's text.
        let mut replayed = Account::new(id);
        for event in &journal {
            let text = serde_json::to_string(event).unwrap();
            replayed.apply(&serde_json::from_str(&text).unwrap());
        }
        prop_assert_eq!(replayed.head(), live.head());
    }
}
