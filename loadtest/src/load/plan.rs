//! The plan: every request of a mix prepared as bytes, so that choosing one is all that a run does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::image;
use super::mix::{Dialect, Kind, Mix};
use super::target::{Target, User};
use super::zipf::Choice;

/// Requests that are prepared of each kind, with sizes of their own.
const VARIANTS: usize = 16;
/// What a limit on the answer leaves above what is wanted.
const OUTPUT_ROOM: u64 = 16;

/// The prepared requests and the choices among them.
#[derive(Debug)]
pub struct Plan {
    shapes: Vec<Shape>,
    kinds: Choice,
    senders: Senders,
    users: Vec<User>,
    hang_up: f64,
    slow: f64,
    slow_pause: Duration,
}

/// Who sends next.
#[derive(Debug)]
enum Senders {
    ByChance(Choice),
    /// The one whose number comes next, over all threads.
    InTurn(AtomicUsize),
}

/// A prepared request; the key goes between its two halves.
#[derive(Clone, Debug)]
pub struct Shape {
    before_key: Vec<u8>,
    after_key: Vec<u8>,
    /// In which dialect its answer comes.
    pub dialect: Dialect,
    /// Whether its answer is streamed.
    pub stream: bool,
    /// The model, as it was asked for.
    pub model: Arc<str>,
    /// How long the simulated provider was told to take.
    pub told: Duration,
    chunks: u64,
}

/// What a client does with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads it at once and to its end.
    Reads,
    /// Closes the connection after so many events.
    HangsUp(u64),
    /// Waits so long after each read.
    Slowly(Duration),
}

/// One request to send.
#[derive(Clone, Copy, Debug)]
pub struct Shot<'plan> {
    /// The request.
    pub shape: &'plan Shape,
    /// Who sends it, and its place among the users.
    pub user: &'plan User,
    /// See `user`.
    pub payer: usize,
    /// How its client behaves.
    pub manner: Manner,
}

impl Plan {
    /// Prepares the requests of a mix; the same seed prepares the same ones. `costs` asks the
    /// gateway to tell what each answer cost.
    #[must_use]
    pub fn new(mix: &Mix, target: &Target, users: Vec<User>, costs: bool, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kinds = mix.kinds.iter();
        let shapes = kinds.flat_map(|kind| (0..VARIANTS).map(move |_| kind));
        let shapes = shapes.map(|kind| Shape::new(kind, mix, target, costs, &mut rng)).collect();
        Self {
            shapes,
            kinds: Choice::weighted(mix.kinds.iter().map(|kind| kind.weight)),
            senders: match mix.in_turn {
                None => Senders::ByChance(Choice::zipf(users.len(), mix.zipf)),
                Some(first) => Senders::InTurn(AtomicUsize::new(first)),
            },
            users,
            hang_up: mix.hang_up,
            slow: mix.slow,
            slow_pause: Duration::from_millis(mix.slow_pause_ms),
        }
    }

    /// Chooses the next request; none where there is no kind or nobody to send it.
    pub fn draw(&self, rng: &mut Rng) -> Option<Shot<'_>> {
        let place =
            self.kinds.draw(rng).saturating_mul(VARIANTS).saturating_add(rng.usize(..VARIANTS));
        let shape = self.shapes.get(place)?;
        let payer = self.senders.draw(rng, self.users.len());
        let user = self.users.get(payer)?;
        let chance = rng.f64();
        let manner = if !shape.stream {
            Manner::Reads
        } else if chance < self.hang_up {
            Manner::HangsUp(rng.u64(1..=shape.chunks))
        } else if chance < self.hang_up + self.slow {
            Manner::Slowly(self.slow_pause)
        } else {
            Manner::Reads
        };
        Some(Shot { shape, user, payer, manner })
    }

    /// Whether the provider was told how long to take, so that what was added to it is known.
    #[must_use]
    pub fn tells_time(&self) -> bool {
        self.shapes.iter().any(|shape| !shape.told.is_zero())
    }
}

impl Senders {
    fn draw(&self, rng: &mut Rng, users: usize) -> usize {
        match self {
            Self::ByChance(choice) => choice.draw(rng),
            Self::InTurn(next) => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                turn.checked_rem(users).unwrap_or_default()
            }
        }
    }
}

impl Shape {
    fn new(kind: &Kind, mix: &Mix, target: &Target, costs: bool, rng: &mut Rng) -> Self {
        let [from, to] = kind.prompt_bytes;
        let prompt_bytes = rng.usize(from..=to);
        let [from, to] = kind.output_tokens;
        let output = rng.u64(from..=to);
        let chunks = kind.chunks_of(output);
        let takes = kind.first_delay_ms.saturating_add(chunks.saturating_mul(kind.delay_ms));
        let mut prompt = filler(prompt_bytes);
        if mix.directives {
            prompt.push_str(&directive(kind, output, chunks, takes));
        }
        let body = body(kind, &prompt, output.saturating_add(OUTPUT_ROOM)).to_string();
        let (path, key_header, more) = match kind.dialect {
            Dialect::Chat => ("/v1/chat/completions", "authorization: Bearer ", ""),
            Dialect::Messages => {
                ("/v1/messages", "x-api-key: ", "anthropic-version: 2023-06-01\r\n")
            }
            Dialect::Responses => ("/v1/responses", "authorization: Bearer ", ""),
        };
        let Target { host, prefix, .. } = target;
        let costs = if costs { "x-opencredits-cost: 1\r\n" } else { "" };
        let before_key = format!(
            "POST {prefix}{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             {more}{costs}content-length: {}\r\n{key_header}",
            body.len()
        );
        Self {
            before_key: before_key.into_bytes(),
            after_key: format!("\r\n\r\n{body}").into_bytes(),
            dialect: kind.dialect,
            stream: kind.stream,
            model: kind.model.as_str().into(),
            told: if mix.directives { Duration::from_millis(takes) } else { Duration::ZERO },
            chunks,
        }
    }

    /// Writes the request of a user over a buffer.
    pub fn write(&self, user: &User, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.before_key);
        buffer.extend_from_slice(user.key.as_bytes());
        buffer.extend_from_slice(&self.after_key);
    }
}

/// Words of so many bytes.
fn filler(bytes: usize) -> String {
    const WORDS: &str = "Please weigh each word of this long and patient question with care. ";
    WORDS.chars().cycle().take(bytes).collect()
}

/// The simulators' directive; an answer that is not streamed comes after all of its time.
fn directive(kind: &Kind, output: u64, chunks: u64, takes: u64) -> String {
    if kind.stream {
        let Kind { first_delay_ms: first, delay_ms: delay, .. } = kind;
        return format!(
            "[[sim output={output} chunks={chunks} first_delay_ms={first} delay_ms={delay}]]"
        );
    }
    format!("[[sim output={output} first_delay_ms={takes}]]")
}

fn body(kind: &Kind, prompt: &str, limit: u64) -> Value {
    let Kind { model, stream, dialect, image_bytes, .. } = kind;
    let content = match image_bytes {
        0 => json!(prompt),
        bytes => with_image(*dialect, &image::base64(*bytes), prompt),
    };
    let messages = json!([{"role": "user", "content": content}]);
    match dialect {
        Dialect::Chat if *stream => json!({"model": model, "max_tokens": limit, "stream": true,
            "stream_options": {"include_usage": true}, "messages": messages}),
        Dialect::Chat => json!({"model": model, "max_tokens": limit, "messages": messages}),
        Dialect::Messages => {
            json!({"model": model, "max_tokens": limit, "stream": stream, "messages": messages})
        }
        Dialect::Responses => {
            let input = if *image_bytes == 0 { content } else { messages };
            json!({"model": model, "max_output_tokens": limit, "stream": stream, "input": input})
        }
    }
}

/// An image and a text, as each dialect has them.
fn with_image(dialect: Dialect, data: &str, prompt: &str) -> Value {
    let url = || format!("data:{};base64,{data}", image::MEDIA_TYPE);
    match dialect {
        Dialect::Chat => json!([
            {"type": "image_url", "image_url": {"url": url()}},
            {"type": "text", "text": prompt},
        ]),
        Dialect::Messages => {
            let media_type = image::MEDIA_TYPE;
            let source = json!({"type": "base64", "media_type": media_type, "data": data});
            json!([{"type": "image", "source": source}, {"type": "text", "text": prompt}])
        }
        Dialect::Responses => json!([
            {"type": "input_image", "image_url": url()},
            {"type": "input_text", "text": prompt},
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, seed: u64) -> Plan {
        let mix = Mix::parse("test.toml", text).unwrap();
        let target = Target::parse("http://127.0.0.1:9").unwrap();
        let user = |n| User { account: format!("acc_{n}"), key: format!("key{n}") };
        Plan::new(&mix, &target, (0..3).map(user).collect(), true, seed)
    }

    const MIX: &str = "zipf = 0\nhang_up = 0.25\nslow = 0.25\n\
        [[request]]\nweight = 3\nstream = true\noutput_tokens = [8, 8]\nfirst_delay_ms = 5\ndelay_ms = 2\n\
        [[request]]\ndialect = \"messages\"\nmodel = \"m\"\nfirst_delay_ms = 5\ndelay_ms = 2";

    #[test]
    fn a_request_is_whole_and_tells_the_simulator_what_is_counted() {
        let plan = plan(MIX, 1);
        let mut buffer = b"old".to_vec();
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            let Shot { shape, user, .. } = plan.draw(&mut rng).unwrap();
            shape.write(user, &mut buffer);
            let text = String::from_utf8(buffer.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("POST /v1/") && head.ends_with(&user.key), "{head}");
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            let said = body["messages"][0]["content"].as_str().unwrap();
            let pace = if shape.stream {
                "[[sim output=8 chunks=8 first_delay_ms=5 delay_ms=2]]"
            } else {
                "first_delay_ms=7]]"
            };
            assert!(said.ends_with(pace), "{said}");
            let told = if shape.stream { 5 + 8 * 2 } else { 5 + 2 };
            assert_eq!(shape.told, Duration::from_millis(told));
        }
    }

    #[test]
    fn kinds_manners_and_senders_have_their_shares() {
        let plan = plan(MIX, 1);
        let mut rng = Rng::with_seed(2);
        let shots: Vec<_> = (0..8_000).filter_map(|_| plan.draw(&mut rng)).collect();
        let many = |wanted: &dyn Fn(&Shot<'_>) -> bool| shots.iter().filter(|s| wanted(s)).count();
        let near = |count: usize, wanted: usize| count.abs_diff(wanted) < wanted / 10;
        assert!(near(many(&|shot| shot.shape.stream), 6_000));
        assert!(near(many(&|shot| matches!(shot.manner, Manner::HangsUp(1..=8))), 1_500));
        assert!(near(many(&|shot| matches!(shot.manner, Manner::Slowly(_))), 1_500));
        assert!(near(many(&|shot| shot.user.key == "key0"), 8_000 / 3));
        assert!(shots.iter().all(|shot| shot.shape.stream || shot.manner == Manner::Reads));
    }

    #[test]
    fn senders_in_turn_leave_nobody_out() {
        let plan = plan("in_turn = 2\n[[request]]", 1);
        let mut rng = Rng::with_seed(1);
        let keys: Vec<_> =
            (0..4).filter_map(|_| plan.draw(&mut rng)).map(|shot| shot.user.key.clone()).collect();
        assert_eq!(keys, ["key2", "key0", "key1", "key2"]);
    }

    #[test]
    fn an_image_stands_before_the_prompt_in_every_dialect() {
        for dialect in ["chat", "messages", "responses"] {
            let text = format!("[[request]]\nimage_bytes = 4000\ndialect = \"{dialect}\"");
            let plan = plan(&text, 1);
            let shot = plan.draw(&mut Rng::with_seed(1)).unwrap();
            let mut request = Vec::new();
            shot.shape.write(shot.user, &mut request);
            let request = String::from_utf8(request).unwrap();
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            serde_json::from_str::<Value>(body).unwrap();
            let (image, prompt) = (body.find("iVBORw0KGgo").unwrap(), body.find("Please").unwrap());
            assert!(image < prompt && body.len() > 4_200, "{dialect}: {body}");
        }
    }

    #[test]
    fn a_seed_prepares_and_chooses_the_same_again() {
        let told = |seed| {
            let (plan, mut rng) = (plan(MIX, seed), Rng::with_seed(seed));
            let mut all = Vec::new();
            for _ in 0..50 {
                let Shot { shape, user, manner, .. } = plan.draw(&mut rng).unwrap();
                let mut buffer = Vec::new();
                shape.write(user, &mut buffer);
                all.push((buffer, format!("{manner:?}")));
            }
            all
        };
        assert_eq!(told(5), told(5));
        assert_ne!(told(5), told(6));
    }
}
