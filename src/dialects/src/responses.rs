//! OpenAI's responses without their state, as clients, OpenAI and xAI speak them.

mod answer_decoder;
mod answer_encoder;
mod items;
mod request_decoder;
mod request_encoder;
mod stream_decoder;
mod stream_encoder;

pub use answer_decoder::decode_answer;
pub use answer_encoder::encode_answer;
pub use items::{completed_items, resolve_references};
pub use request_decoder::decode_request;
pub use request_encoder::encode_request;
pub use stream_decoder::StreamDecoder;
pub use stream_encoder::StreamEncoder;
