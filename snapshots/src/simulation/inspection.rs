//! What is there, compared with what is known.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use storage::{
    account::{Account, tier::Tier},
    error::StoreError,
    store::Store,
};

use super::{
    keeper,
    ledger::{Ledger, Rows},
    mail::RESTORED,
    moments::Audit,
    restorer,
    run::{Life, Stage},
};
use crate::{
    error::SnapshotError,
    keep::tests::copy::{self, Copy, Octets},
    restore::job::RestoreJob,
};

/// Looks at the whole store, quiet as it is, and goes on with what is found.
pub(super) async fn inspect(stage: &Stage, life: &Life, occasion: &str) {
    let checked = async {
        let report = life.store.check(&|_| {}).await?;
        for violation in report.violations.iter().take(5) {
            stage.world.blame(format!("{occasion}: {violation:?}"));
        }
        check_snapshots(stage, &life.store, occasion).await
    };
    if let Err(error) = checked.await {
        stage.world.blame(format!("{occasion}: the check ended: {error:?}"));
    }
    for ledger in &stage.ledgers {
        if let Err(error) = inspect_account(stage, life, ledger, occasion).await {
            stage.world.blame(format!("{occasion}: {error:?}"));
        }
    }
}

async fn check_snapshots(
    stage: &Stage,
    store: &Arc<Store>,
    occasion: &str,
) -> Result<(), SnapshotError> {
    let report = crate::check::run(store, &|_| {}).await?;
    for violation in report.violations.iter().take(5) {
        stage.world.blame(format!("{occasion}: {violation:?}"));
    }
    Ok(())
}

/// Rows and usage of catalogs as single commits left them.
pub(super) async fn audit(stage: &Stage, audits: Vec<Audit>) {
    for Audit { engine, ledgers } in audits {
        let store = match stage.moments.open(engine).await {
            Ok(store) => store,
            Err(error) => return stage.world.blame(format!("an audit: {error:?}")),
        };
        for ledger in &ledgers {
            let account = store.account(ledger.account).await.expect("the account");
            let live = copy::live(&account, Octets::Without).await;
            count(stage, &account, &live, ledger, "between two commits").await.expect("counted");
        }
        if let Err(error) = check_snapshots(stage, &store, "between two commits").await {
            stage.world.blame(format!("an audit: {error:?}"));
        }
    }
}

/// Compares rows with the ledger, and usage of both tiers with the rows. Returns the rows.
async fn count(
    stage: &Stage,
    account: &Account,
    live: &Copy,
    ledger: &Ledger,
    occasion: &str,
) -> Result<Rows, StoreError> {
    let (mut rows, mut used) = (Rows::new(), [(0, 0); 2]);
    for copied in live.values() {
        let tier = &mut used[usize::from(Tier::of_name(&copied.name) == Tier::Archive)];
        for row in &copied.rows {
            *tier = (tier.0 + row.charged_octets, tier.1 + 1);
            if !copied.name.starts_with(RESTORED) {
                *rows.entry(stage.message(row)).or_default() += 1;
            }
        }
    }
    for complaint in ledger.complaints(&rows) {
        stage.world.blame(format!("{occasion}: {complaint}"));
    }
    let quota = account.quota().await?;
    let counted = [
        (quota.used_octets, quota.used_messages),
        (quota.archive.used_octets, quota.archive.used_messages),
    ];
    if counted != used {
        let id = account.id();
        stage.world.blame(format!("{occasion}: usage of {id} is {counted:?}, its rows {used:?}"));
    }
    Ok(rows)
}

async fn inspect_account(
    stage: &Stage,
    life: &Life,
    ledger: &Mutex<Ledger>,
    occasion: &str,
) -> Result<(), SnapshotError> {
    let mut known = ledger.lock().expect("no panic").clone();
    let account = life.store.account(known.account).await?;
    let now = copy::live(&account, Octets::Without).await;
    let rows = count(stage, &account, &now, &known, occasion).await?;
    for (id, copied) in &now {
        let mailbox = account.mailbox(*id).await?;
        for row in &copied.rows {
            if let Some(complaint) = keeper::complaint(stage, ledger, &*mailbox, row).await? {
                stage.world.blame(format!("{occasion}: {}: {complaint}", copied.name));
            }
        }
    }
    inspect_snapshots(stage, life, &mut known, occasion).await?;
    known.adopt(rows);
    let jobs = jobs(stage, life, &known).await?;
    for (job, copy) in &jobs {
        if let Some(copy) = copy
            && let Some(complaint) = restorer::complaint(job, copy, &now, &known)
        {
            stage.world.blame(format!("{occasion}: {complaint}"));
        }
    }
    restorer::expect_jobs(stage, &mut known, &jobs);
    *ledger.lock().expect("no panic") = known;
    Ok(())
}

/// The account's restores, and what their snapshots were, of those that are there.
pub(super) async fn jobs(
    stage: &Stage,
    life: &Life,
    known: &Ledger,
) -> Result<Vec<(RestoreJob, Option<Arc<Copy>>)>, SnapshotError> {
    let mut jobs = Vec::new();
    for job in life.restores.list(known.account).await? {
        let copy = stage.moments.copy((known.account, job.snapshot)).await;
        jobs.push((job, copy));
    }
    Ok(jobs)
}

/// Compares every snapshot that is listed with the account as it was.
async fn inspect_snapshots(
    stage: &Stage,
    life: &Life,
    known: &mut Ledger,
    occasion: &str,
) -> Result<(), SnapshotError> {
    let id = known.account;
    let listed = life.snapshots.list(id).await?;
    let numbers: BTreeSet<u64> = listed.iter().map(|snapshot| snapshot.number).collect();
    for number in known.kept.iter().filter(|number| !known.leaving.contains(number)) {
        if !numbers.contains(number) {
            stage.world.blame(format!("{occasion}: snapshot {number} of {id} is gone"));
        }
    }
    for number in &numbers {
        let open = life.snapshots.open(id, *number).await?;
        let found = copy::read(&open, Octets::Without).await?;
        if stage.moments.copy((id, *number)).await.as_deref() != Some(&found) {
            let text = format!("snapshot {number} of {id} is another than it was: {found:?}");
            stage.world.blame(format!("{occasion}: {text}"));
        }
        stage.compared();
        let ledger = Mutex::new(known.clone());
        for (mailbox, copied) in &found {
            let mailbox = open.mailbox(*mailbox)?;
            for row in &copied.rows {
                if let Some(text) = keeper::complaint(stage, &ledger, &*mailbox, row).await? {
                    stage.world.blame(format!("{occasion}: snapshot {number} of {id}: {text}"));
                }
            }
        }
    }
    for number in known.held.keys() {
        if !listed.iter().any(|snapshot| snapshot.number == *number && snapshot.hold.is_some()) {
            stage.world.blame(format!("{occasion}: snapshot {number} of {id} is held no more"));
        }
    }
    stage.moments.retain(id, &numbers.iter().copied().collect::<Vec<_>>());
    let held = listed.iter().filter(|snapshot| snapshot.hold.is_some());
    known.held = held.map(|snapshot| (snapshot.number, snapshot.email_numbers_below)).collect();
    known.kept = numbers;
    known.leaving.clear();
    Ok(())
}
