//! Taking a snapshot.
//!
//! A snapshot begins with the trees of the one before and puts into them what changed since. That
//! happens while the account's changes wait ([`Capture`]), so it must be short: where more rows
//! changed than [`SnapshotLimits::rows_in_queue_max`], or a mailbox is new or its log does not reach
//! back, its pages are written ahead first, beside the account's changes, and only what came since is
//! left for the queue. So are the pages of a large mailbox that is gone, whose names go into the lists of what
//! departed: of them the queue only writes the names, some 20 octets each. Nothing refers to pages written ahead; those of a take that never ended are
//! removed by the next. Where the one before cannot be read (`lost`), every page is written anew.
//!
//! Memory: the changed rows of one step and their pages, the inner pages of one tree, and the names of
//! replaced pages, 40 octets each.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use storage::{
    account::{
        Account,
        capture::{AccountState, Capture, StateMailbox},
    },
    catalog::engine::{Batch, Expected, Reader},
    error::StoreError,
    ids::{AccountId, MailboxId},
};
use trust::clock::UnixMillis;

use super::{
    SnapshotLimits, Snapshots, account_entry,
    build::{Base, Builder, Step},
    keys::{self, DEPARTED_PAGES, PageKey, SNAPSHOT_ACCOUNTS, SNAPSHOT_PAGES, SNAPSHOTS},
    lost::{self, Damaged},
    open::state_at,
    pages::{CatalogPages, Sheet},
    records,
    snapshot::{Snapshot, SnapshotKind},
};
use crate::{
    error::SnapshotError,
    hash::SnapshotSecret,
    record::SnapshotRecord,
    state::{MailboxEntry, State},
    tree::page::PageRef,
};

/// Seconds that the latest snapshot may be ahead while the next one just waits. What is further ahead was
/// taken by a clock that was wrong.
const SOON_SECONDS_MAX: i64 = 10;

/// What taking a snapshot came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// A new one.
    New(Snapshot),
    /// The state is that of the latest one; nothing was written, but that it was asked for. Never `None` in it, for an account
    /// without snapshots gets one.
    Unchanged(Option<Snapshot>),
}

/// What one run in the queue came to.
enum Run {
    Taken(Taken),
    /// Too much changed: pages are to be written ahead (again).
    TooMuch,
    Failed(SnapshotError),
}

/// What is known before the account's changes wait.
#[derive(Clone, Default)]
pub(super) struct Ahead {
    /// The number that the snapshot will have.
    birth: u64,
    /// Mailboxes whose pages are written, as far as these counters say.
    bases: BTreeMap<MailboxId, Base>,
    /// Pages of the snapshot before that are replaced.
    replaced: Vec<PageRef>,
    /// Mailboxes that are gone, all of whose pages are among these.
    removed: BTreeSet<MailboxId>,
    /// The latest snapshot, when it cannot be read: every page is written anew.
    damaged: Option<Arc<Damaged>>,
}

impl Ahead {
    /// The trees that each mailbox is to be gone on with, or whose pages are to go.
    fn bases(&self, latest: Option<&Latest>) -> BTreeMap<MailboxId, Base> {
        let mut bases = self.bases.clone();
        for id in latest.into_iter().flat_map(|latest| latest.state.mailboxes.keys()) {
            if let Some(base) = latest.and_then(|latest| latest.base(*id)) {
                bases.entry(*id).or_insert(base);
            }
        }
        bases.retain(|id, _| !self.removed.contains(id));
        bases
    }

    /// Those of them whose mailbox is none of `mailboxes`.
    fn gone(
        &self,
        latest: Option<&Latest>,
        mailboxes: &[StateMailbox],
    ) -> BTreeMap<MailboxId, Base> {
        let mut gone = self.bases(latest);
        for mailbox in mailboxes {
            gone.remove(&mailbox.state.mailbox_id);
        }
        gone
    }

    /// The latest snapshot, as far as it can be gone on with.
    async fn latest(
        &self,
        state: &AccountState,
        secret: &SnapshotSecret,
    ) -> Result<Option<Latest>, SnapshotError> {
        match self.damaged {
            Some(_) => Ok(None),
            None => latest(state, secret).await,
        }
    }
}

/// Tells the log of an instant that is not what the clock says.
fn told(taken: &Taken) {
    if let Taken::New(Snapshot { record, clock: Some(_), number, .. }) = taken {
        tracing::warn!(account = %record.account, number, instant_millis = record.instant.0, "a clock was ahead when the snapshot before was taken: this one has the second behind it, and the time of the clock beside it");
    }
}

async fn start(account: &Account) -> Result<Ahead, SnapshotError> {
    let birth = account.state().await?.next_snapshot();
    Ok(Ahead { birth, ..Ahead::default() })
}

/// When a snapshot was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// By the clock of who asked.
    pub(crate) at: UnixMillis,
    /// By the store's clock.
    pub(crate) of_store: UnixMillis,
}

impl Asked {
    /// What the clock of who asked says when the store's says `of_store`. One that was set back meanwhile
    /// says what it said first.
    pub(crate) fn later(self, of_store: UnixMillis) -> UnixMillis {
        let passed = of_store.0.saturating_sub(self.of_store.0);
        UnixMillis(self.at.0.saturating_add(passed.max(0)))
    }
}

struct Take {
    kind: SnapshotKind,
    asked: Asked,
    secret: SnapshotSecret,
    ahead: Ahead,
    limits: SnapshotLimits,
}

impl Snapshots {
    /// Takes a snapshot of an account as it is. Its instant is that at which the account's state is read:
    /// `now`, and what passes until then. [`SnapshotError::TooSoon`] when one of the same
    /// second, or of the next few, has another state; [`SnapshotError::TooBusy`].
    ///
    /// One whose instant lies further ahead was taken by a clock that was wrong. The next one gets the
    /// second behind it, so that instants and names ascend with numbers, and notes beside it what the
    /// clock says.
    pub async fn take(
        &self,
        account: AccountId,
        kind: SnapshotKind,
        now: UnixMillis,
    ) -> Result<Taken, SnapshotError> {
        let asked = Asked { at: now, of_store: self.store.now() };
        let _place = self.place(account).await;
        let handle = self.store.account(account).await?;
        self.finish_going(&handle).await?;
        let (entry, _) = account_entry(&**self.store.engine(), account).await?;
        let secret = match entry.secret {
            Some(secret) => secret,
            None => self.new_secret(),
        };
        let mut ahead = start(&handle).await?;
        for _ in 0..=self.limits.rounds_max {
            let (secret, limits) = (secret.clone(), self.limits);
            let take = Take { kind, asked, secret: secret.clone(), ahead: ahead.clone(), limits };
            let failed = match handle.capture(take).await? {
                Run::Taken(Taken::Unchanged(Some(same))) => {
                    self.remove_leftovers(account).await?;
                    return self.ask(same, kind, now).await;
                }
                Run::Taken(taken) => {
                    told(&taken);
                    return Ok(taken);
                }
                Run::Failed(error) => error,
                Run::TooMuch => match self.write_ahead(&handle, &secret, &mut ahead).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            self.remove_leftovers(account).await?;
            if ahead.damaged.is_some() || !lost::is_damage(&failed) {
                return Err(failed);
            }
            ahead = self.start_anew(&handle, &failed).await?;
        }
        self.remove_leftovers(account).await?;
        Err(SnapshotError::TooBusy(account))
    }

    /// Keeps the latest snapshot, which has the account's state, for as long as one that was asked for. It
    /// stays what it was taken as: whoever counts what was taken on demand must not count this.
    async fn ask(
        &self,
        same: Snapshot,
        kind: SnapshotKind,
        now: UnixMillis,
    ) -> Result<Taken, SnapshotError> {
        if kind == SnapshotKind::Scheduled {
            return Ok(Taken::Unchanged(Some(same)));
        }
        let (account, number) = (same.record.account, same.number);
        let (snapshot, octets) = self.kept(account, number).await?;
        let snapshot = Snapshot { asked_at: Some(now), ..snapshot };
        let key = keys::snapshot(account, number);
        let mut batch = Batch::default();
        batch.expect(SNAPSHOTS, key.clone(), Expected::Value(octets));
        batch.put(SNAPSHOTS, key, records::encode_snapshot(&snapshot, false));
        crate::run::note_due(&mut batch, account, number);
        self.store.commit(batch).await?;
        Ok(Taken::Unchanged(Some(snapshot)))
    }

    fn new_secret(&self) -> SnapshotSecret {
        let mut secret = [0; 32];
        self.random.fill(&mut secret);
        SnapshotSecret(secret)
    }

    /// Begins a take that goes on from nothing, because the latest snapshot is damaged.
    async fn start_anew(
        &self,
        account: &Account,
        error: &SnapshotError,
    ) -> Result<Ahead, SnapshotError> {
        let (state, id) = (account.state().await?, account.id());
        tracing::error!(account = %id, %error, "the latest snapshot cannot be read: the next one is built from every row of the account");
        let number = state.latest_snapshot().unwrap_or(0);
        let damaged = Damaged::read(&**state.reader(), id, number).await?;
        let birth = state.next_snapshot();
        Ok(Ahead { birth, damaged: Some(Arc::new(damaged)), ..Ahead::default() })
    }

    /// Writes pages of every mailbox in which much changed, as the account now is.
    async fn write_ahead(
        &self,
        account: &Account,
        secret: &SnapshotSecret,
        ahead: &mut Ahead,
    ) -> Result<(), SnapshotError> {
        let state = account.state().await?;
        if state.next_snapshot() != ahead.birth {
            self.remove_leftovers(account.id()).await?;
            *ahead = start(account).await?;
        }
        let latest = ahead.latest(&state, secret).await?;
        let engine: Arc<dyn Reader> = self.store.engine().clone();
        let stored = CatalogPages::new(engine, account.id());
        let replaced = std::mem::take(&mut ahead.replaced);
        let mut sheet = Sheet::new(stored, ahead.birth, replaced);
        let mailboxes = state.mailboxes().await?;
        for (id, base) in ahead.gone(latest.as_ref(), &mailboxes) {
            super::build::remove(&mut sheet, secret, id, &base).await?;
            ahead.bases.remove(&id);
            ahead.removed.insert(id);
        }
        for mailbox in mailboxes {
            let id = mailbox.state.mailbox_id;
            let known = ahead.bases.get(&id).cloned();
            let base = known.or_else(|| latest.as_ref().and_then(|latest| latest.base(id)));
            let mut builder = Builder::new(&state, &mailbox, secret, base, &mut sheet);
            let mut next = Some(0);
            if builder.follow_log(self.limits.rows_in_queue_max).await?.is_some() {
                next = None;
            }
            while let Some(from) = next {
                next = match builder.step(from, self.limits.rows_per_step_max.max(1)).await? {
                    Step::Next(from) => Some(from),
                    Step::Done => None,
                };
                if builder.sheet.octets() > self.limits.page_octets_held_max {
                    let batch = builder.sheet.drain(self.limits.compression_level);
                    self.store.commit(batch).await?;
                }
            }
            ahead.bases.insert(id, builder.base(state.mod_seq()));
        }
        self.store.commit(sheet.drain(self.limits.compression_level)).await?;
        ahead.replaced = sheet.replaced;
        Ok(())
    }
}

/// The latest snapshot of a state, with its state.
struct Latest {
    snapshot: Snapshot,
    state: State,
}

impl Latest {
    /// What the latest snapshot has of a mailbox.
    fn base(&self, id: MailboxId) -> Option<Base> {
        let entry = self.state.mailboxes.get(&id)?;
        Some(Base {
            content: entry.content,
            flags: entry.flags,
            uid_validity: entry.uid_validity,
            uid_next: entry.uid_next,
            mod_seq: self.snapshot.mod_seq,
        })
    }
}

async fn latest(
    state: &AccountState,
    secret: &SnapshotSecret,
) -> Result<Option<Latest>, SnapshotError> {
    let Some(number) = state.latest_snapshot() else { return Ok(None) };
    let (account, reader) = (state.account(), state.reader());
    let key = keys::snapshot(account, number);
    let octets = reader.get(SNAPSHOTS, &key).await?;
    let octets = octets.ok_or(SnapshotError::NoSuchSnapshot { account, number })?;
    let read = lost::readable(&key, &octets)?;
    let (snapshot, _) = read.ok_or_else(|| SnapshotError::Damaged {
        object: format!("snapshot {number} of account {account}"),
        detail: "its record follows no known layout",
    })?;
    let state = state_at(&**reader, &snapshot, secret).await?;
    Ok(Some(Latest { snapshot, state }))
}

/// The instant of one that follows `before`; `None` when it is too soon for one.
fn instant_behind(before: Option<&SnapshotRecord>, now: UnixMillis) -> Option<UnixMillis> {
    let Some(before) = before.map(|before| before.instant.seconds()) else { return Some(now) };
    match before.saturating_sub(now.seconds()) {
        ..0 => Some(now),
        0..=SOON_SECONDS_MAX => None,
        _ => Some(UnixMillis(before.saturating_add(1).saturating_mul(1_000))),
    }
}

impl Take {
    async fn run(&self, state: &AccountState) -> Result<(Run, Option<Batch>), SnapshotError> {
        let number = state.next_snapshot();
        if number != self.ahead.birth {
            return Ok((Run::TooMuch, None));
        }
        let account = state.account();
        let latest = self.ahead.latest(state, &self.secret).await?;
        let stored = CatalogPages::new(Arc::clone(state.reader()), account);
        let mut sheet = Sheet::new(stored, number, self.ahead.replaced.clone());
        let Some(new) = self.trees(state, latest.as_ref(), &mut sheet).await? else {
            return Ok((Run::TooMuch, None));
        };
        let before = latest.as_ref().map(|latest| &latest.snapshot);
        let record = match &self.ahead.damaged {
            Some(damaged) => damaged.record.as_ref(),
            None => before.map(|snapshot| &snapshot.record),
        };
        let now = self.asked.later(state.now());
        let instant = instant_behind(record, now);
        let Some(next) = self.record(record, account, instant.unwrap_or(now), &new)? else {
            return Ok((Run::Taken(Taken::Unchanged(before.cloned())), None));
        };
        let Some(instant) = instant else {
            return Ok((Run::Failed(SnapshotError::TooSoon(account)), None));
        };
        let snapshot = Snapshot {
            number,
            record: next,
            kind: self.kind,
            asked_at: None,
            clock: (instant != now).then_some(now),
            stood_until: None,
            hold: None,
            email_numbers_below: state.next_email_number(),
            mod_seq: state.mod_seq(),
        };
        let batch = self.batch(state, &new, &snapshot, sheet).await?;
        Ok((Run::Taken(Taken::New(snapshot)), Some(batch)))
    }

    /// The record that follows `before`; `None` when the state is that one's, and can be read there.
    fn record(
        &self,
        before: Option<&SnapshotRecord>,
        account: AccountId,
        instant: UnixMillis,
        new: &State,
    ) -> Result<Option<SnapshotRecord>, SnapshotError> {
        if self.ahead.damaged.is_none() {
            return SnapshotRecord::following(before, account, instant, new, &self.secret);
        }
        let first = SnapshotRecord::following(None, account, instant, new, &self.secret)?;
        let previous = before.map(SnapshotRecord::hash);
        Ok(first.map(|first| SnapshotRecord { previous, ..first }))
    }

    /// The state with every mailbox's trees brought up to date; `None` when too much changed.
    async fn trees(
        &self,
        state: &AccountState,
        latest: Option<&Latest>,
        sheet: &mut Sheet,
    ) -> Result<Option<State>, SnapshotError> {
        let mut new = State::default();
        let mut left = self.limits.rows_in_queue_max;
        let mut bases = self.ahead.bases(latest);
        for mailbox in state.mailboxes().await? {
            let id = mailbox.state.mailbox_id;
            let base = bases.remove(&id);
            let mut builder = Builder::new(state, &mailbox, &self.secret, base, sheet);
            let Some(used) = builder.in_queue(left).await? else { return Ok(None) };
            left = left.saturating_sub(used);
            let entry = entry_of(&mailbox, &builder.base(state.mod_seq()));
            new.mailboxes.insert(id, entry);
        }
        // What is left of them is gone. All pages above the rows are read for it.
        for (id, base) in bases {
            let Some(less) =
                left.checked_sub(usize::try_from(base.content.rows).unwrap_or(left + 1))
            else {
                return Ok(None);
            };
            left = less;
            super::build::remove(sheet, &self.secret, id, &base).await?;
        }
        Ok(Some(new))
    }

    async fn batch(
        &self,
        state: &AccountState,
        new: &State,
        snapshot: &Snapshot,
        mut sheet: Sheet,
    ) -> Result<Batch, SnapshotError> {
        let (account, number) = (state.account(), snapshot.number);
        let level = self.limits.compression_level;
        let mut batch = sheet.drain(level);
        if let Some(before) = state.latest_snapshot() {
            let mut departed: BTreeSet<PageKey> =
                sheet.replaced.iter().map(|page| PageKey::from(*page)).collect();
            departed.extend(self.ahead.damaged.iter().flat_map(|damaged| &damaged.pages));
            let most = self.limits.pages_per_batch_max;
            for (key, list) in keys::departed_rows(account, before, departed, most) {
                batch.put(DEPARTED_PAGES, key, list);
            }
        }
        let packed = super::pages::Packer::new(level).pack(&new.encode()?);
        let key = keys::state(account, number, snapshot.record.state_root.0);
        batch.put(SNAPSHOT_PAGES, key, packed);
        let key = keys::snapshot(account, number);
        batch.expect(SNAPSHOTS, key.clone(), Expected::Absent);
        batch.put(SNAPSHOTS, key, records::encode_snapshot(snapshot, false));
        crate::run::note_due(&mut batch, account, number);
        let (mut entry, expected) = account_entry(&**state.reader(), account).await?;
        if entry.secret.is_none() {
            entry.secret = Some(self.secret.clone());
            batch.expect(SNAPSHOT_ACCOUNTS, keys::account(account), expected);
            let value = records::encode_account(&entry);
            batch.put(SNAPSHOT_ACCOUNTS, keys::account(account), value);
        }
        Ok(batch)
    }
}

fn entry_of(mailbox: &StateMailbox, built: &Base) -> MailboxEntry {
    let special_use = mailbox.special_use.map(|special_use| special_use.attribute().to_owned());
    MailboxEntry {
        uid_validity: built.uid_validity,
        uid_next: built.uid_next,
        name: mailbox.name.clone(),
        subscribed: mailbox.subscribed,
        special_use: special_use.unwrap_or_default(),
        octets: mailbox.state.octets,
        content: built.content,
        flags: built.flags,
    }
}

#[async_trait::async_trait]
impl Capture for Take {
    type Outcome = Run;

    async fn capture(&self, state: &AccountState) -> Result<(Run, Option<Batch>), StoreError> {
        match self.run(state).await {
            Ok(done) => Ok(done),
            Err(SnapshotError::Store(error)) => Err(error),
            Err(error) => Ok((Run::Failed(error), None)),
        }
    }

    fn is_captured(&self, outcome: &Run) -> bool {
        matches!(outcome, Run::Taken(_))
    }
}
