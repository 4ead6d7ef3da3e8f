//! A process that is killed while it appends loses nothing that it acknowledged.
//!
//! The test starts itself again as the process to be killed (the variable below names its data
//! folder). It appends, moves and deletes from several tasks on RocksDB and a local object store,
//! and prints what was acknowledged; the parent kills it with SIGKILL at some line, opens the
//! store and looks for every line.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::{engine::Batch, rocksdb::RocksConfig},
    ids::{AccountId, Uid},
    mailbox::{append::AppendRequest, flags::Flags, view::MailboxView as _},
    octets::OctetStoreConfig,
    pack::store::local_objects,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{
    clock::SystemClock,
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

const FOLDER: &str = "CERALACCA_TEST_CRASH_FOLDER";
const ANNA: AccountId = AccountId(7);
const WRITERS: u64 = 6;

async fn open(folder: &Path) -> Arc<Store> {
    let objects = folder.join("objects");
    std::fs::create_dir_all(&objects).expect("a folder");
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits { rows_per_step_max: 3, ..StoreLimits::default() },
    };
    let objects = local_objects(&objects).expect("a local object store");
    Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await.expect("open")
}

/// A message that only `seed` tells from others; every seventh is larger than a staged chunk.
fn message(seed: u64) -> Vec<u8> {
    let mut octets = format!("Subject: {seed}\r\nContent-Type: text/plain\r\n\r\n").into_bytes();
    let mut body = vec![0; if seed.is_multiple_of(7) { 300 << 10 } else { 900 }];
    SeededRandom::new(seed).fill(&mut body);
    octets.extend(body);
    octets
}

async fn append(store: &Store, account: &Account, mailbox: &str, seed: u64) -> Uid {
    let mut writer = store.message_writer();
    writer.write(&message(seed)).await.expect("write");
    let staged = writer.finish().await.expect("finish");
    let request = AppendRequest {
        mailbox: account.mailbox_by_name(mailbox).await.expect("the mailbox").id(),
        message: &staged,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    account.append(request).await.expect("append").uid
}

/// Prints one acknowledged fact as a whole line.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ACKNOWLEDGED {line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// The process that is killed: works until then.
async fn work(folder: &Path) {
    let store = open(folder).await;
    let settings =
        AccountSettings { address: "anna@pec.example".to_owned(), ..AccountSettings::default() };
    store.apply_account(ANNA, 1, settings).await.expect("the account");
    let account = store.account(ANNA).await.expect("the account");
    let start = SystemRandom.next_u64() >> 16;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let (store, account) = (Arc::clone(&store), account.clone());
        tasks.push(tokio::spawn(async move {
            for number in 0.. {
                let seed = start + writer + WRITERS * number;
                let uid = append(&store, &account, "INBOX", seed).await;
                tell(&format!("INBOX {uid} {seed}"));
            }
        }));
    }
    let packing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            loop {
                store.octets().pack_once().await.expect("pack");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    });
    churn(&store, &account, start).await;
    packing.abort();
}

/// Mailboxes that come and go, and rows that move, beside the appends.
async fn churn(store: &Store, account: &Account, start: u64) {
    for round in 0_u64.. {
        let name = format!("m{start}-{round}");
        account.create_mailbox(&name, None).await.expect("create");
        for number in 0..8 {
            append(store, account, &name, number).await;
        }
        let from = account.mailbox_by_name(&name).await.expect("open");
        let trash = account.mailbox_by_name("Cestino").await.expect("open");
        let first: Vec<Uid> = (1..=2).filter_map(Uid::new).collect();
        let moved = from.move_to(&first, trash.id()).await.expect("move");
        for (_, uid) in moved.uids {
            let seed = u64::from((uid.get() - 1) % 2);
            tell(&format!("Cestino {uid} {seed}"));
        }
        account.delete_mailbox(&name).await.expect("delete");
    }
}

/// Starts the worker, kills it after `lines` acknowledgements and returns all that it gave.
fn work_until_killed(folder: &Path, lines: usize) -> Vec<String> {
    let mut worker = Command::new(std::env::current_exe().expect("this test"))
        .args(["acknowledged_messages_survive_sigkill", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the worker");
    let out = BufReader::new(worker.stdout.take().expect("piped"));
    let mut told = Vec::new();
    for line in out.lines() {
        let line = line.expect("a line");
        if let Some((_, fact)) = line.split_once("ACKNOWLEDGED ") {
            told.push(fact.to_owned());
            if told.len() == lines {
                worker.kill().expect("SIGKILL");
            }
        }
    }
    let status = worker.wait().expect("wait");
    assert!(!status.success() && told.len() >= lines, "the worker ended by itself: {status}");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_sigkill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged: BTreeMap<(String, u32), u64> = BTreeMap::new();
    for lines in [40, 1, 170] {
        for fact in work_until_killed(folder.path(), lines) {
            let mut words = fact.split(' ');
            let mailbox = words.next().expect("a mailbox").to_owned();
            let uid = words.next().and_then(|word| word.parse().ok()).expect("a UID");
            let seed = words.next().and_then(|word| word.parse().ok()).expect("a seed");
            let again = acknowledged.insert((mailbox, uid), seed);
            assert_eq!(again, None, "a UID was given twice: {fact}");
        }
        let store = open(folder.path()).await;
        let report = store.check(&|_| {}).await.expect("check");
        assert_eq!(report.violations, []);
        let account = store.account(ANNA).await.expect("the account");
        for ((mailbox, uid), seed) in &acknowledged {
            let mailbox = account.mailbox_by_name(mailbox).await.expect("the mailbox");
            let uid = Uid::new(*uid).expect("not zero");
            let row = mailbox.row(uid).await.expect("read").expect("an acknowledged row");
            assert_eq!(row.digest, Sha256Digest::of(&message(*seed)), "{uid}");
        }
        let listed = account.mailboxes().await.expect("list");
        let listed = listed.iter().filter(|entry| entry.name.starts_with('m')).count();
        assert!(listed <= 3, "deletions are finished at opening; one a round may be unbegun");
        store.close().await.expect("close");
    }
}
