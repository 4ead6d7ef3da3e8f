//! Moves rows into the archive by somebody's rules, and back to where they were.
//!
//! * A move is one batch: rows go and come, usage passes from one tier to the other, mailboxes that
//!   are missing are made, and what the floor above wants to be true with it (how far its run has
//!   come) stands in the same batch. So a message is in exactly one of the two places at every
//!   instant, and a run that was killed goes on after the last batch.
//! * What a rule said of a row when it was listed is asked again in the batch: a row that was flagged
//!   or expunged meanwhile stays as it is.
//! * Rows are taken in the order of the source. One for which there is no room is passed over, with those
//!   that need as much ([`NoRoom`]): what fits is moved, and the answer says what is full. Only when no row
//!   fits any more that is the end.
//! * A row in the archive notes its `origin`: mailbox, the name it had then, UID.
//!
//! Not here: rules and schedules (the floor above), MOVE as clients ask for it (`copy`).

use std::collections::{BTreeMap, BTreeSet};

use trust::clock::UnixMillis;

use super::{
    copy::too_many_rows,
    flags::Flags,
    rows::{self, OpenMailbox},
    view::{ListedMessage, MessageRow},
};
use crate::{
    account::{
        Account,
        draft::Draft,
        name::{INBOX, MailboxName},
        queue::Change,
        tier::Tier,
        tree,
    },
    catalog::engine::Batch,
    error::StoreError,
    ids::{MailboxId, ModSeq, Uid},
};

/// What a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'r> {
    /// The flags.
    pub flags: &'r Flags,
    /// INTERNALDATE.
    pub internal_date: UnixMillis,
    /// When the row came to its mailbox (RFC 8514): later than INTERNALDATE of what was moved, copied,
    /// restored or appended long after it was received.
    pub save_date: UnixMillis,
    /// Octets of the message.
    pub size: u64,
}

impl<'r> From<&'r ListedMessage> for Candidate<'r> {
    fn from(listed: &'r ListedMessage) -> Self {
        let ListedMessage { flags, internal_date, save_date, size, .. } = listed;
        let (internal_date, save_date) = (*internal_date, *save_date);
        Self { flags, internal_date, save_date, size: *size }
    }
}

impl<'r> From<&'r MessageRow> for Candidate<'r> {
    fn from(row: &'r MessageRow) -> Self {
        let MessageRow { flags, internal_date, save_date, size, .. } = row;
        let (internal_date, save_date) = (*internal_date, *save_date);
        Self { flags, internal_date, save_date, size: *size }
    }
}

/// Rules, as far as they concern one mailbox.
pub trait ArchiveSelection: Send + Sync + 'static {
    /// The mailbox of the archive that a message goes to; `None` = it stays.
    fn target(&self, candidate: Candidate<'_>) -> Option<MailboxName>;

    /// What becomes true together with `moved`, and under which conditions.
    fn also(&self, moved: &Archived) -> Batch;
}

/// Messages of one mailbox that may go into the archive.
#[derive(Debug)]
pub struct ArchiveRequest<S> {
    /// Where they are.
    pub source: MailboxId,
    /// Which ones, ascending. Those that are gone, or that `selection` no longer picks, are passed
    /// over.
    pub uids: Vec<Uid>,
    /// The rules.
    pub selection: S,
    /// What is known to have no room: it is passed over.
    pub no_room: NoRoom,
}

/// What [`Account::archive`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Archived {
    /// The last UID that is settled: moved, or passed over.
    pub up_to: Option<Uid>,
    /// Rows that were moved.
    pub messages: u64,
    /// What they are charged.
    pub octets: u64,
    /// What there was no room for first.
    pub full: Option<Full>,
    /// What has no room now, with that of the request.
    pub no_room: NoRoom,
}

/// What of the archive is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full {
    /// `archive octets`, `archive messages` or `mailboxes`.
    pub resource: &'static str,
    /// Used before the row that did not fit.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// What was found to have no room in the archive, so that it is not tried again: nor is what needs as much.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NoRoom {
    /// What the smallest row is charged that did not fit.
    octets: Option<u64>,
    /// Mailboxes that may not be made.
    targets: BTreeSet<MailboxName>,
    /// Whether there is none for any row at all.
    at_end: bool,
}

impl NoRoom {
    /// Notes that a row which is charged `octets` and goes to `target` met `full`.
    pub fn note(&mut self, full: &Full, target: &MailboxName, octets: u64) {
        match full.resource {
            "archive octets" => {
                self.octets = Some(self.octets.map_or(octets, |least| least.min(octets)));
            }
            "mailboxes" => {
                self.targets.insert(target.clone());
            }
            _ => self.at_end = true,
        }
    }

    /// Whether it is known that a row which is charged `octets` does not fit into `target`.
    #[must_use]
    pub fn is_for(&self, target: &MailboxName, octets: u64) -> bool {
        self.at_end
            || self.octets.is_some_and(|least| octets >= least)
            || self.targets.contains(target)
    }

    /// Whether no row fits any more.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }
}

/// The mailboxes that rows go to, by name, open until the batch is complete.
type Targets = BTreeMap<MailboxName, OpenMailbox>;

#[async_trait::async_trait]
impl<S: ArchiveSelection> Change for ArchiveRequest<S> {
    type Outcome = Archived;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Archived, StoreError> {
        if self.uids.len() > draft.limits.rows_per_batch_max {
            return Err(too_many_rows(draft.limits.rows_per_batch_max));
        }
        let mut source = OpenMailbox::open(draft, self.source).await?;
        let (up_to, no_room) = (self.uids.last().copied(), self.no_room.clone());
        let mut archived = Archived { up_to, no_room, ..Archived::default() };
        let mut targets = Targets::new();
        let mut moved = Vec::new();
        // What is in the archive already stays where it is.
        let rows = match source.tier() {
            Tier::Live => source.find(draft, &self.uids).await?,
            Tier::Archive => Vec::new(),
        };
        let mut mod_seq = None;
        let mut settled = None;
        for row in rows {
            let target = self.selection.target(Candidate::from(&row));
            let has_room = |name: &MailboxName| !archived.no_room.is_for(name, row.charged_octets);
            if let Some(name) = target.filter(has_room) {
                if let Some(full) = room(draft, &mut targets, &name, &row).await? {
                    archived.no_room.note(&full, &name, row.charged_octets);
                    archived.full.get_or_insert(full);
                    if archived.no_room.is_at_end() {
                        archived.up_to = settled;
                        break;
                    }
                    settled = Some(row.uid);
                    continue;
                }
                let seq = match mod_seq {
                    Some(seq) => seq,
                    None => *mod_seq.insert(draft.take_mod_seq()?),
                };
                let target = targets.get_mut(&name).ok_or(StoreError::Conflict)?;
                move_row(draft, &mut source, target, &row, seq)?;
                archived.messages += 1;
                archived.octets = archived.octets.saturating_add(row.charged_octets);
                moved.push(row.clone());
            }
            settled = Some(row.uid);
        }
        if !moved.is_empty() {
            source.log_expunged(draft, &moved)?;
            source.close(draft);
        }
        for target in targets.into_values() {
            target.close(draft);
        }
        draft.add(self.selection.also(&archived));
        Ok(archived)
    }

    fn weight(&self) -> usize {
        512 * self.uids.len()
    }
}

/// Opens or makes the mailbox `name` and charges the archive for `row`; says what is full instead.
async fn room(
    draft: &mut Draft<'_>,
    targets: &mut Targets,
    name: &MailboxName,
    row: &MessageRow,
) -> Result<Option<Full>, StoreError> {
    if Tier::of_name(name.as_str()) != Tier::Archive {
        let (name, reason) = (name.to_string(), "it is not in the archive");
        return Err(StoreError::InvalidMailboxName { name, reason });
    }
    let before = draft.checkpoint();
    let outcome = async {
        let tiers = (Tier::Live, Tier::Archive);
        rows::transfer(draft, tiers, std::slice::from_ref(row)).await?;
        if !targets.contains_key(name) {
            let id = tree::find_or_add(draft, name).await?;
            targets.insert(name.clone(), OpenMailbox::open(draft, id).await?);
        }
        Ok(())
    };
    match outcome.await {
        Ok(()) => Ok(None),
        Err(StoreError::OverQuota { resource, used, limit }) => {
            draft.roll_back(&before);
            Ok(Some(Full { resource, used, limit }))
        }
        Err(error) => Err(error),
    }
}

fn move_row(
    draft: &mut Draft<'_>,
    source: &mut OpenMailbox,
    target: &mut OpenMailbox,
    row: &MessageRow,
    mod_seq: ModSeq,
) -> Result<(), StoreError> {
    let origin = source.origin_of_moved(row, target.tier());
    rows::copy_row(draft, target, row, mod_seq, origin)?;
    source.remove(draft, row)
}

/// Rows of the archive that go back to where they were.
struct Restore {
    source: MailboxId,
    uids: Vec<Uid>,
}

#[async_trait::async_trait]
impl Change for Restore {
    type Outcome = Vec<Restored>;

    async fn apply(&self, draft: &mut Draft<'_>) -> Result<Vec<Restored>, StoreError> {
        if self.uids.len() > draft.limits.rows_per_batch_max {
            return Err(too_many_rows(draft.limits.rows_per_batch_max));
        }
        let mut source = OpenMailbox::open(draft, self.source).await?;
        let rows = source.find(draft, &self.uids).await?;
        if rows.is_empty() || source.tier() == Tier::Live {
            return Ok(Vec::new());
        }
        rows::transfer(draft, (Tier::Archive, Tier::Live), &rows).await?;
        let mut targets = BTreeMap::<MailboxId, OpenMailbox>::new();
        let mut restored = Vec::with_capacity(rows.len());
        let mod_seq = draft.take_mod_seq()?;
        for row in &rows {
            let id = home(draft, row).await?;
            let target = match targets.entry(id) {
                std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(OpenMailbox::open(draft, id).await?)
                }
            };
            let uid = rows::copy_row(draft, target, row, mod_seq, None)?;
            source.remove(draft, row)?;
            restored.push(Restored { from: row.uid, mailbox: id, uid });
        }
        source.log_expunged(draft, &rows)?;
        source.close(draft);
        for target in targets.into_values() {
            target.close(draft);
        }
        Ok(restored)
    }

    fn weight(&self) -> usize {
        512 * self.uids.len()
    }
}

/// The live mailbox that `row` goes back to: the one it came from, wherever it now stands among live
/// mailboxes; else one of the name it had, made anew when it is gone; else INBOX.
async fn home(draft: &mut Draft<'_>, row: &MessageRow) -> Result<MailboxId, StoreError> {
    if let Some(origin) = &row.origin {
        match draft.mailbox(origin.mailbox).await {
            Ok(record) if Tier::of(&record) == Tier::Live => return Ok(origin.mailbox),
            Ok(_) | Err(StoreError::NoSuchMailbox { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Ok(name) = MailboxName::new(&origin.name)
            && Tier::of_name(name.as_str()) == Tier::Live
        {
            let before = draft.checkpoint();
            match tree::find_or_add(draft, &name).await {
                Ok(id) => return Ok(id),
                Err(StoreError::OverQuota { .. }) => draft.roll_back(&before),
                Err(error) => return Err(error),
            }
        }
    }
    tree::find_or_add(draft, &MailboxName::new(INBOX)?).await
}

/// A row that is back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restored {
    /// Its UID in the archive's mailbox.
    pub from: Uid,
    /// The mailbox it is in now.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
}

impl Account {
    /// Moves messages into the archive: one batch, as many as there is room for.
    /// [`StoreError::NoSuchMailbox`], [`StoreError::Conflict`] when a condition of
    /// [`ArchiveSelection::also`] fails, [`StoreError::LimitExceeded`] when there are more `uids` than
    /// one batch may change; on every error nothing is moved.
    pub async fn archive(
        &self,
        request: ArchiveRequest<impl ArchiveSelection>,
    ) -> Result<Archived, StoreError> {
        self.queue.submit(&self.core, request).await
    }

    /// Moves messages of a mailbox of the archive back to where they were, all in one batch or none;
    /// those that note no origin go to INBOX. Unknown UIDs are passed over.
    /// [`StoreError::OverQuota`] when live mail has no room.
    pub async fn restore_to_origin(
        &self,
        source: MailboxId,
        uids: &[Uid],
    ) -> Result<Vec<Restored>, StoreError> {
        self.queue.submit(&self.core, Restore { source, uids: uids.to_vec() }).await
    }
}
