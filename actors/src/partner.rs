//! The partner's actor: one writer of a partner's record, and the shared copy that requests read.

use std::sync::Arc;

use dashmap::DashMap;
use opencredits_schema::{Partner, PartnerId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::{Mutex, OnceCell, oneshot};

use crate::directory::StoreHandle;
use crate::store::{Payout, PayoutOutcome, StoreError};
use crate::system::AskError;

/// A change to a partner's record.
pub(crate) type Change = Box<dyn FnOnce(&mut Partner) + Send>;

/// What a partner actor hears.
pub(crate) enum PartnerMsg {
    Change(Change, oneshot::Sender<Result<Arc<Partner>, StoreError>>),
    Payout(Payout, oneshot::Sender<Result<PayoutOutcome, StoreError>>),
}

struct PartnerActor {
    partners: Arc<Partners>,
}

impl Actor for PartnerActor {
    type Msg = PartnerMsg;
    type State = Arc<Partner>;
    type Arguments = PartnerId;

    async fn pre_start(
        &self,
        _me: ActorRef<PartnerMsg>,
        id: PartnerId,
    ) -> Result<Arc<Partner>, ActorProcessingErr> {
        let partner = self.partners.store.partner(id).await?;
        Ok(Arc::new(partner.ok_or("no such partner")?))
    }

    async fn handle(
        &self,
        _me: ActorRef<PartnerMsg>,
        message: PartnerMsg,
        state: &mut Arc<Partner>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PartnerMsg::Change(change, reply) => {
                // Another node may have changed it, or another actor here.
                match self.partners.store.partner(state.id).await {
                    Ok(Some(now)) => *state = Arc::new(now),
                    Ok(None) => {}
                    Err(error) => {
                        drop(reply.send(Err(error)));
                        return Ok(());
                    }
                }
                let mut changed = Partner::clone(state);
                change(&mut changed);
                let result = self.partners.store.put_partner(changed.clone()).await;
                if result.is_ok() {
                    *state = Arc::new(changed);
                    self.partners.terms.insert(state.id, Arc::clone(state));
                }
                drop(reply.send(result.map(|()| Arc::clone(state))));
            }
            // The store compares with what is earned and durable, in its own transaction.
            PartnerMsg::Payout(payout, reply) => {
                drop(reply.send(self.partners.store.payout(payout).await));
            }
        }
        Ok(())
    }
}

/// The partners that are in use.
#[derive(Debug)]
pub(crate) struct Partners {
    store: StoreHandle,
    terms: DashMap<PartnerId, Arc<Partner>>,
    actors: Mutex<std::collections::HashMap<PartnerId, ActorRef<PartnerMsg>>>,
    supervisor: OnceCell<ActorCell>,
}

impl Partners {
    pub(crate) fn new(store: StoreHandle) -> Self {
        Self { store, terms: DashMap::new(), actors: Mutex::default(), supervisor: OnceCell::new() }
    }

    pub(crate) fn supervised_by(&self, supervisor: ActorCell) {
        // Set once, at the start.
        drop(self.supervisor.set(supervisor));
    }

    /// A partner's record; from memory when it was asked for before.
    pub(crate) async fn get(&self, id: PartnerId) -> Result<Option<Arc<Partner>>, AskError> {
        if let Some(partner) = self.terms.get(&id) {
            return Ok(Some(Arc::clone(&partner)));
        }
        let Some(partner) = self.store.partner(id).await? else { return Ok(None) };
        Ok(Some(Arc::clone(&self.terms.entry(id).or_insert_with(|| Arc::new(partner)))))
    }

    /// Asks the store again for a partner, or for all of them.
    pub(crate) fn forget(&self, id: Option<PartnerId>) {
        match id {
            Some(id) => drop(self.terms.remove(&id)),
            None => self.terms.clear(),
        }
    }

    /// Changes a partner's record, durably.
    pub(crate) async fn change(
        self: &Arc<Self>,
        id: PartnerId,
        change: Change,
    ) -> Result<Arc<Partner>, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(id, PartnerMsg::Change(change, reply)).await?;
        Ok(answer.await.map_err(|_| AskError::Lost)??)
    }

    /// Books a payout.
    pub(crate) async fn payout(
        self: &Arc<Self>,
        payout: Payout,
    ) -> Result<PayoutOutcome, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(payout.partner, PartnerMsg::Payout(payout, reply)).await?;
        Ok(answer.await.map_err(|_| AskError::Lost)??)
    }

    async fn send(self: &Arc<Self>, id: PartnerId, message: PartnerMsg) -> Result<(), AskError> {
        let mut actors = self.actors.lock().await;
        let mut message = message;
        if let Some(actor) = actors.get(&id) {
            match actor.cast(message) {
                Ok(()) => return Ok(()),
                // It died: the next one starts from the store.
                Err(ractor::MessagingErr::SendErr(back)) => message = back,
                Err(error) => return Err(AskError::Unavailable(error.to_string())),
            }
        }
        let supervisor = self.supervisor.get().cloned();
        let supervisor =
            supervisor.ok_or_else(|| AskError::Unavailable("the system is not up".to_owned()))?;
        let actor = PartnerActor { partners: Arc::clone(self) };
        let (actor, _join) = Actor::spawn_linked(None, actor, id, supervisor)
            .await
            .map_err(|error| AskError::Unavailable(error.to_string()))?;
        drop(actor.cast(message));
        actors.insert(id, actor);
        Ok(())
    }
}
