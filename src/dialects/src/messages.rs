//! Anthropic's messages, as clients and Anthropic speak it.

mod answer_decoder;
mod answer_encoder;
mod request_decoder;
mod request_encoder;
mod stream_decoder;
mod stream_encoder;
mod traits;

pub use answer_decoder::decode_answer;
pub use answer_encoder::encode_answer;
pub use request_decoder::decode_request;
pub use request_encoder::encode_request;
pub use stream_decoder::StreamDecoder;
pub use stream_encoder::StreamEncoder;
