//! A keeper takes snapshots of one account and forgets them: whatever else happens, every message that
//! a snapshot lists is there whole, and nothing is left that neither a row nor a snapshot has.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use trust::digest::Sha256Digest;

use super::{STATES, world::World};
use crate::{
    account::{
        capture::{AccountState, Capture, ForgetSnapshot, KeptSnapshot},
        scan_all,
    },
    catalog::{
        engine::{Batch, Reader, Scan},
        keys::{self, KeyReader},
    },
    error::StoreError,
    ids::{AccountId, EmailNumber, ModSeq},
    mailbox::rows::row_at,
    store::Store,
};

/// Snapshots of one account that more are not added to.
const ENOUGH: usize = 6;

/// What a keeper began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Begun {
    Take,
    Forget(u64),
}

/// The snapshots of one account, as they are remembered across crashes.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    account: AccountId,
    /// Those that were acknowledged.
    kept: BTreeSet<u64>,
    /// What was begun and not acknowledged: it happened, or it did not.
    pending: Option<Begun>,
    /// The highest number that was ever seen.
    given: u64,
}

impl Shelf {
    pub(super) fn new(account: AccountId) -> Self {
        Self { account, kept: BTreeSet::new(), pending: None, given: 0 }
    }

    /// Whether `found` is what was acknowledged, or that and what was begun.
    fn explains(&self, found: &BTreeSet<u64>) -> bool {
        let added: Vec<u64> = found.difference(&self.kept).copied().collect();
        let gone: Vec<u64> = self.kept.difference(found).copied().collect();
        match (self.pending, added.as_slice(), gone.as_slice()) {
            (_, [], []) => true,
            (Some(Begun::Take), [number], []) => *number > self.given,
            (Some(Begun::Forget(number)), [], [gone]) => number == *gone,
            _ => false,
        }
    }
}

/// What a snapshot keeps: the numbers of its instant, and each message with its digest.
struct Kept {
    snapshot: KeptSnapshot,
    messages: BTreeMap<EmailNumber, Sha256Digest>,
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
struct List;

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
async fn standing(store: &Store, account: AccountId) -> Result<Vec<Kept>, StoreError> {
    let scan = Scan::prefix(STATES, &keys::account(account), 100);
    let mut standing = Vec::new();
    for (key, value) in scan_all(&**store.engine(), scan).await? {
        let mut fields = KeyReader::new(STATES, &key);
        fields.take_u64()?;
        standing.push(Kept::decode(fields.take_u64()?, &value));
    }
    Ok(standing)
}

#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) world: Arc<World>,
    pub(super) store: Arc<Store>,
    pub(super) shelf: Arc<Mutex<Shelf>>,
}

impl Keeper {
    pub(super) async fn keep(self) {
        loop {
            self.world.sleep("keeper", self.world.below(120)).await;
            let chosen = self.choose();
            let outcome = match chosen {
                None => self.look().await,
                Some(begun) => self.perform(begun).await,
            };
            match outcome {
                Ok(()) => {}
                Err(StoreError::Conflict | StoreError::Objects { .. }) => {
                    self.shelf.lock().expect("no panic").pending = None;
                }
                Err(StoreError::Engine { .. } | StoreError::Closed) => {
                    return self.world.break_down();
                }
                Err(error) => return self.world.blame(format!("{chosen:?}: {error:?}")),
            }
        }
    }

    fn choose(&self) -> Option<Begun> {
        let shelf = self.shelf.lock().expect("no panic");
        match self.world.below(5) {
            0 | 1 if shelf.kept.len() < ENOUGH => Some(Begun::Take),
            2 | 3 if !shelf.kept.is_empty() => {
                let nth = self.world.index(shelf.kept.len());
                shelf.kept.iter().nth(nth).map(|number| Begun::Forget(*number))
            }
            _ => None,
        }
    }

    async fn perform(&self, begun: Begun) -> Result<(), StoreError> {
        let account = {
            let mut shelf = self.shelf.lock().expect("no panic");
            shelf.pending = Some(begun);
            shelf.account
        };
        match begun {
            Begun::Take => {
                let number = self.store.account(account).await?.capture(List).await?;
                let mut shelf = self.shelf.lock().expect("no panic");
                if number <= shelf.given {
                    self.world.blame(format!("snapshot {number} after {}", shelf.given));
                }
                shelf.given = number;
                shelf.kept.insert(number);
            }
            Begun::Forget(number) => {
                self.forget(account, number).await?;
                self.shelf.lock().expect("no panic").kept.remove(&number);
            }
        }
        self.shelf.lock().expect("no panic").pending = None;
        Ok(())
    }

    async fn forget(&self, account: AccountId, number: u64) -> Result<(), StoreError> {
        let before = standing(&self.store, account).await?;
        let before = before.into_iter().rev().map(|kept| kept.snapshot);
        let previous = before.into_iter().find(|snapshot| snapshot.number < number);
        let mut also = Batch::default();
        also.delete(STATES, key(account, number));
        let request = ForgetSnapshot { number, previous, also };
        self.store.account(account).await?.forget_snapshot(request).await.map(drop)
    }

    /// Reads a message of a snapshot: only this keeper could let it go.
    async fn look(&self) -> Result<(), StoreError> {
        let account = self.shelf.lock().expect("no panic").account;
        let standing = standing(&self.store, account).await?;
        let Some(kept) = standing.get(self.world.index(standing.len())) else { return Ok(()) };
        let nth = self.world.index(kept.messages.len());
        let Some((number, digest)) = kept.messages.iter().nth(nth) else { return Ok(()) };
        let occasion = format!("that snapshot {} is read", kept.snapshot.number);
        is_whole(&self.world, &self.store, account, (*number, *digest), &occasion).await
    }

    /// Forgets every snapshot, with nobody else there.
    pub(super) async fn clear(&self) {
        let (account, kept) = {
            let shelf = self.shelf.lock().expect("no panic");
            (shelf.account, shelf.kept.clone())
        };
        for number in kept {
            if let Err(error) = self.forget(account, number).await {
                self.world.blame(format!("snapshot {number} does not go: {error:?}"));
            }
            self.shelf.lock().expect("no panic").kept.remove(&number);
        }
    }
}

/// Blames when a message is not what a snapshot says; errors of engine and objects are passed on.
async fn is_whole(
    world: &World,
    store: &Store,
    account: AccountId,
    (number, digest): (EmailNumber, Sha256Digest),
    occasion: &str,
) -> Result<(), StoreError> {
    let stored = match store.account(account).await?.stored(number).await {
        Err(error @ StoreError::NoSuchMessage { .. }) => {
            world.blame(format!("{occasion}: that snapshot has lost a message: {error:?}"));
            return Ok(());
        }
        stored => stored?,
    };
    if stored.digest() != digest {
        world.blame(format!("{occasion}: that snapshot's message {number} is another one"));
    }
    store.octets().verify_message(&stored).await?;
    store.account(account).await?.summary(number).await.map(drop)
}

/// Looks at the account's snapshots, quiet as it is, and adopts those that are found.
pub(super) async fn inspect(world: &World, store: &Store, shelf: &Mutex<Shelf>, occasion: &str) {
    let mut found = shelf.lock().expect("no panic").clone();
    match observe(world, store, &found, occasion).await {
        Ok(standing) if found.explains(&standing) => {
            found.given = standing.last().copied().unwrap_or(0).max(found.given);
            found.kept = standing;
            found.pending = None;
        }
        Ok(standing) => {
            world.blame(format!("{occasion}: snapshots {standing:?} stand, instead of {found:?}"));
        }
        Err(error) => world.blame(format!("{occasion}: snapshots: {error:?}")),
    }
    *shelf.lock().expect("no panic") = found;
}

/// The numbers of the snapshots that stand. Every message that one lists is whole, and every message
/// has a row or is listed.
async fn observe(
    world: &World,
    store: &Store,
    shelf: &Shelf,
    occasion: &str,
) -> Result<BTreeSet<u64>, StoreError> {
    let engine = &**store.engine();
    let mut due: BTreeSet<EmailNumber> =
        with_rows(engine, shelf.account).await?.into_keys().collect();
    let mut numbers = BTreeSet::new();
    for kept in standing(store, shelf.account).await? {
        numbers.insert(kept.snapshot.number);
        for (number, digest) in kept.messages {
            is_whole(world, store, shelf.account, (number, digest), occasion).await?;
            due.insert(number);
        }
    }
    let scan = Scan::prefix(keys::MESSAGES, &keys::account(shelf.account), 100);
    for (key, _) in scan_all(engine, scan).await? {
        let mut fields = KeyReader::new(keys::MESSAGES, &key);
        fields.take_u64()?;
        let number = EmailNumber(fields.take_u64()?);
        if !due.contains(&number) {
            world.blame(format!("{occasion}: neither a row nor a snapshot has message {number}"));
        }
    }
    Ok(numbers)
}
