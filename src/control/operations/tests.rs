//! What operations say of a known store.

mod acts;
mod snapshots;

use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::engine::{Batch, Scan},
    held::HeldId,
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::{append::AppendRequest, flags::Flags, view::MailboxView as _},
    octets::{ChunkPlace, StagedMessage},
    store::Store,
};
use tokio_util::sync::CancellationToken;
use trust::random::{RandomSource as _, SeededRandom};

use super::{
    scrub::StoreScrub,
    share::{AccountShare, ShareOutcome},
    stats::{CacheView, StoreStats},
};
use crate::{
    control::{Kind, Operation, OperationError, Run, Site, tests::site},
    pec::records::{JOURNAL, JournalRecord, decode},
};

/// Octets of an attachment that does not compress.
const ATTACHMENT_OCTETS: usize = 30_000;

async fn run<O: Operation>(operation: &O, site: &Site) -> Result<O::Outcome, OperationError> {
    let (run, _) = Run::new(CancellationToken::new());
    operation.run(site, &run).await
}

async fn account(store: &Store, id: u64, address: &str) -> Account {
    let settings = AccountSettings { address: address.to_owned(), ..AccountSettings::default() };
    store.apply_account(AccountId(id), 1, settings).await.unwrap();
    store.account(AccountId(id)).await.unwrap()
}

/// A message with the attachment that follows from `seed`.
async fn stage(store: &Store, subject: &str, seed: u64) -> StagedMessage {
    let mut attachment = vec![0; ATTACHMENT_OCTETS];
    SeededRandom::new(seed).fill(&mut attachment);
    let head = format!("Subject: {subject}\r\nContent-Type: application/octet-stream\r\n\r\n");
    let mut writer = store.message_writer();
    writer.write(&[head.as_bytes(), &attachment].concat()).await.unwrap();
    writer.finish().await.unwrap()
}

async fn append(
    account: &Account,
    message: &StagedMessage,
    charged_octets: Option<u64>,
) -> EmailNumber {
    let request = AppendRequest {
        mailbox: MailboxId(1),
        message,
        flags: Flags::default(),
        internal_date: None,
        charged_octets,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    account.append(request).await.unwrap().email_number
}

/// What Anna and Bruno keep, and a held message: one attachment three times, another once.
struct Kept {
    anna: Account,
    shared: StagedMessage,
    alone: StagedMessage,
    numbers: [EmailNumber; 2],
}

async fn furnish(store: &Store) -> Kept {
    let anna = account(store, 1, "anna@pec.example").await;
    let bruno = account(store, 2, "bruno@pec.example").await;
    account(store, 3, "carla@pec.example").await;
    let shared = stage(store, "uno", 1).await;
    let alone = stage(store, "due", 2).await;
    let numbers = [append(&anna, &shared, None).await, append(&anna, &alone, Some(700)).await];
    append(&bruno, &shared, None).await;
    let mut batch = Batch::default();
    store.hold(HeldId([9; 16]), &shared, &mut batch);
    store.commit(batch).await.unwrap();
    while store.octets().staged_chunks(1).await.unwrap() > 0 {
        store.octets().pack_once().await.unwrap();
    }
    Kept { anna, shared, alone, numbers }
}

/// Stored octets of a message, and its chunks.
async fn physical(store: &Store, message: &StagedMessage) -> (u64, u64) {
    let chunks = store.octets().physical(message.stored()).await.unwrap();
    (chunks.iter().map(|chunk| u64::from(chunk.stored_octets)).sum(), chunks.len() as u64)
}

#[tokio::test]
async fn stats_are_those_of_the_account_that_is_asked_for_and_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let Kept { anna, shared, alone, numbers } = furnish(&site.store).await;
    let (shared_octets, shared_chunks) = physical(&site.store, &shared).await;
    let (alone_octets, alone_chunks) = physical(&site.store, &alone).await;
    let stored = shared_octets + alone_octets;
    let [one, two] = [&shared, &alone].map(StagedMessage::size);

    let of = async |address: &str| {
        run(&StoreStats { account: Some(address.to_owned()) }, &site).await.unwrap()
    };
    let annas = of("anna@pec.example").await;
    assert_eq!((annas.rows, annas.logical_octets, annas.charged_octets), (2, one + two, one + 700));
    assert_eq!((annas.physical_octets, annas.chunks), (stored, shared_chunks + alone_chunks));
    assert_eq!(annas.saved_octets, (one + two).saturating_sub(stored));
    assert_eq!(annas.shares.unwrap().exclusive_octets, alone_octets);
    let brunos = of("BRUNO@pec.example").await;
    assert_eq!(brunos.account.as_deref(), Some("bruno@pec.example"));
    assert_eq!((brunos.rows, brunos.physical_octets), (1, shared_octets));
    assert_eq!(brunos.shares.unwrap().exclusive_octets, 0, "Anna has them too");
    let nobody = run(&StoreStats { account: Some("x@pec.example".to_owned()) }, &site).await;
    assert_eq!(nobody.unwrap_err().kind, Kind::NotFound);

    let inbox = anna.mailbox(MailboxId(1)).await.unwrap();
    let before = site.store.caches().memory;
    inbox.read(numbers[0], 0..10).await.unwrap();
    let all = run(&StoreStats::default(), &site).await.unwrap();
    assert_eq!((all.rows, all.logical_octets), (3, 2 * one + two));
    assert_eq!((all.charged_octets, all.physical_octets), (2 * one + 700, stored));
    assert_eq!(all.saved_octets, 3 * one + two - stored);
    assert_eq!(all.saved_per_mille, (3 * one + two - stored) * 1_000 / (3 * one + two));
    let store = all.store.unwrap();
    assert_eq!((store.accounts, store.held_messages, store.held_octets), (3, 1, one));
    assert_eq!((store.staged_octets, store.packs, store.sparse_packs), (0, 1, 0));
    assert!(store.live_octets <= store.pack_octets && store.pack_octets > stored);
    assert!(store.catalog_octets > 0);
    let CacheView { hits, misses, entries, octets, .. } = store.caches.memory;
    assert_eq!((hits + misses, store.caches.disk), (before.hits + before.misses + 1, None));
    assert!(entries > 0 && octets > 0);
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn a_scrub_names_the_messages_and_accounts_that_need_a_damaged_chunk_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    let Kept { shared, alone, .. } = furnish(&site.store).await;
    assert!(run(&StoreScrub::default(), &site).await.unwrap().clean);
    let rows: [(&StagedMessage, &[&str], &[&str]); 2] = [
        (&alone, &["message 2 of account 1"], &["anna@pec.example"]),
        (
            &shared,
            &[
                "message 1 of account 1",
                "message 1 of account 2",
                "held_messages/09090909090909090909090909090909",
            ],
            &["anna@pec.example", "bruno@pec.example"],
        ),
    ];
    for (message, messages, accounts) in rows {
        let chunks = site.store.octets().physical(message.stored()).await.unwrap();
        let largest = chunks.iter().max_by_key(|chunk| chunk.stored_octets).unwrap();
        let ChunkPlace::Pack { path, offset } = &largest.place else { panic!("packed") };
        let path = site.config.data.objects_folder().join(path);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[usize::try_from(*offset).unwrap() + 50] ^= 1;
        std::fs::write(&path, changed).unwrap();
        let found = run(&StoreScrub::default(), &site).await.unwrap();
        assert_eq!((found.clean, found.damaged_chunks, found.messages_left_out), (false, 1, 0));
        assert_eq!(found.messages, messages);
        assert_eq!(found.accounts, accounts);
        assert_eq!(found.damages.len(), 1, "{found:?}");
        std::fs::write(&path, whole).unwrap();
        // What was remembered is forgotten when the same octets come again.
        let mut writer = site.store.message_writer();
        let mut octets = Vec::new();
        while (octets.len() as u64) < message.size() {
            let rest = octets.len() as u64..message.size();
            octets.extend(site.store.octets().read(message.stored(), rest).await.unwrap());
        }
        writer.write(&octets).await.unwrap();
        let again = writer.finish().await.unwrap();
        append(&site.store.account(AccountId(3)).await.unwrap(), &again, None).await;
    }
    site.registry.close().await;
    site.store.close().await.unwrap();
}

#[tokio::test]
async fn a_service_account_is_shared_once_with_its_journal_record_and_no_other_is() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path()).await;
    account(&site.store, 1, "anna@pec.example").await;
    account(&site.store, 2, "bruno@pec.example").await;
    let settings = AccountSettings {
        address: "posta@pec.example".to_owned(),
        service: true,
        ..AccountSettings::default()
    };
    site.store.apply_account(AccountId(3), 1, settings).await.unwrap();
    let share = async |account: &str, with: &str, granted| {
        let request = AccountShare { account: account.to_owned(), with: with.to_owned(), granted };
        run(&request, &site).await
    };
    let journal = async || {
        let scan = Scan::prefix(JOURNAL, b"", 10);
        let entries = site.store.engine().scan(&scan).await.unwrap();
        let events = entries.iter().map(|(key, value)| {
            decode::<JournalRecord>(JOURNAL, key, value).map(|record| record.event).unwrap()
        });
        events.collect::<Vec<_>>()
    };
    let ShareOutcome { changed, granted, .. } =
        share("POSTA@pec.example", "anna@pec.example", true).await.unwrap();
    assert!(changed && granted);
    assert!(!share("posta@pec.example", "anna@pec.example", true).await.unwrap().changed);
    assert_eq!(journal().await, ["account-shared"]);
    let granted = site.store.account(AccountId(1)).await.unwrap().granted().await.unwrap();
    assert_eq!(granted, [AccountId(3)]);
    for (account, with, kind) in [
        ("bruno@pec.example", "anna@pec.example", Kind::Invalid),
        ("posta@pec.example", "posta@pec.example", Kind::Invalid),
        ("posta@pec.example", "nessuno@pec.example", Kind::NotFound),
        ("nessuno@pec.example", "anna@pec.example", Kind::NotFound),
    ] {
        assert_eq!(share(account, with, true).await.unwrap_err().kind, kind, "{account} {with}");
    }
    assert!(share("posta@pec.example", "anna@pec.example", false).await.unwrap().changed);
    assert!(!share("posta@pec.example", "anna@pec.example", false).await.unwrap().changed);
    assert_eq!(journal().await, ["account-shared", "account-unshared"]);
}
