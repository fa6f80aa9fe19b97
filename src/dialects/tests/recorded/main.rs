//! The recorded traffic of the providers through the dialects.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking, and nobody reads its API"
)]

mod recordings;
mod round_trip;
mod streams;
