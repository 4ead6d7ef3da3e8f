//! The rows of restores: what was asked for, and how far it is.
//!
//! Key: AccountId (8), job number (8). The value: [`crate::fields`].

use prost::Message;
use storage::{
    catalog::{engine::Family, keys::KeyReader},
    error::StoreError,
    ids::{AccountId, MailboxId, Uid},
};
use trust::clock::UnixMillis;

use crate::fields;

/// Restores. Key: AccountId (8), job number (8).
pub const SNAPSHOT_RESTORES: Family = Family("snapshot_restores");

/// What is restored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scope {
    /// One mailbox; `None` is the whole account, or what is below `above`.
    pub mailbox: Option<MailboxId>,
    /// The mailboxes below this name, which is no mailbox itself.
    pub above: Option<String>,
    /// With the mailboxes below it.
    pub below: bool,
    /// One message of the mailbox.
    pub uid: Option<Uid>,
}

/// How a restore stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RestoreState {
    /// It goes on.
    Running,
    /// Everything is done.
    Done,
    /// It stopped for a reason that [`RestoreJob::trouble`] names; it can be resumed.
    Stopped,
    /// It was told to end.
    Cancelled,
}

impl RestoreState {
    /// Nothing more comes of it.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Stopped, Self::Cancelled];

    fn number(self) -> u32 {
        match self {
            Self::Running => 1,
            Self::Done => 2,
            Self::Stopped => 3,
            Self::Cancelled => 4,
        }
    }
}

/// Where a restore goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The mailbox of the snapshot.
    pub mailbox: MailboxId,
    /// Every row up to this one is done.
    pub after: Option<Uid>,
    /// Where its messages go, when that is known.
    pub destination: Option<MailboxId>,
    /// UIDs of the destination from here on were given by this restore.
    pub own_from: u32,
}

impl Position {
    /// The start of a mailbox.
    #[must_use]
    pub fn start(mailbox: MailboxId) -> Self {
        Self { mailbox, after: None, destination: None, own_from: 0 }
    }
}

/// One restore.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreJob {
    /// The account.
    pub account: AccountId,
    /// Its number in the account, from 1.
    pub number: u64,
    /// The snapshot.
    pub snapshot: u64,
    /// What is restored.
    pub scope: Scope,
    /// The mailbox above everything that is restored; `None` restores in place.
    pub root: Option<String>,
    /// When it was asked for.
    pub begun: UnixMillis,
    /// How it stands.
    pub state: RestoreState,
    /// Why it stopped.
    pub trouble: Option<String>,
    /// Where it goes on; `None` before the first step.
    pub position: Option<Position>,
    /// Messages looked at.
    pub done: u64,
    /// Messages to look at.
    pub total: u64,
    /// Messages brought back.
    pub restored: u64,
    /// Messages that were there already.
    pub present: u64,
    /// Messages whose octets were erased.
    pub erased: u64,
    /// Messages whose records are missing or damaged.
    pub unreadable: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct JobFields {
    #[prost(uint64, tag = "1")]
    snapshot: u64,
    #[prost(uint64, optional, tag = "2")]
    mailbox: Option<u64>,
    #[prost(bool, tag = "3")]
    below: bool,
    #[prost(uint32, tag = "4")]
    uid: u32,
    #[prost(string, optional, tag = "5")]
    root: Option<String>,
    #[prost(sint64, tag = "6")]
    begun: i64,
    #[prost(uint32, tag = "7")]
    state: u32,
    #[prost(string, optional, tag = "8")]
    trouble: Option<String>,
    #[prost(message, optional, tag = "9")]
    position: Option<PositionFields>,
    #[prost(uint64, tag = "10")]
    done: u64,
    #[prost(uint64, tag = "11")]
    total: u64,
    #[prost(uint64, tag = "12")]
    restored: u64,
    #[prost(uint64, tag = "13")]
    present: u64,
    #[prost(uint64, tag = "14")]
    erased: u64,
    #[prost(uint64, tag = "15")]
    unreadable: u64,
    #[prost(string, optional, tag = "16")]
    above: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct PositionFields {
    #[prost(uint64, tag = "1")]
    mailbox: u64,
    #[prost(uint32, tag = "2")]
    after: u32,
    #[prost(uint64, optional, tag = "3")]
    destination: Option<u64>,
    #[prost(uint32, tag = "4")]
    own_from: u32,
}

/// The key of a job.
#[must_use]
pub fn key(account: AccountId, number: u64) -> Vec<u8> {
    [account.0.to_be_bytes(), number.to_be_bytes()].concat()
}

impl RestoreJob {
    /// The value of the row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let position = self.position.map(|position| PositionFields {
            mailbox: position.mailbox.0,
            after: position.after.map_or(0, Uid::get),
            destination: position.destination.map(|mailbox| mailbox.0),
            own_from: position.own_from,
        });
        let fields = JobFields {
            snapshot: self.snapshot,
            mailbox: self.scope.mailbox.map(|mailbox| mailbox.0),
            below: self.scope.below,
            uid: self.scope.uid.map_or(0, Uid::get),
            root: self.root.clone(),
            begun: self.begun.0,
            state: self.state.number(),
            trouble: self.trouble.clone(),
            position,
            done: self.done,
            total: self.total,
            restored: self.restored,
            present: self.present,
            erased: self.erased,
            unreadable: self.unreadable,
            above: self.scope.above.clone(),
        };
        fields::encode(&fields)
    }

    /// Reads a row.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::TooNew`].
    pub fn decode(key: &[u8], octets: &[u8]) -> Result<Self, StoreError> {
        let mut reader = KeyReader::new(SNAPSHOT_RESTORES, key);
        let (account, number) = (AccountId(reader.take_u64()?), reader.take_u64()?);
        reader.finish()?;
        let fields: JobFields = fields::decode(SNAPSHOT_RESTORES, key, octets)?;
        let damaged = |detail| fields::damaged(SNAPSHOT_RESTORES, key, detail);
        let state = RestoreState::ALL.into_iter().find(|state| state.number() == fields.state);
        Ok(Self {
            account,
            number,
            snapshot: fields.snapshot,
            scope: Scope {
                mailbox: fields.mailbox.map(MailboxId),
                above: fields.above,
                below: fields.below,
                uid: Uid::new(fields.uid),
            },
            root: fields.root,
            begun: UnixMillis(fields.begun),
            state: state.ok_or_else(|| damaged("it is in no known state"))?,
            trouble: fields.trouble,
            position: fields.position.map(|position| Position {
                mailbox: MailboxId(position.mailbox),
                after: Uid::new(position.after),
                destination: position.destination.map(MailboxId),
                own_from: position.own_from,
            }),
            done: fields.done,
            total: fields.total,
            restored: fields.restored,
            present: fields.present,
            erased: fields.erased,
            unreadable: fields.unreadable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    fn job(state: RestoreState, scope: Scope) -> RestoreJob {
        RestoreJob {
            account: AccountId(7),
            number: 12,
            snapshot: 1,
            scope,
            root: Some("Ripristino 2026-11-28T12:00:00Z".into()),
            begun: UnixMillis(1_795_867_200_123),
            state,
            trouble: Some("quota".into()),
            position: Some(Position {
                mailbox: MailboxId(1),
                after: Uid::new(2),
                destination: Some(MailboxId(3)),
                own_from: 4,
            }),
            done: 10,
            total: 11,
            restored: 12,
            present: 13,
            erased: 14,
            unreadable: 15,
        }
    }

    fn holds(golden: Golden, job: &RestoreJob) {
        let key = key(job.account, job.number);
        let golden = golden.key(&key).fields("job::JobFields", 1);
        golden.holds(job, RestoreJob::encode, |octets| {
            RestoreJob::decode(&key, octets).expect("a job")
        });
    }

    #[test]
    fn records_of_restores_stay_as_they_are() {
        let golden = || Golden::of("snapshot_restores");
        for state in RestoreState::ALL {
            let mailbox = Some(MailboxId(2));
            let scope = Scope { mailbox, above: None, below: true, uid: Uid::new(4) };
            holds(golden().variant(state), &job(state, scope));
        }
        let above = Scope { above: Some("Clienti".into()), below: true, ..Scope::default() };
        holds(golden().variant("above"), &job(RestoreState::Running, above));
    }

    /// Of the whole account, in place, before its first step; then at the first message of a mailbox whose
    /// destination is not known.
    #[test]
    fn restores_without_what_may_be_absent_stay_as_they_are() {
        let least = RestoreJob {
            account: AccountId(7),
            number: 13,
            snapshot: 1,
            scope: Scope::default(),
            root: None,
            begun: UnixMillis(1_795_867_200_123),
            state: RestoreState::Running,
            trouble: None,
            position: None,
            done: 0,
            total: 0,
            restored: 0,
            present: 0,
            erased: 0,
            unreadable: 0,
        };
        let position = Some(Position::start(MailboxId(1)));
        let begun = RestoreJob { position, total: 11, ..least.clone() };
        for (name, job) in [("least", least), ("begun", begun)] {
            let key = key(job.account, job.number);
            let golden = Golden::of("snapshot_restores").variant(name).key(&key);
            golden.fields("job::JobFields", 1).holds(&job, RestoreJob::encode, |octets| {
                RestoreJob::decode(&key, octets).expect("a job")
            });
        }
    }
}
