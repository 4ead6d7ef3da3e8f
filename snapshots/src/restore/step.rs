//! One step of a restore: a batch of messages of one mailbox, or going over to the next.

use std::collections::BTreeSet;

use bytes::Bytes;
use storage::{
    account::{Account, quota::QuotaRule, tree::SpecialUse},
    error::StoreError,
    ids::{AccountId, EmailNumber, MailboxId, Uid},
    mailbox::{
        restore::{ErasedRows, RestoreRows, RestoredRow},
        view::{MailboxView as _, MessageRow},
    },
};
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    Restores,
    job::{Position, RestoreJob, RestoreState},
    moved_on, within,
};
use crate::{
    error::SnapshotError,
    keep::open::{OpenSnapshot, SnapshotMailbox},
    state::MailboxEntry,
};

/// Rows of a live mailbox read at once.
const ROWS: usize = 4_096;

const SPECIAL_USES: [SpecialUse; 5] = [
    SpecialUse::Archive,
    SpecialUse::Drafts,
    SpecialUse::Junk,
    SpecialUse::Sent,
    SpecialUse::Trash,
];

/// What the mailbox that a job restores into had before.
#[derive(Debug)]
pub(super) struct Present {
    of: (AccountId, u64, MailboxId),
    numbers: BTreeSet<EmailNumber>,
    /// The first octets of digest and the INTERNALDATE: enough to tell messages of one mailbox apart.
    messages: BTreeSet<([u8; 16], i64)>,
}

fn name_of(digest: Sha256Digest, internal_date: UnixMillis) -> ([u8; 16], i64) {
    let mut front = [0; 16];
    front.copy_from_slice(&digest.0[..16]);
    (front, internal_date.0)
}

impl Present {
    fn has(&self, row: &MessageRow) -> bool {
        self.numbers.contains(&row.email_number)
            || self.messages.contains(&name_of(row.digest, row.internal_date))
    }
}

/// The row `uid` of a mailbox of a snapshot.
pub(super) async fn one(
    open: &std::sync::Arc<OpenSnapshot>,
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
        match self.go_on(job.clone(), before.clone(), &mut present).await {
            Ok(job) => Ok(Some(job)),
            // Cancelled in between, or changed by another step: the row says how it stands.
            Err(SnapshotError::Store(StoreError::Conflict)) => {
                Ok(self.read(account, number).await?.map(|(job, _)| job))
            }
            Err(error) if stops(&error) => {
                let (state, trouble) = (RestoreState::Stopped, Some(error.to_string()));
                let job = RestoreJob { state, trouble, ..job };
                self.snapshots.store().commit(moved_on(&job, before)).await?;
                Ok(Some(job))
            }
            Err(error) => Err(error),
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
                job.position = Some(destination(&job, open.account(), *id, entry).await?);
                self.snapshots.store().commit(moved_on(&job, before)).await?;
                return Ok(job);
            }
        };
        let next = mailboxes.iter().find(|(other, _)| other > id);
        let next = next.map_or(MailboxId(u64::MAX), |(next, _)| *next);
        let mailbox = open.mailbox(*id)?;
        let (rows, is_end) = self.rows(&job, &mailbox, position).await?;
        let has = match job.root {
            None => Some(look(&job, open.account(), (into, position.own_from), present).await?),
            Some(_) => None,
        };
        let erased = open.account().erased().await?;
        let looked = rows.into_iter().map(|row| {
            let fate = match &has {
                Some(has) if has.has(&row) => Fate::Present,
                _ if erased.contains(&row.email_number) => Fate::Erased,
                _ => Fate::Restored,
            };
            (row, fate)
        });
        let batch = Looked { rows: looked.collect(), is_end, next, position, into };
        self.commit(&job, &before, batch, open.account()).await
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

    /// Restores what was looked at and moves the job on, in one commit. Where all of it is too much for
    /// the space that is left, as much as fits.
    async fn commit(
        &self,
        job: &RestoreJob,
        before: &Bytes,
        mut batch: Looked,
        account: &Account,
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
            match account.restore_rows(request).await {
                Ok(_) => return Ok(next),
                Err(StoreError::OverQuota { .. } | StoreError::LimitExceeded { .. })
                    if batch.rows.len() > 1 =>
                {
                    batch.rows.truncate(batch.rows.len() / 2);
                    batch.is_end = false;
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
            ..job.clone()
        }
    }
}

/// Finds where the messages of a mailbox go, or makes it. Done twice it finds what the first time made.
async fn destination(
    job: &RestoreJob,
    account: &Account,
    id: MailboxId,
    entry: &MailboxEntry,
) -> Result<Position, SnapshotError> {
    let name = match &job.root {
        Some(root) => format!("{root}/{}", entry.name),
        None => entry.name.clone(),
    };
    let live = account.mailboxes().await?;
    let same = live.iter().find(|one| job.root.is_none() && one.mailbox_id == Some(id));
    let named = live.iter().find(|one| one.mailbox_id.is_some() && one.name == name);
    let into = if let Some(into) = same.or(named).and_then(|one| one.mailbox_id) {
        into
    } else {
        let special_use = SPECIAL_USES
            .into_iter()
            .filter(|_| job.root.is_none())
            .find(|one| one.attribute() == entry.special_use)
            .filter(|one| live.iter().all(|other| other.special_use != Some(*one)));
        account.create_mailbox(&name, special_use).await?
    };
    let state = account.mailbox(into).await?.state().await?;
    let own_from = state.uid_next.map_or(u32::MAX, Uid::get);
    let after = job.position.filter(|position| position.mailbox == id).and_then(|one| one.after);
    Ok(Position { mailbox: id, after, destination: Some(into), own_from })
}

/// Reads what the mailbox `into` had before this job came to it, once.
async fn look<'a>(
    job: &RestoreJob,
    account: &Account,
    (into, own_from): (MailboxId, u32),
    present: &'a mut Option<Present>,
) -> Result<&'a Present, SnapshotError> {
    let of = (job.account, job.number, into);
    if present.as_ref().is_none_or(|present| present.of != of) {
        let mut read = Present { of, numbers: BTreeSet::new(), messages: BTreeSet::new() };
        let (state, mut after) = (account.state().await?, None);
        loop {
            let rows = state.rows(into, after, ROWS).await?;
            after = rows.last().map(|row| row.uid);
            let is_last = rows.len() < ROWS;
            for row in rows.iter().filter(|row| row.uid.get() < own_from) {
                read.numbers.insert(row.email_number);
                read.messages.insert(name_of(row.digest, row.internal_date));
            }
            if is_last {
                break;
            }
        }
        *present = Some(read);
    }
    present.as_ref().ok_or(SnapshotError::NotPresent)
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
                | StoreError::Exhausted(_)
        ),
        _ => true,
    }
}
