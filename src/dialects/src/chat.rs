//! OpenAI's chat completions, as clients, OpenAI and xAI speak it.

mod answer_decoder;
mod answer_encoder;
pub(crate) mod request_decoder;
pub(crate) mod request_encoder;
mod stream_decoder;
mod stream_encoder;
pub(crate) mod traits;

pub use answer_decoder::decode_answer;
pub use answer_encoder::encode_answer;
pub use request_decoder::decode_request;
pub use request_encoder::encode_request;
pub use stream_decoder::StreamDecoder;
pub use stream_encoder::StreamEncoder;
