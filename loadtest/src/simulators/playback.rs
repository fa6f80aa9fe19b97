//! The body of a simulated answer: steps that are played to the connection, one after another.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::Instant;

use super::Shared;
use super::script::Script;

/// One thing that happens while an answer is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes leave; `content` ones are counted.
    Send { bytes: Bytes, content: bool },
    /// Nothing leaves for so long.
    Wait(Duration),
    /// Nothing leaves until the gate is open.
    Gate(String),
    /// Nothing leaves any more.
    Hang,
    /// The connection closes in the middle of the body.
    Cut,
}

/// What a provider sends, before the script is applied to it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// A content chunk in the script's sense.
    pub(super) content: bool,
}

impl Piece {
    pub(super) fn frame(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), content: false }
    }

    pub(super) fn content(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), content: true }
    }
}

/// The steps before the head of an answer.
pub(super) fn before_head(script: &Script) -> Vec<Step> {
    let mut steps = Vec::new();
    if script.first_delay_ms > 0 {
        steps.push(Step::Wait(Duration::from_millis(script.first_delay_ms)));
    }
    if let Some(gate) = script.gate.clone().filter(|_| script.gate_after == 0) {
        steps.push(Step::Gate(gate));
    }
    if script.hang_after == Some(0) {
        steps.push(Step::Hang);
    }
    steps
}

/// The steps of a body: the pieces with the script's pauses in them, up to where it breaks.
pub(super) fn body(pieces: Vec<Piece>, script: &Script, error: Bytes) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    if script.cut_after == Some(0) {
        steps.push_back(Step::Cut);
        return steps;
    }
    let mut sent = 0_usize;
    for piece in pieces {
        let content = piece.content;
        if content && script.delay_ms > 0 {
            steps.push_back(Step::Wait(Duration::from_millis(script.delay_ms)));
        }
        // An error before any content still comes after the frame that opens the stream.
        if content && sent == 0 && broken(&mut steps, script, 0, &error) {
            return steps;
        }
        steps.push_back(Step::Send { bytes: piece.bytes, content });
        if !content {
            continue;
        }
        sent = sent.saturating_add(1);
        if broken(&mut steps, script, sent, &error) {
            return steps;
        }
    }
    steps
}

/// Adds what the script wants after so many content chunks; true if the body ends there.
fn broken(steps: &mut VecDeque<Step>, script: &Script, sent: usize, error: &Bytes) -> bool {
    let here = Some(sent);
    if let Some(gate) = script.gate.clone().filter(|_| sent > 0 && script.gate_after == sent) {
        steps.push_back(Step::Gate(gate));
    }
    if script.hang_after == here {
        steps.push_back(Step::Hang);
    } else if script.cut_after == here {
        steps.push_back(Step::Cut);
    } else if script.error_after == here {
        steps.push_back(Step::Send { bytes: error.clone(), content: false });
    } else {
        return script.end_after == here;
    }
    true
}

/// A body that plays its steps, and tells when it is over or its client gone.
pub(super) struct Playback {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When the last wait was to end. The next one counts from there, so that a timer's lateness
    /// does not add up over the chunks of an answer.
    due: Option<Instant>,
    /// A cut waits for one turn of the connection, so that what was sent before it leaves.
    flushed: bool,
    shared: Arc<Shared>,
    over: bool,
}

impl Playback {
    /// Counts one open stream until it is dropped.
    pub(super) fn new(steps: VecDeque<Step>, shared: Arc<Shared>) -> Self {
        shared.count(|counts| counts.open_streams = counts.open_streams.saturating_add(1));
        Self { steps, pause: None, due: None, flushed: false, shared, over: false }
    }
}

/// Waits as a step says; sending and cutting need no wait.
pub(super) async fn pause(step: Step, shared: Arc<Shared>) {
    match step {
        Step::Wait(time) => tokio::time::sleep(time).await,
        Step::Gate(name) => shared.gates.pass(&name, &shared).await,
        Step::Hang => std::future::pending().await,
        Step::Send { .. } | Step::Cut => {}
    }
}

impl Body for Playback {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                std::task::ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.steps.pop_front() {
                Some(Step::Send { bytes, content }) => {
                    if content {
                        self.shared.count(|counts| counts.chunks = counts.chunks.saturating_add(1));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Cut) if !self.flushed => {
                    self.flushed = true;
                    self.steps.push_front(Step::Cut);
                    self.pause = Some(Box::pin(tokio::task::yield_now()));
                }
                Some(Step::Cut) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(io::Error::other("cut by the script"))));
                }
                Some(Step::Wait(time)) => {
                    let due = self.due.unwrap_or_else(Instant::now) + time;
                    self.due = Some(due);
                    self.pause = Some(Box::pin(tokio::time::sleep_until(due)));
                }
                Some(step @ (Step::Gate(_) | Step::Hang)) => {
                    self.due = None;
                    self.pause = Some(Box::pin(pause(step, Arc::clone(&self.shared))));
                }
                None => {
                    self.over = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        let gone = self.pause.is_some() || (!self.over && !self.steps.is_empty());
        self.shared.count(|counts| {
            counts.open_streams = counts.open_streams.saturating_sub(1);
            if gone {
                counts.clients_gone = counts.clients_gone.saturating_add(1);
            } else {
                counts.finished = counts.finished.saturating_add(1);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(script: &Script) -> Vec<String> {
        let pieces = vec![
            Piece::frame("start"),
            Piece::content("a"),
            Piece::content("b"),
            Piece::content("c"),
            Piece::frame("end"),
        ];
        let steps = body(pieces, script, Bytes::from_static(b"error"));
        let name = |step: Step| match step {
            Step::Send { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
            other @ (Step::Wait(_) | Step::Gate(_) | Step::Hang | Step::Cut) => {
                format!("{other:?}")
            }
        };
        steps.into_iter().map(name).collect()
    }

    #[test]
    fn a_script_breaks_the_body_where_it_says() {
        let cut = |k| Script { cut_after: Some(k), ..Script::default() };
        assert_eq!(sent(&cut(0)), ["Cut"]);
        assert_eq!(sent(&cut(2)), ["start", "a", "b", "Cut"]);
        let ended = Script { end_after: Some(1), ..Script::default() };
        assert_eq!(sent(&ended), ["start", "a"]);
        let failed = Script { error_after: Some(0), ..Script::default() };
        assert_eq!(sent(&failed), ["start", "error"]);
        let hung = Script { hang_after: Some(1), ..Script::default() };
        assert_eq!(sent(&hung), ["start", "a", "Hang"]);
    }

    #[test]
    fn a_gate_stands_where_the_script_says() {
        let script = Script { gate: Some("g".into()), gate_after: 2, ..Script::default() };
        assert_eq!(sent(&script), ["start", "a", "b", "Gate(\"g\")", "c", "end"]);
        let first = Script { gate: Some("g".into()), ..Script::default() };
        assert_eq!(before_head(&first), [Step::Gate("g".to_owned())]);
        assert_eq!(sent(&first), ["start", "a", "b", "c", "end"]);
    }
}
