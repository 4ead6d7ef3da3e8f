//! What one writer owns, and what each of its operations makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::bodies::Body;
use crate::{held::HeldId, ids::AccountId};

/// A row as the model knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) body: Body,
    pub(super) seen: bool,
    pub(super) deleted: bool,
}

/// A mailbox as the model knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Rows {
    pub(super) rows: BTreeMap<u32, Row>,
    /// The last UID that was given.
    pub(super) given: u32,
}

/// What one writer owns: mailboxes that nobody else writes to, held messages, and messages that a
/// simulated snapshot keeps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct State {
    pub(super) mailboxes: BTreeMap<String, Rows>,
    pub(super) held: BTreeMap<HeldId, Body>,
    pub(super) kept: BTreeMap<u64, Body>,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Append {
        mailbox: String,
        body: Body,
    },
    Copy {
        from: String,
        to: String,
        uids: Vec<u32>,
        remove: bool,
    },
    Flag {
        mailbox: String,
        uids: Vec<u32>,
        deleted: bool,
        add: bool,
    },
    Expunge {
        mailbox: String,
        uids: Vec<u32>,
    },
    Create {
        mailbox: String,
    },
    Delete {
        mailbox: String,
    },
    Hold {
        id: HeldId,
        body: Body,
    },
    Release {
        id: HeldId,
    },
    /// Append what is held, and release it, in one batch.
    Deliver {
        id: HeldId,
        mailbox: String,
    },
    /// A snapshot takes a message of a mailbox.
    Keep {
        key: u64,
        mailbox: String,
        uid: u32,
    },
    /// A snapshot's retention ends.
    Forget {
        key: u64,
    },
}

impl Rows {
    pub(super) fn append(&mut self, row: Row) -> u32 {
        self.given += 1;
        self.rows.insert(self.given, row);
        self.given
    }
}

impl State {
    /// The state after `operation`, which was chosen to be possible.
    pub(super) fn after(&self, operation: &Operation) -> Self {
        let mut next = self.clone();
        match operation {
            Operation::Append { mailbox, body } => next.append(mailbox, *body),
            Operation::Copy { from, to, uids, remove } => next.copy(from, to, uids, *remove),
            Operation::Flag { mailbox, uids, deleted, add } => {
                for row in next.rows(mailbox, uids) {
                    *(if *deleted { &mut row.deleted } else { &mut row.seen }) = *add;
                }
            }
            Operation::Expunge { mailbox, uids } => {
                let uids: BTreeSet<&u32> = uids.iter().collect();
                let rows = next.mailboxes.entry(mailbox.clone()).or_default();
                rows.rows.retain(|uid, row| !(row.deleted && uids.contains(uid)));
            }
            Operation::Create { mailbox } => {
                next.mailboxes.insert(mailbox.clone(), Rows::default());
            }
            Operation::Delete { mailbox } => {
                next.mailboxes.remove(mailbox);
            }
            Operation::Hold { id, body } => {
                next.held.insert(*id, *body);
            }
            Operation::Release { id } => {
                next.held.remove(id);
            }
            Operation::Deliver { id, mailbox } => {
                if let Some(body) = next.held.remove(id) {
                    next.append(mailbox, body);
                }
            }
            Operation::Keep { key, mailbox, uid } => {
                let row = self.mailboxes.get(mailbox).and_then(|rows| rows.rows.get(uid));
                next.kept.extend(row.map(|row| (*key, row.body)));
            }
            Operation::Forget { key } => {
                next.kept.remove(key);
            }
        }
        next
    }

    fn append(&mut self, mailbox: &str, body: Body) {
        let rows = self.mailboxes.entry(mailbox.to_owned()).or_default();
        rows.append(Row { body, seen: false, deleted: false });
    }

    fn copy(&mut self, from: &str, to: &str, uids: &[u32], remove: bool) {
        let source = self.mailboxes.entry(from.to_owned()).or_default();
        let mut rows = Vec::new();
        for uid in uids {
            rows.extend(source.rows.get(uid).copied());
            if remove {
                source.rows.remove(uid);
            }
        }
        let destination = self.mailboxes.entry(to.to_owned()).or_default();
        for row in rows {
            destination.append(row);
        }
    }

    fn rows(&mut self, mailbox: &str, uids: &[u32]) -> impl Iterator<Item = &mut Row> {
        let uids: BTreeSet<u32> = uids.iter().copied().collect();
        let rows = self.mailboxes.entry(mailbox.to_owned()).or_default();
        rows.rows.iter_mut().filter(move |(uid, _)| uids.contains(uid)).map(|(_, row)| row)
    }

    /// Octets and number of all rows.
    pub(super) fn charged(&self) -> (u64, u64) {
        let rows = self.mailboxes.values().flat_map(|rows| rows.rows.values());
        rows.fold((0, 0), |(octets, count), row| (octets + row.body.size(), count + 1))
    }
}

impl Operation {
    /// Whether a reader may find `uid` of `mailbox` gone while this is on its way.
    pub(super) fn may_remove(&self, name: &str, uid: u32) -> bool {
        match self {
            Self::Expunge { mailbox, uids } => mailbox == name && uids.contains(&uid),
            Self::Copy { from, uids, remove: true, .. } => from == name && uids.contains(&uid),
            Self::Delete { mailbox } => mailbox == name,
            _ => false,
        }
    }
}

/// One writer, as it is remembered across crashes.
#[derive(Clone, Debug)]
pub(super) struct Scribe {
    pub(super) number: usize,
    pub(super) account: AccountId,
    /// What was acknowledged.
    pub(super) state: State,
    /// What was begun and not acknowledged: it happened, or it did not.
    pub(super) pending: Option<Operation>,
    /// The last MODSEQ that was acknowledged.
    pub(super) mod_seq: u64,
    /// The last UIDVALIDITY that each name was seen with.
    pub(super) validities: BTreeMap<String, u32>,
    /// Operations acknowledged.
    pub(super) acknowledged: u64,
}

impl Scribe {
    pub(super) fn new(number: usize, account: AccountId) -> Self {
        Self {
            number,
            account,
            state: State::default(),
            pending: None,
            mod_seq: 0,
            validities: BTreeMap::new(),
            acknowledged: 0,
        }
    }

    /// The mailbox that is always there.
    pub(super) fn home(&self) -> String {
        // Every other one is in the archive, so that its usage is compared too.
        match self.number % 2 {
            0 => format!("Casa{}", self.number),
            _ => format!("Archivio/Casa{}", self.number),
        }
    }

    /// The mailbox that comes and goes.
    pub(super) fn tent(&self) -> String {
        format!("Tenda{}", self.number)
    }
}
