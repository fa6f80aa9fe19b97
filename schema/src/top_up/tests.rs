//! Stories of a top-up, then properties over random ones.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const DAY_MS: i64 = 86_400_000;
/// 2026-11-29, two days before the month ends.
const START: Timestamp = Timestamp::from_millis(20_786 * DAY_MS);
const LOW: Credits = Credits::from_micro(99);

fn card() -> SavedCard {
    SavedCard { customer: "cus_1".to_owned(), method: "pm_1".to_owned() }
}

fn terms(cents: u32, monthly_cents: u32) -> TopUpTerms {
    TopUpTerms {
        threshold: Credits::from_micro(100),
        cents,
        monthly_cents,
        currency: Currency::Usd,
    }
}

fn agreed(cents: u32, monthly_cents: u32) -> TopUp {
    let ids = (AccountId::new(1), PartnerId::new(2), KeyId::new(3));
    TopUp::new(ids, terms(cents, monthly_cents), card(), START)
}

/// Begins a charge so many milliseconds after the start and ends it at once.
fn charge(top_up: &mut TopUp, at: i64, outcome: TopUpOutcome) -> Result<(), NoTopUp> {
    let now = START.plus_millis(at);
    let order = OrderId::new(at.unsigned_abs());
    top_up.begin(top_up.decide(order, LOW, now)?);
    top_up.end(order, outcome, now);
    Ok(())
}

#[test]
fn it_charges_below_the_threshold_and_one_at_a_time() {
    let mut top_up = agreed(1000, 5000);
    let (first, second) = (OrderId::new(1), OrderId::new(2));
    let enough = top_up.decide(first, Credits::from_micro(100), START);
    assert_eq!(enough, Err(NoTopUp::Enough));
    top_up.begin(top_up.decide(first, LOW, START).unwrap());
    let later = START.plus_millis(10 * DAY_MS);
    assert_eq!(top_up.decide(second, LOW, later), Err(NoTopUp::InFlight));
    top_up.end(second, TopUpOutcome::Paid, later);
    assert_eq!(top_up.decide(second, LOW, later), Err(NoTopUp::InFlight), "another order's end");
    top_up.end(first, TopUpOutcome::Paid, later);
    let rested = later.plus_millis(REST_MS);
    assert_eq!(top_up.decide(second, LOW, later), Err(NoTopUp::Resting(rested)));
    assert!(top_up.decide(second, LOW, rested).is_ok());
}

#[test]
fn the_month_of_utc_has_a_cap_and_failed_charges_are_given_back() {
    let mut top_up = agreed(1000, 2500);
    let hour = 3_600_000;
    assert_eq!(charge(&mut top_up, 0, TopUpOutcome::Paid), Ok(()));
    assert_eq!(charge(&mut top_up, hour, TopUpOutcome::Declined), Ok(()));
    assert_eq!(top_up.charged_at(START), 1000);
    assert_eq!(charge(&mut top_up, 3 * hour, TopUpOutcome::Paid), Ok(()));
    assert_eq!(charge(&mut top_up, 5 * hour, TopUpOutcome::Paid), Err(NoTopUp::Capped));
    assert_eq!(charge(&mut top_up, 2 * DAY_MS - 1, TopUpOutcome::Paid), Err(NoTopUp::Capped));
    assert_eq!(charge(&mut top_up, 2 * DAY_MS, TopUpOutcome::Paid), Ok(()), "December");
    assert_eq!(top_up.charged_at(START.plus_millis(3 * DAY_MS)), 1000);
}

#[test]
fn a_charge_of_last_month_gives_nothing_back_to_this_one() {
    let mut top_up = agreed(1000, 1000);
    let order = OrderId::new(1);
    top_up.begin(top_up.decide(order, LOW, START).unwrap());
    let december = START.plus_millis(3 * DAY_MS);
    top_up.end(order, TopUpOutcome::Dropped, december);
    assert_eq!(charge(&mut top_up, 4 * DAY_MS, TopUpOutcome::Paid), Ok(()));
    assert_eq!(charge(&mut top_up, 5 * DAY_MS, TopUpOutcome::Paid), Err(NoTopUp::Capped));
}

#[test]
fn a_clock_that_goes_back_does_not_begin_a_month_anew() {
    let mut top_up = agreed(1000, 1000);
    let (order, december) = (OrderId::new(1), START.plus_millis(3 * DAY_MS));
    top_up.begin(top_up.decide(order, LOW, december).unwrap());
    top_up.end(order, TopUpOutcome::Paid, START);
    assert_eq!(charge(&mut top_up, DAY_MS, TopUpOutcome::Paid), Err(NoTopUp::Capped));
}

#[test]
fn three_declines_in_a_row_switch_it_off_and_a_success_between_starts_anew() {
    let mut top_up = agreed(1, 1_000_000);
    let hour = 3_600_000;
    let (paid, declined) = (TopUpOutcome::Paid, TopUpOutcome::Declined);
    for (at, outcome) in (0..).step_by(2).zip([declined, declined, paid, declined, declined]) {
        assert_eq!(charge(&mut top_up, at * hour, outcome), Ok(()));
    }
    assert_eq!(top_up.notice_due, None);
    assert_eq!(charge(&mut top_up, 10 * hour, declined), Ok(()));
    assert_eq!(top_up.state, TopUpState::Off(TopUpEnd::Declined));
    assert!(top_up.notice_due.is_some());
}

#[test]
fn a_bank_that_wants_the_user_switches_it_off_at_once() {
    let mut top_up = agreed(1, 1000);
    assert_eq!(charge(&mut top_up, 0, TopUpOutcome::NeedsAuthentication), Ok(()));
    assert_eq!(top_up.state, TopUpState::Off(TopUpEnd::Authentication));
    assert!(top_up.take_notice(START));
    assert!(!top_up.take_notice(START), "somebody is at it");
    assert!(top_up.take_notice(START.plus_millis(NOTICE_MS)), "and was not heard of again");
    top_up.switch_off(TopUpEnd::Disputed, START);
    assert_eq!(top_up.state, TopUpState::Off(TopUpEnd::Authentication), "the first reason stands");
    top_up.agree(KeyId::new(3), terms(1, 1000), card(), START.plus_millis(1));
    assert_eq!((top_up.state, top_up.notice_due), (TopUpState::On, None));
}

#[test]
fn an_older_word_does_not_undo_a_newer_one() {
    let mut top_up = agreed(1, 1000);
    top_up.switch_off(TopUpEnd::User, START.plus_millis(20));
    top_up.agree(KeyId::new(3), terms(1, 1000), card(), START.plus_millis(10));
    assert_eq!(top_up.state, TopUpState::Off(TopUpEnd::User));
    let mut top_up = agreed(1, 1000);
    assert_eq!(charge(&mut top_up, 0, TopUpOutcome::NeedsAuthentication), Ok(()));
    top_up.agree(KeyId::new(3), terms(1, 1000), card(), START);
    assert_eq!(top_up.state, TopUpState::Off(TopUpEnd::Authentication), "the same word again");
}

#[test]
fn what_a_store_keeps_is_what_was_there() {
    let mut top_up = agreed(1000, 5000);
    top_up.begin(top_up.decide(OrderId::new(1), LOW, START).unwrap());
    let text = serde_json::to_string(&top_up).unwrap();
    assert_eq!(serde_json::from_str::<TopUp>(&text).unwrap(), top_up);
}

/// What may happen, in any order and with any clock.
#[derive(Clone, Debug)]
enum Happening {
    /// Credits were spent: is it time?
    Asks {
        available: i64,
        at: i64,
    },
    /// Somebody tells the end of the so-manieth order, perhaps again, perhaps late.
    Ends {
        order: usize,
        outcome: TopUpOutcome,
        at: i64,
    },
    /// The process dies and reads what the store has.
    Restarts,
    SwitchesOff {
        at: i64,
    },
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let at = 0..70 * DAY_MS;
    let outcome = prop_oneof![
        4 => Just(TopUpOutcome::Paid),
        2 => Just(TopUpOutcome::Declined),
        1 => Just(TopUpOutcome::Dropped),
        1 => Just(TopUpOutcome::NeedsAuthentication),
    ];
    prop_oneof![
        8 => (0..200_i64, at.clone()).prop_map(|(available, at)| Happening::Asks { available, at }),
        8 => (0..30_usize, outcome, at.clone())
            .prop_map(|(order, outcome, at)| Happening::Ends { order, outcome, at }),
        1 => Just(Happening::Restarts),
        1 => at.prop_map(|at| Happening::SwitchesOff { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_is_in_flight_the_cap_holds_and_off_stays_off(
        happenings in vec(any_happening(), 1..80),
        monthly_cents in 1_u32..6000,
    ) {
        let mut top_up = agreed(1000, monthly_cents);
        // By order: the month in which it began, and whether its money is gone or may be.
        let mut charges: Vec<(OrderId, Month, bool)> = Vec::new();
        let mut under_way: Option<OrderId> = None;
        let mut is_off = false;
        let mut newest = Month::of(START);
        for happening in happenings {
            match happening {
                Happening::Asks { available, at } => {
                    let now = START.plus_millis(at);
                    let order = OrderId::new(u64::try_from(charges.len()).unwrap());
                    let before = top_up.clone();
                    let decided = top_up.decide(order, Credits::from_micro(available), now);
                    prop_assert_eq!(&before, &top_up, "deciding changes nothing");
                    let Ok(charge) = decided else { continue };
                    prop_assert!(!is_off && under_way.is_none() && available < 100);
                    top_up.begin(charge);
                    newest = newest.max(Month::of(now));
                    charges.push((order, newest, true));
                    under_way = Some(order);
                }
                Happening::Ends { order, outcome, at } => {
                    let Some((order, _, takes)) = charges.get_mut(order) else { continue };
                    top_up.end(*order, outcome, START.plus_millis(at));
                    if under_way == Some(*order) {
                        under_way = None;
                        *takes = outcome == TopUpOutcome::Paid;
                        is_off |= outcome == TopUpOutcome::NeedsAuthentication;
                    }
                }
                Happening::Restarts => {
                    let text = serde_json::to_string(&top_up).unwrap();
                    top_up = serde_json::from_str(&text).unwrap();
                }
                Happening::SwitchesOff { at } => {
                    top_up.switch_off(TopUpEnd::User, START.plus_millis(at));
                    is_off = true;
                }
            }
            prop_assert_eq!(top_up.in_flight.as_ref().map(|charge| charge.order), under_way);
            prop_assert!(!is_off || top_up.state != TopUpState::On);
            for month in charges.iter().map(|(_, month, _)| *month) {
                let taken = charges.iter().filter(|(_, of, takes)| *of == month && *takes).count();
                prop_assert!(u32::try_from(taken).unwrap() * 1000 <= monthly_cents);
            }
        }
    }
}
