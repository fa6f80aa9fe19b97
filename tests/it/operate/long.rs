//! The longer run that `tests/cluster` starts: gateways and database nodes fail in turns that a seed
//! chooses, sometimes one of each at a time.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use opencredits_loadtest::receipts::Seen;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};

use super::nodes::{CREDITS, Cluster, HANG, Load, NODES, USERS, users};
use super::{PATIENCE, until};

const KEYSPACE: &str = "long_run";

/// How long a client rests between two requests: the histories are read whole at the end.
const PACE: Duration = Duration::from_millis(100);

/// What goes wrong with a gateway or a database node.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Hangs,
    Leaves,
}

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Hangs, Fault::Leaves];

/// What a run is asked to be.
#[derive(Debug)]
pub struct Asked {
    minutes: u64,
    seed: u64,
    nodes: Vec<String>,
}

/// What the environment asks for, if it does.
#[expect(clippy::disallowed_methods, reason = "`tests/cluster` says what to run")]
pub fn asked() -> Option<Asked> {
    let minutes = std::env::var("CLUSTER_MINUTES").ok()?.parse().unwrap();
    let seed = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    let nodes = std::env::var("CQL_NODES").unwrap();
    Some(Asked {
        minutes,
        seed: seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        nodes: nodes.split(',').map(str::to_owned).collect(),
    })
}

/// Runs it, and holds the books against what the clients saw.
#[expect(clippy::print_stdout, reason = "it tells what it did")]
pub async fn run(Asked { minutes, seed, nodes }: Asked) {
    println!("seed {seed}, {minutes} minutes");
    keep_three_copies(&nodes).await;
    let store = format!("scylla:{}/{KEYSPACE}", nodes.join(","));
    let mut cluster = Cluster::on(&[&store; NODES]).await;
    let (users, mut receipts) = users(cluster.node(0), USERS, CREDITS).await;
    let load = Load::start(&cluster.clients(), &users, PACE);
    load.goes_on("at the start").await;
    let (mut choices, began) = (fastrand::Rng::with_seed(seed), Instant::now());
    let mut counts = BTreeMap::<String, u32>::new();
    while began.elapsed() < Duration::from_secs(minutes * 60) {
        let (gateway, database) = match choices.u8(..3) {
            0 => (Some(choose(&mut choices)), None),
            1 => (None, Some(choose(&mut choices))),
            _ => (Some(choose(&mut choices)), Some(choose(&mut choices))),
        };
        println!("{:>4} s: gateway {gateway:?}, database {database:?}", began.elapsed().as_secs());
        for (what, fault) in [("gateway", gateway), ("database", database)] {
            if let Some((_, fault)) = fault {
                *counts.entry(format!("{what} {fault:?}")).or_insert(0) += 1;
            }
        }
        one_turn(&mut cluster, &load, gateway, database).await;
    }
    receipts.requests = load.end().await;
    let ends = receipts.requests.iter().filter(|r| matches!(r.seen, Seen::End(_))).count();
    println!("{ends} of {} requests ended; {counts:?}", receipts.requests.len());
    cluster.audited(&receipts).await;
    println!("the books hold");
}

fn choose(choices: &mut fastrand::Rng) -> (usize, Fault) {
    (choices.usize(..NODES), FAULTS[choices.usize(..FAULTS.len())])
}

/// Something goes wrong, the rest goes on, it comes back, and all go on.
async fn one_turn(
    cluster: &mut Cluster,
    load: &Load,
    gateway: Option<(usize, Fault)>,
    database: Option<(usize, Fault)>,
) {
    if let Some((at, fault)) = database {
        break_database(at, fault).await;
    }
    match gateway {
        Some((at, Fault::Killed)) => cluster.kill(at),
        Some((at, Fault::Hangs)) => cluster.node(at).signal("STOP"),
        Some((at, Fault::Leaves)) => cluster.leave(at).await,
        None => {}
    }
    tokio::time::sleep(HANG).await;
    load.goes_on("something is away").await;
    // A gateway does not start where it finds no quorum in time, so the database comes first.
    if let Some((at, fault)) = database {
        heal_database(at, fault).await;
    }
    match gateway {
        Some((at, Fault::Killed | Fault::Leaves)) => cluster.start_again(at).await,
        Some((at, Fault::Hangs)) => cluster.node(at).signal("CONT"),
        None => {}
    }
    load.goes_on("all are back").await;
}

async fn break_database(at: usize, fault: Fault) {
    control(
        at,
        match fault {
            Fault::Killed => "kill-node",
            Fault::Hangs => "pause-node",
            Fault::Leaves => "stop-node",
        },
    )
    .await;
}

async fn heal_database(at: usize, fault: Fault) {
    control(
        at,
        match fault {
            Fault::Hangs => "resume-node",
            Fault::Killed | Fault::Leaves => "start-node",
        },
    )
    .await;
}

async fn control(at: usize, word: &'static str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cassandra/cassandra.sh");
    let run = move || Command::new(script).args([word, &(at + 1).to_string()]).status().unwrap();
    let status = tokio::time::timeout(2 * PATIENCE, tokio::task::spawn_blocking(run));
    assert!(status.await.unwrap().unwrap().success(), "{word} {at}");
}

/// Makes the keyspace as docs/scale.md says, and waits until each database node knows it: `migrate` would
/// make it with one copy on a node that does not.
async fn keep_three_copies(nodes: &[String]) {
    let mut sessions = Vec::new();
    for node in nodes {
        let only = NodeIdentifier::NodeAddress(node.parse().unwrap());
        let only = SingleTargetLoadBalancingPolicy::new(only, None);
        let profile = ExecutionProfile::builder().load_balancing_policy(only).build();
        let session = SessionBuilder::new()
            .known_node(node)
            .default_execution_profile_handle(profile.into_handle())
            .build()
            .await
            .unwrap();
        until(async || rows(&session, "SELECT peer FROM system.peers").await == NODES - 1).await;
        sessions.push(session);
    }
    let made = format!(
        "CREATE KEYSPACE {KEYSPACE} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}}"
    );
    sessions[0].query_unpaged(made, &[]).await.unwrap();
    let known = format!(
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{KEYSPACE}'"
    );
    for session in &sessions {
        until(async || rows(session, &known).await == 1).await;
    }
}

async fn rows(session: &Session, query: &str) -> usize {
    let answer = session.query_unpaged(query, &[]).await.unwrap();
    answer.into_rows_result().unwrap().rows_num()
}
