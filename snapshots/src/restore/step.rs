//! One step of a restore: a batch of messages of one mailbox, or going over to the next.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use storage::{
    account::{Account, name::MailboxName, quota::QuotaRule, tree::SpecialUse},
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::{MailboxView as _, MessageRow},
    },
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    Restores,
    elsewhere::{Elsewhere, bins, is_within},
    job::{Position, RestoreJob, RestoreState},
    moved_on, within,
};
use crate::{
    error::SnapshotError,
    keep::open::{OpenSnapshot, SnapshotMailbox},
    state::MailboxEntry,
};

/// Rows of a live mailbox read at once.
pub(super) const ROWS: usize = 4_096;

const SPECIAL_USES: [SpecialUse; 5] = [
    SpecialUse::Archive,
    SpecialUse::Drafts,
    SpecialUse::Junk,
    SpecialUse::Sent,
    SpecialUse::Trash,
];

/// Why a job stops whose batch is refused again although nobody changed the job.
pub const CHUNKS_MISSING: &str = "the store refused a batch twice: chunks of its messages are missing; run \
     `ceralacca store check`, mend what it names, then resume the restore";

/// What the mailbox that a job restores into had before, or got from others.
#[derive(Debug)]
pub(super) struct Present {
    /// Account, job, mailbox of the snapshot, mailbox that it goes into.
    of: (AccountId, u64, MailboxId, MailboxId),
    /// The first octets of digest and the INTERNALDATE: enough to tell messages of one mailbox apart.
    messages: BTreeSet<([u8; 16], i64)>,
    elsewhere: Elsewhere,
}

fn name_of(digest: Sha256Digest, internal_date: UnixMillis) -> ([u8; 16], i64) {
    let mut front = [0; 16];
    front.copy_from_slice(&digest.0[..16]);
    (front, internal_date.0)
}

impl Present {
    fn has(&self, row: &MessageRow) -> bool {
        self.messages.contains(&name_of(row.digest, row.internal_date))
    }
}

/// The row `uid` of a mailbox of a snapshot.
pub(crate) async fn one(
    open: &Arc<OpenSnapshot>,
    mailbox: MailboxId,
    uid: Uid,
) -> Result<Option<MessageRow>, SnapshotError> {
    let rows = open.mailbox(mailbox)?.rows_after(Uid::new(uid.get() - 1), 1).await?;
    Ok(rows.into_iter().find(|row| row.uid == uid))
}

impl Restores {
    /// Does one step of a job, and returns how it stands then; `None` when there is no such job. A job
    /// that does not run is only returned. What a person can mend stops the job and is no error.
    ///
    /// # Errors
    ///
    /// What may pass by itself; the job goes on with the next step.
    pub async fn step(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<Option<RestoreJob>, SnapshotError> {
        let Some((job, before)) = self.read(account, number).await? else { return Ok(None) };
        if job.state != RestoreState::Running {
            return Ok(Some(job));
        }
        let mut present = self.present.lock().await;
        let mut is_second = false;
        loop {
            let error = match self.go_on(job.clone(), before.clone(), &mut present).await {
                Ok(job) => return Ok(Some(job)),
                Err(error) => error,
            };
            if !matches!(error, SnapshotError::Store(StoreError::Conflict)) {
                if stops(&error) {
                    // When it is resumed it looks again.
                    *present = None;
                    return self.stop(job, before, error.to_string()).await;
                }
                return Err(error);
            }
            let now = self.read(account, number).await?;
            // Cancelled in between, or changed by another step: the row says how it stands.
            if now.as_ref().is_none_or(|(_, octets)| *octets != before) {
                return Ok(now.map(|(job, _)| job));
            }
            if is_second {
                *present = None;
                return self.stop(job, before, CHUNKS_MISSING.to_owned()).await;
            }
            is_second = true;
        }
    }

    /// Stops a job, unless it was changed meanwhile.
    async fn stop(
        &self,
        job: RestoreJob,
        before: Bytes,
        trouble: String,
    ) -> Result<Option<RestoreJob>, SnapshotError> {
        let job = RestoreJob { state: RestoreState::Stopped, trouble: Some(trouble), ..job };
        match self.snapshots.store().commit(moved_on(&job, before)).await {
            Ok(_) => Ok(Some(job)),
            Err(StoreError::Conflict) => {
                Ok(self.read(job.account, job.number).await?.map(|(job, _)| job))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn go_on(
        &self,
        mut job: RestoreJob,
        before: Bytes,
        present: &mut Option<Present>,
    ) -> Result<RestoreJob, SnapshotError> {
        let open = self.snapshots.open(job.account, job.snapshot).await?;
        let mailboxes = within(&open, &job.scope)?;
        let at = job.position.map(|position| position.mailbox);
        let next = match at {
            Some(at) => mailboxes.iter().find(|(id, _)| *id >= at),
            None => mailboxes.first(),
        };
        let Some((id, entry)) = next else {
            *present = None;
            job.state = RestoreState::Done;
            self.snapshots.store().commit(moved_on(&job, before)).await?;
            return Ok(job);
        };
        let (position, into) = match job.position {
            Some(Position { mailbox, destination: Some(into), .. }) if mailbox == *id => {
                (job.position.unwrap_or(Position::start(*id)), into)
            }
            _ => {
                job.position = Some(destination(&job, &open, *id, entry).await?);
                self.snapshots.store().commit(moved_on(&job, before)).await?;
                return Ok(job);
            }
        };
        let next = mailboxes.iter().find(|(other, _)| other > id);
        let next = next.map_or(MailboxId(u64::MAX), |(next, _)| *next);
        let mailbox = open.mailbox(*id)?;
        let (rows, is_end) = self.rows(&job, &mailbox, position).await?;
        let rows = self.fates(&job, &mailbox, rows, (into, position), present).await?;
        self.commit(&job, &before, Looked { rows, is_end, next, position, into }, &open).await
    }

    /// The next rows of the mailbox, and whether they are its last.
    async fn rows(
        &self,
        job: &RestoreJob,
        mailbox: &SnapshotMailbox,
        position: Position,
    ) -> Result<(Vec<MessageRow>, bool), SnapshotError> {
        if let Some(uid) = job.scope.uid {
            let row = one(mailbox.snapshot(), mailbox.id(), uid).await?;
            return Ok((row.into_iter().collect(), true));
        }
        let limit = self.limits.rows_per_step_max.max(1);
        let rows = mailbox.rows_after(position.after, limit).await?;
        let is_end = rows.len() < limit;
        Ok((rows, is_end))
    }

    /// Says what becomes of each row.
    async fn fates(
        &self,
        job: &RestoreJob,
        mailbox: &SnapshotMailbox,
        rows: Vec<MessageRow>,
        at: (MailboxId, Position),
        present: &mut Option<Present>,
    ) -> Result<Vec<(MessageRow, Fate)>, SnapshotError> {
        let account = mailbox.snapshot().account();
        let (mut here, mut standing) = (None, BTreeSet::new());
        if job.root.is_none() {
            let known = look(job, mailbox, at, present).await?;
            let missing = rows.iter().filter(|row| !known.has(row)).map(|row| row.email_number);
            standing = account.standing(&missing.collect()).await?;
            // Most of what is gone stands nowhere, and costs no look at the other mailboxes.
            if !standing.is_empty() {
                let jobs = self.list(job.account).await?;
                let roots: Vec<String> = jobs.into_iter().filter_map(|job| job.root).collect();
                known.elsewhere.look(mailbox.snapshot(), at.0, &roots).await?;
            }
            here = Some(known);
        }
        let erased = account.erased().await?;
        let fate = |row: &MessageRow| {
            let number = row.email_number;
            let was_moved =
                |known: &Present| standing.contains(&number) && known.elsewhere.has(number);
            match &here {
                Some(known) if known.has(row) || was_moved(known) => Fate::Present,
                _ if erased.contains(&number) => Fate::Erased,
                _ => Fate::Restored,
            }
        };
        Ok(rows.into_iter().map(|row| (fate(&row), row)).map(|(fate, row)| (row, fate)).collect())
    }

    /// Restores what was looked at and moves the job on, in one commit. Where all of it is too much for
    /// the space that is left, as much as fits; what cannot be read is left out.
    async fn commit(
        &self,
        job: &RestoreJob,
        before: &Bytes,
        mut batch: Looked,
        open: &OpenSnapshot,
    ) -> Result<RestoreJob, SnapshotError> {
        loop {
            let next = batch.moves(job);
            let also = moved_on(&next, before.clone());
            let rows = batch.restored();
            if rows.is_empty() {
                self.snapshots.store().commit(also).await?;
                return Ok(next);
            }
            let request = RestoreRows {
                destination: batch.into,
                rows,
                quota: QuotaRule::Enforce,
                erased: ErasedRows::Refuse,
                also,
            };
            match open.account().restore_rows(request).await {
                Ok(_) => return Ok(next),
                Err(StoreError::OverQuota { .. } | StoreError::LimitExceeded { .. })
                    if batch.rows.len() > 1 =>
                {
                    batch.rows.truncate(batch.rows.len() / 2);
                    batch.is_end = false;
                }
                Err(
                    error @ (StoreError::NoSuchMessage { .. }
                    | StoreError::Damaged { .. }
                    | StoreError::TooNew { .. }),
                ) => {
                    let found = batch.leave_out_unreadable(open.account()).await?;
                    // When the snapshot is still there now, it is the messages that are not.
                    let error = open.or_expired(error.into()).await;
                    if !found || matches!(error, SnapshotError::NoSuchSnapshot { .. }) {
                        return Err(error);
                    }
                }
                // Erased this moment: the next step sees it.
                Err(StoreError::Erased { .. }) => return Ok(job.clone()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Restored,
    Present,
    Erased,
    Unreadable,
}

/// Whether the records of a message are missing, damaged, or another message's.
async fn is_unreadable(account: &Account, row: &MessageRow) -> Result<bool, StoreError> {
    let stored = account.stored(row.email_number).await;
    let read = match stored {
        Ok(stored) if stored.digest() != row.digest => return Ok(true),
        Ok(_) => account.summary(row.email_number).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match read {
        Ok(()) | Err(StoreError::Erased { .. }) => Ok(false),
        Err(
            StoreError::NoSuchMessage { .. }
            | StoreError::Damaged { .. }
            | StoreError::TooNew { .. },
        ) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Rows of one mailbox that a step is about.
struct Looked {
    rows: Vec<(MessageRow, Fate)>,
    /// They are the last of the mailbox.
    is_end: bool,
    /// The mailbox after this one.
    next: MailboxId,
    position: Position,
    into: MailboxId,
}

impl Looked {
    fn restored(&self) -> Vec<RestoredRow> {
        let restored = self.rows.iter().filter(|(_, fate)| *fate == Fate::Restored);
        restored.map(|(row, _)| RestoredRow::from(row)).collect()
    }

    /// Marks the rows whose messages cannot be read, and says whether there are any.
    async fn leave_out_unreadable(&mut self, account: &Account) -> Result<bool, StoreError> {
        let mut found = false;
        for (row, fate) in self.rows.iter_mut().filter(|(_, fate)| *fate == Fate::Restored) {
            if is_unreadable(account, row).await? {
                (*fate, found) = (Fate::Unreadable, true);
            }
        }
        Ok(found)
    }

    /// The job when this is done.
    fn moves(&self, job: &RestoreJob) -> RestoreJob {
        let count = |wanted| self.rows.iter().filter(|(_, fate)| *fate == wanted).count() as u64;
        let after = self.rows.last().map(|(row, _)| row.uid).or(self.position.after);
        let position = if self.is_end {
            Position::start(self.next)
        } else {
            Position { after, ..self.position }
        };
        RestoreJob {
            position: Some(position),
            done: job.done + self.rows.len() as u64,
            restored: job.restored + count(Fate::Restored),
            present: job.present + count(Fate::Present),
            erased: job.erased + count(Fate::Erased),
            unreadable: job.unreadable + count(Fate::Unreadable),
            ..job.clone()
        }
    }
}

/// The name of a mailbox below `root`; where it would be longer or deeper than names may be, its last
/// level, and where another mailbox has that too, its identifier.
fn name_below(root: &str, open: &OpenSnapshot, id: MailboxId, entry: &MailboxEntry) -> String {
    let last = |entry: &MailboxEntry| entry.name.rsplit('/').next().map(str::to_owned);
    let (full, level) = (format!("{root}/{}", entry.name), last(entry).unwrap_or_default());
    if MailboxName::new(&full).is_ok() {
        return full;
    }
    let short = format!("{root}/{level}");
    let same = open.state().mailboxes.values().filter(|other| last(other) == last(entry)).count();
    if same == 1 && MailboxName::new(&short).is_ok() { short } else { format!("{root}/{id}") }
}

/// Finds where the messages of a mailbox go, or makes it. Done twice it finds what the first time made.
async fn destination(
    job: &RestoreJob,
    open: &OpenSnapshot,
    id: MailboxId,
    entry: &MailboxEntry,
) -> Result<Position, SnapshotError> {
    let account = open.account();
    let name = match &job.root {
        Some(root) => name_below(root, open, id, entry),
        None => entry.name.clone(),
    };
    let live = account.mailboxes().await?;
    let special_use = |one: Option<SpecialUse>| one.map_or("", SpecialUse::attribute);
    let bins_now = bins(live.iter().map(|one| (one.name.as_str(), special_use(one.special_use))));
    let then = open.state().mailboxes.values();
    let bins_then = bins(then.map(|one| (one.name.as_str(), one.special_use.as_str())));
    let is_in = |name: &str, bins: &[&str]| bins.iter().any(|bin| is_within(name, bin));
    // Programs throw a mailbox away by renaming it below the trash: it is not brought back there.
    let same = live.iter().find(|one| job.root.is_none() && one.mailbox_id == Some(id));
    let same = same.filter(|one| !is_in(&one.name, &bins_now) || is_in(&entry.name, &bins_then));
    let named = live.iter().find(|one| one.mailbox_id.is_some() && one.name == name);
    let into = if let Some(into) = same.or(named).and_then(|one| one.mailbox_id) {
        into
    } else {
        let special_use = SPECIAL_USES
            .into_iter()
            .filter(|_| job.root.is_none())
            .find(|one| one.attribute() == entry.special_use)
            .filter(|one| live.iter().all(|other| other.special_use != Some(*one)));
        if job.root.is_some() || entry.subscribed {
            account.create_subscribed(&name, special_use).await?
        } else {
            account.create_mailbox(&name, special_use).await?
        }
    };
    let state = account.mailbox(into).await?.state().await?;
    let own_from = state.uid_next.map_or(u32::MAX, Uid::get);
    let after = job.position.filter(|position| position.mailbox == id).and_then(|one| one.after);
    Ok(Position { mailbox: id, after, destination: Some(into), own_from })
}

/// The names of the rows that a job has done. Whatever it brought has one of them.
async fn done_before(
    mailbox: &SnapshotMailbox,
    position: Position,
) -> Result<BTreeSet<([u8; 16], i64)>, SnapshotError> {
    let (mut done, mut after) = (BTreeSet::new(), None);
    while after < position.after {
        let rows = mailbox.rows_after(after, ROWS).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.uid);
        let rows = rows.iter().filter(|row| Some(row.uid) <= position.after);
        done.extend(rows.map(|row| name_of(row.digest, row.internal_date)));
    }
    Ok(done)
}

/// Reads what the mailbox `into` had before this job came to it, and what others brought since, once.
/// What may be the job's own is not counted: its mailbox may hold a message twice.
async fn look<'a>(
    job: &RestoreJob,
    mailbox: &SnapshotMailbox,
    (into, position): (MailboxId, Position),
    present: &'a mut Option<Present>,
) -> Result<&'a mut Present, SnapshotError> {
    let of = (job.account, job.number, position.mailbox, into);
    if present.as_ref().is_none_or(|present| present.of != of) {
        let before = present.take().filter(|before| (before.of.0, before.of.1) == (of.0, of.1));
        let elsewhere = before.map_or_else(Elsewhere::default, |before| before.elsewhere);
        let mut read = Present { of, messages: BTreeSet::new(), elsewhere };
        let done = done_before(mailbox, position).await?;
        let (state, mut after) = (mailbox.snapshot().account().state().await?, None);
        loop {
            let rows = state.rows(into, after, ROWS).await?;
            after = rows.last().map(|row| row.uid);
            let is_last = rows.len() < ROWS;
            for row in &rows {
                let name = name_of(row.digest, row.internal_date);
                if row.uid.get() < position.own_from || !done.contains(&name) {
                    read.messages.insert(name);
                }
            }
            if is_last {
                break;
            }
        }
        *present = Some(read);
    }
    present.as_mut().ok_or(SnapshotError::NotPresent)
}

/// Whether a person has to do something before the job can go on.
fn stops(error: &SnapshotError) -> bool {
    match error {
        SnapshotError::Store(error) => matches!(
            error,
            StoreError::OverQuota { .. }
                | StoreError::LimitExceeded { .. }
                | StoreError::NoSuchMailbox { .. }
                | StoreError::NoSuchAccount(_)
                | StoreError::NoSuchMessage { .. }
                | StoreError::InvalidMailboxName { .. }
                | StoreError::Damaged { .. }
                | StoreError::TooNew { .. }
                | StoreError::Exhausted(_)
        ),
        _ => true,
    }
}
