//! The words, the rules and the tables of OpenCredits. Pure: no clock, no socket, no environment.
//!
//! Money is decided here and nowhere else: [`Account::decide`] looks and changes nothing,
//! [`Account::apply`] changes and refuses nothing, and replay is `apply` in a loop.

mod account;
mod calendar;
mod checkpoint;
mod credits;
mod document;
mod event;
mod id;
mod ledger;
mod lot;
mod order;
mod price;
mod record;
mod referral;
mod top_up;
mod usage;

pub use account::{Account, Command, Head, Hold, Limit, Place, RECENT_MAX, Refusal, Shortfall};
pub use calendar::civil;
pub use checkpoint::Checkpoint;
pub use credits::{Credits, ParseCreditsError, PicoUsd};
pub use document::{Document, DocumentKind};
pub use event::{
    Charged, Debt, Dispute, DisputeStage, Event, LotSpend, MoneyIn, MoneyInKind, Outcome, Refund,
    Repaid, SettledBy, Settlement,
};
pub use id::{AccountId, KeyId, OrderId, ParseIdError, PartnerId, RequestId, Timestamp};
pub use ledger::{Entry, LedgerAccount, Posting, TrialBalance};
pub use lot::{Lot, LotDispute, LotKind};
pub use order::{
    ATTEMPTS_MAX, Attempt, CheckoutMode, Currency, Order, OrderStatus, TopUpWish, credits_for,
};
pub use price::*;
pub use record::{
    CQL_MIGRATIONS, EarningsRow, HistoryRow, Key, KeyUse, Partner, PartnerBalance, SQL_MIGRATIONS,
    UsageQuery,
};
pub use referral::ReferralRate;
pub use top_up::{
    DECLINES_MAX, NoTopUp, REST_AFTER_DECLINE_MS, REST_MS, SavedCard, TopUp, TopUpCharge, TopUpEnd,
    TopUpOutcome, TopUpState, TopUpTerms,
};
pub use usage::{Basis, Status, Tier, ToolCalls, Usage};
