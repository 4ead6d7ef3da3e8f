//! The state of an account: its mailboxes with their trees.
//!
//! A [`State`] is stored as a page of its own; its [`StateRoot`] hashes one *entry* per mailbox,
//! ascending by MailboxId:
//!
//! | octets | field |
//! |---|---|
//! | 8 | MailboxId |
//! | 4 | UIDVALIDITY |
//! | 4 | UIDNEXT, 0 when UID 2³² − 1 is taken |
//! | 32 | rest hash of the attributes |
//! | 8 | messages |
//! | 32 | root page of the content tree |
//! | 32 | root page of the flags tree |
//!
//! The attributes are `octets u64 ‖ subscribed u8 ‖ name (length u16, UTF-8) ‖ special use (length
//! u16)`, salted like rows, so that a proof for one mailbox does not disclose the names of others.
//! The stored page is `02 ‖ count u32 ‖ count × (entry without rest hash ‖ birth of the content tree's
//! root page u64 ‖ birth of the flags tree's u64 ‖ attributes)`.
//!
//! Not here: the rows (`tree`), the instant (`record`).

use std::collections::BTreeMap;

use bytes::Bytes;
use storage::ids::{MailboxId, Uid, UidValidity};
use trust::digest::Sha256Digest;

use crate::{
    error::SnapshotError,
    hash::{SaltKind, Salts, SnapshotSecret, Tag, hash},
    octets::{Cursor, put_counted},
    tree::{
        TreeRoot,
        page::{PageId, PageRef},
    },
};

const VERSION: u8 = 2;

/// The hash of a whole state: equal states, equal roots.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StateRoot(pub Sha256Digest);

/// One mailbox in a state.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MailboxEntry {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT.
    pub uid_next: Option<Uid>,
    /// Its name.
    pub name: String,
    /// Whether the holder has subscribed to it.
    pub subscribed: bool,
    /// Its special use (`\Sent`), empty when it has none.
    pub special_use: String,
    /// Octets of its messages.
    pub octets: u64,
    /// Its content tree.
    pub content: TreeRoot,
    /// Its flags tree; it has as many rows as the content tree.
    pub flags: TreeRoot,
}

/// The state of an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Its mailboxes.
    pub mailboxes: BTreeMap<MailboxId, MailboxEntry>,
}

/// What the root is hashed from: the entries, one after the other, behind their count.
pub(crate) struct StateOutline(pub(crate) Vec<u8>);

/// An entry as a proof shows it.
pub(crate) struct OutlineEntry {
    pub(crate) mailbox: MailboxId,
    pub(crate) uid_validity: u32,
    /// Hash of the attributes.
    pub(crate) rest: Sha256Digest,
    pub(crate) messages: u64,
    pub(crate) content: PageId,
}

impl State {
    /// Returns the root. `secret` is the account's.
    pub fn root(&self, secret: &SnapshotSecret) -> Result<StateRoot, SnapshotError> {
        Ok(self.outline(secret)?.root())
    }

    /// Messages in all mailboxes.
    pub fn messages(&self) -> u64 {
        self.mailboxes.values().map(|entry| entry.content.rows).sum()
    }

    /// Octets of the messages in all mailboxes.
    pub fn octets(&self) -> u64 {
        self.mailboxes.values().fold(0, |sum, entry| sum.saturating_add(entry.octets))
    }

    pub(crate) fn outline(&self, secret: &SnapshotSecret) -> Result<StateOutline, SnapshotError> {
        let mut outline = self.count()?.to_vec();
        for (id, entry) in &self.mailboxes {
            let salts = Salts::new(secret.clone(), *id);
            let rest = salts.rest_hash(SaltKind::Mailbox, id.0, &entry.attributes()?);
            entry.put_front(*id, &mut outline);
            outline.extend_from_slice(&rest.0);
            entry.put_trees(&mut outline);
        }
        Ok(StateOutline(outline))
    }

    /// Returns the page that is stored.
    pub fn encode(&self) -> Result<Bytes, SnapshotError> {
        let mut octets = vec![VERSION];
        octets.extend_from_slice(&self.count()?);
        for (id, entry) in &self.mailboxes {
            entry.put_front(*id, &mut octets);
            entry.put_trees(&mut octets);
            octets.extend_from_slice(&entry.content.page.birth.to_be_bytes());
            octets.extend_from_slice(&entry.flags.page.birth.to_be_bytes());
            octets.extend_from_slice(&entry.attributes()?);
        }
        Ok(octets.into())
    }

    /// Reads a stored page and checks that its root is `root`.
    pub fn decode(
        root: StateRoot,
        octets: &[u8],
        secret: &SnapshotSecret,
    ) -> Result<Self, SnapshotError> {
        let damaged =
            |detail| SnapshotError::Damaged { object: format!("state {}", root.0), detail };
        let state = Self::parse(octets).ok_or_else(|| damaged("it follows no known layout"))?;
        if state.root(secret)? == root { Ok(state) } else { Err(damaged("its hash is another")) }
    }

    /// The root of a stored page; `None` when it is not that of a state.
    pub(crate) fn root_of(octets: &[u8], secret: &SnapshotSecret) -> Option<StateRoot> {
        Self::parse(octets)?.root(secret).ok()
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        cursor.u8().filter(|version| *version == VERSION)?;
        let mut mailboxes = BTreeMap::new();
        for _ in 0..cursor.u32()? {
            let id = MailboxId(cursor.u64()?);
            if mailboxes.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return None;
            }
            mailboxes.insert(id, MailboxEntry::parse(&mut cursor)?);
        }
        cursor.end()?;
        Some(Self { mailboxes })
    }

    fn count(&self) -> Result<[u8; 4], SnapshotError> {
        u32::try_from(self.mailboxes.len()).map(u32::to_be_bytes).map_err(|_| {
            SnapshotError::LimitExceeded {
                what: "the number of mailboxes of an account",
                limit: u64::from(u32::MAX),
                remedy: "delete some of them first",
            }
        })
    }
}

impl MailboxEntry {
    fn put_front(&self, id: MailboxId, out: &mut Vec<u8>) {
        out.extend_from_slice(&id.0.to_be_bytes());
        out.extend_from_slice(&self.uid_validity.0.get().to_be_bytes());
        out.extend_from_slice(&self.uid_next.map_or(0, Uid::get).to_be_bytes());
    }

    fn put_trees(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.content.rows.to_be_bytes());
        out.extend_from_slice(&self.content.page.id.0.0);
        out.extend_from_slice(&self.flags.page.id.0.0);
    }

    pub(crate) fn attributes(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut attributes = self.octets.to_be_bytes().to_vec();
        attributes.push(u8::from(self.subscribed));
        put_counted(self.name.as_bytes(), &mut attributes)
            .and_then(|()| put_counted(self.special_use.as_bytes(), &mut attributes))
            .ok_or(SnapshotError::LimitExceeded {
                what: "the length of a mailbox name",
                limit: u64::from(u16::MAX),
                remedy: "choose a shorter name",
            })?;
        Ok(attributes)
    }

    fn parse(cursor: &mut Cursor<'_>) -> Option<Self> {
        let uid_validity = UidValidity(cursor.u32()?.try_into().ok()?);
        let uid_next = Uid::new(cursor.u32()?);
        let rows = cursor.u64()?;
        let (content, flags) = (PageId(cursor.digest()?), PageId(cursor.digest()?));
        let content = PageRef { birth: cursor.u64()?, id: content };
        let flags = PageRef { birth: cursor.u64()?, id: flags };
        let (content, flags) = (TreeRoot { page: content, rows }, TreeRoot { page: flags, rows });
        let octets = cursor.u64()?;
        let subscribed = cursor.u8().filter(|flag| *flag < 2)? == 1;
        let name = String::from_utf8(cursor.counted()?.to_vec()).ok()?;
        let special_use = String::from_utf8(cursor.counted()?.to_vec()).ok()?;
        Some(Self { uid_validity, uid_next, name, subscribed, special_use, octets, content, flags })
    }
}

impl StateOutline {
    pub(crate) fn root(&self) -> StateRoot {
        StateRoot(hash(Tag::State, &[&self.0]))
    }

    pub(crate) fn entries(&self) -> Option<Vec<OutlineEntry>> {
        let mut cursor = Cursor(&self.0);
        let mut entries = Vec::new();
        for _ in 0..cursor.u32()? {
            let mailbox = MailboxId(cursor.u64()?);
            let uid_validity = cursor.u32()?;
            let (_uid_next, rest, messages) = (cursor.u32()?, cursor.digest()?, cursor.u64()?);
            let content = PageId(cursor.digest()?);
            let _flags = cursor.digest()?;
            entries.push(OutlineEntry { mailbox, uid_validity, rest, messages, content });
        }
        cursor.end()?;
        Some(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(number: u8) -> TreeRoot {
        let id = PageId(Sha256Digest([number; 32]));
        TreeRoot { page: PageRef { birth: 5, id }, rows: 3 }
    }

    fn state() -> State {
        let entry = |name: &str| MailboxEntry {
            uid_validity: UidValidity(7.try_into().expect("not zero")),
            uid_next: Uid::new(12),
            name: name.to_owned(),
            subscribed: true,
            special_use: String::new(),
            octets: 4_096,
            content: tree(1),
            flags: tree(2),
        };
        let mailboxes = [(MailboxId(1), entry("INBOX")), (MailboxId(4), entry("Archivio/2026"))];
        State { mailboxes: mailboxes.into() }
    }

    #[test]
    fn a_state_reads_back_and_every_changed_octet_is_found() {
        let (state, secret) = (state(), SnapshotSecret([9; 32]));
        let root = state.root(&secret).expect("a root");
        let octets = state.encode().expect("octets");
        assert_eq!(State::decode(root, &octets, &secret).expect("the state"), state);
        for at in 0..octets.len() {
            let mut changed = octets.to_vec();
            changed[at] ^= 1;
            // A birth is not hashed: a wrong one names a page that is not there.
            let births_apart = |mut state: State| {
                for entry in state.mailboxes.values_mut() {
                    (entry.content.page.birth, entry.flags.page.birth) = (0, 0);
                }
                state
            };
            if let Ok(read) = State::decode(root, &changed, &secret) {
                assert_ne!(read, state, "octet {at}");
                assert_eq!(births_apart(read), births_apart(state.clone()), "octet {at}");
            }
        }
        assert!(State::decode(root, &octets[1..], &secret).is_err());
    }

    #[test]
    fn the_root_moves_with_every_field_and_with_the_secret() {
        let secret = SnapshotSecret([9; 32]);
        let root = state().root(&secret).expect("a root");
        let changes: [fn(&mut MailboxEntry); 6] = [
            |entry| entry.name.push('x'),
            |entry| entry.subscribed = false,
            |entry| "\\Sent".clone_into(&mut entry.special_use),
            |entry| entry.uid_next = None,
            |entry| entry.content.page.id.0.0[0] ^= 1,
            |entry| entry.flags.page.id.0.0[0] ^= 1,
        ];
        for change in changes {
            let mut state = state();
            state.mailboxes.entry(MailboxId(4)).and_modify(change);
            assert_ne!(state.root(&secret).expect("a root"), root);
        }
        assert_ne!(state().root(&SnapshotSecret([8; 32])).expect("a root"), root);
    }
}
