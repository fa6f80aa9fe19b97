//! The way from node to node: one connection to each, on which asks are numbered and answered in any
//! order.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use dashmap::DashMap;
use serde::de::DeserializeOwned;
use tokio::io::BufReader;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::frames::{self, FrameReader, FrameWriter};
use super::message::{NodeAnswer, NodeAsk};
use super::{Member, Members, NodeSettings};
use crate::directory::Directory;
use crate::system::AskError;

/// Asks that wait for a connection, and answers that wait to be written; who comes beyond them is told
/// at once that there is no answer.
const QUEUE_MAX: usize = 4096;

/// Asks of one node that are worked on at the same time; the others wait in its connection.
const ASKS_AT_ONCE: usize = 4096;

/// Connections at a node's address at the same time.
const CONNECTIONS_MAX: usize = 256;

/// Messages that are written together.
const TOGETHER_MAX: usize = 64;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// How long a connection may take, with its proofs, and the pause after one that failed.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
const CONNECT_AGAIN: Duration = Duration::from_millis(200);

/// An answer that may never come.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Option<NodeAnswer>> + Send>>;

/// The way to the other nodes.
pub(crate) trait Channel: Send + Sync {
    /// Lets the others ask this node.
    fn serve(&self, door: Door);
    /// Asks another node; no answer says nothing of whether it was done.
    fn ask(&self, to: &Member, ask: NodeAsk) -> Answering;
    /// Ends what goes to nodes other than these.
    fn keep(&self, members: &Members);
}

/// Where this node hears what others ask.
#[derive(Clone)]
pub(crate) struct Door(Weak<Directory>);

impl Door {
    pub(crate) fn new(directory: &Arc<Directory>) -> Self {
        Self(Arc::downgrade(directory))
    }

    /// Answers another node; nothing once this one has ended.
    pub(crate) async fn hear(&self, ask: NodeAsk) -> Option<NodeAnswer> {
        let directory = self.0.upgrade()?;
        let nodes = directory.nodes.as_ref()?;
        Some(directory.hear(nodes, ask).await)
    }
}

/// Connections by TCP, signed with the nodes' secret.
pub(crate) struct TcpChannel {
    secret: Arc<[u8]>,
    me: u64,
    listener: Mutex<Option<TcpListener>>,
    serving: Mutex<Option<JoinHandle<()>>>,
    peers: DashMap<u64, Peer>,
}

impl fmt::Debug for TcpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpChannel").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

impl TcpChannel {
    /// Listens at the node's address.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) async fn listen(me: u64, node: &NodeSettings) -> Result<Arc<Self>, AskError> {
        let listener = TcpListener::bind(&node.address).await.map_err(|error| {
            AskError::Unavailable(format!("cannot listen for nodes on {}: {error}", node.address))
        })?;
        Ok(Arc::new(Self {
            secret: node.secret.as_bytes().into(),
            me,
            listener: Mutex::new(Some(listener)),
            serving: Mutex::default(),
            peers: DashMap::new(),
        }))
    }
}

impl Channel for TcpChannel {
    fn serve(&self, door: Door) {
        let Some(listener) = lock(&self.listener).take() else { return };
        let serving = accept_all(listener, Arc::clone(&self.secret), self.me, door);
        *lock(&self.serving) = Some(tokio::spawn(serving));
    }

    fn ask(&self, to: &Member, ask: NodeAsk) -> Answering {
        let (reply, answer) = oneshot::channel();
        if let Ok(ask) = serde_json::to_vec(&ask) {
            let peer = self.peers.entry(to.node);
            let peer = peer.or_insert_with(|| Peer::new(to, Arc::clone(&self.secret)));
            // No room is no answer.
            drop(peer.queue.try_send(Asked { ask, reply }));
        }
        Box::pin(async move { answer.await.ok() })
    }

    fn keep(&self, members: &Members) {
        self.peers.retain(|node, _| members.has(*node));
    }
}

impl Drop for TcpChannel {
    fn drop(&mut self) {
        if let Some(serving) = lock(&self.serving).take() {
            serving.abort();
        }
    }
}

/// Something to ask, and who waits for the answer.
#[derive(Debug)]
struct Asked {
    ask: Vec<u8>,
    reply: oneshot::Sender<NodeAnswer>,
}

/// The connection to another node, made when it is needed.
struct Peer {
    queue: mpsc::Sender<Asked>,
    task: JoinHandle<()>,
}

impl Peer {
    fn new(member: &Member, secret: Arc<[u8]>) -> Self {
        let (queue, coming) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(ask_all(member.clone(), secret, coming));
        Self { queue, task }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks a node what comes, over one connection after another.
async fn ask_all(member: Member, secret: Arc<[u8]>, mut coming: mpsc::Receiver<Asked>) {
    while let Some(first) = coming.recv().await {
        let connecting = async {
            let stream = TcpStream::connect(&member.address).await?;
            frames::connect(halves(stream)?, &secret, member.node).await
        };
        let connected = timeout(CONNECT_WAIT, connecting).await.map_err(io::Error::from).flatten();
        // Who waits is told now that there is no answer; each of them asks again.
        let error = match connected {
            Ok((from, to)) => talk(from, to, first, &mut coming).await,
            Err(error) => {
                drop(first);
                error
            }
        };
        while coming.try_recv().is_ok() {}
        tracing::warn!(node = member.node, address = member.address, %error, "a node is away");
        sleep(CONNECT_AGAIN).await;
    }
}

/// Writes asks and reads answers until the connection ends.
async fn talk<R, W>(
    mut from: FrameReader<R>,
    mut to: FrameWriter<W>,
    first: Asked,
    coming: &mut mpsc::Receiver<Asked>,
) -> io::Error
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let waiting: Mutex<HashMap<u64, oneshot::Sender<NodeAnswer>>> = Mutex::default();
    let reading = async {
        loop {
            let (number, answer) = parse(&from.next().await?)?;
            if let Some(reply) = lock(&waiting).remove(&number) {
                // The asker may be gone.
                drop(reply.send(answer));
            }
        }
    };
    let writing = async {
        let mut number = 0u64;
        let mut asks = vec![first];
        loop {
            for Asked { ask, reply } in asks.drain(..) {
                number = number.saturating_add(1);
                if number.is_multiple_of(1024) {
                    lock(&waiting).retain(|_, reply| !reply.is_closed());
                }
                lock(&waiting).insert(number, reply);
                to.add(&numbered(number, &ask))?;
            }
            to.send().await?;
            if coming.recv_many(&mut asks, TOGETHER_MAX).await == 0 {
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
    };
    let ended: io::Result<()> =
        tokio::select! { ended = reading => ended, ended = writing => ended };
    ended.err().unwrap_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Hears other nodes for as long as it is not dropped.
async fn accept_all(listener: TcpListener, secret: Arc<[u8]>, me: u64, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    let (secret, door) = (Arc::clone(&secret), door.clone());
                    connections.spawn(async move {
                        if let Err(error) = answer_all(stream, &secret, me, door).await {
                            tracing::debug!(%error, "a node's connection ended");
                        }
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a node's connection was not accepted");
                    sleep(CONNECT_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers what comes over one connection.
async fn answer_all(stream: TcpStream, secret: &[u8], me: u64, door: Door) -> io::Result<()> {
    let meeting = frames::accept(halves(stream)?, secret, me);
    let (mut from, mut to) = timeout(CONNECT_WAIT, meeting).await??;
    let (answers, mut answered) = mpsc::channel::<Vec<u8>>(QUEUE_MAX);
    let room = Arc::new(Semaphore::new(ASKS_AT_ONCE));
    let reading = async {
        loop {
            let (number, ask) = parse(&from.next().await?)?;
            let place = Arc::clone(&room).acquire_owned().await;
            let (door, answers) = (door.clone(), answers.clone());
            tokio::spawn(async move {
                if let Some(answer) = door.hear(ask).await
                    && let Ok(answer) = serde_json::to_vec(&answer)
                {
                    // The connection may be gone.
                    drop(answers.send(numbered(number, &answer)).await);
                }
                drop(place);
            });
        }
    };
    let writing = async {
        let mut bodies = Vec::new();
        while answered.recv_many(&mut bodies, TOGETHER_MAX).await > 0 {
            for body in bodies.drain(..) {
                to.add(&body)?;
            }
            to.send().await?;
        }
        Ok(())
    };
    tokio::select! { ended = reading => ended, ended = writing => ended }
}

/// Both halves of a connection. Many small frames are read at a time.
fn halves(stream: TcpStream) -> io::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    let (from, to) = stream.into_split();
    Ok((BufReader::with_capacity(READ_BYTES, from), to))
}

fn numbered(number: u64, body: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), body].concat()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> io::Result<(u64, T)> {
    let (number, body) = body.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
    let body = serde_json::from_slice(body).map_err(io::Error::other)?;
    Ok((u64::from_be_bytes(*number), body))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
