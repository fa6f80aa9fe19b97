//! A timer that rings to the microsecond. Tokio's own has steps of a millisecond, which would make
//! every request late.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// One kernel timer, used again and again.
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Makes one; to be called within a runtime.
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor; the new way asks for unsafe"
        )]
        Ok(Self(AsyncFd::new(timer)?))
    }

    /// Returns at a moment; at once if it is over.
    ///
    /// # Errors
    /// As the system says.
    pub(super) async fn wait(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec::try_from(left).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: never, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let rung = ready.try_io(|fd| {
                let mut count = [0; 8];
                Ok(rustix::io::read(fd.get_ref(), &mut count)?)
            });
            match rung {
                Ok(rung) => return rung.map(drop),
                // The ring of an earlier wait was read already.
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_never_rings_early_and_rings_again() {
        let alarm = Alarm::new().unwrap();
        for micros in [0, 1, 300, 2_500] {
            let until = Instant::now() + Duration::from_micros(micros);
            alarm.wait(until).await.unwrap();
            assert!(Instant::now() >= until);
        }
    }
}
