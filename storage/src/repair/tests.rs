//! Each family of a store is damaged on purpose and repaired: afterwards the check is clean and
//! every message is reached by the name of a mailbox, octet for octet.

mod departed;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use object_store::memory::InMemory;
use trust::{
    clock::Clock as _,
    digest::{Sha256Digest, Sha256Hasher},
};

use super::{RECOVERED, RepairReport, SettingsSource};
use crate::{
    account::{Account, erase::EraseRequest, settings::AccountSettings},
    catalog::{
        engine::{Batch, Engine as _, Entries, Family, Reader as _, Scan},
        keys,
        records::{self, HeadRecord, RepairLogRecord},
        simulated::SimulatedEngine,
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::ErasureReason,
    store::{Store, StoreLimits},
    summary::Envelope,
    tests::house::{ANNA, House, MORNING, limits, settings},
};

const INBOX: MailboxId = MailboxId(1);
const DAY: i64 = 86_400_000;

/// Knows Anna.
struct Registry;

#[async_trait::async_trait]
impl SettingsSource for Registry {
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError> {
        Ok((id == ANNA).then(|| (1, settings("anna@pec.example", None))))
    }
}

/// Eleven messages in three mailboxes, some copied, some expunged; blocks repeat the rows.
async fn furnished() -> (House, Account) {
    let engine = SimulatedEngine::new(&Store::families(&[]));
    let limits = StoreLimits { block_rows: 4, rows_per_step_max: 1_000, ..limits() };
    let house = House::try_open_with(engine, Arc::new(InMemory::new()), limits).await.unwrap();
    let anna = house.create(ANNA, "anna@pec.example", None).await;
    let inbox = anna.mailbox(INBOX).await.unwrap();
    let uids = house.fill(&anna, &inbox, 12).await;
    let trash = anna.mailbox_by_name("Cestino").await.unwrap();
    inbox.copy(&uids[..2], trash.id()).await.unwrap();
    inbox.move_to(&uids[2..4], trash.id()).await.unwrap();
    let drafts = anna.mailbox_by_name("Bozze").await.unwrap();
    inbox.copy(&uids[4..5], drafts.id()).await.unwrap();
    let deleted = Flags { deleted: true, ..Flags::default() };
    inbox.store_flags(&uids[11..], FlagChange::Add, &deleted, None).await.unwrap();
    inbox.expunge(&uids[11..]).await.unwrap();
    house.store.build_blocks(&|_| async { true }.boxed()).await.unwrap();
    assert!(!entries(&house, keys::MAILBOX_BLOCKS).await.is_empty());
    house.is_sound().await;
    (house, anna)
}

/// SHA-256 of every message that a mailbox shows.
async fn reached(house: &House) -> BTreeSet<Sha256Digest> {
    let anna = house.store.account(ANNA).await.unwrap();
    let mut digests = BTreeSet::new();
    let listings = anna.mailboxes().await.unwrap();
    for listing in listings.iter().filter(|listing| listing.mailbox_id.is_some()) {
        let mailbox = anna.mailbox_by_name(&listing.name).await.unwrap();
        for row in mailbox.rows().await.unwrap().1 {
            let (mut hasher, mut position) = (Sha256Hasher::default(), 0);
            while position < row.size {
                let octets = mailbox.read(row.email_number, position..row.size).await.unwrap();
                position += octets.len() as u64;
                hasher.update(&octets);
            }
            mailbox.summary(row.email_number).await.unwrap();
            digests.insert(hasher.finish());
        }
    }
    digests
}

async fn entries(house: &House, family: Family) -> Entries {
    house.engine.scan(&Scan::prefix(family, &[], 10_000)).await.unwrap()
}

async fn everything(house: &House) -> Vec<Entries> {
    let mut all = Vec::new();
    for family in keys::families() {
        all.push(entries(house, family).await);
    }
    all
}

async fn repair(house: &House, apply: bool) -> RepairReport {
    house.store.repair(&Registry, apply, &|_| {}).await.unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Every entry is gone.
    Lost,
    /// Every value is nonsense.
    Nonsense,
    /// Every second entry is gone.
    Holes,
    /// A key of the family with too few octets appears.
    Stray,
}

async fn damage(house: &House, family: Family, damage: Damage) {
    let mut batch = Batch::default();
    for (at, (key, _)) in entries(house, family).await.into_iter().enumerate() {
        match damage {
            Damage::Lost => batch.delete(family, key),
            Damage::Holes if at % 2 == 0 => batch.delete(family, key),
            Damage::Nonsense => batch.put(family, key, Bytes::from_static(b"\x01\xff")),
            Damage::Holes | Damage::Stray => continue,
        };
    }
    if matches!(damage, Damage::Stray) {
        batch.put(family, [&keys::account(ANNA)[..], &[1]].concat(), Bytes::from_static(b"\x01"));
        batch.put(family, Bytes::from_static(b"abc"), Bytes::from_static(b"\x01"));
    }
    house.engine.commit(batch).await.unwrap();
}

/// Families of which everything can be made again from the others.
const REPAIRABLE: [Family; 15] = [
    keys::ACCOUNTS,
    keys::ACCOUNT_HEADS,
    keys::ACCOUNT_ADDRESSES,
    keys::SUBSCRIPTIONS,
    keys::MAILBOXES,
    keys::MAILBOX_NAMES,
    keys::MAILBOX_ROWS,
    keys::MAILBOX_CHANGES,
    keys::EXPUNGE_LOG,
    keys::MAILBOX_DELETIONS,
    keys::SUMMARIES,
    keys::MESSAGE_REFERENCES,
    keys::ERASURES,
    keys::MAILBOX_BLOCKS,
    keys::HEADER_BLOCKS,
];

#[tokio::test]
async fn whatever_family_is_damaged_no_message_is_lost_and_the_check_is_clean_afterwards() {
    for family in REPAIRABLE {
        for kind in [Damage::Lost, Damage::Nonsense, Damage::Holes, Damage::Stray] {
            let (house, _) = furnished().await;
            let before = reached(&house).await;
            assert_eq!(before.len(), 11);
            damage(&house, family, kind).await;
            let damaged = everything(&house).await;
            let foreseen = repair(&house, false).await;
            assert_eq!(everything(&house).await, damaged, "{family:?} {kind:?}: a dry run writes");
            let report = repair(&house, true).await;
            assert_eq!(report.first_changes, foreseen.first_changes, "{family:?} {kind:?}");
            assert_eq!(report.first_left, [], "{family:?} {kind:?}");
            let check = house.store.check(&|_| {}).await.unwrap();
            assert_eq!(check.violations, [], "{family:?} {kind:?}: {report:#?}");
            assert_eq!(reached(&house).await, before, "{family:?} {kind:?}: {report:#?}");
            let again = repair(&house, true).await;
            assert_eq!(again.first_changes, [], "{family:?} {kind:?}: the second run");
        }
    }
}

#[tokio::test]
async fn what_is_replaced_or_taken_out_stands_in_the_repair_log() {
    let (house, _) = furnished().await;
    damage(&house, keys::MAILBOX_ROWS, Damage::Nonsense).await;
    let rows = entries(&house, keys::MAILBOX_ROWS).await;
    repair(&house, true).await;
    let mut log = Vec::new();
    for (key, value) in entries(&house, keys::REPAIR_LOG).await {
        log.push(records::decode::<RepairLogRecord>(keys::REPAIR_LOG, &key, &value).unwrap());
    }
    for (key, value) in rows {
        let kept = log.iter().any(|record| {
            (record.family.as_str(), &record.key, &record.value) == ("mailbox_rows", &key, &value)
        });
        assert!(kept, "{key:?}");
    }
    let recovered = house.store.account(ANNA).await.unwrap();
    let recovered = recovered.mailbox_by_name(RECOVERED).await.unwrap();
    assert_eq!(recovered.rows().await.unwrap().1.len(), 11);
}

#[tokio::test]
async fn an_entry_of_the_repair_log_goes_after_its_retention_and_not_before() {
    let (house, _) = furnished().await;
    let to = |passed: i64| house.clock.advance(MORNING.0 + passed - house.clock.now().0);
    for at in [0, DAY] {
        to(at);
        damage(&house, keys::MAILBOX_ROWS, Damage::Nonsense).await;
        repair(&house, true).await;
    }
    let instant =
        |value: &[u8]| records::decode::<RepairLogRecord>(keys::REPAIR_LOG, b"", value).unwrap().at;
    let all = entries(&house, keys::REPAIR_LOG).await;
    let first = all.iter().filter(|(_, value)| instant(value) == MORNING.0).count();
    assert!(first > 0 && first < all.len());
    // The last of the first repair, and the last of all, cannot be read any more.
    let mut nonsense = Batch::default();
    for at in [first - 1, all.len() - 1] {
        nonsense.put(keys::REPAIR_LOG, all[at].0.clone(), vec![1, 0xff, 0xff]);
    }
    house.engine.commit(nonsense).await.unwrap();
    let retention = super::log::RETENTION_MILLIS;
    for (passed, removed) in [
        (retention, 0),
        // What cannot be read goes with the next that is old enough.
        (retention + 1, first - 1),
        (retention + DAY, 0),
        (retention + DAY + 1, all.len() - first),
        (2 * retention, 0),
    ] {
        to(passed);
        let trimmed = house.store.trim_repair_log().await.unwrap();
        assert_eq!(usize::try_from(trimmed), Ok(removed), "{passed}");
    }
    let left: Vec<_> = entries(&house, keys::REPAIR_LOG).await;
    assert_eq!(left.len(), 1, "nothing younger says how old it is");
}

#[tokio::test]
async fn octets_that_are_lost_are_named_and_their_rows_stay() {
    let (house, _) = furnished().await;
    let (first, _) = entries(&house, keys::MESSAGES).await.remove(0);
    let mut batch = Batch::default();
    batch.delete(keys::MESSAGES, first);
    house.engine.commit(batch).await.unwrap();
    let rows = entries(&house, keys::MAILBOX_ROWS).await;
    let report = repair(&house, true).await;
    assert_eq!(entries(&house, keys::MAILBOX_ROWS).await, rows);
    assert!(report.left >= 2, "it had two rows: {report:#?}");
    assert!(report.first_left[0].detail.contains("its message 1 is missing"), "{report:#?}");
}

/// An erased message has no octets to parse: its row, its summary and the list of erased messages
/// come back without them.
#[tokio::test]
async fn an_erased_message_stays_erased_whatever_is_lost_around_it() {
    let erasure = |email_number| EraseRequest {
        email_number,
        reason: ErasureReason::Other,
        envelope: Envelope::default(),
        also: Batch::default(),
    };
    for family in [keys::ERASURES, keys::SUMMARIES, keys::MAILBOX_ROWS] {
        for kind in [Damage::Lost, Damage::Nonsense, Damage::Stray] {
            let (house, anna) = furnished().await;
            let row = anna.mailbox(INBOX).await.unwrap().rows().await.unwrap().1[0].clone();
            let erased = anna.erase(erasure(row.email_number)).await.unwrap();
            house.is_sound().await;
            damage(&house, family, kind).await;
            let report = repair(&house, true).await;
            assert_eq!(report.first_left, [], "{family:?} {kind:?}");
            let check = house.store.check(&|_| {}).await.unwrap();
            assert_eq!(check.violations, [], "{family:?} {kind:?}: {report:#?}");
            let anna = house.store.account(ANNA).await.unwrap();
            assert!(anna.erased().await.unwrap().contains(&row.email_number));
            let summary = anna.summary(row.email_number).await.unwrap();
            assert!(summary.erased && summary.size == erased.size, "{family:?} {kind:?}");
        }
    }
}

/// A lost counter must not lead to a number that was given before.
#[tokio::test]
async fn counters_that_were_lost_begin_far_above_everything_found() {
    let (house, _) = furnished().await;
    let key = keys::account(ANNA);
    let head = async || {
        let octets = house.engine.get(keys::ACCOUNT_HEADS, &key).await.unwrap().unwrap();
        records::decode::<HeadRecord>(keys::ACCOUNT_HEADS, &key, &octets).unwrap()
    };
    let before = head().await;
    damage(&house, keys::ACCOUNT_HEADS, Damage::Lost).await;
    repair(&house, true).await;
    let after = head().await;
    assert!(after.next_email_number > before.next_email_number + 1_000);
    assert!(after.next_mod_seq > before.next_mod_seq + 1_000);
    assert!(after.next_uid_validity >= before.next_uid_validity);
    let anna = house.store.account(ANNA).await.unwrap();
    house.append(&anna, INBOX, 99).await.unwrap();
    house.is_sound().await;
}
