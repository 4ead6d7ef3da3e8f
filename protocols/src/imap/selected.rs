//! A selected mailbox as one session sees it: the list of messages behind its sequence numbers.
//!
//! Invariants:
//!
//! * The list is what the client was told. New messages join its end when `EXISTS` is sent;
//!   expunged ones leave it when their `EXPUNGE` is sent, and never else (RFC 3501 §7.4.1).
//! * Every other session's changes reach the client, once, at the next moment that allows them.
//!
//! Not here: what changed (the view tells), who is woken by it (`command::idle`).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use storage::{
    error::StoreError,
    ids::{MailboxId, ModSeq, Uid, UidValidity},
    mailbox::{
        flags::{Flags, Keyword},
        view::{Access, ListedMessage, MailboxView, MessageRow},
    },
};

use super::{
    completion::{Completion, Failure},
    contexts::Contexts,
    enabled::Enabled,
    frame::Frame,
    grammar::{
        UidBatches,
        sequence::{SequenceSet, write_set},
        write,
    },
    notify::{Expunged, Moment},
};
use crate::{
    access::realm_of,
    lines::{Disconnect, Stream},
};

/// A mailbox selected by one session.
pub(crate) struct SelectedMailbox {
    pub(crate) view: Arc<dyn MailboxView>,
    /// Whether the session may change it: SELECT of a mailbox that is not read-only itself.
    pub(crate) writable: bool,
    /// Where its number counts, as [`crate::access::realm_of`] names it.
    pub(crate) realm: Option<String>,
    pub(crate) id: MailboxId,
    pub(crate) uid_validity: UidValidity,
    rows: Vec<ListedMessage>,
    mod_seq: ModSeq,
    /// The modification sequence up to which the client has been told everything.
    told: ModSeq,
    recent: BTreeSet<Uid>,
    /// Messages that are gone while the client still counts them.
    expunged: BTreeSet<Uid>,
    /// Those of them that the client itself expunged.
    own_gone: BTreeSet<Uid>,
    /// Rows that are new since the client was last told a number, ascending.
    arrived: Vec<ListedMessage>,
    /// Messages whose new row the client has not been told, and whether their flags differ.
    changed: BTreeMap<Uid, bool>,
    /// Those of them that the client is told of whatever it watches, because it asked.
    again: BTreeSet<Uid>,
    /// What `$` stands for: the UIDs that the last SEARCH with RETURN (SAVE) found (RFC 5182 §2.1).
    pub(crate) saved: BTreeSet<Uid>,
    /// Searches whose changes are told.
    pub(crate) contexts: Contexts,
    keywords: BTreeSet<Keyword>,
    /// Whether `keywords` has grown since the client was told.
    keywords_grew: bool,
    /// UIDBATCHES that were answered, and how many messages came and went since the first.
    pub(crate) batches: (BTreeSet<UidBatches>, usize),
}

/// What a FETCH response that nobody asked for tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) uid: bool,
    pub(crate) flags: bool,
}

impl SelectedMailbox {
    /// Reads the mailbox, selected as `name`. A writable selection takes the `\Recent` of its new messages.
    pub(crate) async fn open(
        view: Arc<dyn MailboxView>,
        name: &str,
        examine: bool,
    ) -> Result<Self, StoreError> {
        let writable = !examine && view.access() == Access::ReadWrite;
        let state = view.state().await?;
        let (mod_seq, rows) = view.list().await?;
        let recent_from = if writable { view.claim_recent().await? } else { state.recent_from };
        let recent = recent_from.map_or_else(BTreeSet::new, |from| {
            rows.iter().map(|row| row.uid).filter(|&uid| uid >= from).collect()
        });
        let keywords = rows.iter().flat_map(|row| row.flags.keywords.iter().cloned()).collect();
        Ok(Self {
            view,
            writable,
            realm: realm_of(name).map(str::to_owned),
            id: state.mailbox_id,
            uid_validity: state.uid_validity,
            rows,
            mod_seq,
            told: mod_seq,
            recent,
            expunged: BTreeSet::new(),
            own_gone: BTreeSet::new(),
            arrived: Vec::new(),
            changed: BTreeMap::new(),
            again: BTreeSet::new(),
            saved: BTreeSet::new(),
            contexts: Contexts::default(),
            keywords,
            keywords_grew: false,
            batches: (BTreeSet::new(), 0),
        })
    }

    /// The modification sequence up to which the client has been told everything; `None` where
    /// the mailbox keeps none (RFC 7162 §3.1.2.2).
    pub(crate) fn told(&self) -> Option<ModSeq> {
        Some(self.told).filter(|_| self.keeps_mod_seq())
    }

    /// Whether the mailbox keeps modification sequences.
    pub(crate) fn keeps_mod_seq(&self) -> bool {
        self.mod_seq > ModSeq(0)
    }

    /// The messages that the client counts, in order: the row at index `i` has number `i + 1`.
    pub(crate) fn rows(&self) -> &[ListedMessage] {
        &self.rows
    }

    /// How many of them are `\Recent` in this session.
    pub(crate) fn recent_count(&self) -> usize {
        self.rows.iter().filter(|row| self.recent.contains(&row.uid)).count()
    }

    /// Whether a message is `\Recent` in this session.
    pub(crate) fn is_recent(&self, uid: Uid) -> bool {
        self.recent.contains(&uid)
    }

    /// Whether a message that the client still counts is gone.
    pub(crate) fn is_expunged(&self, uid: Uid) -> bool {
        self.expunged.contains(&uid)
    }

    /// Whether any message that the client still counts is gone.
    pub(crate) fn has_expunged(&self) -> bool {
        !self.expunged.is_empty()
    }

    /// The messages that the client still counts and has expunged itself.
    pub(crate) fn own_gone(&self) -> &BTreeSet<Uid> {
        &self.own_gone
    }

    /// The messages that are gone and told so at `moment`.
    pub(crate) fn gone(&self, moment: Moment) -> BTreeSet<Uid> {
        match moment.expunged {
            Expunged::Held => BTreeSet::new(),
            Expunged::Own => self.expunged.intersection(&self.own_gone).copied().collect(),
            Expunged::All => self.expunged.clone(),
        }
    }

    /// Whether the client counts a message.
    pub(crate) fn counts(&self, uid: Uid) -> bool {
        self.index_of(uid).is_some()
    }

    /// The row of a message that the client counts.
    pub(crate) fn row(&self, uid: Uid) -> Option<&ListedMessage> {
        self.rows.get(self.index_of(uid)?)
    }

    /// Keywords seen in this mailbox.
    pub(crate) fn keywords(&self) -> &BTreeSet<Keyword> {
        &self.keywords
    }

    /// The FLAGS response: system flags and the keywords in use.
    pub(crate) fn flags_response(&self) -> Vec<u8> {
        let mut words = vec!["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];
        words.extend(self.keywords.iter().map(Keyword::as_str));
        format!("* FLAGS ({})\r\n", words.join(" ")).into_bytes()
    }

    /// Returns the rows that `set` names, as indexes into [`Self::rows`], ascending.
    ///
    /// A sequence number that the client was never told is an error (RFC 3501 §9 `seq-number`),
    /// an unknown UID is not (§6.4.8). `*` in an empty mailbox names nothing.
    pub(crate) fn resolve(&self, set: &SequenceSet, uid: bool) -> Result<Vec<usize>, Completion> {
        if *set == SequenceSet::Saved {
            let saved = self.saved.iter().filter_map(|&uid| self.index_of(uid));
            return Ok(saved.collect());
        }
        if uid {
            let largest = self.rows.last().map_or(0, |row| row.uid.get());
            return Ok(self.indexes_of_uids(&set.resolve(largest)));
        }
        // A mailbox has at most 2³² − 1 UIDs, hence rows.
        let largest = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        if largest == 0 && set.names_largest() {
            return Ok(Vec::new());
        }
        let ranges = set.resolve(largest);
        if ranges.last().is_some_and(|range| *range.end() > largest) {
            return Err(Completion::bad(
                "Numero di messaggio inesistente / No message has that number",
            ));
        }
        Ok(ranges.into_iter().flatten().map(|number| number as usize - 1).collect())
    }

    fn indexes_of_uids(&self, ranges: &[RangeInclusive<u32>]) -> Vec<usize> {
        let mut indexes = Vec::new();
        for range in ranges {
            let from = self.rows.partition_point(|row| row.uid.get() < *range.start());
            let to = self.rows.partition_point(|row| row.uid.get() <= *range.end());
            indexes.extend(from..to);
        }
        indexes
    }

    /// The UIDs of the rows at `indexes`.
    pub(crate) fn uids(&self, indexes: &[usize]) -> Vec<Uid> {
        indexes.iter().filter_map(|&index| self.rows.get(index)).map(|row| row.uid).collect()
    }

    fn index_of(&self, uid: Uid) -> Option<usize> {
        self.rows.binary_search_by_key(&uid, |row| row.uid).ok()
    }

    /// Learns what changed in the mailbox since the last time. The client is told by
    /// [`Self::report`].
    pub(crate) async fn refresh(&mut self) -> Result<(), Failure> {
        let refreshed = self.read_changes().await;
        match refreshed {
            Err(StoreError::NoSuchMailbox { .. } | StoreError::SnapshotExpired { .. }) => {
                Err(Failure::Disconnected(Disconnect::MailboxDeleted))
            }
            other => Ok(other?),
        }
    }

    async fn read_changes(&mut self) -> Result<(), StoreError> {
        let changes = self.view.changes_since(self.mod_seq).await?;
        if changes.incomplete {
            let (mod_seq, rows) = self.view.list().await?;
            let present: BTreeSet<Uid> = rows.iter().map(|row| row.uid).collect();
            let known = self.rows.iter().map(|row| row.uid);
            self.expunged.extend(known.filter(|uid| !present.contains(uid)));
            self.arrived.retain(|row| present.contains(&row.uid));
            self.learn_listed(rows);
            self.mod_seq = mod_seq;
        } else {
            self.forget_all(&changes.expunged.into_iter().collect());
            self.learn(changes.changed);
            self.mod_seq = changes.up_to;
        }
        if self.writable
            && !self.arrived.is_empty()
            && let Some(from) = self.view.claim_recent().await?
        {
            let new = self.arrived.iter().map(|row| row.uid).filter(|&uid| uid >= from);
            self.recent.extend(new);
        }
        Ok(())
    }

    /// Takes in rows as they are now.
    pub(crate) fn learn(&mut self, rows: Vec<MessageRow>) {
        self.learn_listed(rows.into_iter().map(ListedMessage::from));
    }

    fn learn_listed(&mut self, rows: impl IntoIterator<Item = ListedMessage>) {
        let last_known = self.rows.last().map(|row| row.uid);
        for row in rows {
            self.learn_keywords(&row.flags);
            if let Some(index) = self.index_of(row.uid) {
                let known = &self.rows[index];
                let reflagged = known.flags != row.flags;
                if reflagged || known.mod_seq != row.mod_seq {
                    *self.changed.entry(row.uid).or_default() |= reflagged;
                }
                self.rows[index] = row;
            } else if last_known.is_none_or(|last| row.uid > last) {
                match self.arrived.binary_search_by_key(&row.uid, |known| known.uid) {
                    Ok(index) => self.arrived[index] = row,
                    Err(index) => self.arrived.insert(index, row),
                }
            }
        }
    }

    /// Takes in that the client has expunged a message.
    pub(crate) fn forget(&mut self, uid: Uid) {
        if self.counts(uid) {
            self.own_gone.insert(uid);
        }
        self.forget_all(&BTreeSet::from([uid]));
    }

    fn forget_all(&mut self, gone: &BTreeSet<Uid>) {
        let counted = gone.iter().copied().filter(|uid| self.counts(*uid));
        let counted: Vec<Uid> = counted.collect();
        self.expunged.extend(counted);
        self.arrived.retain(|row| !gone.contains(&row.uid));
    }

    /// Takes in rows whose flags the client is told otherwise, or can work out itself. What was learnt
    /// meanwhile of a later change stays, and is told.
    pub(crate) fn learn_quietly(&mut self, rows: Vec<MessageRow>) {
        for row in rows {
            let index = self.index_of(row.uid);
            if index.is_some_and(|index| self.rows[index].mod_seq > row.mod_seq) {
                continue;
            }
            self.learn_keywords(&row.flags);
            self.changed.remove(&row.uid);
            if let Some(index) = index {
                self.rows[index] = row.into();
            }
        }
    }

    /// Has the client told of a message once more, whatever it was told before and whatever it
    /// watches: that answers its own command.
    pub(crate) fn tell_again(&mut self, uid: Uid) {
        self.changed.insert(uid, true);
        self.again.insert(uid);
    }

    /// Tells the client what it does not know yet and is told at `moment`: expunged messages, new ones,
    /// new flags (RFC 3501 §5.2, §7.4.1). Returns where the new ones stand.
    pub(crate) async fn report<S: Stream>(
        &mut self,
        frame: &mut Frame<S>,
        enabled: Enabled,
        moment: Moment,
    ) -> Result<Range<usize>, Disconnect> {
        let gone = self.gone(moment);
        if !gone.is_empty() {
            self.report_expunged(frame, enabled, gone).await?;
        }
        let before = self.rows.len();
        if moment.arrived && !self.arrived.is_empty() {
            self.batches.1 += self.arrived.len();
            self.rows.append(&mut self.arrived);
            let mut told = format!("* {} EXISTS\r\n", self.rows.len());
            // IMAP4rev2 has no \Recent (RFC 9051 §A).
            if !enabled.rev2 {
                told.extend(["* ", &self.recent_count().to_string(), " RECENT\r\n"]);
            }
            frame.put(told.as_bytes()).await?;
        }
        let new = before..self.rows.len();
        let again = std::mem::take(&mut self.again);
        let changed = if moment.flags {
            std::mem::take(&mut self.changed)
        } else {
            again.iter().filter_map(|uid| self.changed.remove_entry(uid)).collect()
        };
        if moment.flags || !changed.is_empty() || !new.is_empty() {
            self.report_keywords(frame).await?;
        }
        for (uid, reflagged) in changed {
            if !reflagged && !enabled.condstore {
                continue;
            }
            if let Some(index) = self.index_of(uid).filter(|_| !self.is_expunged(uid)) {
                let told = Told { uid: true, flags: true };
                frame.put(&self.fetch_line(index, enabled, told)).await?;
            }
        }
        // A client that resynchronises from here must not miss what it was not told.
        if self.expunged.is_empty() && self.arrived.is_empty() && self.changed.is_empty() {
            self.told = self.mod_seq;
        }
        Ok(new)
    }

    /// Sends FLAGS again when there are new keywords (RFC 3501 §7.2.6): before the first FETCH
    /// response that uses them.
    pub(crate) async fn report_keywords<S: Stream>(
        &mut self,
        frame: &mut Frame<S>,
    ) -> Result<(), Disconnect> {
        if std::mem::take(&mut self.keywords_grew) {
            frame.put(&self.flags_response()).await?;
        }
        Ok(())
    }

    async fn report_expunged<S: Stream>(
        &mut self,
        frame: &mut Frame<S>,
        enabled: Enabled,
        gone: BTreeSet<Uid>,
    ) -> Result<(), Disconnect> {
        // RFC 7162 §3.2.10, RFC 9586 §3.4.
        let by_uid = enabled.uid_only || (enabled.qresync && self.keeps_mod_seq());
        if by_uid {
            let uids = write_set(gone.iter().map(|uid| uid.get()));
            frame.put(format!("* VANISHED {uids}\r\n").as_bytes()).await?;
        }
        // From the last to the first, so that no number changes before it is used.
        for uid in gone.iter().rev() {
            if let Some(index) = self.index_of(*uid).filter(|_| !by_uid) {
                frame.put(format!("* {} EXPUNGE\r\n", index + 1).as_bytes()).await?;
            }
            self.recent.remove(uid);
            self.saved.remove(uid);
            self.changed.remove(uid);
            self.expunged.remove(uid);
            self.own_gone.remove(uid);
        }
        self.batches.1 += gone.len();
        self.rows.retain(|row| !gone.contains(&row.uid));
        Ok(())
    }

    fn learn_keywords(&mut self, flags: &Flags) {
        if !flags.keywords.is_subset(&self.keywords) {
            self.keywords.extend(flags.keywords.iter().cloned());
            self.keywords_grew = true;
        }
    }

    /// The beginning of a FETCH response for the row at `index`, to its parenthesis.
    pub(crate) fn fetch_start(&self, index: usize, enabled: Enabled) -> String {
        match self.rows.get(index) {
            Some(row) if enabled.uid_only => format!("* {} UIDFETCH (", row.uid),
            _ => format!("* {} FETCH (", index + 1),
        }
    }

    /// A FETCH response that nobody asked for, with the MODSEQ where the client wants it
    /// (RFC 7162 §3.1).
    pub(crate) fn fetch_line(&self, index: usize, enabled: Enabled, told: Told) -> Vec<u8> {
        let Some(row) = self.rows.get(index) else { return Vec::new() };
        let mut items = Vec::new();
        if told.uid && !enabled.uid_only {
            items.push(format!("UID {}", row.uid).into_bytes());
        }
        if told.flags {
            let mut item = b"FLAGS ".to_vec();
            write::flags(&mut item, &row.flags, self.shows_recent(row.uid, enabled));
            items.push(item);
        }
        if enabled.condstore && self.keeps_mod_seq() {
            items.push(format!("MODSEQ ({})", row.mod_seq).into_bytes());
        }
        let mut line = self.fetch_start(index, enabled).into_bytes();
        line.extend_from_slice(&items.join(&b" "[..]));
        line.extend_from_slice(b")\r\n");
        line
    }

    /// Whether FLAGS of a message names `\Recent`.
    pub(crate) fn shows_recent(&self, uid: Uid, enabled: Enabled) -> bool {
        !enabled.rev2 && self.is_recent(uid)
    }
}
