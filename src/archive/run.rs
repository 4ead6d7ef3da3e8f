//! One run over one account: finds what its rules pick, and moves it batch by batch.
//!
//! * A mailbox is listed, the rules are asked, and only batches that move something are written. Each
//!   notes mailbox and UID up to which the run is done, and expects the note that this run wrote
//!   before: whoever comes second ends as [`Ended::Overtaken`].
//! * A run that was cut off is gone on with for as long as the schedule's interval: from the mailbox and
//!   UID of its note, by the instant at which it began. Its note saves looking again, no more: when that
//!   instant lies further back, or ahead of a clock that was set right, the next run begins anew.
//! * What the archive has no room for stays, and with it what needs as much; smaller messages that fit are
//!   moved. When it has as many messages as it may, that ends the run. The holder is told once
//!   ([`super::notice`]), and again only after a run found room for everything.
//! * A mailbox whose rows cannot be read stays as it is, is named, and keeps no other from the archive.
//! * [`foresee`] asks the same rules in the same order and counts the same room.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use storage::{
    account::{Account, MailboxListing, name::MailboxName, quota::Quota},
    catalog::{
        engine::{Batch, Durability, Expected},
        keys,
    },
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        archive::{ArchiveRequest, ArchiveSelection, Archived, Candidate, Full, NoRoom},
        view::{MailboxView as _, MessageRow},
    },
    store::Store,
};
use tokio_util::sync::CancellationToken;
use trust::clock::UnixMillis;

use super::{
    ARCHIVE_RUNS,
    notice::{self, FullRecord},
    rules::{self, MailboxRules, Rules},
};
use crate::{
    config::Config,
    pec::records::{decode, encode},
};

/// Value in [`ARCHIVE_RUNS`]: the latest run of an account.
#[derive(Clone, PartialEq, Message)]
pub struct RunRecord {
    /// When it began, in milliseconds since 1970.
    #[prost(sint64, tag = "1")]
    pub started_at: i64,
    /// When it ended; 0 = it is under way, or was cut off.
    #[prost(sint64, tag = "2")]
    pub finished_at: i64,
    /// The mailbox that it is at.
    #[prost(uint64, tag = "3")]
    pub mailbox: u64,
    /// The last UID there that is settled.
    #[prost(uint32, tag = "4")]
    pub up_to: u32,
    /// Messages that it moved.
    #[prost(uint64, tag = "5")]
    pub messages: u64,
    /// What they are charged.
    #[prost(uint64, tag = "6")]
    pub octets: u64,
    /// What was full first; empty = nothing.
    #[prost(string, tag = "7")]
    pub full: String,
    /// The holder was told that the archive is full, by this run or one before.
    #[prost(bool, tag = "8")]
    pub told: bool,
}

impl RunRecord {
    /// The UID up to which `mailbox` is done.
    fn settled(&self, mailbox: MailboxId) -> u32 {
        if self.mailbox == mailbox.0 { self.up_to } else { 0 }
    }

    /// Reads the latest run of `id`, and the octets that it stands in. One that cannot be read counts as
    /// none: the next run writes another in its place.
    pub async fn read(
        store: &Store,
        id: AccountId,
    ) -> Result<(Option<Self>, Option<Bytes>), StoreError> {
        let key = keys::account(id);
        let Some(value) = store.engine().get(ARCHIVE_RUNS, &key).await? else {
            return Ok((None, None));
        };
        let record = decode(ARCHIVE_RUNS, &key, &value).inspect_err(|error| {
            tracing::error!(account = id.0, %error, "the note of an archive run is lost");
        });
        Ok((record.ok(), Some(value)))
    }

    /// When the next run is due, `interval` after the last one ended; at once when it was cut off.
    #[must_use]
    pub fn due_at(&self, interval_millis: i64) -> i64 {
        match self.finished_at {
            0 => self.started_at,
            finished_at => finished_at.saturating_add(interval_millis),
        }
    }

    /// The note after a batch.
    fn after(&self, mailbox: MailboxId, moved: &Archived) -> Self {
        let up_to = match moved.up_to {
            Some(uid) => uid.get(),
            None => self.settled(mailbox),
        };
        Self {
            mailbox: mailbox.0,
            up_to,
            messages: self.messages.saturating_add(moved.messages),
            octets: self.octets.saturating_add(moved.octets),
            full: moved.full.map_or_else(|| self.full.clone(), |full| full.resource.to_owned()),
            told: self.told || moved.full.is_some(),
            ..self.clone()
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ended {
    /// Everything that the rules pick is in the archive, as far as there is room.
    #[default]
    Finished,
    /// It was asked to stop; the next run goes on.
    Stopped,
    /// Another run is at the same account.
    Overtaken,
}

/// What a run did, or would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunReport {
    /// Messages and what they are charged, by the mailbox that they come from.
    pub mailboxes: BTreeMap<String, (u64, u64)>,
    /// What there was no room for first.
    pub full: Option<Full>,
    /// Mailboxes that could not be read: what is left in them stays.
    pub unreadable: Vec<String>,
    /// How it ended.
    pub ended: Ended,
}

impl RunReport {
    /// Messages and what they are charged, in all.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        let sum = |(messages, octets): (u64, u64), (more, charged): &(u64, u64)| {
            (messages + more, octets.saturating_add(*charged))
        };
        self.mailboxes.values().fold((0, 0), sum)
    }

    /// Passes over a mailbox that cannot be read; other errors are the run's.
    fn pass_over(
        &mut self,
        account: AccountId,
        (id, name): (MailboxId, &str),
        error: StoreError,
    ) -> Result<(), StoreError> {
        if !matches!(error, StoreError::Damaged { .. } | StoreError::TooNew { .. }) {
            return Err(error);
        }
        let error = &error as &dyn std::error::Error;
        tracing::error!(account = account.0, mailbox = id.0, error, "nothing of it is archived");
        self.unreadable.push(name.to_owned());
        Ok(())
    }

    pub(super) fn note(&mut self, mailbox: &str, messages: u64, octets: u64) {
        if messages > 0 {
            let (all, charged) = self.mailboxes.entry(mailbox.to_owned()).or_default();
            (*all, *charged) = (*all + messages, charged.saturating_add(octets));
        }
    }
}

/// The rules for one batch, and the note that it expects.
struct Selection {
    rules: Arc<MailboxRules>,
    account: AccountId,
    mailbox: MailboxId,
    before: RunRecord,
    found: Option<Bytes>,
    now: UnixMillis,
}

impl ArchiveSelection for Selection {
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName> {
        self.rules.target(candidate)
    }

    fn also(&self, moved: &Archived) -> Batch {
        let mut batch = Batch::default();
        expect(&mut batch, self.account, self.found.clone());
        let next = self.before.after(self.mailbox, moved);
        batch.put(ARCHIVE_RUNS, keys::account(self.account), encode(&next));
        if let Some(full) = moved.full.filter(|_| !self.before.told) {
            notice::owe(&mut batch, self.account, &FullRecord::new(full, self.now));
        }
        batch
    }
}

fn expect(batch: &mut Batch, account: AccountId, found: Option<Bytes>) {
    let expected = found.map_or(Expected::Absent, Expected::Value);
    batch.expect(ARCHIVE_RUNS, keys::account(account), expected);
}

/// A run under way.
struct Run<'r> {
    store: &'r Store,
    config: &'r Config,
    account: Account,
    note: RunRecord,
    /// The note as it stands in the catalog.
    found: Option<Bytes>,
    report: RunReport,
    no_room: NoRoom,
}

/// Runs over the account `id`, at the instant `now`, until it is done or `stopping` is cancelled.
///
/// # Errors
///
/// [`StoreError::NoSuchAccount`], or what the store met; what was moved by then is noted.
pub async fn run(
    store: &Store,
    config: &Config,
    id: AccountId,
    now: UnixMillis,
    stopping: &CancellationToken,
) -> Result<RunReport, StoreError> {
    let account = store.account(id).await?;
    let rules = Rules::of_account(store, config, id, &account.settings().await?).await?;
    let (note, found) = begin(store, config, id, now).await?;
    let (report, no_room) = (RunReport::default(), NoRoom::default());
    let mut run = Run { store, config, account, note, found, report, no_room };
    match run.all(&rules, now, stopping).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => run.report.ended = Ended::Overtaken,
        Err(error) => return Err(error),
    }
    Ok(run.report)
}

/// The note that a run at the instant `now` begins with, and the octets that the last one stands in.
async fn begin(
    store: &Store,
    config: &Config,
    id: AccountId,
    now: UnixMillis,
) -> Result<(RunRecord, Option<Bytes>), StoreError> {
    let (last, found) = RunRecord::read(store, id).await?;
    let last = last.unwrap_or_default();
    let interval = i64::try_from(config.archive.interval.0).unwrap_or(i64::MAX);
    let goes_on =
        last.finished_at == 0 && (0..=interval).contains(&now.0.saturating_sub(last.started_at));
    let anew = RunRecord { started_at: now.0, told: last.told, ..RunRecord::default() };
    Ok((if goes_on { last } else { anew }, found))
}

/// The mailboxes of an account that rules concern, in the order of their numbers.
fn concerned(
    listing: &[MailboxListing],
    rules: &Rules,
    at: UnixMillis,
) -> BTreeMap<MailboxId, (String, Arc<MailboxRules>)> {
    let left_alone = rules::left_alone(listing);
    let concerned = listing.iter().filter_map(|listed| {
        let rules = rules.of_mailbox(listed, &left_alone, at)?;
        Some((listed.mailbox_id?, (listed.name.clone(), Arc::new(rules))))
    });
    concerned.collect()
}

impl Run<'_> {
    async fn all(
        &mut self,
        rules: &Rules,
        now: UnixMillis,
        stopping: &CancellationToken,
    ) -> Result<(), StoreError> {
        let listing = self.account.mailboxes().await?;
        let first = MailboxId(self.note.mailbox);
        let at = UnixMillis(self.note.started_at);
        for (id, (name, rules)) in concerned(&listing, rules, at).range(first..) {
            if let Err(error) = self.mailbox(*id, name, rules, now, stopping).await {
                self.report.pass_over(self.account.id(), (*id, name), error)?;
            }
            if self.no_room.is_at_end() || self.report.ended == Ended::Stopped {
                break;
            }
        }
        if self.report.ended == Ended::Finished { self.finish(now).await } else { Ok(()) }
    }

    async fn mailbox(
        &mut self,
        id: MailboxId,
        name: &str,
        rules: &Arc<MailboxRules>,
        now: UnixMillis,
        stopping: &CancellationToken,
    ) -> Result<(), StoreError> {
        let batch = usize::try_from(self.config.archive.batch_messages_max).unwrap_or(1).max(1);
        let mut uids = self.picked(id, rules).await?;
        while !uids.is_empty() && !self.no_room.is_at_end() {
            if stopping.is_cancelled() {
                self.report.ended = Ended::Stopped;
                break;
            }
            let later = uids.split_off(batch.min(uids.len()));
            let no_room = self.no_room.clone();
            let moved = match self.batch(id, name, rules, now, uids).await {
                // It was deleted meanwhile.
                Err(StoreError::NoSuchMailbox { .. }) => break,
                moved => moved?,
            };
            self.rest(moved, stopping).await;
            uids = if self.no_room == no_room { later } else { self.picked(id, rules).await? };
        }
        Ok(())
    }

    /// What is not settled of a mailbox, is picked, and may have room; of one that was deleted meanwhile
    /// nothing.
    async fn picked(&self, id: MailboxId, rules: &MailboxRules) -> Result<Vec<Uid>, StoreError> {
        let settled = self.note.settled(id);
        if self.no_room == NoRoom::default() {
            let messages = match self.account.mailbox(id).await {
                Err(StoreError::NoSuchMailbox { .. }) => return Ok(Vec::new()),
                mailbox => mailbox?.list().await?.1,
            };
            let picked = messages.iter().filter(|listed| {
                listed.uid.get() > settled && rules.target(Candidate::from(*listed)).is_some()
            });
            return Ok(picked.map(|listed| listed.uid).collect());
        }
        // What a message is charged, its row says.
        let rows = rows_of(&self.account, id).await?;
        let fits = |row: &&MessageRow| {
            let target = rules.target(Candidate::from(*row));
            target.is_some_and(|target| !self.no_room.is_for(&target, row.charged_octets))
        };
        let rows = rows.iter().filter(|row| row.uid.get() > settled).filter(fits);
        Ok(rows.map(|row| row.uid).collect())
    }

    async fn batch(
        &mut self,
        id: MailboxId,
        name: &str,
        rules: &Arc<MailboxRules>,
        now: UnixMillis,
        uids: Vec<Uid>,
    ) -> Result<u64, StoreError> {
        let selection = Selection {
            rules: Arc::clone(rules),
            account: self.account.id(),
            mailbox: id,
            before: self.note.clone(),
            found: self.found.clone(),
            now,
        };
        let no_room = self.no_room.clone();
        let request = ArchiveRequest { source: id, uids, selection, no_room };
        let moved = self.account.archive(request).await?;
        self.note = self.note.after(id, &moved);
        self.found = Some(encode(&self.note));
        self.report.note(name, moved.messages, moved.octets);
        self.report.full = self.report.full.or(moved.full);
        self.no_room = moved.no_room;
        Ok(moved.messages)
    }

    /// Keeps to the pace.
    async fn rest(&self, moved: u64, stopping: &CancellationToken) {
        let rate = u64::from(self.config.archive.messages_per_second_max).max(1);
        let pause = Duration::from_millis(moved.saturating_mul(1_000) / rate);
        stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
    }

    /// Notes that the run is done. Losing that in a crash makes it be done again, which moves nothing.
    async fn finish(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        let told = self.note.told && !self.note.full.is_empty();
        // The mailbox and UID are of no use to the next run.
        let done = RunRecord {
            finished_at: now.0.max(1),
            mailbox: 0,
            up_to: 0,
            told,
            ..self.note.clone()
        };
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        expect(&mut batch, self.account.id(), self.found.clone());
        batch.put(ARCHIVE_RUNS, keys::account(self.account.id()), encode(&done));
        self.store.commit(batch).await?;
        Ok(())
    }
}

/// Says what a run over the account `id` would do at the instant `now`. Changes nothing.
///
/// # Errors
///
/// [`StoreError::NoSuchAccount`], or what the store met.
pub async fn foresee(
    store: &Store,
    config: &Config,
    id: AccountId,
    now: UnixMillis,
) -> Result<RunReport, StoreError> {
    let account = store.account(id).await?;
    let rules = Rules::of_account(store, config, id, &account.settings().await?).await?;
    let listing = account.mailboxes().await?;
    let mut room = Room::new(&account.quota().await?, &listing);
    let (mut report, mut no_room) = (RunReport::default(), NoRoom::default());
    let (note, _) = begin(store, config, account.id(), now).await?;
    let at = UnixMillis(note.started_at);
    for (id, (name, rules)) in concerned(&listing, &rules, at).range(MailboxId(note.mailbox)..) {
        let rows = match rows_of(&account, *id).await {
            Ok(rows) => rows,
            Err(error) => {
                report.pass_over(account.id(), (*id, name), error)?;
                continue;
            }
        };
        for row in rows.iter().filter(|row| row.uid.get() > note.settled(*id)) {
            let Some(target) = rules.target(Candidate::from(row)) else { continue };
            if no_room.is_for(&target, row.charged_octets) {
                continue;
            }
            match room.take(&target, row.charged_octets) {
                None => report.note(name, 1, row.charged_octets),
                Some(full) => {
                    no_room.note(&full, &target, row.charged_octets);
                    report.full.get_or_insert(full);
                    if no_room.is_at_end() {
                        return Ok(report);
                    }
                }
            }
        }
    }
    Ok(report)
}

/// The rows of a mailbox; of one that was deleted meanwhile none.
pub(super) async fn rows_of(
    account: &Account,
    mailbox: MailboxId,
) -> Result<Vec<MessageRow>, StoreError> {
    match account.mailbox(mailbox).await {
        Ok(mailbox) => Ok(mailbox.rows().await?.1),
        Err(StoreError::NoSuchMailbox { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What there is no room for, of what is used, what is added and the limit. What needs no more of a thing is
/// not refused where its usage is above the limit, as in the store.
pub(super) fn lacking<const N: usize>(
    wanted: [(&'static str, u64, u64, Option<u64>); N],
) -> Option<Full> {
    wanted.into_iter().find_map(|(resource, used, more, limit)| {
        let limit = limit.filter(|limit| more > 0 && used.saturating_add(more) > *limit)?;
        Some(Full { resource, used, limit })
    })
}

/// What an account has room for, as the store would count it.
pub(super) struct Room {
    pub(super) quota: Quota,
    names: BTreeSet<String>,
}

impl Room {
    pub(super) fn new(quota: &Quota, listing: &[MailboxListing]) -> Self {
        let named = listing.iter().filter(|listed| listed.mailbox_id.is_some());
        Self { quota: *quota, names: named.map(|listed| listed.name.clone()).collect() }
    }

    /// Takes what one message needs; says what is full instead.
    fn take(&mut self, target: &MailboxName, octets: u64) -> Option<Full> {
        let archive = &self.quota.archive;
        let wanted = [
            ("archive octets", archive.used_octets, octets, archive.limit_octets),
            ("archive messages", archive.used_messages, 1, archive.limit_messages),
        ];
        if let Some(full) = lacking(wanted) {
            return Some(full);
        }
        if let Some(full) = self.make(target) {
            return Some(full);
        }
        let archive = &mut self.quota.archive;
        archive.used_octets = archive.used_octets.saturating_add(octets);
        archive.used_messages += 1;
        None
    }

    /// Makes a mailbox and those above it, unless they are there; says what is full instead.
    pub(super) fn make(&mut self, target: &MailboxName) -> Option<Full> {
        let missing: Vec<String> = std::iter::once(target.to_string())
            .chain(target.above().map(|above| above.to_string()))
            .filter(|name| !self.names.contains(name))
            .collect();
        let (used, limit) = (self.quota.used_mailboxes, self.quota.limit_mailboxes);
        if !missing.is_empty() && used.saturating_add(missing.len() as u64) > limit {
            // Those above it are counted first, as far as there is room.
            return Some(Full { resource: "mailboxes", used: used.max(limit), limit });
        }
        self.quota.used_mailboxes += missing.len() as u64;
        self.names.extend(missing);
        None
    }
}
