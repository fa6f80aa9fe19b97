//! Several nodes on one store: an account lives on one of them, and the others ask it there.
//!
//! A node decides only under its lease, which it renews by a row in the store. Who takes an account
//! asks every other node to give it up first, or waits until that node's lease has ended; the store's
//! epoch refuses what a stale owner writes all the same. Holds are kept where their requests run.

mod ask;
mod channel;
mod frames;
mod give_up;
mod keeper;
mod members;
mod message;
mod turn;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use opencredits_schema::{AccountId, PartnerId, Timestamp};
use tokio::sync::broadcast;
use tokio::time::Instant;

#[cfg(test)]
pub(crate) use channel::Answering;
pub(crate) use channel::{Channel, Door, TcpChannel};
pub(crate) use keeper::keep;
pub use members::Member;
pub(crate) use members::Members;
#[cfg(test)]
pub(crate) use message::NodeAsk;
pub(crate) use turn::{Deciding, Turn};

use crate::fault::{Fault, planted};

/// How long a node's row lasts in the store unless it is written again.
pub(crate) const ROW_LASTS: Duration = Duration::from_secs(6);

/// How long before that its node stops deciding: more than the clocks of the store's machines differ,
/// and a second in which the store rounds.
const MARGIN: Duration = Duration::from_secs(2);

/// How long whoever asks waits while an account passes from one node to another: longer than the row of
/// a dead node lasts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// Notices that a slow reader may be behind; beyond them it forgets everything.
const NOTICES_MAX: usize = 1024;

/// This node among several.
#[derive(Clone)]
pub struct NodeSettings {
    /// `HOST:PORT` at which it listens, and the other nodes reach it.
    pub address: String,
    /// What only the nodes know.
    pub secret: String,
}

impl fmt::Debug for NodeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSettings").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What this node may remember no longer, for another one has changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The key with a hash.
    Key([u8; 32]),
    /// A partner.
    Partner(PartnerId),
    /// Anything: the node was away, and may have missed what it was told.
    Everything,
}

/// This node, and what it knows of the others.
pub(crate) struct Nodes {
    me: Member,
    leaving: AtomicBool,
    members: RwLock<Arc<Members>>,
    began: Instant,
    /// The end of the lease, in milliseconds since `began`; 0 while there is none, and nothing here
    /// that was decided under the last one still decides.
    lease_ms: AtomicU64,
    channel: Arc<dyn Channel>,
    notices: broadcast::Sender<Notice>,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Nodes {
    pub(crate) fn new(
        node: u64,
        address: String,
        started: Timestamp,
        channel: Arc<dyn Channel>,
    ) -> Self {
        Self {
            me: Member { node, address, started: started.millis(), leaving: false },
            leaving: AtomicBool::new(false),
            members: RwLock::default(),
            began: Instant::now(),
            lease_ms: AtomicU64::new(0),
            channel,
            notices: broadcast::channel(NOTICES_MAX).0,
        }
    }

    /// Lets the others ask this node.
    pub(crate) fn serve(&self, door: Door) {
        self.channel.serve(door);
    }

    /// Whether this node may decide: its lease runs.
    pub(crate) fn may_decide(&self) -> bool {
        let lease = self.lease_ms.load(Ordering::Acquire);
        self.now_ms() < lease || planted(Fault::DecideUnleased)
    }

    /// What is said of this node.
    pub(crate) fn member(&self) -> Member {
        Member { leaving: self.leaving.load(Ordering::Acquire), ..self.me.clone() }
    }

    /// The nodes that ran when the store was asked last.
    pub(crate) fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Knows the nodes that run from now on.
    pub(crate) fn see(&self, members: &Arc<Members>) {
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(members);
    }

    /// The other node on which an account lives; `None` if it lives here.
    pub(crate) fn owner_elsewhere(&self, account: AccountId) -> Option<Member> {
        let members = self.members();
        members.owner(account).filter(|owner| owner.node != self.me.node).cloned()
    }

    /// What this node has to forget.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Whether the lease has ended and what was decided under it may still decide.
    fn has_lapsed(&self) -> bool {
        let lease = self.lease_ms.load(Ordering::Acquire);
        lease != 0 && self.now_ms() >= lease && !planted(Fault::DecideUnleased)
    }

    /// Ends the lease.
    fn end_lease(&self) {
        self.lease_ms.store(0, Ordering::Release);
    }

    /// Renews the lease by a row whose writing began at a moment; `None` if it has ended meanwhile,
    /// else whether there was none before.
    fn renew_lease(&self, sent_ms: u64) -> Option<bool> {
        if self.has_lapsed() {
            return None;
        }
        let span = ROW_LASTS.saturating_sub(MARGIN).as_millis();
        let until = sent_ms.saturating_add(u64::try_from(span).unwrap_or(0));
        Some(self.lease_ms.swap(until, Ordering::AcqRel) == 0)
    }
}
