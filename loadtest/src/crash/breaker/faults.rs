//! Each fault, as it is done to a running gateway.

use std::time::Duration;

use tokio::time::sleep;

use super::super::CrashError;
use super::super::child::Signal;
use super::super::plan::{Fault, Round};
use super::super::shim::{Order, Shim};
use super::Breaker;
use crate::simulators::Script;
use crate::stripe::WebhookMode;

impl Breaker {
    /// Does what the round says, for as long as it says.
    pub(super) async fn break_it(&mut self, round: &Round) -> Result<(), CrashError> {
        let lasts = Duration::from_millis(round.lasts_ms);
        let times = u32::try_from(round.strength).unwrap_or_default();
        let script = Script { times, ..Script::default() };
        match round.fault {
            Fault::Kill | Fault::KillInRecovery => {}
            Fault::Freeze => self.signal(Signal::STOP),
            Fault::TornWrite => {
                // Slow syncs, so that a crash is likely to come between a write and its sync.
                self.order(Order::SlowSync, round.strength)?;
                self.order(Order::Undo, 1)?;
                self.order(Order::LyingDisk, i64::from(self.options.lying_disk))?;
            }
            Fault::DiskFull => self.order(Order::DiskFull, 1)?,
            Fault::ReadOnly => self.order(Order::ReadOnly, 1)?,
            Fault::SlowSync => self.order(Order::SlowSync, round.strength)?,
            Fault::ClockStep => self.order(Order::ClockStep, round.strength)?,
            Fault::Descriptors => self.limit(Some(round.strength))?,
            Fault::ProviderResets => self.script(Script { cut_after: Some(3), ..script }),
            Fault::HalfAnswers => self.script(Script { end_after: Some(3), ..script }),
            Fault::ProviderTimeouts => self.script(Script { hang_after: Some(3), ..script }),
            Fault::Webhooks => self.stripe.webhooks(WebhookMode::Hold),
        }
        sleep(lasts).await;
        if round.fault == Fault::Webhooks {
            let times = usize::try_from(round.strength).unwrap_or_default();
            self.stripe.webhooks(WebhookMode::Repeat(times));
            self.stripe.release_webhooks(true);
            sleep(lasts / 10).await;
        }
        if round.dies_in_it || round.fault == Fault::TornWrite {
            return Ok(());
        }
        match round.fault {
            Fault::Freeze => self.signal(Signal::CONT),
            Fault::Descriptors => self.limit(None)?,
            Fault::DiskFull | Fault::ReadOnly | Fault::SlowSync | Fault::ClockStep => {
                self.shim.as_ref().map_or(Ok(()), Shim::clear)?;
            }
            Fault::Kill
            | Fault::KillInRecovery
            | Fault::TornWrite
            | Fault::ProviderResets
            | Fault::HalfAnswers
            | Fault::ProviderTimeouts
            | Fault::Webhooks => {}
        }
        // It recovers from that, or is about to.
        sleep(lasts / 4).await;
        Ok(())
    }

    fn order(&self, order: Order, value: i64) -> Result<(), CrashError> {
        Ok(self.shim.as_ref().map_or(Ok(()), |shim| shim.set(order, value))?)
    }

    /// How often the gateway has met what is ordered.
    pub(super) fn met(&self, order: Option<Order>) -> Result<Option<i64>, CrashError> {
        let met = order.zip(self.shim.as_ref()).map(|(order, shim)| shim.hits(order));
        Ok(met.transpose()?)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }

    fn limit(&self, more: Option<i64>) -> Result<(), CrashError> {
        let more = more.map(|more| u64::try_from(more).unwrap_or_default());
        Ok(self.child.as_ref().map_or(Ok(()), |child| child.limit_descriptors(more))?)
    }

    fn script(&self, script: Script) {
        // The queue is empty: it is cleared after each round.
        self.providers.script(script).ok();
    }
}
