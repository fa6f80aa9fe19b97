//! The providers' wire formats, sans IO: request heads, SSE, usage, input bounds.

mod bound;
mod meter;
mod reply;
mod request;
mod sse;
mod upstream_error;
mod usage;

pub use bound::count_tokens;
pub use meter::{Answer, Delivered, Meter, StreamEnd, StreamFault};
pub use reply::{add_cost, error_event, keep_alive};
pub use request::{
    BadRequest, CHOICES_MAX, Dialect, Edits, MODEL_NAME_MAX, OutputDemand, Request,
    upstream_dialect,
};
pub use sse::{EVENT_MAX, Event, Fields, Scanner, SseError};
pub use upstream_error::{InBandError, UpstreamFault, classify_error};
pub use usage::usage_of_body;
