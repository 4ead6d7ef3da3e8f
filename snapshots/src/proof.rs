//! Evidence that a message stood in a mailbox of a snapshot.
//!
//! A [`PresenceProof`] leads from a message's SHA-256 to a StateRoot. Checking it takes the
//! message, the proof, and a StateRoot that is trusted for another reason (its record is covered
//! by a signed and stamped root); no store and no secret. Its octets:
//!
//! `01 ‖ MailboxId u64 ‖ UID u32 ‖ SHA-256 of the message 32 ‖ rest hash 32 ‖ levels u8 ‖
//! levels × (length u32 ‖ outline) ‖ length u32 ‖ state outline`
//!
//! The first outline is the leaf page's, then every page above it up to the root of the content
//! tree; outlines and hashes are those of `hash`, `tree::page` and `state`. It discloses the UIDs
//! of the messages in the same leaf page and the counts of the mailboxes, nothing else.

use storage::ids::{MailboxId, Uid};
use trust::digest::Sha256Digest;

use crate::{
    error::SnapshotError,
    hash::{Salts, SnapshotSecret},
    octets::Cursor,
    state::{State, StateOutline, StateRoot},
    tree::{
        PageStore,
        page::{
            Page, PageId, inner_page_id, leaf_page_id, parse_inner_outline, parse_leaf_outline,
        },
        read::Reader,
        row::{ContentRow, Row as _},
    },
};

const VERSION: u8 = 1;

/// A proof of presence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresenceProof {
    mailbox: MailboxId,
    uid: u32,
    digest: Sha256Digest,
    rest_hash: Sha256Digest,
    /// Outlines from the leaf page to the root page.
    outlines: Vec<Vec<u8>>,
    state: Vec<u8>,
}

/// What a good proof shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The message's UID.
    pub uid: u32,
    /// The message's SHA-256.
    pub digest: Sha256Digest,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the proof does not hold: {0}")]
pub struct ProofError(&'static str);

impl PresenceProof {
    /// Proves that the message `uid` stands in `mailbox` of `state`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NotPresent`]; what reading the tree brings.
    pub async fn make(
        store: &dyn PageStore,
        state: &State,
        secret: &SnapshotSecret,
        mailbox: MailboxId,
        uid: Uid,
    ) -> Result<Self, SnapshotError> {
        let entry = state.mailboxes.get(&mailbox).ok_or(SnapshotError::NotPresent)?;
        let salts = Salts::new(secret.clone(), mailbox);
        let key = u64::from(uid.get());
        let mut reader = Reader::<ContentRow>::new(store, entry.content, &salts);
        let path = reader.find(0, key).await?.ok_or(SnapshotError::NotPresent)?;
        let leaf = path.last().map(|found| found.page.as_ref());
        let Some(Page::Leaf(rows)) = leaf else { return Err(SnapshotError::NotPresent) };
        let row = rows.iter().find(|row| row.key() == key).ok_or(SnapshotError::NotPresent)?;
        let outlines =
            path.iter().rev().map(|found| found.page.outline(&salts)).collect::<Result<_, _>>()?;
        Ok(Self {
            mailbox,
            uid: uid.get(),
            digest: row.digest,
            rest_hash: row.rest_hash(&salts),
            outlines,
            state: state.outline(secret)?.0,
        })
    }

    /// Checks the proof against a trusted StateRoot.
    pub fn verify(&self, root: StateRoot) -> Result<Proven, ProofError> {
        let wrong = ProofError;
        let mut outlines = self.outlines.iter();
        let leaf_page = outlines.next().ok_or(wrong("it has no leaf page"))?;
        let key = u64::from(self.uid);
        let leaf = ContentRow::leaf_of(key, self.digest, self.rest_hash);
        let leaves = parse_leaf_outline(leaf_page).ok_or(wrong("its leaf page is malformed"))?;
        if !leaves.contains(&(key, leaf)) {
            return Err(wrong("the message is not in its leaf page"));
        }
        let mut page = leaf_page_id(leaf_page);
        for (level, outline) in (1..=u8::MAX).zip(outlines.by_ref()) {
            page = above(page, level, key, outline)?;
        }
        if outlines.next().is_some() {
            return Err(wrong("it has too many pages"));
        }
        let state = StateOutline(self.state.clone());
        if state.root() != root {
            return Err(wrong("its state is another"));
        }
        let entries = state.entries().ok_or(wrong("its state is malformed"))?;
        let entry = entries
            .iter()
            .find(|entry| entry.mailbox == self.mailbox)
            .ok_or(wrong("its state has no such mailbox"))?;
        if entry.content != page {
            return Err(wrong("its pages do not lead to the mailbox"));
        }
        Ok(Proven {
            mailbox: self.mailbox,
            uid_validity: entry.uid_validity,
            uid: self.uid,
            digest: self.digest,
        })
    }

    /// Returns the proof's octets.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::LimitExceeded`] when the state outline has 4 GiB or more.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let limit = SnapshotError::LimitExceeded {
            what: "the length of a proof",
            limit: u64::from(u32::MAX),
        };
        self.try_encode().ok_or(limit)
    }

    fn try_encode(&self) -> Option<Vec<u8>> {
        let mut octets = vec![VERSION];
        octets.extend_from_slice(&self.mailbox.0.to_be_bytes());
        octets.extend_from_slice(&self.uid.to_be_bytes());
        octets.extend_from_slice(&self.digest.0);
        octets.extend_from_slice(&self.rest_hash.0);
        octets.push(u8::try_from(self.outlines.len()).ok()?);
        for outline in self.outlines.iter().chain([&self.state]) {
            octets.extend_from_slice(&u32::try_from(outline.len()).ok()?.to_be_bytes());
            octets.extend_from_slice(outline);
        }
        Some(octets)
    }

    /// Reads a proof; `None` when the octets follow no known layout.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        cursor.u8().filter(|version| *version == VERSION)?;
        let mailbox = MailboxId(cursor.u64()?);
        let uid = cursor.u32()?;
        let (digest, rest_hash) = (cursor.digest()?, cursor.digest()?);
        let levels = cursor.u8()?;
        let mut outlines = Vec::new();
        for _ in 0..levels {
            outlines.push(outline(&mut cursor)?);
        }
        let state = outline(&mut cursor)?;
        cursor.end()?;
        Some(Self { mailbox, uid, digest, rest_hash, outlines, state })
    }
}

fn outline(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let length = usize::try_from(cursor.u32()?).ok()?;
    cursor.take(length).map(<[u8]>::to_vec)
}

/// Goes one page up: `outline` must be a page of `level` that has `page` where `key` belongs.
fn above(page: PageId, level: u8, key: u64, outline: &[u8]) -> Result<PageId, ProofError> {
    let (found_level, children) =
        parse_inner_outline(outline).ok_or(ProofError("an inner page is malformed"))?;
    if found_level != level {
        return Err(ProofError("an inner page stands at another level"));
    }
    let child = children.iter().find(|child| child.last_key >= key);
    if child.is_none_or(|child| child.page.id != page) {
        return Err(ProofError("a page is not in the page above it"));
    }
    Ok(inner_page_id(outline))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use storage::ids::{EmailNumber, UidValidity};
    use trust::clock::UnixMillis;

    use super::*;
    use crate::{
        state::MailboxEntry,
        tree::{TreeRoot, tests::Pages, update::update},
    };

    fn row(uid: u32) -> ContentRow {
        ContentRow {
            uid: Uid::new(uid).expect("not zero"),
            digest: Sha256Digest::of(&uid.to_be_bytes()),
            email_number: EmailNumber(u64::from(uid)),
            internal_date: UnixMillis(1),
            save_date: UnixMillis(2),
            size: 3,
            charged_octets: 4,
        }
    }

    async fn world(messages: u32) -> (Pages, State, SnapshotSecret) {
        let secret = SnapshotSecret([3; 32]);
        let salts = Salts::new(secret.clone(), MailboxId(2));
        let mut pages = Pages::default();
        let changes: BTreeMap<u64, _> =
            (1..=messages).map(|uid| (u64::from(uid), Some(row(uid)))).collect();
        let made = update(&pages, 1, TreeRoot::empty(), &salts, changes).await.expect("a tree");
        pages.store(made.new_pages);
        let entry = MailboxEntry {
            uid_validity: UidValidity(9.try_into().expect("not zero")),
            uid_next: Uid::new(messages + 1),
            name: "INBOX".to_owned(),
            subscribed: true,
            special_use: String::new(),
            octets: 0,
            content: made.root,
            flags: TreeRoot::empty(),
        };
        let other = MailboxEntry { name: "Bozze".to_owned(), ..entry.clone() };
        let mailboxes = [(MailboxId(1), other), (MailboxId(2), entry)].into();
        (pages, State { mailboxes }, secret)
    }

    #[tokio::test]
    async fn a_proof_holds_without_the_store_and_for_its_state_only() {
        let (pages, state, secret) = world(2_000).await;
        let root = state.root(&secret).expect("a root");
        for uid in [1, 33, 1_024, 2_000] {
            let uid = Uid::new(uid).expect("not zero");
            let proof = PresenceProof::make(&pages, &state, &secret, MailboxId(2), uid)
                .await
                .expect("a proof");
            let octets = proof.encode().expect("octets");
            assert!(octets.len() < 20_000, "{}", octets.len());
            let read = PresenceProof::decode(&octets).expect("a proof");
            let proven = read.verify(root).expect("it holds");
            assert_eq!((proven.uid, proven.uid_validity), (uid.get(), 9));
            assert_eq!(proven.digest, Sha256Digest::of(&uid.get().to_be_bytes()));
            assert!(read.verify(StateRoot(Sha256Digest([0; 32]))).is_err());
        }
        let absent = Uid::new(2_001).expect("not zero");
        let refused = PresenceProof::make(&pages, &state, &secret, MailboxId(2), absent).await;
        assert!(matches!(refused, Err(SnapshotError::NotPresent)));
    }

    #[tokio::test]
    async fn a_proof_fails_after_any_changed_octet() {
        let (pages, state, secret) = world(300).await;
        let root = state.root(&secret).expect("a root");
        let uid = Uid::new(150).expect("not zero");
        let proof = PresenceProof::make(&pages, &state, &secret, MailboxId(2), uid).await;
        let octets = proof.expect("a proof").encode().expect("octets");
        for at in 0..octets.len() {
            for bit in [1, 0x80] {
                let mut changed = octets.clone();
                changed[at] ^= bit;
                let holds = PresenceProof::decode(&changed).is_some_and(|p| p.verify(root).is_ok());
                assert!(!holds, "octet {at}");
            }
        }
    }
}
