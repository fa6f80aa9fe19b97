//! Frames between two nodes that know the same secret: each is counted and signed, so that nobody
//! else can say, repeat or leave out anything. They are not encrypted.
//!
//! Each side sends a number that was never used; both sign both numbers and the node that is meant.
//! Keys of their own for each connection and direction follow from these.

use std::io;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of one frame: an account has at most some thousand holds.
const FRAME_MAX: usize = 4 << 20;

/// What a connection begins with: who speaks another language is told from who knows no secret.
const HELLO: &[u8; 8] = b"ocnode1\n";

const NONCE: usize = 32;
const MAC: usize = 32;

type Signer = Hmac<Sha256>;

/// Reads frames.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    from: R,
    signer: Signer,
    count: u64,
}

/// Writes frames.
#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    to: W,
    signer: Signer,
    count: u64,
    buffer: Vec<u8>,
}

/// Proves the secret to a node, which proves it too.
pub(super) async fn connect<R, W>(
    (mut from, mut to): (R, W),
    secret: &[u8],
    node: u64,
) -> io::Result<(FrameReader<R>, FrameWriter<W>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let ours = nonce()?;
    to.write_all(HELLO).await?;
    to.write_all(&ours).await?;
    to.flush().await?;
    let mut theirs = [0; NONCE];
    from.read_exact(&mut theirs).await?;
    let signer = |part: &[u8]| signer(secret, part, &ours, &theirs, node);
    to.write_all(&signer(b"asks")?.finalize().into_bytes()).await?;
    to.flush().await?;
    let mut proof = [0; MAC];
    from.read_exact(&mut proof).await?;
    signer(b"answers")?.verify_slice(&proof).map_err(|_| forged())?;
    Ok((reader(from, &signer(b"answers frames")?)?, writer(to, &signer(b"asks frames")?)?))
}

/// Has a caller prove the secret, and proves it too, as a node.
pub(super) async fn accept<R, W>(
    (mut from, mut to): (R, W),
    secret: &[u8],
    node: u64,
) -> io::Result<(FrameReader<R>, FrameWriter<W>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut hello = [0; HELLO.len()];
    from.read_exact(&mut hello).await?;
    if hello != *HELLO {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no node speaks so"));
    }
    let mut theirs = [0; NONCE];
    from.read_exact(&mut theirs).await?;
    let ours = nonce()?;
    to.write_all(&ours).await?;
    to.flush().await?;
    let signer = |part: &[u8]| signer(secret, part, &theirs, &ours, node);
    let mut proof = [0; MAC];
    from.read_exact(&mut proof).await?;
    // Nothing is signed for a caller that does not know the secret.
    signer(b"asks")?.verify_slice(&proof).map_err(|_| forged())?;
    to.write_all(&signer(b"answers")?.finalize().into_bytes()).await?;
    to.flush().await?;
    Ok((reader(from, &signer(b"asks frames")?)?, writer(to, &signer(b"answers frames")?)?))
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// The next frame. Not to be called again once dropped before its end.
    pub(super) async fn next(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.from.read_u32().await?).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
        }
        let mut mac = [0; MAC];
        self.from.read_exact(&mut mac).await?;
        let mut body = vec![0; length];
        self.from.read_exact(&mut body).await?;
        let signer = self.signer.clone().chain_update(self.count.to_be_bytes());
        signer.chain_update(&body).verify_slice(&mac).map_err(|_| forged())?;
        self.count = self.count.saturating_add(1);
        Ok(body)
    }
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Adds a frame to those that are sent next.
    pub(super) fn add(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX);
        let length = length
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
        let signer = self.signer.clone().chain_update(self.count.to_be_bytes());
        let mac = signer.chain_update(body).finalize().into_bytes();
        self.count = self.count.saturating_add(1);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(&mac);
        self.buffer.extend_from_slice(body);
        Ok(())
    }

    /// Sends what was added.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        self.to.write_all(&self.buffer).await?;
        self.buffer.clear();
        self.to.flush().await
    }
}

fn reader<R>(from: R, key: &Signer) -> io::Result<FrameReader<R>> {
    Ok(FrameReader { from, signer: keyed(&key.clone().finalize().into_bytes())?, count: 0 })
}

fn writer<W>(to: W, key: &Signer) -> io::Result<FrameWriter<W>> {
    let signer = keyed(&key.clone().finalize().into_bytes())?;
    Ok(FrameWriter { to, signer, count: 0, buffer: Vec::new() })
}

fn signer(
    secret: &[u8],
    part: &[u8],
    caller: &[u8; NONCE],
    called: &[u8; NONCE],
    node: u64,
) -> io::Result<Signer> {
    let signer = keyed(secret)?.chain_update(caller).chain_update(called);
    Ok(signer.chain_update(node.to_be_bytes()).chain_update(part))
}

fn keyed(key: &[u8]) -> io::Result<Signer> {
    Signer::new_from_slice(key).map_err(io::Error::other)
}

fn nonce() -> io::Result<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

fn forged() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "not signed with this node's secret")
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Whether caller and called, with their secrets and who is meant, come together.
    async fn meet(secrets: [&[u8]; 2], nodes: [u64; 2]) -> [bool; 2] {
        let (near, far) = duplex(1024);
        let caller = async { connect(tokio::io::split(near), secrets[0], nodes[0]).await.is_ok() };
        let called = async { accept(tokio::io::split(far), secrets[1], nodes[1]).await.is_ok() };
        let (caller, called) = tokio::join!(caller, called);
        [caller, called]
    }

    #[tokio::test]
    async fn only_who_knows_the_secret_and_means_this_node_is_heard() {
        assert_eq!(meet([b"secret", b"secret"], [1, 1]).await, [true, true]);
        assert_eq!(meet([b"secret", b"other"], [1, 1]).await, [false, false]);
        assert_eq!(meet([b"secret", b"secret"], [1, 2]).await, [false, false]);
    }

    /// What is read of two frames when the bytes on the wire are changed by `fault`.
    async fn received(fault: impl Fn(&mut Vec<u8>)) -> Vec<Vec<u8>> {
        let mut writer = writer(Vec::new(), &keyed(b"key").unwrap()).unwrap();
        for body in [b"one", b"two"] {
            writer.add(body).unwrap();
            writer.send().await.unwrap();
        }
        let mut bytes = writer.to;
        fault(&mut bytes);
        let mut reader = reader(&bytes[..], &keyed(b"key").unwrap()).unwrap();
        let mut frames = Vec::new();
        while let Ok(frame) = reader.next().await {
            frames.push(frame);
        }
        frames
    }

    #[tokio::test]
    async fn a_frame_that_is_changed_repeated_or_left_out_ends_the_connection() {
        let whole = 4 + MAC + 3;
        assert_eq!(received(|_| {}).await, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(received(|bytes| bytes[whole - 1] ^= 1).await, Vec::<Vec<u8>>::new());
        assert_eq!(received(|bytes| drop(bytes.drain(..whole))).await, Vec::<Vec<u8>>::new());
        let repeat = |bytes: &mut Vec<u8>| bytes.copy_within(..whole, whole);
        assert_eq!(received(repeat).await, [b"one".to_vec()]);
        assert_eq!(received(|bytes| bytes[0] = 0xff).await, Vec::<Vec<u8>>::new());
    }
}
