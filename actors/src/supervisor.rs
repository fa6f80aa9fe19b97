//! Who watches whom: the root watches the journal and the two supervisors of accounts and partners.
//!
//! ractor's own rule is to stop a supervisor when a child ends in any way; each of ours says what
//! it does instead.

use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::runtime::Handle;

use crate::directory::Directory;
use crate::journal::{Journal, JournalActor, OnBroken};
use crate::store::Store;

/// A supervisor hears nothing but its children's ends.
pub(crate) enum Nothing {}

/// Watches the journal, and starts it again after a panic.
pub(crate) struct Root {
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) on_broken: OnBroken,
    /// Where the journal runs.
    pub(crate) runtime: Handle,
}

impl Root {
    async fn start_journal(&self, me: ActorCell) -> Result<(), ActorProcessingErr> {
        let actor = JournalActor {
            journal: Arc::clone(&self.journal),
            store: Arc::clone(&self.store),
            on_broken: Arc::clone(&self.on_broken),
        };
        let starting = self.runtime.spawn(Actor::spawn_linked(None, actor, (), me));
        let (actor, _join) = starting.await??;
        self.journal.runs_in(actor);
        Ok(())
    }
}

impl Actor for Root {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        self.start_journal(me.get_cell()).await
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Nothing>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            tracing::error!(%error, "the journal failed and starts again");
            metrics::counter!("opencredits_actor_restarts_total", "actor" => "journal")
                .increment(1);
            self.start_journal(me.get_cell()).await?;
        }
        Ok(())
    }
}

/// Watches the accounts: one that fails leaves the directory and starts again from the store.
pub(crate) struct AccountsSupervisor {
    pub(crate) directory: Arc<Directory>,
}

impl Actor for AccountsSupervisor {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Nothing>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(actor, error) = event else { return Ok(()) };
        tracing::error!(%error, "an account's actor failed");
        metrics::counter!("opencredits_actor_restarts_total", "actor" => "account").increment(1);
        if let Some(account) = self.directory.failed(actor.get_id()) {
            self.directory.start_again(account);
        }
        Ok(())
    }
}

/// Watches the partners: one that fails starts again from the store when it is asked.
pub(crate) struct PartnersSupervisor;

impl Actor for PartnersSupervisor {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<Nothing>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            tracing::error!(%error, "a partner's actor failed");
            metrics::counter!("opencredits_actor_restarts_total", "actor" => "partner")
                .increment(1);
        }
        Ok(())
    }
}
