//! A store in a folder, with small bounds, so that staging, packs and steps are all met.

use std::{io::Write as _, path::Path, sync::Arc};

use object_store::ObjectStore;
use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::{
        engine::{Batch, Engine},
        rocksdb::{RocksConfig, RocksEngine},
    },
    error::StoreError,
    ids::{AccountId, MailboxId},
    mailbox::{
        append::{AppendRequest, Appended},
        flags::Flags,
    },
    octets::{OctetStoreConfig, StagedMessage},
    pack::{disk_cache::DiskCacheConfig, store::local_objects},
    store::{Store, StoreLimits},
};
use trust::{
    clock::SystemClock,
    digest::Sha256Digest,
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

fn octets_config() -> OctetStoreConfig {
    OctetStoreConfig {
        small_chunk_octets_max: 16 << 10,
        pack_octets_max: 512 << 10,
        pack_octets_min: 32 << 10,
        pack_patience_calls: 3,
        ..OctetStoreConfig::default()
    }
}

pub(crate) async fn engine(folder: &Path) -> Arc<RocksEngine> {
    let families = Store::families(&[]);
    RocksEngine::open(&folder.join("catalog"), &families, &RocksConfig::default())
        .await
        .expect("open the catalog")
}

pub(crate) fn objects(folder: &Path) -> Arc<dyn ObjectStore> {
    let objects = folder.join("objects");
    std::fs::create_dir_all(&objects).expect("a folder");
    local_objects(&objects).expect("a local object store")
}

pub(crate) async fn open_on(engine: Arc<dyn Engine>, objects: Arc<dyn ObjectStore>) -> Arc<Store> {
    open_with(engine, objects, octets_config()).await
}

/// As [`open`], with what was read kept in `cache` of the folder.
pub(crate) async fn open_cached(folder: &Path) -> Arc<Store> {
    let disk = DiskCacheConfig { folder: folder.join("cache"), octets_max: 64 << 20 };
    let config = OctetStoreConfig { disk_cache: Some(disk), ..octets_config() };
    open_with(engine(folder).await, objects(folder), config).await
}

async fn open_with(
    engine: Arc<dyn Engine>,
    objects: Arc<dyn ObjectStore>,
    config: OctetStoreConfig,
) -> Arc<Store> {
    let limits = StoreLimits { rows_per_step_max: 10, ..StoreLimits::default() };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    Store::open_with_engine(engine, objects, clock, random, config, limits)
        .await
        .expect("open the store")
}

pub(crate) async fn open(folder: &Path) -> Arc<Store> {
    open_on(engine(folder).await, objects(folder)).await
}

pub(crate) async fn account(store: &Store, id: AccountId, quota: Option<u64>) -> Account {
    let settings = AccountSettings {
        address: format!("casella{id}@pec.example"),
        quota_octets: quota,
        ..AccountSettings::default()
    };
    store.apply_account(id, 1, settings).await.expect("the account");
    store.account(id).await.expect("the account")
}

/// A message that only `seed` tells from others; every seventh goes to a pack at once, and every
/// third has the text of another, so that chunks are shared.
pub(crate) fn message(seed: u64) -> Vec<u8> {
    let mut octets = format!("Subject: {seed}\r\nContent-Type: text/plain\r\n\r\n").into_bytes();
    let shared = seed.is_multiple_of(3);
    let mut body = vec![0; if seed.is_multiple_of(7) { 20 << 10 } else { 5 << 10 }];
    SeededRandom::new(if shared { seed % 12 } else { seed }).fill(&mut body);
    octets.extend(body);
    octets
}

pub(crate) fn digest(seed: u64) -> Sha256Digest {
    Sha256Digest::of(&message(seed))
}

pub(crate) async fn stage(store: &Store, seed: u64) -> Result<StagedMessage, StoreError> {
    let mut writer = store.message_writer();
    writer.write(&message(seed)).await?;
    writer.finish().await
}

pub(crate) async fn append(
    store: &Store,
    account: &Account,
    mailbox: MailboxId,
    seed: u64,
) -> Result<Appended, StoreError> {
    loop {
        let staged = stage(store, seed).await?;
        let request = AppendRequest {
            mailbox,
            message: &staged,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        match account.append(request).await {
            // The collector took a chunk that the message was to share: once more.
            Err(StoreError::Conflict) => {}
            answer => return answer,
        }
    }
}

/// Writes one whole line to standard output, also while the test passes.
pub(crate) fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("somebody reads");
}
