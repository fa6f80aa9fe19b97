//! A provider that does as little as it can: answers from memory, at the pace that a prompt asks for.
//! Its thread is this program's, so that its CPU is no contender's.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answers::Answers;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Bytes of a request that are kept; a body's further ones are counted only.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Headers of one head.
const HEADERS_MAX: usize = 64;
/// A pause from which on the connection is watched meanwhile: its client may leave.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// A running provider; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    /// So many chunks, the first one at once and a pause before each further one.
    Stream {
        chunks: usize,
        pause: Duration,
    },
}

impl Upstream {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub(super) fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let named = std::thread::Builder::new().name("upstream".to_owned());
        let thread = named.spawn(move || run(&runtime, listener, stopped))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It may have ended by a panic, which was told then.
        self.thread.take().map(JoinHandle::join);
    }
}

fn run(runtime: &Runtime, listener: std::net::TcpListener, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let answers = Arc::new(Answers::new());
    loop {
        match listener.accept().await {
            // A connection that breaks is its client's to tell.
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&answers)))),
            // Out of file descriptors, most likely: others must end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut kept) = (vec![0; READ_BYTES], Vec::new());
    loop {
        match read(&mut stream, &mut buffer, &mut kept).await? {
            None => return Ok(()),
            Some(Wanted::Whole) => stream.write_all(answers.whole()).await?,
            Some(Wanted::Stream { chunks, pause: Duration::ZERO }) => {
                stream.write_all(&answers.burst(chunks)).await?;
            }
            Some(Wanted::Stream { chunks, pause }) => {
                if !paced(&mut stream, &answers, chunks, pause).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// Sends a stream at its pace; `false` if its client left.
async fn paced(
    stream: &mut TcpStream,
    answers: &Answers,
    chunks: usize,
    pause: Duration,
) -> io::Result<bool> {
    let mut due = Instant::now();
    stream.write_all(answers.first()).await?;
    for _ in 1..chunks {
        // By the clock, so that late chunks do not add up.
        due += pause;
        if pause < LONG_PAUSE {
            tokio::time::sleep_until(due).await;
        } else {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                // Nobody sends anything behind a request: it is the end.
                _ = stream.ready(Interest::READABLE) => return Ok(false),
            }
        }
        stream.write_all(answers.chunk()).await?;
    }
    stream.write_all(answers.end()).await?;
    Ok(true)
}

/// Reads a request to its end; none where the connection is at its own.
async fn read(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    kept: &mut Vec<u8>,
) -> io::Result<Option<Wanted>> {
    kept.clear();
    let (mut read, mut head, mut whole) = (0_usize, 0, None);
    while whole.is_none_or(|whole| read < whole) {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        read = read.saturating_add(count);
        let room = KEPT_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
        if whole.is_none()
            && let Some((length, body)) = lengths(kept)?
        {
            (head, whole) = (length, Some(length.saturating_add(body)));
        }
    }
    Ok(Some(wanted(kept.get(head..).unwrap_or_default())))
}

/// The lengths of the head and of the body, once the head is whole.
fn lengths(request: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(request).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let mut named = parsed.headers.iter();
    let length = named.find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    Ok(Some((head, length.unwrap_or(0))))
}

fn wanted(body: &[u8]) -> Wanted {
    if memmem::find(body, b"\"stream\":true").is_none() {
        return Wanted::Whole;
    }
    let chunks = number(body, b"[[sim output=").unwrap_or(1);
    let pause = Duration::from_millis(number(body, b" delay_ms=").unwrap_or(0));
    Wanted::Stream { chunks: usize::try_from(chunks).unwrap_or(1), pause }
}

/// The number behind a name in the prompt's directive.
fn number(body: &[u8], name: &[u8]) -> Option<u64> {
    let at = memmem::find(body, name)?.saturating_add(name.len());
    let digits = body.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let add = |sum: u64, digit: &u8| {
        sum.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
    };
    Some(digits.fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_wants() {
        let stream =
            br#"{"stream":true,"x":"[[sim output=200 chunks=200 first_delay_ms=0 delay_ms=5]]"}"#;
        let pause = Duration::from_millis(5);
        assert_eq!(wanted(stream), Wanted::Stream { chunks: 200, pause });
        assert_eq!(wanted(br#"{"x":"[[sim output=50 first_delay_ms=0]]"}"#), Wanted::Whole);
        let head = b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n{";
        assert_eq!(lengths(head).unwrap(), Some((head.len() - 1, 12)));
        assert_eq!(lengths(b"POST / HTTP/1.1\r\nContent-").unwrap(), None);
        assert!(lengths(b"\0\0\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn one_connection_gets_a_whole_answer_a_burst_and_a_paced_stream() {
        let upstream = Upstream::start().unwrap();
        let mut stream = TcpStream::connect(upstream.address()).await.unwrap();
        for (body, last) in [
            ("{}", "}}"),
            ("{\"stream\":true,\"p\":\"[[sim output=3 delay_ms=0]]\"}", "[DONE]\n\n\r\n0\r\n\r\n"),
            ("{\"stream\":true,\"p\":\"[[sim output=3 delay_ms=1]]\"}", "[DONE]\n\n\r\n0\r\n\r\n"),
        ] {
            let head = format!("POST /v1 HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(last.as_bytes()) {
                assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
            }
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            let chunks = if body == "{}" { 0 } else { 3 };
            assert_eq!(answer.matches("\"content\":\" word\"").count(), chunks, "{answer}");
            assert!(answer.contains("\"completion_tokens\":"), "{answer}");
        }
    }
}
