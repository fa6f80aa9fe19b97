//! Stripe, as far as OpenCredits needs it: checkout sessions and payments out, signed events in.
//!
//! Outgoing calls are typed by async-stripe, which is why they stand in a crate of their own: its
//! generated code takes longer to compile than all of the gateway. Events are verified and read by
//! hand: async-stripe refuses a whole event when any field that it knows is missing, and a refused
//! event is a purchase that nobody gets.

mod client;
mod event;
mod payment;
mod session;
mod signature;

pub use client::{PaymentError, Stripe};
pub use event::{BadEvent, Event, Failure, Happened, SessionStage};
pub use payment::{NEEDS_AUTHENTICATION, NewPayment, Payment, PaymentStage};
pub use session::{NewSession, Page, PaymentStatus, Session, SessionStatus};
pub use signature::{BadSignature, TOLERANCE_S, verify};
