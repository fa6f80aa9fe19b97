//! Bugs that the simulation plants here, to show that it would find them.
//!
//! Only the feature `planted-faults` builds them in, and only dev-dependencies turn it on; without
//! it [`planted`] is the constant `false`.

/// A bug that can be planted in the actors or the store in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted-faults"), expect(unreachable_pub, reason = "see the feature"))]
pub enum Fault {
    /// The store keeps no index of settled requests.
    SettleTwice,
    /// An incarnation reads its account before the journal's barrier.
    DecideBeforeBarrier,
    /// An idle account rests though holds are open, and its successor does not know them.
    RestWithHolds,
    /// The successor of an incarnation that panicked does not know the holds.
    ForgetHolds,
    /// Askers are answered when their event is queued.
    AnswerBeforeCommit,
    /// A repeated answer does not wait until the first is durable.
    AnswerRepeatsEarly,
    /// A commit that failed counts as done.
    TakeErrorForDone,
    /// A lease's or a recovery's settlement is applied and not journaled.
    ApplyUnjournaled,
    /// The place of an account that could not be read is given up while others ask there.
    TwoIncarnations,
    /// Loading does not look at the checkpoints that a crash left.
    SkipTakeover,
    /// A settlement's share is not booked to its partner.
    ForgetShare,
    /// What a checkpoint should settle is released.
    ReleaseCheckpointed,
    /// Loading forgets which settlements their own request may still correct.
    ForgetRecovered,
    /// A settlement leaves its checkpoint behind.
    KeepCheckpoint,
    /// Leases end without anything happening.
    KeepExpired,
    /// Whoever waits for a barrier ends the dropping of a broken chain's writes.
    HealTooEarly,
    /// A journal that starts again has lost the batch in work.
    LoseBatch,
    /// The store writes for whoever asks, whether the account is its own or not.
    SkipFence,
    /// A node that takes an account does not raise its epoch.
    KeepEpoch,
    /// What another node has not answered counts as refused.
    LoseUnknown,
    /// A node decides though its lease has ended.
    DecideUnleased,
    /// A node takes an account without asking the others.
    TakeUnasked,
    /// A node that takes an account does not know the holds of requests on other nodes.
    ForgetTheirHolds,
    /// A hold counts though its answer came after a new owner had asked for the node's holds.
    KeepLateHold,
}

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    impl Fault {
        /// Plants a bug in everything that runs on this thread; `None` heals it.
        pub fn plant(fault: Option<Self>) {
            PLANTED.set(fault);
        }
    }

    pub(crate) fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(not(feature = "planted-faults"))]
mod switch {
    use super::Fault;

    pub(crate) const fn planted(_fault: Fault) -> bool {
        false
    }
}

pub(crate) use switch::planted;
