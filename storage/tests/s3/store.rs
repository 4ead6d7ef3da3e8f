//! The whole store over the cluster: with faults at random, and with a volume server killed.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use object_store::ObjectStore;
use storage::{
    account::{
        Account,
        quota::QuotaRule,
        settings::{AccountSettings, Applied},
    },
    catalog::{engine::Batch, rocksdb::RocksConfig},
    ids::{AccountId, MailboxId, Uid},
    mailbox::{append::AppendRequest, flags::Flags, view::MailboxView as _},
    octets::OctetStoreConfig,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{
    clock::SystemClock,
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

use super::{Cluster, Fault, Proxy, cluster, objects, quick};

const ANNA: AccountId = AccountId(7);
const INBOX: MailboxId = MailboxId(1);

async fn open(folder: &std::path::Path, objects: Arc<dyn ObjectStore>) -> Arc<Store> {
    let octets = OctetStoreConfig {
        // Everything is read from the object store, and large parts go to packs at once.
        cache_octets_max: 0,
        small_chunk_octets_max: 4 << 10,
        pack_patience_calls: 0,
        ..OctetStoreConfig::default()
    };
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: Vec::new(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets,
        limits: StoreLimits::default(),
    };
    Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await.unwrap()
}

async fn anna(store: &Store) -> Account {
    let settings = AccountSettings {
        address: "anna@pec.example".to_owned(),
        plan: "base".to_owned(),
        message_octets_max: 50 << 20,
        recipients_max: 50,
        messages_per_minute_max: 10,
        messages_per_day_max: 200,
        ..AccountSettings::default()
    };
    assert_eq!(store.apply_account(ANNA, 1, settings).await.unwrap(), Applied::Created);
    store.account(ANNA).await.unwrap()
}

/// A message whose body only `number` gives.
fn message(number: usize, octets: usize) -> Vec<u8> {
    let mut message = format!("From: a@pec.example\r\nSubject: {number}\r\n\r\n").into_bytes();
    let mut body = vec![0; octets];
    SeededRandom::new(number as u64).fill(&mut body);
    message.extend_from_slice(&body);
    message
}

async fn append(store: &Store, account: &Account, octets: &[u8]) -> Option<Uid> {
    let mut writer = store.message_writer();
    writer.write(octets).await.ok()?;
    let staged = writer.finish().await.ok()?;
    let request = AppendRequest {
        mailbox: INBOX,
        message: &staged,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    account.append(request).await.ok().map(|appended| appended.uid)
}

async fn assert_reads(account: &Account, uid: Uid, expected: &[u8]) {
    let inbox = account.mailbox(INBOX).await.unwrap();
    let row = inbox.row(uid).await.unwrap().expect("an acknowledged row");
    let mut octets = Vec::new();
    while octets.len() < expected.len() {
        let read = inbox.read(row.email_number, octets.len() as u64..u64::MAX).await.unwrap();
        assert!(!read.is_empty(), "UID {uid} ends early");
        octets.extend_from_slice(&read);
    }
    assert!(octets == expected, "UID {uid}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_under_random_faults_is_there_and_the_store_is_sound() {
    let proxy = Proxy::start(cluster()).await;
    let (objects, heard) = objects(proxy.port, &quick());
    let random = SeededRandom::new(42);
    proxy.decide(move |_, _| match random.next_u64() % 40 {
        0 => Fault::Busy,
        1 => Fault::Reset,
        2 => Fault::TornUpload,
        3 => Fault::LostAnswer,
        4 => Fault::TornAnswer,
        5 => Fault::Slow(std::time::Duration::from_millis(200)),
        _ => Fault::Pass,
    });
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), objects.clone()).await;
    let account = anna(&store).await;
    let mut acknowledged = Vec::new();
    for number in 0..40 {
        let octets = message(number, if number % 10 == 0 { 1_500_000 } else { 30_000 });
        let uid = append(&store, &account, &octets).await;
        acknowledged.push((uid.expect("faults pass"), octets));
        if number % 8 == 7 {
            store.octets().pack_once().await.unwrap();
        }
    }
    for (uid, octets) in &acknowledged {
        assert_reads(&account, *uid, octets).await;
    }
    assert!(heard.retries().len() > 5, "the proxy did too little");
    let report = store.check(&|_| {}).await.unwrap();
    assert_eq!(report.violations, []);
    store.close().await.unwrap();
    drop((account, store));
    let again = open(folder.path(), objects).await;
    let account = again.account(ANNA).await.unwrap();
    for (uid, octets) in acknowledged.iter().take(5) {
        assert_reads(&account, *uid, octets).await;
    }
    again.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_server_is_killed_under_writers_and_readers_and_everything_acknowledged_reads() {
    const MESSAGES: usize = 60;
    let cluster = Cluster::start(3);
    let (objects, _) = objects(cluster.port(), &quick());
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), objects).await;
    let account = anna(&store).await;
    let (killed, after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, account) = (Arc::clone(&store), account.clone());
            let (killed, after) = (Arc::clone(&killed), Arc::clone(&after));
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in (writer..MESSAGES).step_by(3) {
                    let octets = message(number, 40_000);
                    let later = killed.load(Ordering::SeqCst);
                    if let Some(uid) = append(&store, &account, &octets).await {
                        after.fetch_add(usize::from(later), Ordering::SeqCst);
                        assert_reads(&account, uid, &octets).await;
                        acknowledged.push((uid, octets));
                    }
                }
                acknowledged
            })
        })
        .collect();
    while account.quota().await.unwrap().used_messages < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    cluster.kill_volume(0);
    killed.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    for (uid, octets) in &acknowledged {
        assert_reads(&account, *uid, octets).await;
    }
    let after = after.load(Ordering::SeqCst);
    let acknowledged = acknowledged.len();
    let note = format!("{acknowledged} acknowledged, {after} of them after the kill\n");
    std::io::stderr().write_all(note.as_bytes()).unwrap();
    assert!(after > 0, "writing goes on");
    assert_eq!(store.check(&|_| {}).await.unwrap().violations, []);
    store.close().await.unwrap();
}
