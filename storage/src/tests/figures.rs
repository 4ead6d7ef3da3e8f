//! Logical, physical and saved octets, of one account and of all.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{ANNA, House, request, uid};
use crate::{
    account::{
        Account,
        capture::{AccountState, Capture},
    },
    catalog::engine::Batch,
    error::StoreError,
    figures::{Caches, Shares},
    held::HeldId,
    ids::{AccountId, EmailNumber, MailboxId, StoredId},
    mailbox::{
        append::AppendRequest,
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::{ChunkPlace, StoredMessage},
    pack::cache::CacheFigures,
};

const INBOX: MailboxId = MailboxId(1);
const BRUNO: AccountId = AccountId(8);

/// A message whose attachment, 40,000 octets that do not compress, follows from `seed`.
pub(super) fn letter(subject: &str, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let noise: Vec<u8> = (0..40_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/"
                [(state >> 26) as usize]
        })
        .collect();
    let header = format!(
        "Subject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [header.as_bytes(), &noise, b"\r\n--b--\r\n"].concat()
}

#[tokio::test]
async fn shared_chunks_count_for_each_account_and_once_for_the_store() {
    let (house, anna) = House::with_anna().await;
    let bruno = house.create(BRUNO, "bruno@pec.example", None).await;
    let (first, second) = (letter("uno", 1), letter("due", 2));
    for octets in [&first, &second] {
        let staged = house.stage(octets).await;
        anna.append(request(INBOX, &staged)).await.expect("append");
    }
    let staged = house.stage(&first).await;
    bruno.append(request(INBOX, &staged)).await.expect("append");
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let uid = inbox.rows().await.expect("rows").1[0].uid;
    inbox.copy(&[uid], inbox.id()).await.expect("copy");

    let of_anna = house.store.figures(ANNA).await.expect("figures");
    let of_bruno = house.store.figures(BRUNO).await.expect("figures");
    let total = house.store.figures_total().await.expect("figures");
    let (one, two) = (first.len() as u64, second.len() as u64);
    assert_eq!((of_anna.rows, of_anna.messages), (3, 2));
    assert_eq!((of_anna.logical_octets, of_bruno.logical_octets), (2 * one + two, one));
    assert_eq!(of_anna.charged_octets, of_anna.logical_octets);
    assert_eq!((total.accounts, total.rows), (2, 4));
    assert_eq!(total.logical_octets, 3 * one + two);
    assert_eq!(total.physical_octets, of_anna.physical_octets, "Bruno has nothing of his own");
    assert!(of_bruno.physical_octets < of_anna.physical_octets);
    assert_eq!(of_anna.saved_octets(), of_anna.logical_octets - of_anna.physical_octets);
    assert!(total.saved_octets() > 2 * 40_000 * 3 / 4, "{total:?}");

    let shares_of = |id| house.store.shares(id);
    let (anna_has, bruno_has) =
        (shares_of(ANNA).await.expect("shares"), shares_of(BRUNO).await.expect("shares"));
    assert_eq!(bruno_has.exclusive_octets, 0);
    assert_eq!(anna_has.exclusive_octets, of_anna.physical_octets - of_bruno.physical_octets);
    let sum = anna_has.proportional_octets + bruno_has.proportional_octets;
    assert!(sum <= total.physical_octets && sum + of_bruno.chunks >= total.physical_octets);
    assert_ne!(anna_has, Shares::default());
    house.is_sound().await;
}

/// A state that a snapshot has, whatever it is kept of it.
struct Whole;

#[async_trait::async_trait]
impl Capture for Whole {
    type Outcome = ();

    async fn capture(&self, _: &AccountState) -> Result<((), Option<Batch>), StoreError> {
        Ok(((), Some(Batch::default())))
    }
}

#[tokio::test]
async fn what_only_snapshots_hold_is_told_apart_and_charged_to_nobody() {
    let (house, anna) = House::with_anna().await;
    let (first, second) = (letter("uno", 1), letter("due", 2));
    for octets in [&first, &second] {
        let staged = house.stage(octets).await;
        anna.append(request(INBOX, &staged)).await.expect("append");
    }
    let before = house.store.figures(ANNA).await.expect("figures");
    assert_eq!((before.messages, before.snapshot_messages, before.snapshot_octets), (2, 0, 0));
    anna.capture(Whole).await.expect("a snapshot");
    let inbox = anna.mailbox(INBOX).await.expect("open");
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&[uid(1)], FlagChange::Add, &deleted, None).await.expect("flag");
    inbox.expunge(&[uid(1)]).await.expect("expunge");

    let (one, two) = (first.len() as u64, second.len() as u64);
    let after = house.store.figures(ANNA).await.expect("figures");
    assert_eq!((after.rows, after.messages, after.logical_octets), (1, 1, two));
    assert_eq!(after.charged_octets, two);
    assert_eq!((after.snapshot_messages, after.snapshot_octets), (1, one));
    assert_eq!(after.physical_octets, before.physical_octets);
    assert_eq!(after.saved_octets(), before.saved_octets());
    let total = house.store.figures_total().await.expect("figures");
    assert_eq!((total.rows, total.logical_octets, total.charged_octets), (1, two, two));
    assert_eq!((total.snapshot_messages, total.snapshot_octets), (1, one));
    assert_eq!(total.saved_octets(), after.saved_octets());
    house.is_sound().await;
}

/// Every chunk of some messages: octets of its stored form, and whether it waits for the packer.
#[derive(Default)]
struct Chunks(BTreeMap<StoredId, (u64, bool)>);

impl Chunks {
    async fn add(&mut self, house: &House, message: &StoredMessage) {
        for chunk in house.store.octets().physical(message).await.expect("its chunks") {
            let staged = chunk.place == ChunkPlace::Staged;
            self.0.insert(chunk.stored, (chunk.stored_octets.into(), staged));
        }
    }

    async fn of(house: &House, account: &Account, numbers: &[EmailNumber]) -> Self {
        let mut chunks = Self::default();
        for number in numbers {
            chunks.add(house, &account.stored(*number).await.expect("a message")).await;
        }
        chunks
    }

    fn octets(&self, which: impl Fn(&StoredId) -> bool) -> u64 {
        self.0.iter().filter(|(id, _)| which(id)).map(|(_, (octets, _))| octets).sum()
    }
}

#[tokio::test]
async fn figures_add_up_to_what_each_chunk_takes_counted_one_by_one() {
    let (house, anna) = House::with_anna().await;
    let bruno = house.create(BRUNO, "bruno@pec.example", None).await;
    let append = async |account: &Account, octets: &[u8], charged_octets: Option<u64>| {
        let staged = house.stage(octets).await;
        let request = AppendRequest { charged_octets, ..request(INBOX, &staged) };
        account.append(request).await.expect("append").email_number
    };
    // The two share an attachment, not their headers; the receipt is charged less than it weighs.
    let [uno, due, tre] =
        [("uno", 1), ("due", 1), ("tre", 2)].map(|(name, seed)| letter(name, seed));
    let of_anna = [append(&anna, &uno, None).await, append(&anna, &tre, Some(100)).await];
    while house.store.octets().staged_chunks(1).await.expect("count") > 0 {
        house.store.octets().pack_once().await.expect("pack");
    }
    let of_bruno = [append(&bruno, &due, None).await];
    let held = letter("trattenuto", 3);
    let staged = house.stage(&held).await;
    let mut batch = Batch::default();
    house.store.hold(HeldId([7; 16]), &staged, &mut batch);
    house.store.commit(batch).await.expect("commit");

    let annas = Chunks::of(&house, &anna, &of_anna).await;
    let brunos = Chunks::of(&house, &bruno, &of_bruno).await;
    let mut all = Chunks::of(&house, &anna, &of_anna).await;
    all.0.extend(brunos.0.clone());
    all.add(&house, staged.stored()).await;
    let shared: BTreeSet<_> = annas.0.keys().filter(|id| brunos.0.contains_key(id)).collect();
    assert_eq!(shared.len(), 1, "the attachment");

    let [uno, due, tre, held] = [uno, due, tre, held].map(|octets| octets.len() as u64);
    for (id, chunks, logical, charged) in
        [(ANNA, &annas, uno + tre, uno + 100), (BRUNO, &brunos, due, due)]
    {
        let figures = house.store.figures(id).await.expect("figures");
        assert_eq!((figures.logical_octets, figures.charged_octets), (logical, charged));
        assert_eq!(figures.physical_octets, chunks.octets(|_| true), "account {id}");
        assert_eq!(figures.chunks, chunks.0.len() as u64);
        let of_all = |octets: u64, shared: bool| if shared { octets / 2 } else { octets };
        let proportion =
            |(id, (octets, _)): (&StoredId, &(u64, bool))| of_all(*octets, shared.contains(id));
        let expected = Shares {
            exclusive_octets: chunks.octets(|id| !shared.contains(id)),
            proportional_octets: chunks.0.iter().map(proportion).sum(),
        };
        assert_eq!(house.store.shares(id).await.expect("shares"), expected, "account {id}");
    }
    let total = house.store.figures_total().await.expect("figures");
    assert_eq!((total.accounts, total.rows, total.held_messages), (2, 3, 1));
    assert_eq!((total.logical_octets, total.held_octets), (uno + due + tre, held));
    assert_eq!(total.charged_octets, uno + due + 100);
    assert_eq!((total.chunks, total.physical_octets), (all.0.len() as u64, all.octets(|_| true)));
    assert_eq!(total.staged_octets, all.octets(|id| all.0[id].1));
    assert!(total.staged_octets > 0 && total.staged_octets < total.physical_octets);
    assert_eq!(total.saved_octets(), uno + due + tre + held - total.physical_octets);
    house.is_sound().await;
}

#[tokio::test]
async fn a_chunk_that_is_read_twice_is_a_miss_and_then_a_hit() {
    let (house, anna) = House::with_anna().await;
    let staged = house.stage(&letter("uno", 1)).await;
    let number = anna.append(request(INBOX, &staged)).await.expect("append").email_number;
    // Opened anew: nothing is cached.
    let house = House::open(house.engine.clone(), house.objects.clone()).await;
    let anna = house.store.account(ANNA).await.expect("the account");
    let before = house.store.caches();
    assert_eq!((before.memory.hits, before.memory.misses, before.disk), (0, 0, None));
    let inbox = anna.mailbox(INBOX).await.expect("open");
    // From the middle of the attachment.
    let read = async || inbox.read(number, 20_000..20_100).await.expect("read");
    read().await;
    let Caches { memory, .. } = house.store.caches();
    assert_eq!((memory.hits, memory.misses, memory.entries), (0, 1, 1));
    assert_eq!(memory.octets, 40_000);
    read().await;
    assert_eq!(house.store.caches().memory, CacheFigures { hits: 1, ..memory });
}
