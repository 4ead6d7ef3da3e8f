//! Snapshots of whole accounts, as a simple floor above would keep them: a list of messages, and what
//! must be true of them whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trust::digest::Sha256Digest;

use crate::{
    account::{
        capture::{AccountState, Capture, ForgetSnapshot, KeptSnapshot},
        scan_all,
    },
    catalog::{
        engine::{Batch, Family, Reader, Scan},
        keys::{self, KeyReader},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, ModSeq},
    mailbox::rows::row_at,
    store::Store,
};

/// Their family. Key: AccountId (8), number (8).
pub(super) const STATES: Family = Family("simulated_states");

/// What a snapshot keeps: the numbers of its instant, and each message with its digest.
pub(super) struct Kept {
    pub(super) snapshot: KeptSnapshot,
    pub(super) messages: BTreeMap<EmailNumber, Sha256Digest>,
}

impl Kept {
    fn encode(&self) -> Bytes {
        let KeptSnapshot { email_numbers_below, mod_seq, .. } = self.snapshot;
        let mut octets = [email_numbers_below.0.to_be_bytes(), mod_seq.0.to_be_bytes()].concat();
        for (number, digest) in &self.messages {
            octets.extend_from_slice(&number.0.to_be_bytes());
            octets.extend_from_slice(&digest.0);
        }
        octets.into()
    }

    fn decode(number: u64, octets: &[u8]) -> Self {
        let take = |octets: &[u8]| u64::from_be_bytes(octets.try_into().expect("eight octets"));
        let messages = octets[16..].chunks(40).map(|message| {
            let digest: [u8; 32] = message[8..].try_into().expect("a digest");
            (EmailNumber(take(&message[..8])), Sha256Digest(digest))
        });
        let snapshot = KeptSnapshot {
            number,
            email_numbers_below: EmailNumber(take(&octets[..8])),
            mod_seq: ModSeq(take(&octets[8..16])),
        };
        Self { snapshot, messages: messages.collect() }
    }
}

/// Lists every message that has a row, also those of mailboxes on their way out.
pub(super) struct List;

#[async_trait::async_trait]
impl Capture for List {
    type Outcome = u64;

    async fn capture(&self, state: &AccountState) -> Result<(u64, Option<Batch>), StoreError> {
        let account = state.account();
        let snapshot = KeptSnapshot {
            number: state.next_snapshot(),
            email_numbers_below: state.next_email_number(),
            mod_seq: state.mod_seq(),
        };
        let messages = with_rows(&**state.reader(), account).await?;
        let mut batch = Batch::default();
        let kept = Kept { snapshot, messages };
        batch.put(STATES, key(account, snapshot.number), kept.encode());
        Ok((snapshot.number, Some(batch)))
    }
}

fn key(account: AccountId, number: u64) -> Bytes {
    [account.0.to_be_bytes(), number.to_be_bytes()].concat().into()
}

/// The messages of which `reader` has rows.
async fn with_rows(
    reader: &dyn Reader,
    account: AccountId,
) -> Result<BTreeMap<EmailNumber, Sha256Digest>, StoreError> {
    let scan = Scan::prefix(keys::MAILBOX_ROWS, &keys::account(account), 100);
    let rows = scan_all(reader, scan).await?;
    let row = |(key, value): &(Bytes, Bytes)| {
        let row = row_at(key, value)?;
        Ok((row.email_number, row.digest))
    };
    rows.iter().map(row).collect()
}

/// The snapshots that stand in the catalog, ascending.
pub(super) async fn standing(store: &Store, account: AccountId) -> Result<Vec<Kept>, StoreError> {
    let scan = Scan::prefix(STATES, &keys::account(account), 100);
    let mut standing = Vec::new();
    for (key, value) in scan_all(&**store.engine(), scan).await? {
        let mut fields = KeyReader::new(STATES, &key);
        fields.take_u64()?;
        standing.push(Kept::decode(fields.take_u64()?, &value));
    }
    Ok(standing)
}

/// Forgets a snapshot.
pub(super) async fn forget(
    store: &Store,
    account: AccountId,
    number: u64,
) -> Result<(), StoreError> {
    let standing = standing(store, account).await?;
    let mut before = standing.into_iter().rev().map(|kept| kept.snapshot);
    let previous = before.find(|snapshot| snapshot.number < number);
    let mut also = Batch::default();
    also.delete(STATES, key(account, number));
    let request = ForgetSnapshot { number, previous, also };
    store.account(account).await?.forget_snapshot(request).await.map(drop)
}

/// What is wrong with a message that a snapshot lists; errors of engine and objects, and damage, are
/// passed on.
pub(super) async fn complaint(
    store: &Store,
    account: AccountId,
    (number, digest): (EmailNumber, Sha256Digest),
) -> Result<Option<String>, StoreError> {
    let account = store.account(account).await?;
    let stored = match account.stored(number).await {
        Err(error @ StoreError::NoSuchMessage { .. }) => {
            return Ok(Some(format!("that snapshot has lost a message: {error:?}")));
        }
        stored => stored?,
    };
    if stored.digest() != digest {
        return Ok(Some(format!("that snapshot's message {number} is another one")));
    }
    store.octets().verify_message(&stored).await?;
    account.summary(number).await?;
    Ok(None)
}

/// The numbers of the snapshots that stand, and complaints: every message that one lists is whole, and
/// every message has a row or is listed.
pub(super) async fn observe(
    store: &Store,
    account: AccountId,
) -> Result<(BTreeSet<u64>, Vec<String>), StoreError> {
    let engine = &**store.engine();
    let mut due: BTreeSet<EmailNumber> = with_rows(engine, account).await?.into_keys().collect();
    let (mut numbers, mut complaints) = (BTreeSet::new(), Vec::new());
    for kept in standing(store, account).await? {
        numbers.insert(kept.snapshot.number);
        for (number, digest) in kept.messages {
            complaints.extend(complaint(store, account, (number, digest)).await?);
            due.insert(number);
        }
    }
    let scan = Scan::prefix(keys::MESSAGES, &keys::account(account), 100);
    for (key, _) in scan_all(engine, scan).await? {
        let mut fields = KeyReader::new(keys::MESSAGES, &key);
        fields.take_u64()?;
        let number = EmailNumber(fields.take_u64()?);
        if !due.contains(&number) {
            complaints.push(format!("neither a row nor a snapshot has message {number}"));
        }
    }
    Ok((numbers, complaints))
}
