//! Keeps a node among the others: renews its lease, sees who comes and goes, hears what to forget.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opencredits_schema::{Command, PartnerId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Deciding, Members, Notice, ROW_LASTS};
use crate::account::resumed;
use crate::directory::Directory;
use crate::store::StoreError;
use crate::system::AskError;

/// How often a node says that it runs, and looks at the others.
const EVERY: Duration = Duration::from_secs(1);

/// Accounts that are given up, and holds that are placed again, at the same time.
const AT_ONCE: usize = 64;

/// Keeps the node for as long as it runs.
pub(crate) async fn keep(directory: Arc<Directory>) {
    let saying = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            if let Err(error) = directory.say().await {
                tracing::warn!(%error, "this node could not say that it runs");
            }
        }
    };
    let looking = async {
        let mut ticks = ticks();
        let mut known = Known::default();
        loop {
            ticks.tick().await;
            if let Err(error) = directory.look(&mut known).await {
                tracing::warn!(%error, "this node could not look at the others");
            }
        }
    };
    tokio::join!(saying, looking);
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What a node has acted on.
#[derive(Debug, Default)]
pub(crate) struct Known {
    members: Arc<Members>,
    notices: HashSet<(i64, String)>,
}

impl Directory {
    /// Says that this node runs: it may decide until its lease ends.
    pub(crate) async fn say(self: &Arc<Self>) -> Result<(), AskError> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        if nodes.has_lapsed() {
            tracing::error!("this node's lease has ended; its accounts go to others");
            metrics::counter!("opencredits_leases_lost_total").increment(1);
            self.let_go().await;
            nodes.end_lease();
        }
        let sent_ms = nodes.now_ms();
        let saying = timeout(ROW_LASTS, self.store.announce(nodes.member(), ROW_LASTS)).await;
        saying.map_err(|_| AskError::Unavailable("the store does not answer".to_owned()))??;
        if nodes.renew_lease(sent_ms) == Some(true) {
            // Nobody hears, or who does is behind, which is the same.
            drop(nodes.notices.send(Notice::Everything));
            let directory = Arc::clone(self);
            tokio::spawn(async move { directory.place_again().await });
        }
        Ok(())
    }

    /// Sees which nodes run, and what to forget.
    pub(crate) async fn look(self: &Arc<Self>, known: &mut Known) -> Result<(), StoreError> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let members = self.members().await?;
        nodes.see(&members);
        if *known.members != *members {
            let gone = known.members.iter().any(|member| !members.has(member.node));
            tracing::info!(nodes = members.iter().count(), "the nodes that run");
            nodes.channel.keep(&members);
            known.members = members;
            let directory = Arc::clone(self);
            tokio::spawn(async move {
                directory.hand_over().await;
                if gone && let Err(error) = directory.recover().await {
                    tracing::warn!(%error, "what a node left open waits for who asks");
                }
            });
        }
        let told: HashSet<_> = self.store.notices().await?.into_iter().collect();
        for (_, name) in told.difference(&known.notices) {
            // Nobody hears, or who does is behind, which is the same.
            drop(nodes.notices.send(Notice::of(name)));
        }
        known.notices = told;
        Ok(())
    }

    /// The nodes that run, as the store says now.
    pub(crate) async fn members(&self) -> Result<Arc<Members>, StoreError> {
        Ok(Arc::new(Members::new(self.store.members().await?)))
    }

    /// Decides nothing more, and says that this node runs no more.
    pub(crate) async fn withdraw(&self) {
        let Some(nodes) = &self.nodes else { return };
        self.let_go().await;
        nodes.end_lease();
        let gone = timeout(ROW_LASTS, self.store.withdraw(nodes.me.node)).await;
        // A row that stays ends by itself.
        drop(gone);
    }

    /// Takes no more accounts, and hands over those that live here.
    pub(crate) async fn leave(self: &Arc<Self>) -> Result<(), AskError> {
        let Some(nodes) = &self.nodes else { return Ok(()) };
        nodes.leaving.store(true, Ordering::Release);
        self.say().await?;
        nodes.see(&self.members().await?);
        self.hand_over().await;
        Ok(())
    }

    /// Gives up the accounts that live here and belong elsewhere; the next ask finds them there.
    async fn hand_over(self: &Arc<Self>) {
        let Some(nodes) = &self.nodes else { return };
        let (room, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for account in self.accounts_here() {
            if !self.runs_here(account) || nodes.owner_elsewhere(account).is_none() {
                continue;
            }
            let (directory, place) = (Arc::clone(self), Arc::clone(&room).acquire_owned().await);
            tasks.spawn(async move {
                directory.give_up(account).await;
                drop(place);
            });
        }
        drop(tasks.join_all().await);
    }

    /// Stops all that decides here. What it has not made durable is refused once others take over.
    async fn let_go(&self) {
        for account in self.accounts_here() {
            let Some(slot) = self.known(account) else { continue };
            let Some(Deciding { actor, durable }) = slot.turn.give_up() else { continue };
            drop(actor.drain());
            drop(actor.wait(None).await);
            self.remove(account, actor.get_id());
            slot.running.pass_on(durable.load(Ordering::Acquire));
        }
    }

    /// Places the holds of requests that run here again, after nobody could ask this node for them.
    async fn place_again(self: &Arc<Self>) {
        let Some(nodes) = &self.nodes else { return };
        let (room, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for (account, hold) in self.running_holds() {
            let (directory, place) = (Arc::clone(self), Arc::clone(&room).acquire_owned().await);
            let command = Command::Place(resumed(&hold));
            tasks.spawn(async move {
                let Some(nodes) = &directory.nodes else { return };
                if let Err(error) = directory.ask_anywhere(nodes, account, command).await {
                    tracing::warn!(%account, %error, "a running request's hold was not placed again");
                }
                drop(place);
            });
        }
        drop(tasks.join_all().await);
        tracing::info!(node = nodes.me.node, "this node runs");
    }

    /// Starts the accounts that live here and have open checkpoints: loading settles those of requests
    /// whose node is gone.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<usize, AskError> {
        let unfinished = self.store.unfinished().await?;
        let mut started = 0usize;
        for account in unfinished {
            if let Some(nodes) = &self.nodes {
                if self.elsewhere(nodes, account).is_some() {
                    continue;
                }
                if let Err(error) = self.start(account).await {
                    tracing::warn!(%account, %error, "what a node left open waits for who asks");
                    continue;
                }
            } else {
                self.start(account).await?;
            }
            started = started.saturating_add(1);
        }
        Ok(started)
    }
}

impl Notice {
    /// The name under which it is told.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Key(hash) => {
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("key {hex}")
            }
            Self::Partner(id) => format!("partner {}", id.number()),
            Self::Everything => "everything".to_owned(),
        }
    }

    /// What a name tells; everything, if it is of a newer program.
    fn of(name: &str) -> Self {
        let key = |hex: &str| {
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at.checked_add(2)?)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
            bytes?.try_into().ok().map(Self::Key)
        };
        let partner = |number: &str| Some(Self::Partner(PartnerId::new(number.parse().ok()?)));
        let told = match name.split_once(' ') {
            Some(("key", hex)) => key(hex),
            Some(("partner", number)) => partner(number),
            Some(_) | None => None,
        };
        told.unwrap_or(Self::Everything)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_told_by_its_name() {
        let key = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        for notice in [Notice::Key(key), Notice::Partner(PartnerId::new(7)), Notice::Everything] {
            assert_eq!(Notice::of(&notice.name()), notice);
        }
        assert_eq!(Notice::of("key 1"), Notice::Everything);
    }
}
