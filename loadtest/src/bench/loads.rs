//! What the scenarios send.

use std::time::Duration;

use super::answers::WHOLE_TOKENS;
use super::turn::Load;
use crate::load::arrivals::Pace;
use crate::load::job::Drive;
use crate::load::mix::{Kind, Mix};

/// Bytes of a prompt that make a plain request of 700 bytes.
const PROMPT_BYTES: usize = 578;
/// Chunks of a stream.
pub(super) const CHUNKS: u64 = 200;

/// Plain requests that are answered at once.
pub(super) fn plain() -> Kind {
    let output_tokens = [WHOLE_TOKENS; 2];
    Kind { prompt_bytes: [PROMPT_BYTES; 2], output_tokens, ..Kind::default() }
}

/// Streams of [`CHUNKS`] chunks with a pause between them; 0 = all at once.
pub(super) fn streams(pause_ms: u64) -> Kind {
    let output_tokens = [CHUNKS; 2];
    let kind = Kind { stream: true, chunks: Some(CHUNKS), delay_ms: pause_ms, ..plain() };
    Kind { output_tokens, ..kind }
}

/// Requests of one kind, from all accounts alike.
pub(super) fn mix(kind: Kind) -> Mix {
    Mix { zipf: 0.0, kinds: vec![kind], ..Mix::default() }
}

/// The same from all accounts in turn, beginning with the one of this number.
pub(super) fn in_turn(mix: Mix, first: usize) -> Mix {
    Mix { in_turn: Some(first), ..mix }
}

/// As fast as so many connections can.
pub(super) fn flat_out(kind: Kind, connections: u32, measure: Duration) -> Load {
    let drive = Drive::Closed { connections };
    Load { mix: mix(kind), drive, warm_up: Duration::ZERO, measure }
}

/// At a rate, with exponential gaps.
pub(super) fn at_rate(kind: Kind, rate: f64, warm_up: Duration, measure: Duration) -> Load {
    let drive = Drive::Open { pace: Pace::Poisson, from: rate, to: rate };
    Load { mix: mix(kind), drive, warm_up, measure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::Plan;
    use crate::load::target::{Target, User};

    fn body(kind: Kind) -> String {
        let target = Target::parse("http://127.0.0.1:9").unwrap();
        let user = User { account: String::new(), key: "key".to_owned() };
        let plan = Plan::new(&mix(kind), &target, vec![user], false, 1);
        let shot = plan.draw(&mut fastrand::Rng::with_seed(1)).unwrap();
        let mut request = Vec::new();
        shot.shape.write(shot.user, &mut request);
        let text = String::from_utf8(request).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn a_plain_request_has_the_size_that_the_marks_are_for() {
        assert_eq!(body(plain()).len(), 700);
        assert!(!body(plain()).contains("stream"));
        assert!(body(streams(5)).contains("chunks=200 first_delay_ms=0 delay_ms=5]]"));
    }
}
