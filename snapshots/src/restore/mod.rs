//! Brings messages, mailboxes or a whole account back from a snapshot, as jobs.
//!
//! * A job is a row ([`job`]). Each step restores one batch of messages and moves the job on in the same
//!   commit, so that a job that was killed goes on where it was: nothing is left out, nothing comes
//!   twice.
//! * Nothing is overwritten. Into a mailbox of its own (`Ripristino …`) everything is restored; in place,
//!   into the mailbox of the same MailboxId, else of the same name, else into one that is made. There a
//!   message is left alone when it was moved (it stands where the snapshot did not have it, and was not
//!   thrown away: [`elsewhere`]), or when the mailbox had the same octets with the same INTERNALDATE when
//!   the job came to it or was resumed, which is what an earlier restore leaves. One job in place is open
//!   in an account: another one is refused.
//! * A mailbox that is made is subscribed to: beside the others always, in place when it was.
//! * Live messages keep their flags. Messages whose octets were erased, and those whose records are
//!   missing or damaged, are passed over and counted, each on its own.
//! * Over quota, and where chunks are missing, a job stops and can be resumed; what it restored stays.
//! * One step at a time: the memory of a step in place grows with the messages of the mailbox that it
//!   restores into, and when it goes on in the middle with those of its mailbox that are done, 40 octets
//!   each. Where something stands in the account that its mailbox lacks, 10 octets are held for each
//!   message that stands where the snapshot did not have it, too.
//!
//! Not here: when steps are done, and how fast (the floor above).

mod elsewhere;
pub mod job;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use storage::{
    catalog::{
        engine::{Batch, Expected},
        pages::Pages,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
};
use tokio::sync::Mutex;
use trust::clock::UnixMillis;

pub use self::step::CHUNKS_MISSING;
pub(crate) use self::step::one;
use self::{
    elsewhere::is_within,
    job::{RestoreJob, RestoreState, SNAPSHOT_RESTORES, Scope, key},
    step::Present,
};
use crate::{
    error::SnapshotError,
    keep::{Snapshots, open::OpenSnapshot},
    state::MailboxEntry,
};

/// Jobs read at once.
const PAGE: usize = 200;

/// Bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RestoreLimits {
    /// Messages of one step. 500.
    pub rows_per_step_max: usize,
    /// Jobs of an account that have ended and are remembered; of more, the oldest go when one is
    /// added. 100.
    pub jobs_ended_max: usize,
    /// Jobs of an account that run or have stopped; one more is refused. 20.
    pub jobs_open_max: usize,
}

impl Default for RestoreLimits {
    fn default() -> Self {
        Self { rows_per_step_max: 500, jobs_ended_max: 100, jobs_open_max: 20 }
    }
}

/// Restores of all accounts.
#[derive(Debug)]
pub struct Restores {
    snapshots: Arc<Snapshots>,
    limits: RestoreLimits,
    /// What the mailbox that is restored into has: of one job at a time.
    present: Mutex<Option<Present>>,
}

/// The jobs that are to go on.
#[derive(Debug, Default)]
pub struct RunningJobs {
    /// They, ascending by account and number.
    pub jobs: Vec<RestoreJob>,
    /// Jobs that stopped and wait for a person.
    pub stopped: u64,
    /// What is wrong with rows that cannot be read.
    pub unreadable: Vec<StoreError>,
}

/// Where messages are restored to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Where they were.
    InPlace,
    /// Into a mailbox of this name that is made for it, or of this name with a number.
    Into(String),
}

/// The mailboxes of a snapshot that are within a scope, ascending by MailboxId.
pub(crate) fn within<'a>(
    open: &'a OpenSnapshot,
    scope: &Scope,
) -> Result<Vec<(MailboxId, &'a MailboxEntry)>, SnapshotError> {
    let all = &open.state().mailboxes;
    let Some(id) = scope.mailbox else {
        let is_below = |name: &str| scope.above.as_ref().is_none_or(|top| is_within(name, top));
        let found = all.iter().filter(|(_, entry)| is_below(&entry.name));
        return Ok(found.map(|(id, entry)| (*id, entry)).collect());
    };
    let account = open.account().id();
    let top = all.get(&id).ok_or(StoreError::NoSuchMailbox { account, mailbox: id })?;
    let above = format!("{}/", top.name);
    let is_within = |other: MailboxId, entry: &MailboxEntry| {
        other == id || (scope.below && entry.name.starts_with(&above))
    };
    let found = all.iter().filter(|(other, entry)| is_within(**other, entry));
    Ok(found.map(|(id, entry)| (*id, entry)).collect())
}

impl Restores {
    /// Restores from the snapshots of `snapshots`, whose store was opened with [`SNAPSHOT_RESTORES`].
    #[must_use]
    pub fn new(snapshots: Arc<Snapshots>, limits: RestoreLimits) -> Arc<Self> {
        Arc::new(Self { snapshots, limits, present: Mutex::new(None) })
    }

    /// Notes a restore; steps do it.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NoSuchSnapshot`], [`StoreError::NoSuchMailbox`],
    /// [`SnapshotError::NotPresent`] when the mailbox has no such UID, [`StoreError::InvalidMailboxName`],
    /// [`SnapshotError::TooManyRestores`], [`SnapshotError::InPlaceOpen`].
    pub async fn begin(
        &self,
        account: AccountId,
        snapshot: u64,
        scope: Scope,
        target: Target,
        now: UnixMillis,
    ) -> Result<RestoreJob, SnapshotError> {
        self.begin_with(account, snapshot, scope, target, now, &Batch::default()).await
    }

    /// [`Restores::begin`], with `also` in the same batch.
    pub async fn begin_with(
        &self,
        account: AccountId,
        snapshot: u64,
        scope: Scope,
        target: Target,
        now: UnixMillis,
        also: &Batch,
    ) -> Result<RestoreJob, SnapshotError> {
        // Before the snapshot is opened: none is let go of under this place.
        let _place = self.snapshots.place(account).await;
        let open = self.snapshots.open(account, snapshot).await?;
        let mailboxes = within(&open, &scope)?;
        let total = match (scope.uid, scope.mailbox) {
            (Some(uid), Some(mailbox)) => {
                one(&open, mailbox, uid).await?.ok_or(SnapshotError::NotPresent)?;
                1
            }
            _ => mailboxes.iter().map(|(_, entry)| entry.content.rows).sum(),
        };
        let root = match target {
            Target::InPlace => None,
            Target::Into(name) => Some(self.free_name(account, &name).await?),
        };
        let mut jobs = self.list(account).await?;
        let job = RestoreJob {
            account,
            number: jobs.last().map_or(1, |job| job.number.saturating_add(1)),
            snapshot,
            scope,
            root,
            begun: now,
            state: RestoreState::Running,
            trouble: None,
            position: None,
            done: 0,
            total,
            restored: 0,
            present: 0,
            erased: 0,
            unreadable: 0,
        };
        let all = jobs.len();
        let is_in_place = |job: &RestoreJob| !job.state.is_end() && job.root.is_none();
        if let Some(other) = jobs.iter().find(|other| is_in_place(other) && job.root.is_none()) {
            return Err(SnapshotError::InPlaceOpen { account, number: other.number });
        }
        jobs.retain(|job| job.state.is_end());
        let limit = self.limits.jobs_open_max;
        if all - jobs.len() >= limit {
            return Err(SnapshotError::TooManyRestores { account, limit });
        }
        let mut batch = also.clone();
        let key = key(account, job.number);
        // Nobody else began one since the jobs were read: that takes the place.
        batch.expect(SNAPSHOT_RESTORES, key.clone(), Expected::Absent);
        batch.put(SNAPSHOT_RESTORES, key, job.encode());
        for old in jobs.iter().rev().skip(self.limits.jobs_ended_max) {
            batch.delete(SNAPSHOT_RESTORES, self::key(account, old.number));
        }
        self.snapshots.store().commit(batch).await?;
        Ok(job)
    }

    /// A name that no mailbox has, nor stands above one: `name`, or with a number behind it.
    async fn free_name(&self, account: AccountId, name: &str) -> Result<String, SnapshotError> {
        let name = storage::account::name::MailboxName::new(name)?.to_string();
        let account_handle = self.snapshots.store().account(account).await?;
        let taken: Vec<String> =
            account_handle.mailboxes().await?.into_iter().map(|one| one.name).collect();
        let jobs = self.list(account).await?;
        let is_taken = |name: &String| {
            taken.contains(name) || jobs.iter().any(|job| job.root.as_ref() == Some(name))
        };
        let mut free = name.clone();
        for number in 2_u64.. {
            if !is_taken(&free) {
                break;
            }
            free = format!("{name} ({number})");
        }
        Ok(free)
    }

    /// The jobs of an account, ascending.
    ///
    /// # Errors
    ///
    /// What reading brings.
    pub async fn list(&self, account: AccountId) -> Result<Vec<RestoreJob>, SnapshotError> {
        let mut jobs = Vec::new();
        self.scan(&account.0.to_be_bytes(), |job| {
            jobs.push(job?);
            Ok(())
        })
        .await?;
        Ok(jobs)
    }

    /// Every job that is to go on. A row that cannot be read holds up no other.
    ///
    /// # Errors
    ///
    /// What reading brings.
    pub async fn running(&self) -> Result<RunningJobs, SnapshotError> {
        let mut running = RunningJobs::default();
        self.scan(&[], |job| {
            match job {
                Ok(job) => match job.state {
                    RestoreState::Running => running.jobs.push(job),
                    RestoreState::Stopped => running.stopped += 1,
                    RestoreState::Done | RestoreState::Cancelled => {}
                },
                Err(error) => running.unreadable.push(error),
            }
            Ok(())
        })
        .await?;
        Ok(running)
    }

    async fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(Result<RestoreJob, StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), SnapshotError> {
        let engine = self.snapshots.store().engine();
        let mut pages = Pages::prefix(SNAPSHOT_RESTORES, prefix, PAGE);
        while let Some(page) = pages.next(&**engine).await? {
            for (key, value) in page {
                each(RestoreJob::decode(&key, &value))?;
            }
        }
        Ok(())
    }

    /// One job and its octets; `None` when there is none.
    async fn read(
        &self,
        account: AccountId,
        number: u64,
    ) -> Result<Option<(RestoreJob, Bytes)>, SnapshotError> {
        let key = key(account, number);
        let octets = self.snapshots.store().engine().get(SNAPSHOT_RESTORES, &key).await?;
        octets.map(|octets| Ok((RestoreJob::decode(&key, &octets)?, octets))).transpose()
    }

    /// Tells a job to end; what it restored stays. `None` when there is no such job. `also` is in the
    /// batch that changes the job; nothing is written when it has ended.
    ///
    /// # Errors
    ///
    /// What reading and writing bring.
    pub async fn cancel(
        &self,
        account: AccountId,
        number: u64,
        also: &Batch,
    ) -> Result<Option<RestoreJob>, SnapshotError> {
        let change = |job: &mut RestoreJob| {
            if matches!(job.state, RestoreState::Running | RestoreState::Stopped) {
                job.state = RestoreState::Cancelled;
            }
        };
        self.change(account, number, also, change).await
    }

    /// Lets a job that stopped go on, into the mailbox where it was; where that has gone, one is looked
    /// for again. What others brought there meanwhile is present. `None` when there is no such job.
    /// `also` is in the batch that changes the job; nothing is written when it has not stopped.
    ///
    /// # Errors
    ///
    /// What reading and writing bring.
    pub async fn resume(
        &self,
        account: AccountId,
        number: u64,
        also: &Batch,
    ) -> Result<Option<RestoreJob>, SnapshotError> {
        let Some((job, _)) = self.read(account, number).await? else { return Ok(None) };
        let destination = job.position.and_then(|position| position.destination);
        let gone = match destination {
            Some(into) if self.is_gone(account, into).await? => destination,
            _ => None,
        };
        let change = |job: &mut RestoreJob| {
            if job.state == RestoreState::Stopped {
                job.state = RestoreState::Running;
                job.trouble = None;
                if let Some(position) = &mut job.position
                    && gone.is_some()
                    && position.destination == gone
                {
                    position.destination = None;
                }
            }
        };
        self.change(account, number, also, change).await
    }

    async fn is_gone(&self, account: AccountId, id: MailboxId) -> Result<bool, SnapshotError> {
        let live = self.snapshots.store().account(account).await?.mailboxes().await?;
        Ok(live.iter().all(|one| one.mailbox_id != Some(id)))
    }

    async fn change(
        &self,
        account: AccountId,
        number: u64,
        also: &Batch,
        change: impl Fn(&mut RestoreJob),
    ) -> Result<Option<RestoreJob>, SnapshotError> {
        loop {
            let Some((before, octets)) = self.read(account, number).await? else {
                return Ok(None);
            };
            let mut job = before.clone();
            change(&mut job);
            if job == before {
                return Ok(Some(job));
            }
            let mut batch = moved_on(&job, octets);
            batch.merge(also.clone());
            match self.snapshots.store().commit(batch).await {
                Ok(_) => return Ok(Some(job)),
                // A step came in between.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Replaces the row of a job, if it is still `before`.
fn moved_on(job: &RestoreJob, before: Bytes) -> Batch {
    let mut batch = Batch::default();
    let key = key(job.account, job.number);
    batch.expect(SNAPSHOT_RESTORES, key.clone(), Expected::Value(before));
    batch.put(SNAPSHOT_RESTORES, key, job.encode());
    batch
}

/// A row of a snapshot, for tests of the rooms beside this one.
#[cfg(test)]
pub(crate) async fn step_one(
    open: &Arc<OpenSnapshot>,
    mailbox: MailboxId,
    uid: storage::ids::Uid,
) -> storage::mailbox::view::MessageRow {
    one(open, mailbox, uid).await.expect("read").expect("the row")
}
