//! What changed in an account between two instants: two snapshots, or a snapshot and now.
//!
//! * Mailboxes are told apart by MailboxId: a renamed one is the same one.
//! * A message *moved* when the same EmailNumber is gone from one mailbox and came to another.
//! * What is reported stands in the order of mailboxes and UIDs, save that moves come where the message
//!   came to. Memory is bounded: when more differences are found than
//!   [`SnapshotLimits`](crate::keep::SnapshotLimits) let it hold, what was held is reported, and moves from
//!   there to later mailboxes are told as removed and added ([`DiffTotals::moves_complete`]).
//!
//! Not here: the walk over trees (`tree::diff`), who is told (floors above).

pub(crate) mod live;

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    account::capture::AccountState,
    ids::{EmailNumber, MailboxId, Uid},
    mailbox::flags::Flags,
};

use self::live::LiveRows;
use crate::{
    error::SnapshotError,
    keep::open::OpenSnapshot,
    state::MailboxEntry,
    tree::{
        diff::TreeDiff,
        row::{ContentRow, FlagsRow},
    },
};

/// What is compared with a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum Later<'a> {
    /// Another snapshot of the same account. It may as well be the earlier one.
    Snapshot(&'a OpenSnapshot),
    /// The account as it is.
    Now(&'a AccountState),
}

/// A message's place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The UID.
    pub uid: Uid,
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Difference {
    /// A mailbox that was not there before, with its name.
    MailboxCreated(MailboxId, String),
    /// A mailbox that is there no more.
    MailboxDeleted(MailboxId, String),
    /// The same mailbox under another name.
    MailboxRenamed(MailboxId, String, String),
    /// A message that was not there.
    Added(Place, ContentRow),
    /// A message that is there no more.
    Removed(Place, ContentRow),
    /// The same message from one mailbox to another.
    Moved {
        /// Where it was.
        from: Place,
        /// Where it is.
        to: Place,
        /// The row where it is.
        row: ContentRow,
    },
    /// Other flags.
    Flags(Place, Flags, Flags),
}

/// How many differences of each kind there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiffTotals {
    /// Messages added.
    pub added: u64,
    /// Messages removed.
    pub removed: u64,
    /// Messages moved.
    pub moved: u64,
    /// Messages with other flags.
    pub flags: u64,
    /// Mailboxes created, deleted, renamed.
    pub mailboxes: u64,
    /// Whether every move is told as one.
    pub moves_complete: bool,
}

impl Default for DiffTotals {
    fn default() -> Self {
        Self { added: 0, removed: 0, moved: 0, flags: 0, mailboxes: 0, moves_complete: true }
    }
}

/// Tells `tell` every difference between `before` and `after`. `tell` says whether to go on.
///
/// # Errors
///
/// What reading brings; [`SnapshotError::NoSuchSnapshot`] when one of them went meanwhile.
pub async fn diff(
    before: &OpenSnapshot,
    after: Later<'_>,
    tell: impl FnMut(Difference) -> bool + Send,
) -> Result<DiffTotals, SnapshotError> {
    let held = Held::new(tell, before.limits().differences_held_max);
    match run(before, after, held).await {
        Ok(totals) => Ok(totals),
        Err(error) => {
            let error = before.or_expired(error).await;
            match after {
                Later::Snapshot(after) => Err(after.or_expired(error).await),
                Later::Now(_) => Err(error),
            }
        }
    }
}

async fn run<F: FnMut(Difference) -> bool + Send>(
    before: &OpenSnapshot,
    after: Later<'_>,
    mut held: Held<F>,
) -> Result<DiffTotals, SnapshotError> {
    let live = match after {
        Later::Now(state) => Some(LiveRows::new(state).await?),
        Later::Snapshot(_) => None,
    };
    let old = &before.state().mailboxes;
    let new: BTreeMap<MailboxId, &str> = match (&live, after) {
        (Some(live), _) => live.names(),
        (None, Later::Snapshot(after)) => names(&after.state().mailboxes),
        (None, Later::Now(_)) => BTreeMap::new(),
    };
    let all: BTreeSet<MailboxId> = old.keys().chain(new.keys()).copied().collect();
    for id in all {
        match (old.get(&id), new.get(&id)) {
            (Some(was), None) => held.add(Difference::MailboxDeleted(id, was.name.clone())),
            (None, Some(is)) => held.add(Difference::MailboxCreated(id, (*is).to_owned())),
            (Some(was), Some(is)) if was.name != *is => {
                held.add(Difference::MailboxRenamed(id, was.name.clone(), (*is).to_owned()));
            }
            _ => {}
        }
        match (&live, after) {
            (Some(live), _) => live.compare(before, id, &mut |one| held.add(one)).await?,
            (None, Later::Snapshot(after)) => {
                compare(before, after, id, &mut |one| held.add(one)).await?;
            }
            (None, Later::Now(_)) => {}
        }
        if held.ended {
            break;
        }
    }
    held.flush();
    Ok(held.totals)
}

fn names(mailboxes: &BTreeMap<MailboxId, MailboxEntry>) -> BTreeMap<MailboxId, &str> {
    mailboxes.iter().map(|(id, entry)| (*id, entry.name.as_str())).collect()
}

/// Compares one mailbox of two snapshots. Says whether it went on to the end through `tell`.
pub(crate) async fn compare(
    before: &OpenSnapshot,
    after: &OpenSnapshot,
    mailbox: MailboxId,
    tell: &mut (dyn FnMut(Difference) + Send),
) -> Result<(), SnapshotError> {
    content(before, after, mailbox, tell).await?;
    let salts = before.salts(mailbox);
    let root = |open: &OpenSnapshot| open.state().mailboxes.get(&mailbox).map(|entry| entry.flags);
    let (Some(was), Some(is)) = (root(before), root(after)) else { return Ok(()) };
    let mut flags = TreeDiff::<FlagsRow>::new(before.pages(), &salts, was, is);
    while let Some(difference) = flags.next().await? {
        // What has come or gone is told of the content.
        if let (Some(was), Some(is)) = difference {
            let place = Place { mailbox, uid: is.uid };
            tell(Difference::Flags(place, was.flags, is.flags));
        }
    }
    Ok(())
}

/// Compares the content of one mailbox of two snapshots.
pub(crate) async fn content(
    before: &OpenSnapshot,
    after: &OpenSnapshot,
    mailbox: MailboxId,
    tell: &mut (dyn FnMut(Difference) + Send),
) -> Result<(), SnapshotError> {
    let salts = before.salts(mailbox);
    let root = |open: &OpenSnapshot| {
        let entry = open.state().mailboxes.get(&mailbox);
        entry.map_or_else(crate::tree::TreeRoot::empty, |entry| entry.content)
    };
    let mut content =
        TreeDiff::<ContentRow>::new(before.pages(), &salts, root(before), root(after));
    while let Some((was, is)) = content.next().await? {
        if let Some(row) = was {
            tell(Difference::Removed(Place { mailbox, uid: row.uid }, row));
        }
        if let Some(row) = is {
            tell(Difference::Added(Place { mailbox, uid: row.uid }, row));
        }
    }
    Ok(())
}

/// Differences that wait until it is known whether they are halves of a move.
struct Held<F> {
    tell: F,
    max: usize,
    waiting: Vec<Difference>,
    totals: DiffTotals,
    ended: bool,
}

impl<F: FnMut(Difference) -> bool> Held<F> {
    fn new(tell: F, max: usize) -> Self {
        Self { tell, max, waiting: Vec::new(), totals: DiffTotals::default(), ended: false }
    }

    fn add(&mut self, difference: Difference) {
        self.waiting.push(difference);
        if self.waiting.len() >= self.max {
            self.totals.moves_complete = false;
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut gone: BTreeMap<EmailNumber, Vec<Place>> = BTreeMap::new();
        for difference in &self.waiting {
            if let Difference::Removed(place, row) = difference {
                gone.entry(row.email_number).or_default().push(*place);
            }
        }
        let mut moved = BTreeSet::new();
        let mut told = std::mem::take(&mut self.waiting);
        for difference in &mut told {
            let Difference::Added(to, row) = difference else { continue };
            let Some(places) = gone.get_mut(&row.email_number) else { continue };
            let Some(at) = places.iter().position(|from| from.mailbox != to.mailbox) else {
                continue;
            };
            let from = places.swap_remove(at);
            moved.insert(from);
            *difference = Difference::Moved { from, to: *to, row: row.clone() };
        }
        let is_half = |one: &Difference| matches!(one, Difference::Removed(place, _) if moved.contains(place));
        for difference in told.into_iter().filter(|one| !is_half(one)) {
            self.totals.count(&difference);
            self.ended = self.ended || !(self.tell)(difference);
        }
    }
}

impl DiffTotals {
    fn count(&mut self, difference: &Difference) {
        let counter = match difference {
            Difference::MailboxCreated(..)
            | Difference::MailboxDeleted(..)
            | Difference::MailboxRenamed(..) => &mut self.mailboxes,
            Difference::Added(..) => &mut self.added,
            Difference::Removed(..) => &mut self.removed,
            Difference::Moved { .. } => &mut self.moved,
            Difference::Flags(..) => &mut self.flags,
        };
        *counter += 1;
    }
}

#[cfg(test)]
mod tests;
