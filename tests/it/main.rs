//! The integration tests: the gateway over HTTP, against simulated providers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking, and nobody reads its API"
)]

mod admin;
mod bad_input;
mod bench;
mod checkout;
mod claude_code;
mod cost;
mod crash;
mod durability;
mod gone;
mod load;
mod money;
mod operate;
mod recorded;
mod responses;
mod sdk;
mod simulation;
mod stream;
mod support;
mod tidy;
mod translated;
