//! What snapshots of one account with 100,000 messages cost: `snapshot_incremental` and
//! `snapshot_incremental_octets`, `snapshot_pages`, `snapshot_diff`.
//!
//! A day is 50 messages appended, 40 flag changes and 10 messages expunged, their places seeded and
//! uniform. Beside each figure stands what it may be: 50 ms; 64 KiB; 100 times 64 KiB for a hundred days;
//! 20 ms. Octets are those of the keys and values that snapshots add to the catalog, whatever its engine
//! then makes of them: pages, lists of what departed, records. Times are medians of calls, everything
//! durable when they return.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use snapshots::{
    diff::{Later, diff},
    keep::{SnapshotLimits, Snapshots, keys::FAMILIES, snapshot::SnapshotKind, take::Taken},
};
use storage::{
    account::Account,
    catalog::{engine::Scan, keys, pages::Pages},
    ids::Uid,
    mailbox::{
        flags::{FlagChange, Flags},
        live::LiveMailbox,
        view::MailboxView as _,
    },
    store::Store,
};
use trust::{
    clock::{Clock as _, SystemClock, UnixMillis},
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

use crate::{
    Failure, house,
    line::{Goal, Line},
    select::{ACCOUNT, MESSAGES, append, furnished},
};

/// Days of `snapshot_pages`; the other measures take as many first ones of the same run.
const DAYS: usize = 100;
const APPENDED: usize = 50;
const FLAGGED: usize = 40;
const EXPUNGED: usize = 10;
const MILLISECONDS_MAX: f64 = 50.0;
const OCTETS_MAX: f64 = 65_536.0;
const DIFF_MILLISECONDS_MAX: f64 = 20.0;
const DAY_MILLIS: i64 = 86_400_000;

/// The time of one snapshot.
pub(crate) fn incremental() -> Result<Line, Failure> {
    let days = house::in_folder(|folder| async move { Days::live(&folder, DAYS).await })?;
    let value = milliseconds(days.times);
    let limit = MILLISECONDS_MAX;
    Ok(Line { name: "snapshot_incremental", unit: "ms", value, limit, goal: Goal::AtMost(1.0) })
}

/// The octets that one snapshot adds, the median of the days.
pub(crate) fn incremental_octets() -> Result<Line, Failure> {
    let days = house::in_folder(|folder| async move { Days::live(&folder, DAYS).await })?;
    let mut octets = days.octets;
    octets.sort_unstable();
    let value = float(octets.get(octets.len() / 2).copied().unwrap_or(0))?;
    let (name, unit) = ("snapshot_incremental_octets", "octets");
    Ok(Line { name, unit, value, limit: OCTETS_MAX, goal: Goal::AtMost(1.0) })
}

/// The octets that a hundred snapshots added, all of them kept.
pub(crate) fn pages() -> Result<Line, Failure> {
    let days = house::in_folder(|folder| async move { Days::live(&folder, DAYS).await })?;
    let value = float(days.octets.iter().sum())?;
    let limit = OCTETS_MAX * float(DAYS as u64)?;
    Ok(Line { name: "snapshot_pages", unit: "octets", value, limit, goal: Goal::AtMost(1.0) })
}

/// The time of the difference between two snapshots that are one day apart.
pub(crate) fn difference() -> Result<Line, Failure> {
    let times = house::in_folder(|folder| async move {
        let days = Days::live(&folder, 6).await?;
        let mut times = Vec::new();
        for pair in days.numbers.windows(2) {
            let [before, after] = pair else { continue };
            let began = Instant::now();
            let before = days.snapshots.open(ACCOUNT, *before).await?;
            let after = days.snapshots.open(ACCOUNT, *after).await?;
            let totals = diff(&before, Later::Snapshot(&after), |_| true).await?;
            times.push(began.elapsed());
            let found = totals.added + totals.removed + totals.flags;
            if found != (APPENDED + FLAGGED + EXPUNGED) as u64 {
                return Err(format!("{found} differences were found").into());
            }
        }
        Ok(times)
    })?;
    let (value, limit) = (milliseconds(times), DIFF_MILLISECONDS_MAX);
    Ok(Line { name: "snapshot_diff", unit: "ms", value, limit, goal: Goal::AtMost(1.0) })
}

/// An account that has lived for some days, with a snapshot of each.
struct Days {
    snapshots: Arc<Snapshots>,
    numbers: Vec<u64>,
    times: Vec<Duration>,
    octets: Vec<u64>,
}

impl Days {
    async fn live(folder: &Path, days: usize) -> Result<Self, Failure> {
        let (store, account, inbox) = furnished(folder).await?;
        let limits = SnapshotLimits::default();
        let snapshots = Snapshots::new(Arc::clone(&store), Arc::new(SystemRandom), limits);
        let mut now = SystemClock.now();
        let began = Instant::now();
        let first = snapshots.take(ACCOUNT, SnapshotKind::Scheduled, now).await?;
        let first_ms = began.elapsed().as_millis();
        let mut kept = octets_kept(&store).await?;
        crate::tell(&format!(
            "NOTE snapshots: the first of {MESSAGES} messages took {first_ms} ms and {kept} octets"
        ));
        let mut lived = Self {
            snapshots,
            numbers: vec![number(&first)?],
            times: Vec::new(),
            octets: Vec::new(),
        };
        let random = SeededRandom::new(7);
        for day in 0..days {
            live_a_day(&store, &account, &inbox, &random, day).await?;
            now = UnixMillis(now.0 + DAY_MILLIS);
            let began = Instant::now();
            let taken = lived.snapshots.take(ACCOUNT, SnapshotKind::Scheduled, now).await?;
            lived.times.push(began.elapsed());
            lived.numbers.push(number(&taken)?);
            let more = octets_kept(&store).await?;
            lived.octets.push(more.saturating_sub(kept));
            kept = more;
        }
        Ok(lived)
    }
}

/// 50 appended, 40 flag changes, 10 expunged, each of another message.
async fn live_a_day(
    store: &Store,
    account: &Account,
    inbox: &LiveMailbox,
    random: &SeededRandom,
    day: usize,
) -> Result<(), Failure> {
    let listed = inbox.list().await?.1;
    let mut chosen = BTreeSet::new();
    while chosen.len() < FLAGGED + EXPUNGED {
        let place = random.next_u64() % (listed.len() as u64);
        chosen.insert(usize::try_from(place)?);
    }
    let mut chosen: Vec<&storage::mailbox::view::ListedMessage> =
        chosen.into_iter().filter_map(|place| listed.get(place)).collect();
    // The ten that go are spread like the forty that change.
    chosen.sort_by_key(|row| row.uid.get().wrapping_mul(2_654_435_761));
    let (going, changing) = chosen.split_at(EXPUNGED);
    for row in changing {
        let change = if row.flags.flagged { FlagChange::Remove } else { FlagChange::Add };
        let flags = Flags { flagged: true, ..Flags::default() };
        inbox.store_flags(&[row.uid], change, &flags, None).await?;
    }
    let going: Vec<Uid> = going.iter().map(|row| row.uid).collect();
    let flags = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&going, FlagChange::Add, &flags, None).await?;
    inbox.expunge(&going).await?;
    let first = MESSAGES + APPENDED * day;
    let appends = (first..first + APPENDED).map(|number| append(store, account, inbox, number));
    try_join_all(appends).await?;
    Ok(())
}

/// Octets of the keys and values that stand in the catalog because there are snapshots.
async fn octets_kept(store: &Store) -> Result<u64, Failure> {
    let mut octets = 0;
    for family in FAMILIES.into_iter().chain([keys::DEPARTED_MESSAGES]) {
        let mut pages = Pages::new(Scan::prefix(family, &[], 10_000));
        while let Some(page) = pages.next(&**store.engine()).await? {
            octets += page.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        }
    }
    Ok(octets)
}

/// The number of a snapshot that was to be a new one.
pub(crate) fn number(taken: &Taken) -> Result<u64, Failure> {
    match taken {
        Taken::New(snapshot) => Ok(snapshot.number),
        Taken::Unchanged(_) => Err("nothing had changed".into()),
    }
}

fn milliseconds(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

fn float(number: u64) -> Result<f64, Failure> {
    Ok(f64::from(u32::try_from(number)?))
}
