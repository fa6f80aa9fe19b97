//! Keyspaces of the real CQL server for the tests.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cql_server;
use crate::{ScyllaSettings, ScyllaStore};

/// Keyspaces that no test uses now: a truncated one comes a hundred times cheaper than a new one.
static FREE: Mutex<Vec<ScyllaSettings>> = Mutex::new(Vec::new());

/// Settings for a keyspace that is not there yet.
pub(crate) fn new_keyspace() -> ScyllaSettings {
    static KEYSPACES: AtomicU64 = AtomicU64::new(1);
    let number = KEYSPACES.fetch_add(1, Ordering::Relaxed);
    ScyllaSettings {
        nodes: cql_server::nodes().to_vec(),
        keyspace: format!("test_{number}"),
        owner: number * 1000,
        // Tests ask for copies; nothing happens by itself meanwhile.
        copy_after: Duration::from_secs(3600),
    }
}

/// An empty keyspace that no other test uses now.
pub(crate) async fn settings() -> ScyllaSettings {
    let free = FREE.lock().unwrap().pop();
    match free {
        Some(settings) => ScyllaSettings { owner: settings.owner + 10, ..settings },
        None => {
            let settings = new_keyspace();
            ScyllaStore::migrate(&settings).await.unwrap();
            settings
        }
    }
}

/// Lets other tests use a store's keyspace.
pub(crate) async fn give_back(store: ScyllaStore) {
    let keyspace = store.empty().await;
    let owner = store.owner();
    let settings = ScyllaSettings { keyspace, owner, ..new_keyspace() };
    FREE.lock().unwrap().push(settings);
}
