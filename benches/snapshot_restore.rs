//! `restore`: messages per second that a restore brings back from a snapshot into a mailbox of its own, after
//! the holder has removed all of them.
//!
//! Beside it stands what it has to reach, 2,000 a second. Only rows and records of messages are written,
//! their octets are shared; every step of 500 is durable before the next begins.

use std::{path::Path, sync::Arc, time::Instant};

use futures::future::try_join_all;
use snapshots::{
    keep::{SnapshotLimits, Snapshots, snapshot::SnapshotKind},
    restore::{
        RestoreLimits, Restores, Target,
        job::{RestoreState, Scope},
    },
};
use storage::mailbox::{
    flags::{FlagChange, Flags},
    view::MailboxView as _,
};
use trust::{
    clock::{Clock as _, SystemClock},
    random::SystemRandom,
};

use crate::{
    Failure, house,
    line::{Goal, Line},
    select::{ACCOUNT, append, empty},
    snapshot_days::number,
};

const MESSAGES: usize = 20_000;
const TOGETHER: usize = 128;
const PER_SECOND: f64 = 2_000.0;

pub(crate) fn measure() -> Result<Line, Failure> {
    let value = house::in_folder(|folder| async move { restored(&folder).await })?;
    let (name, unit, limit) = ("restore", "messages/s", PER_SECOND);
    Ok(Line { name, unit, value, limit, goal: Goal::AtLeast(1.0) })
}

async fn restored(folder: &Path) -> Result<f64, Failure> {
    let (store, account, inbox) = empty(folder).await?;
    for first in (0..MESSAGES).step_by(TOGETHER) {
        let some = first..(first + TOGETHER).min(MESSAGES);
        try_join_all(some.map(|number| append(&store, &account, &inbox, number))).await?;
    }
    let limits = SnapshotLimits::default();
    let snapshots = Snapshots::new(Arc::clone(&store), Arc::new(SystemRandom), limits);
    let now = SystemClock.now();
    let taken = number(&snapshots.take(ACCOUNT, SnapshotKind::Scheduled, now).await?)?;
    let uids: Vec<_> = inbox.list().await?.1.into_iter().map(|row| row.uid).collect();
    let flags = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids, FlagChange::Add, &flags, None).await?;
    inbox.expunge(&uids).await?;
    let restores = Restores::new(snapshots, RestoreLimits::default());
    let target = Target::Into("Ripristino".to_owned());
    let began = Instant::now();
    let mut job = restores.begin(ACCOUNT, taken, Scope::default(), target, now).await?;
    while job.state == RestoreState::Running {
        job = restores.step(ACCOUNT, job.number).await?.ok_or("the job is gone")?;
    }
    let time = began.elapsed();
    if (job.state, job.restored) != (RestoreState::Done, MESSAGES as u64) {
        return Err(format!("{job:?}").into());
    }
    let rate = house::per_second(MESSAGES, time)?;
    store.close().await?;
    Ok(rate)
}
