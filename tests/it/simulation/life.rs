//! A run: one world, and the processes that live in it one after the other until all is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opencredits_actors::{AskError, Clock, Settings, Store as _, System};
use opencredits_schema::{
    AccountId, Checkpoint, Credits, KeyId, Partner, PartnerId, ReferralRate, RequestId, Timestamp,
};
use tokio::task::JoinSet;

use super::ledger::{Broken, ensure};
use super::outside::{Post, deliver};
use super::request::{self, Caller, LEASE};
use super::store::SimulatedStore;
use super::world::{Weather, World, at_once, pass};

/// Processes that a run has at most; the last one is not killed.
const LIVES_MAX: u64 = 5;
/// A process is killed after at most so many steps.
const STEPS_MAX: u64 = 350;
/// All that was begun ends within this, or it never does.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Who there is, and what is left to do.
struct Plan {
    accounts: Vec<AccountId>,
    partners: Vec<PartnerId>,
    callers: Vec<Caller>,
    requests: AtomicU64,
    post: Post,
}

impl Plan {
    fn new(world: &World) -> Self {
        let accounts: Vec<_> = (1..=world.choices.between(1, 3)).map(AccountId::new).collect();
        let partners: Vec<_> = (1..=2).map(PartnerId::new).collect();
        let mut callers = Vec::new();
        for account in &accounts {
            at_once(world.durable.create_account(*account, None, Timestamp::default())).unwrap();
            world.ledger().open_account(*account);
            for number in 1..=2 {
                let limit = world.choices.between(100, 2000).cast_signed();
                let points = world.choices.pick(&[0, 1000, 1550]);
                callers.push(Caller {
                    account: *account,
                    key: KeyId::new(account.number() * 10 + number),
                    partner: world.choices.pick(&partners),
                    rate: ReferralRate::from_basis_points(points).unwrap(),
                    key_limit: world.choices.chance(40).then(|| Credits::from_micro(limit)),
                });
            }
        }
        for id in &partners {
            at_once(world.durable.put_partner(partner(*id))).unwrap();
        }
        let requests = AtomicU64::new(world.choices.between(5, 24));
        let post = Post::new(world, &accounts, &partners);
        Self { accounts, partners, callers, requests, post }
    }

    /// The checkpoints that are open in the durable state.
    fn open_checkpoints(&self, world: &World) -> Vec<Checkpoint> {
        let of = |account: &AccountId| at_once(world.durable.load(*account)).unwrap();
        self.accounts.iter().filter_map(of).flat_map(|loaded| loaded.checkpoints).collect()
    }
}

/// How a process ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Killed,
    Done,
}

/// Runs the world's processes, one after the other, until all is done or a rule is broken.
pub fn run(world: &Arc<World>) {
    let plan = Arc::new(Plan::new(world));
    for life in 1..=LIVES_MAX {
        let last = life == LIVES_MAX;
        let killed = !last && world.choices.chance(85);
        let kill_after = killed.then(|| world.choices.between(1, STEPS_MAX));
        let ended = process(world, &plan, life, kill_after);
        if world.broken().is_some() || ended == Ended::Done {
            return;
        }
    }
}

/// One process, from its start to its end; what it had in memory goes with its runtime.
fn process(world: &Arc<World>, plan: &Arc<Plan>, node: u64, kill_after: Option<u64>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // The kill is looked at between any two tasks.
        .event_interval(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        world.start(kill_after);
        world.step("start", format_args!("process {node}, killed after {kill_after:?} steps"));
        let ended = tokio::select! {
            biased;
            () = world.ended() => Ended::Killed,
            () = live(world, plan, node) => Ended::Done,
        };
        world.stop();
        ended
    })
}

/// What a process does: recovers, works, and comes to rest.
async fn live(world: &Arc<World>, plan: &Arc<Plan>, node: u64) {
    let left_open = plan.open_checkpoints(world);
    for checkpoint in &left_open {
        let kept = world.ledger().open(checkpoint);
        world.check(kept);
    }
    let system = Arc::new(start(world, node).await);
    pass!(world, "ready", "{}", node);
    let kept = world.ledger().recovered(&left_open);
    world.check(kept);
    let mut work = JoinSet::new();
    for _ in 0..world.choices.between(2, 6) {
        work.spawn(client(Arc::clone(world), Arc::clone(&system), Arc::clone(plan)));
    }
    for delivery in &plan.post.deliveries {
        work.spawn(deliver(Arc::clone(world), Arc::clone(&system), Arc::clone(delivery)));
    }
    let mischief = [
        tokio::spawn(weather(Arc::clone(world))),
        tokio::spawn(panics(Arc::clone(world), Arc::clone(&system), Arc::clone(plan))),
    ];
    let done = tokio::time::timeout(PATIENCE, work.join_all()).await;
    mischief.iter().for_each(tokio::task::JoinHandle::abort);
    world.set_weather(Weather::Calm);
    let waits = || Broken { rule: "everything ends", how: format!("{:?}", system.journal()) };
    world.check(done.map(drop).map_err(|_| waits()));
    let rested = tokio::time::timeout(PATIENCE, come_to_rest(world, plan, &system)).await;
    world.check(rested.unwrap_or_else(|_| Err(waits())));
    let drained = system.stop(PATIENCE).await;
    world.check(if drained { Ok(()) } else { Err(waits()) });
    let kept = balanced(world, plan);
    world.check(kept);
}

async fn start(world: &Arc<World>, node: u64) -> System {
    let store = Arc::new(SimulatedStore::new(Arc::clone(world)));
    let told = Arc::clone(world);
    loop {
        let settings = Settings {
            hold_lease: LEASE,
            passivate_after: Duration::from_millis(world.choices.between(200, 2000)),
            node,
            clock: Clock::new({
                let world = Arc::clone(&told);
                move || world.now()
            }),
        };
        match System::start(Arc::clone(&store) as Arc<_>, settings).await {
            Ok(system) => return system,
            Err(error) => {
                pass!(world, "failed", "start: {error}");
                world.set_weather(Weather::Calm);
            }
        }
    }
}

/// Sends one request after the other while there are any to send.
async fn client(world: Arc<World>, system: Arc<System>, plan: Arc<Plan>) {
    loop {
        world.rest(0, 1500).await;
        let left = plan.requests.load(Ordering::Relaxed);
        if left == 0 {
            return;
        }
        plan.requests.store(left - 1, Ordering::Relaxed);
        let caller = world.choices.pick(&plan.callers);
        let id = RequestId::new(u128::from(left));
        request::run(Arc::clone(&world), Arc::clone(&system), caller, id).await;
    }
}

async fn weather(world: Arc<World>) {
    loop {
        world.rest(100, 3000).await;
        let weather = world.choices.pick(&[
            Weather::Calm,
            Weather::Calm,
            Weather::Shaky,
            Weather::Slow,
            Weather::Down,
        ]);
        pass!(world, "weather", "{weather:?}");
        world.set_weather(weather);
    }
}

async fn panics(world: Arc<World>, system: Arc<System>, plan: Arc<Plan>) {
    loop {
        world.rest(50, 4000).await;
        let account = world.choices.pick(&plan.accounts);
        pass!(world, "panics", "{}", account);
        system.panic_account(account);
    }
}

/// Leases end, idle accounts rest; then nothing is held, and memory is what is durable.
async fn come_to_rest(
    world: &Arc<World>,
    plan: &Arc<Plan>,
    system: &Arc<System>,
) -> Result<(), Broken> {
    tokio::time::sleep(LEASE * 3).await;
    for account in &plan.accounts {
        let view = loop {
            match system.view(*account).await {
                Ok(view) => break view,
                Err(AskError::Lost | AskError::Moving | AskError::Unavailable(_)) => {}
                Err(error) => {
                    return Err(Broken { rule: "everything ends", how: error.to_string() });
                }
            }
        };
        let (held, holds) = (view.held, view.open_holds);
        ensure!("no hold left", holds == 0, "{account} still holds {held} for {holds}");
        system.settled(*account).await;
        world.ledger().quiet(*account, view.balance)?;
    }
    Ok(())
}

/// The store's own audit, and what the harness knows of partners' money.
fn balanced(world: &World, plan: &Plan) -> Result<(), Broken> {
    let books = at_once(world.durable.audit()).unwrap();
    ensure!("sums are zero", books.balanced(), "{:?}", books.differences);
    let open = books.open_checkpoints;
    ensure!("checkpoints end with their request", open == 0, "{open} are open");
    let of = |partner: &PartnerId| at_once(world.durable.partner_balance(*partner)).unwrap();
    let paid_out = plan.partners.iter().map(|partner| of(partner).paid_out).sum();
    world.ledger().payouts(paid_out)
}

fn partner(id: PartnerId) -> Partner {
    Partner {
        id,
        name: id.to_string(),
        publishable_key: format!("oc_pk_{id}"),
        secret_hash: [u8::try_from(id.number()).unwrap(); 32],
        referral_rate: ReferralRate::default(),
        allowed_models: None,
        allowed_origins: Vec::new(),
        rate_limit_per_key: None,
        created: Timestamp::default(),
    }
}
