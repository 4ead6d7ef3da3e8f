//! `snapshot_run_idle`: seconds of a run over 100,000 accounts none of which has changed, beside the 5 seconds that
//! it may take.
//!
//! The run is the program's own, without its pauses: it looks for accounts that may have changed, enters
//! nothing, and is closed. Accounts are empty: what an account has is not looked at. A `NOTE` says what
//! a run costs when 1 % of 10,000 accounts with messages have changed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use snapshots::{
    keep::{SnapshotLimits, Snapshots},
    run::{
        Runs,
        walk::{Schedule, StepLimits},
    },
};
use storage::{
    account::settings::AccountSettings,
    catalog::rocksdb::RocksConfig,
    ids::AccountId,
    octets::OctetStoreConfig,
    pack::store::local_objects,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

use crate::{
    Failure, house,
    line::{Goal, Line},
};

const ACCOUNTS: u64 = 100_000;
const SECONDS_MAX: f64 = 5.0;
/// Accounts of the `NOTE`, the messages of each, and one in how many of them changes.
const SMALL: u64 = 10_000;
const MESSAGES: usize = 20;
const CHANGED_ONE_IN: u64 = 100;
const TOGETHER: usize = 128;
const LIMITS: StepLimits = StepLimits { accounts_max: 256, concurrency: 8 };

/// Every account is due in every run.
struct Always;

impl Schedule for Always {
    fn interval_millis(&self, _: &AccountSettings) -> Option<i64> {
        Some(1)
    }
}

pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(|folder| async move { note_changed(&folder).await })?;
    let idle = house::in_folder(|folder| async move {
        let (store, runs) = open(&folder, ACCOUNTS).await?;
        run(&runs).await?;
        let (idle, taken) = run(&runs).await?;
        store.close().await?;
        if taken == 0 { Ok(idle) } else { Err(format!("{taken} snapshots were taken").into()) }
    })?;
    let (value, limit) = (idle.as_secs_f64(), SECONDS_MAX);
    Ok(Line { name: "snapshot_run_idle", unit: "s", value, limit, goal: Goal::AtMost(1.0) })
}

/// Says what a run over 10,000 accounts costs, 1 % of which have changed.
async fn note_changed(folder: &Path) -> Result<(), Failure> {
    let (store, runs) = open(folder, SMALL).await?;
    let message = b"Subject: Perizia\r\n\r\nSi trasmette quanto in oggetto.\r\n";
    let staged = house::stage(&store, message).await?;
    for account in 0..usize::try_from(SMALL)? {
        let (account, inbox) = house::inbox(&store, account).await?;
        let all = (0..MESSAGES).map(|_| house::append(&account, inbox, &staged));
        try_join_all(all).await?;
    }
    let (first, _) = run(&runs).await?;
    for account in (0..SMALL).filter(|account| account.is_multiple_of(CHANGED_ONE_IN)) {
        let (account, inbox) = house::inbox(&store, usize::try_from(account)?).await?;
        house::append(&account, inbox, &staged).await?;
    }
    // An account has one snapshot a second at most.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (second, taken) = run(&runs).await?;
    let latest = runs.latest().await?.ok_or("no run was closed")?;
    crate::tell(&format!(
        "NOTE snapshot_runs: {SMALL} accounts of {MESSAGES} messages: the first run took {:.1} s, one with \
         {taken} of them changed {:.0} ms (root {})",
        first.as_secs_f64(),
        second.as_secs_f64() * 1_000.0,
        latest.root.page.id,
    ));
    store.close().await?;
    Ok(())
}

/// A whole run: how long it took, and how many snapshots it took.
async fn run(runs: &Runs) -> Result<(Duration, u64), Failure> {
    let began = Instant::now();
    let now = SystemClock.now();
    runs.begin(now, now).await?;
    let taken = loop {
        let step = runs.step(LIMITS, &Always, &SystemClock).await?;
        if let Some((account, error)) = step.failures.first() {
            return Err(format!("account {}: {error}", account.0).into());
        }
        if step.done {
            break step.progress.taken;
        }
    };
    runs.close(SystemClock.now()).await?.ok_or("the run was not closed")?;
    Ok((began.elapsed(), taken))
}

async fn open(folder: &Path, accounts: u64) -> Result<(Arc<Store>, Arc<Runs>), Failure> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: ceralacca::serve::store::families(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects"))?;
    let store = Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    let all: Vec<u64> = (1..=accounts).collect();
    for some in all.chunks(TOGETHER) {
        try_join_all(some.iter().map(|account| create(&store, *account))).await?;
    }
    let limits = SnapshotLimits::default();
    let snapshots = Snapshots::new(Arc::clone(&store), Arc::new(SystemRandom), limits);
    let runs = Runs::new(Arc::clone(&store), snapshots);
    Ok((store, runs))
}

async fn create(store: &Store, account: u64) -> Result<(), Failure> {
    let settings = AccountSettings {
        address: format!("casella{account}@pec.alfa.example"),
        plan: "base".to_owned(),
        ..AccountSettings::default()
    };
    store.apply_account(AccountId(account), 1, settings).await?;
    Ok(())
}
