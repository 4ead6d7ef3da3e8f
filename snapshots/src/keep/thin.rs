//! Thinning out: which snapshots go when their time is over, and how one goes.
//!
//! A snapshot stands for its account from its instant until the next one's, because an account that
//! does not change gets no new ones. What is kept is therefore found by instants that are to be
//! *covered*: now, every full hour, every midnight and every first of a month (UTC) within
//! [`Retention`]; the snapshot that stood at such an instant stays. So do those asked for, for their
//! time, those that are held, those that a restore reads or somebody else at length
//! ([`reading`](super::reading)), and the latest one. One whose record cannot be read stays until somebody
//! forgets it ([`Snapshots::forget_unreadable`]).
//!
//! When a snapshot was taken is what the clock said, not always its instant ([`Snapshot::taken`]). Where
//! clocks contradict each other, one that was ahead or one that was behind, what stays by either reading
//! stays ([`super::times`]). One that was taken by a wrong clock was taken at some time before the next one;
//! it stays for as many hours as every hour is covered, because nobody knows which it covers.
//!
//! How one goes, so that a crash at any point leaves something that the same steps finish:
//!
//! 1. It is marked. From then on it is not listed and not opened. In the same write the one before, when
//!    it came directly before, gets to know until when it stood ([`Snapshot::stood_until`]).
//! 2. Messages that only it held are removed, the others pass to the snapshot before it
//!    ([`Account::forget_snapshot`]).
//! 3. Pages that departed after it go the same way: those born by the snapshot before it pass to
//!    that one's list, the others are removed. From the latest snapshot nothing has departed yet:
//!    with it go all pages born after the snapshot before it, whose list is emptied, for it is the
//!    latest again.
//! 4. Its state and its record are removed.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use storage::{
    account::{
        Account,
        capture::{ForgetSnapshot, ForgottenMessages},
    },
    catalog::{
        engine::{Batch, Expected, Family, Scan},
        pages::Pages,
    },
    ids::AccountId,
};
use trust::clock::UnixMillis;

use super::{
    PAGE, Snapshots, account_entry, for_each_snapshot,
    keys::{
        self, DEPARTED_PAGES, DepartedKey, PageKey, SNAPSHOT_ACCOUNTS, SNAPSHOT_PAGES, SNAPSHOTS,
    },
    lost, records, scan_of,
    settings::{Hold, Retention},
    snapshot::Snapshot,
    times::{self, Until},
};
use crate::{
    error::SnapshotError,
    restore::job::{RestoreJob, RestoreState, SNAPSHOT_RESTORES},
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Days from its beginning on that a restore which has not ended keeps its snapshot.
const RESTORE_DAYS: i64 = 35;

/// What thinning out came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Thinned {
    /// Snapshots that went, those included that a crash had left half forgotten.
    pub forgotten: u64,
    /// Snapshots that stayed.
    pub kept: u64,
    /// Pages that were removed.
    pub pages_removed: u64,
    /// Messages that were removed.
    pub messages_removed: u64,
}

impl Snapshots {
    /// Forgets the snapshots of an account whose time is over at `now`. `general` is what holds where
    /// the account has nothing else. Finishes what a crash left half forgotten.
    pub async fn thin(
        &self,
        account: AccountId,
        general: &Retention,
        now: UnixMillis,
    ) -> Result<Thinned, SnapshotError> {
        let _place = self.place(account).await;
        let handle = self.store.account(account).await?;
        let mut thinned = self.finish_going(&handle).await?;
        let (entry, _) = account_entry(&**self.store.engine(), account).await?;
        let mut all: Vec<Standing> = Vec::new();
        let standing = |snapshot: Snapshot, _| all.push(Standing::from(&snapshot));
        for_each_snapshot(&**self.store.engine(), account, standing).await?;
        thinned.kept = all.len() as u64;
        if entry.hold.is_some() {
            return Ok(thinned);
        }
        let retention = entry.overrides.retention(general);
        let mut stays: BTreeSet<u64> = Standing::readings(&all, now)
            .iter()
            .flat_map(|reading| staying(reading, &retention, now))
            .collect();
        stays.extend(self.in_use(account, now).await?);
        for snapshot in all.iter().filter(|snapshot| !stays.contains(&snapshot.number)) {
            // A restore may have begun meanwhile.
            if self.in_use(account, now).await?.contains(&snapshot.number) {
                continue;
            }
            self.mark(account, snapshot.number).await?;
            self.go(&handle, snapshot.number, &mut thinned).await?;
            thinned.kept -= 1;
        }
        Ok(thinned)
    }

    /// Forgets one snapshot, whatever its time. [`SnapshotError::NoSuchSnapshot`],
    /// [`SnapshotError::Held`].
    pub async fn forget(&self, account: AccountId, number: u64) -> Result<(), SnapshotError> {
        let _place = self.place(account).await;
        let handle = self.store.account(account).await?;
        let mut thinned = self.finish_going(&handle).await?;
        self.mark(account, number).await?;
        self.go(&handle, number, &mut thinned).await
    }

    /// Forgets a snapshot whose record cannot be read: no term ends it, and as long as it stays so does
    /// every message that a later one held. `also` is applied before anything of it goes. `None`: it can
    /// be read, and its term ends it.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NoSuchSnapshot`]; [`SnapshotError::Held`] when all snapshots of the account are.
    pub async fn forget_unreadable(
        &self,
        account: AccountId,
        number: u64,
        also: Batch,
    ) -> Result<Option<Thinned>, SnapshotError> {
        let _place = self.place(account).await;
        let handle = self.store.account(account).await?;
        let (entry, expected) = account_entry(&**self.store.engine(), account).await?;
        let key = keys::snapshot(account, number);
        let Some(octets) = self.store.engine().get(SNAPSHOTS, &key).await? else {
            return Err(SnapshotError::NoSuchSnapshot { account, number });
        };
        if lost::readable(&key, &octets)?.is_some() {
            return Ok(None);
        }
        if let Some(Hold { reason, .. }) = entry.hold {
            return Err(SnapshotError::Held { account, number, reason });
        }
        let mut batch = also;
        batch.expect(SNAPSHOTS, key, Expected::Value(octets));
        batch.expect(SNAPSHOT_ACCOUNTS, keys::account(account), expected);
        self.store.commit(batch).await?;
        let mut thinned = self.finish_going(&handle).await?;
        self.go(&handle, number, &mut thinned).await?;
        Ok(Some(thinned))
    }

    /// The snapshots that a restore or somebody else is reading.
    async fn in_use(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<BTreeSet<u64>, SnapshotError> {
        let mut used = self.being_restored(account, now).await?;
        used.append(&mut self.being_read(account, now));
        Ok(used)
    }

    /// The snapshots that a restore reads which goes on, or can be resumed and is not old.
    async fn being_restored(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<BTreeSet<u64>, SnapshotError> {
        let since = now.0.saturating_sub(RESTORE_DAYS * DAY);
        let mut named = BTreeSet::new();
        let mut pages = Pages::prefix(SNAPSHOT_RESTORES, &keys::account(account), PAGE);
        while let Some(page) = pages.next(&**self.store.engine()).await? {
            for (key, value) in page {
                let job = match RestoreJob::decode(&key, &value) {
                    Ok(job) => job,
                    // Nobody can go on with it.
                    Err(error) if lost::is_unreadable(&error) => continue,
                    Err(error) => return Err(error.into()),
                };
                let goes_on = matches!(job.state, RestoreState::Running | RestoreState::Stopped);
                if goes_on && job.begun.0 > since {
                    named.insert(job.snapshot);
                }
            }
        }
        Ok(named)
    }

    /// Finishes what was cut short: a snapshot that is marked goes, and one that the head names but
    /// has no record; pages that no snapshot has come to refer to are removed.
    pub(super) async fn finish_going(&self, account: &Account) -> Result<Thinned, SnapshotError> {
        let mut thinned = Thinned::default();
        let mut all = Vec::new();
        let marked = |snapshot: Snapshot, going: bool| all.extend(going.then_some(snapshot.number));
        for_each_snapshot(&**self.store.engine(), account.id(), marked).await?;
        for number in all {
            self.go(account, number, &mut thinned).await?;
        }
        self.forget_lost(account).await?;
        thinned.pages_removed += self.remove_leftovers(account.id()).await?;
        Ok(thinned)
    }

    /// Marks a snapshot, unless it is held at that moment, and notes in the one before until when that one
    /// stood.
    async fn mark(&self, account: AccountId, number: u64) -> Result<(), SnapshotError> {
        let (entry, expected) = account_entry(&**self.store.engine(), account).await?;
        let (snapshot, octets) = match self.kept(account, number).await {
            // Its record cannot be read, so nobody can open it: marked or not.
            Err(SnapshotError::Store(error))
                if lost::is_unreadable(&error) && entry.hold.is_none() =>
            {
                return Ok(());
            }
            kept => kept?,
        };
        if let Some(hold) = snapshot.hold.as_ref().or(entry.hold.as_ref()) {
            return Err(SnapshotError::Held { account, number, reason: hold.reason.clone() });
        }
        let mut batch = Batch::default();
        let key = keys::snapshot(account, number);
        batch.expect(SNAPSHOTS, key.clone(), Expected::Value(octets));
        batch.expect(SNAPSHOT_ACCOUNTS, keys::account(account), expected);
        batch.put(SNAPSHOTS, key, records::encode_snapshot(&snapshot, true));
        self.note_until(&mut batch, &snapshot).await?;
        self.store.commit(batch).await?;
        Ok(())
    }

    /// Adds to `batch` until when the snapshot directly before `going` stood. Nothing when that is known,
    /// when others between them are gone, or when a clock was wrong as `going` was taken.
    async fn note_until(&self, batch: &mut Batch, going: &Snapshot) -> Result<(), SnapshotError> {
        let (account, taken) = (going.record.account, going.taken());
        let Some(number) = going.number.checked_sub(1) else { return Ok(()) };
        let key = keys::snapshot(account, number);
        let Some(octets) = self.store.engine().get(SNAPSHOTS, &key).await? else { return Ok(()) };
        let Some((before, is_going)) = lost::readable(&key, &octets)? else { return Ok(()) };
        if before.stood_until.is_some() || taken < before.taken() {
            return Ok(());
        }
        // What stands behind it was taken after it, whatever the clock said.
        let mut is_ahead = false;
        let behind =
            |one: Snapshot, _| is_ahead |= one.number > going.number && one.taken() < taken;
        for_each_snapshot(&**self.store.engine(), account, behind).await?;
        if !is_ahead {
            let before = Snapshot { stood_until: Some(taken), ..before };
            batch.expect(SNAPSHOTS, key.clone(), Expected::Value(octets));
            batch.put(SNAPSHOTS, key, records::encode_snapshot(&before, is_going));
        }
        Ok(())
    }

    /// Removes what only a marked snapshot kept, then itself.
    async fn go(
        &self,
        account: &Account,
        number: u64,
        thinned: &mut Thinned,
    ) -> Result<(), SnapshotError> {
        let id = account.id();
        let engine = self.store.engine();
        let this = keys::snapshot(id, number);
        let before = self.before(account, number).await?;
        let behind = keys::snapshot(id, number.saturating_add(1));
        let is_latest = engine.scan(&Scan { start: behind, ..scan_of(id, 1) }).await?.is_empty();
        let also = Batch::default();
        let messages = account.forget_snapshot(ForgetSnapshot { number, previous: before, also });
        let ForgottenMessages { removed, .. } = messages.await?;
        let before = before.map_or(0, |before| before.number);
        thinned.pages_removed += if is_latest {
            self.remove_born_after(id, before, number).await?
        } else {
            self.pass_on(id, before, number).await?
        };
        let Some(octets) = self.store.engine().get(SNAPSHOTS, &this).await? else { return Ok(()) };
        let mut batch = Batch::default();
        let state = match lost::readable(&this, &octets)? {
            Some((snapshot, _)) => Some(keys::state(id, number, snapshot.record.state_root.0)),
            None => self.state_of_damaged(id, number).await?,
        };
        if let Some(state) = state {
            batch.delete(SNAPSHOT_PAGES, state);
        }
        batch.delete(SNAPSHOTS, this);
        self.store.commit(batch).await?;
        thinned.forgotten += 1;
        thinned.messages_removed += removed;
        Ok(())
    }

    /// Removes the pages that departed after `number` and were born after `before`; passes the others
    /// to `before`.
    async fn pass_on(
        &self,
        account: AccountId,
        before: u64,
        number: u64,
    ) -> Result<u64, SnapshotError> {
        let mut removed = 0;
        // A row is as large as a batch may be.
        let scan = Scan::prefix(DEPARTED_PAGES, &keys::snapshot(account, number), 1);
        while let Some((key, value)) = self.store.engine().scan(&scan).await?.pop() {
            let Some(mut stay) = lost::readable_list(&key, &value)? else {
                let mut batch = Batch::default();
                batch.delete(DEPARTED_PAGES, key);
                self.store.commit(batch).await?;
                continue;
            };
            let row = DepartedKey::parse(&key)?;
            // Pages ascend by birth.
            let born_after = PageKey { birth: before.saturating_add(1), name: [0; 16] };
            let go = stay.split_off(&born_after);
            let mut batch = Batch::default();
            batch.delete(DEPARTED_PAGES, key);
            if !stay.is_empty() {
                let key = DepartedKey { last: before, ..row }.key(account);
                batch.put(DEPARTED_PAGES, key, keys::departed_value(&stay));
            }
            removed += go.len() as u64;
            for page in go {
                batch.delete(SNAPSHOT_PAGES, page.stored(account));
            }
            self.store.commit(batch).await?;
        }
        Ok(removed)
    }

    /// Removes every page born after `before` up to `number`, the latest snapshot, and empties the
    /// list of `before`, which is the latest again.
    pub(super) async fn remove_born_after(
        &self,
        account: AccountId,
        before: u64,
        number: u64,
    ) -> Result<u64, SnapshotError> {
        let behind = |number: u64| keys::snapshot(account, number.saturating_add(1));
        let born = self.scan(SNAPSHOT_PAGES, &behind(before), Some(behind(number)));
        let removed = self.remove_all(born).await?;
        self.remove_all(self.scan(DEPARTED_PAGES, &keys::snapshot(account, before), None)).await?;
        Ok(removed)
    }

    /// Removes every entry of a scan, batch by batch.
    pub(super) async fn remove_all(&self, scan: Scan) -> Result<u64, SnapshotError> {
        let mut removed = 0;
        loop {
            let entries = self.store.engine().scan(&scan).await?;
            if entries.is_empty() {
                return Ok(removed);
            }
            removed += entries.len() as u64;
            let mut batch = Batch::default();
            for (key, _) in entries {
                batch.delete(scan.family, key);
            }
            self.store.commit(batch).await?;
        }
    }

    /// A scan of one batch, from `start` to `end`, or over every key that begins with `start`.
    pub(super) fn scan(&self, family: Family, start: &[u8], end: Option<Bytes>) -> Scan {
        let scan = Scan::prefix(family, start, self.limits.pages_per_batch_max.max(1));
        Scan { end: end.or(scan.end.clone()), ..scan }
    }
}

/// What decides whether a snapshot stays.
#[derive(Clone, Copy)]
struct Standing {
    number: u64,
    /// When it was taken, by the clock.
    instant: UnixMillis,
    /// The clock was wrong: it was taken at some time before `instant`.
    by_wrong_clock: bool,
    /// From when the time of one that was asked for counts.
    asked_for: Option<UnixMillis>,
    is_held: bool,
}

impl From<&Snapshot> for Standing {
    fn from(snapshot: &Snapshot) -> Self {
        let (taken, asked_at) = (snapshot.taken(), snapshot.asked_at);
        // Nobody asks for one that stands before it was taken: one of the clocks was wrong.
        let asked_for = asked_at.map_or(taken, |at| at.max(taken));
        Self {
            number: snapshot.number,
            instant: taken,
            by_wrong_clock: false,
            asked_for: snapshot.is_asked_for().then_some(asked_for),
            is_held: snapshot.hold.is_some(),
        }
    }
}

impl Standing {
    /// Both readings of `all`, ascending by number.
    fn readings(all: &[Self], now: UnixMillis) -> [Vec<Self>; 2] {
        let taken: Vec<_> = all.iter().map(|one| (one.instant, one.instant)).collect();
        times::readings(&taken, now)
            .map(|read| all.iter().zip(read).map(|(one, until)| one.read(until)).collect())
    }

    fn read(self, until: Until) -> Self {
        let Some(until) = until else { return self };
        let asked_for = self.asked_for.map(|_| until);
        Self { instant: until, by_wrong_clock: true, asked_for, ..self }
    }
}

/// The numbers of those of `all`, ascending, that stay at `now`.
fn staying(all: &[Standing], retention: &Retention, now: UnixMillis) -> BTreeSet<u64> {
    let mut stays: BTreeSet<u64> = all.last().map(|last| last.number).into_iter().collect();
    let Some(oldest) = all.first().map(|first| first.instant) else { return stays };
    let instants = hours(retention, now)
        .take_while(|instant| *instant >= oldest)
        .chain(days(retention, now).take_while(|instant| *instant >= oldest))
        .chain(months(retention, now).take_while(|instant| *instant >= oldest))
        .chain([now]);
    for instant in instants {
        let at = all.partition_point(|snapshot| snapshot.instant <= instant);
        stays.extend(at.checked_sub(1).and_then(|at| all.get(at)).map(|snapshot| snapshot.number));
    }
    let asked_for = now.0.saturating_sub(i64::from(retention.on_demand_days) * DAY);
    let detailed = now.0.saturating_sub(i64::from(retention.hourly_hours) * HOUR);
    let others = all.iter().filter(|snapshot| {
        let may_cover = snapshot.by_wrong_clock && snapshot.instant.0 > detailed;
        may_cover || snapshot.is_held || snapshot.asked_for.is_some_and(|at| at.0 > asked_for)
    });
    stays.extend(others.map(|snapshot| snapshot.number));
    stays
}

/// Every instant that `retention` covers at `now`, in no order.
pub(crate) fn instants(retention: &Retention, now: UnixMillis) -> impl Iterator<Item = UnixMillis> {
    hours(retention, now).chain(days(retention, now)).chain(months(retention, now)).chain([now])
}

/// Full hours, from `now` backwards.
fn hours(retention: &Retention, now: UnixMillis) -> impl Iterator<Item = UnixMillis> {
    let last = now.0.div_euclid(HOUR);
    (0..retention.hourly_hours).map(move |ago| UnixMillis((last - i64::from(ago)) * HOUR))
}

/// Midnights, from `now` backwards.
fn days(retention: &Retention, now: UnixMillis) -> impl Iterator<Item = UnixMillis> {
    let last = now.0.div_euclid(DAY);
    (0..retention.daily_days).map(move |ago| UnixMillis((last - i64::from(ago)) * DAY))
}

/// First days of months, 00:00, from `now` backwards.
fn months(retention: &Retention, now: UnixMillis) -> impl Iterator<Item = UnixMillis> {
    let today = Timestamp::from_second(now.seconds())
        .map_or(Date::constant(1970, 1, 1), |time| time.to_zoned(TimeZone::UTC).date());
    (0..retention.monthly_months).map_while(move |ago| {
        let first = today.first_of_month().checked_sub(i64::from(ago).months()).ok()?;
        let midnight = first.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(UnixMillis(midnight.as_second() * 1_000))
    })
}
