//! A system among others: how it joins them, hears of them, leaves them.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{AskError, Settings, System};
use crate::nodes::{Channel, Door, NodeSettings, Nodes, Notice, TcpChannel, keep};
use crate::partner::Partners;
use crate::store::{Store, StoreError};

impl System {
    /// Starts the same as one of several nodes on one store.
    ///
    /// # Errors
    /// When the store cannot be read or written, or the node's address cannot be listened on.
    pub async fn join(
        store: Arc<dyn Store>,
        settings: Settings,
        node: NodeSettings,
    ) -> Result<Self, AskError> {
        let channel = TcpChannel::listen(settings.node, &node).await?;
        Box::pin(Self::join_by(store, settings, node.address, channel)).await
    }

    /// Joins the nodes that a channel reaches.
    pub(crate) async fn join_by(
        store: Arc<dyn Store>,
        settings: Settings,
        address: String,
        channel: Arc<dyn Channel>,
    ) -> Result<Self, AskError> {
        let nodes = Nodes::new(settings.node, address, settings.now(), channel);
        Box::pin(Self::start_with(store, settings, Some(nodes))).await
    }

    /// Says that this node runs, once it hears what the others ask.
    pub(super) async fn meet_the_others(&mut self) -> Result<(), AskError> {
        let Some(nodes) = &self.directory.nodes else { return Ok(()) };
        nodes.serve(Door::new(&self.directory));
        self.directory.say().await?;
        nodes.see(&self.directory.members().await?);
        let forget = follow(nodes.notices(), Arc::clone(&self.partners));
        self.tasks.extend([tokio::spawn(keep(Arc::clone(&self.directory))), tokio::spawn(forget)]);
        Ok(())
    }

    /// What this node may remember no longer; `None` without other nodes.
    #[must_use]
    pub fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        self.directory.nodes.as_ref().map(Nodes::notices)
    }

    /// Tells the other nodes, durably, what they may remember no longer.
    ///
    /// # Errors
    /// As the store says.
    pub async fn notify(&self, notice: Notice) -> Result<(), StoreError> {
        match &self.directory.nodes {
            Some(_) => self.store.notify(notice.name()).await,
            None => Ok(()),
        }
    }

    /// Whether this node may decide: always, unless it is one of several and its lease has ended.
    #[must_use]
    pub fn may_decide(&self) -> bool {
        self.directory.may_decide()
    }

    /// Takes no more accounts and hands over those that live here, before the node stops.
    ///
    /// # Errors
    /// When the store cannot be told; the accounts go on here.
    pub async fn leave(&self) -> Result<(), AskError> {
        self.directory.leave().await
    }
}

/// Forgets the partners that other nodes have changed.
async fn follow(mut notices: broadcast::Receiver<Notice>, partners: Arc<Partners>) {
    loop {
        match notices.recv().await {
            Ok(Notice::Partner(id)) => partners.forget(Some(id)),
            Ok(Notice::Key(_)) => {}
            Ok(Notice::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => {
                partners.forget(None);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
