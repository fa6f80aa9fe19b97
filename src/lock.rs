//! Mutexes whose holders may have panicked: what they guard here is whole after each step.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also behind a holder that panicked.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
