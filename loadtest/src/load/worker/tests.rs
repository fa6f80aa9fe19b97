//! Generators against small servers: what they count, and what a stall and a lateness look like.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::load::arrivals::Pace;
use crate::load::mix::{Dialect, Kind, Mix};
use crate::load::raise_descriptors;
use crate::load::target::{Target, User};
use crate::load::verdict::Verdict;

const GAP: Duration = Duration::from_millis(5);

/// A server whose answer is made by a function of the number of the request.
struct Server {
    target: Target,
    seen: watch::Receiver<u64>,
}

impl Server {
    async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(u64) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = &'static str> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (count, seen) = watch::channel(0);
        let (count, number) = (Arc::new(count), Arc::new(AtomicU64::new(0)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, count) = (answer.clone(), Arc::clone(&count));
                let number = Arc::clone(&number);
                tokio::spawn(async move {
                    connection(stream, answer, &count, &number).await.ok();
                });
            }
        });
        Self { target: Target::parse(&url).unwrap(), seen }
    }
}

/// Serves a connection; the requests of these tests come in one piece.
async fn connection<A: Future<Output = &'static str>>(
    mut stream: TcpStream,
    answer: impl Fn(u64) -> A,
    count: &watch::Sender<u64>,
    number: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while stream.read(&mut buffer).await? > 0 {
        count.send_modify(|count| *count += 1);
        let bytes = answer(number.fetch_add(1, Ordering::SeqCst)).await;
        stream.write_all(bytes.as_bytes()).await?;
        if bytes.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn job(target: &Target, kind: Kind, drive: Drive, measure: Duration) -> Job {
    let times = Times {
        ramp: Duration::ZERO,
        warm_up: Duration::ZERO,
        measure,
        timeout: Duration::from_secs(60),
    };
    let mix = Mix { kinds: vec![kind], directives: false, ..Mix::default() };
    let users = vec![User { account: String::new(), key: "key".to_owned() }];
    let (target, seed) = (target.clone(), 1);
    Job { target, users, mix, drive, times, seed, part: 0, parts: 1, threads: 1, receipts: true }
}

async fn done(job: Job) -> Done {
    let running = tokio::task::spawn_blocking(move || job.run(&Arc::default()));
    running.await.unwrap().unwrap()
}

const fn constant(rate: f64) -> Drive {
    Drive::Open { pace: Pace::Constant, from: rate, to: rate }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// The server answers nothing from the 20th request on until it has so many more.
async fn stalling(more: u64) -> Server {
    let (released, release) = watch::channel(false);
    let server = Server::start(move |number| {
        let mut release = release.clone();
        async move {
            if number >= 20 {
                release.wait_for(|released| *released).await.ok();
            }
            OK
        }
    });
    let server = server.await;
    let mut seen = server.seen.clone();
    tokio::spawn(async move {
        seen.wait_for(|seen| *seen >= 20 + more).await.ok();
        released.send(true).ok();
        std::future::pending::<()>().await;
    });
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_counts_the_wait_of_all_that_were_due_in_a_stall() {
    let server = stalling(30).await;
    let drive = constant(1.0 / GAP.as_secs_f64());
    let done = done(job(&server.target, Kind::default(), drive, GAP * 100)).await;
    let whole = done.record.whole();
    assert_eq!((whole.begun, whole.whole, whole.failures()), (100, 100, 0), "{:?}", whole.failed);
    // The stall ended when its 30th request had come: 29 gaps after the first of them was due, 14
    // after the 15th. No lateness of machine or timer can make these waits shorter.
    let total = &whole.latencies.total;
    let waited = total.above().filter(|(took, _)| *took < GAP * 14).map(|(_, above)| above);
    let share = waited.reduce(f64::min).unwrap_or(1.0);
    assert!(share >= 0.15, "{share} of 100 waited for 14 gaps");
    assert!(total.max() >= GAP * 29 - Duration::from_millis(1), "{:?}", total.max());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_loop_sends_the_next_request_when_it_has_the_answer() {
    let server = Server::start(|_| async { OK }).await;
    let drive = Drive::Closed { connections: 3 };
    let done = done(job(&server.target, Kind::default(), drive, Duration::from_millis(50))).await;
    let whole = done.record.whole();
    assert!(whole.begun >= 3 && whole.failures() == 0, "{:?}", whole.failed);
    assert_eq!((whole.begun, done.generator.requests), (*server.seen.borrow(), whole.begun));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generator_that_is_asked_for_more_than_it_can_is_refused() {
    raise_descriptors();
    let server = Server::start(|_| async { OK }).await;
    let drive = constant(1_000_000.0);
    let done = done(job(&server.target, Kind::default(), drive, Duration::from_millis(2))).await;
    assert_eq!(done.record.whole().begun, 2_000);
    let verdict = Verdict::of(&done, drive);
    assert!(verdict.refused.unwrap().contains("the generator was late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_counted_by_its_name() {
    let server = Server::start(|number| async move {
        match number % 4 {
            0 => "HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n",
            1 => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{",
            2 => "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ndata: {\"a\":1}\n",
            _ => "SSH-2.0\r\n\r\n",
        }
    });
    let server = server.await;
    let kind = Kind { stream: true, dialect: Dialect::Messages, ..Kind::default() };
    let job = Job {
        times: Times {
            ramp: Duration::ZERO,
            warm_up: Duration::ZERO,
            measure: Duration::from_millis(100),
            timeout: Duration::from_millis(300),
        },
        ..job(&server.target, kind, constant(400.0), GAP)
    };
    let done = done(job).await;
    let whole = done.record.whole();
    let names: Vec<_> = whole.failed.keys().map(String::as_str).collect();
    assert_eq!(names, ["not HTTP", "status 429", "stream without its end", "timeout"]);
    assert_eq!((whole.begun, whole.failures(), whole.whole), (40, 40, 0));
    let refused = done.receipts.iter().filter(|receipt| receipt.seen == Seen::Refused).count();
    assert_eq!((done.receipts.len(), refused), (40, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_a_failure_and_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let drive = constant(100.0);
    let done = done(job(&target, Kind::default(), drive, Duration::from_millis(50))).await;
    let whole = done.record.whole();
    assert_eq!(whole.failed.get("no connection"), Some(&5), "{:?}", whole.failed);
    assert!(Verdict::of(&done, drive).refused.is_some(), "nothing was measured");
}

#[test]
fn generators_share_connections() {
    let shares: Vec<_> = (0..3).map(|part| share(64, part, 3)).collect();
    assert_eq!(shares, [22, 21, 21]);
}
