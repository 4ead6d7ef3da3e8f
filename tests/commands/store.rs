//! Stores made by hand, as the commands find them.

use std::{path::Path, sync::Arc};

use ceralacca::config::Config;
use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::engine::Batch,
    ids::{AccountId, MailboxId},
    mailbox::{append::AppendRequest, flags::Flags},
    store::Store,
};
use trust::{
    clock::SystemClock,
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

/// Opens the store in the data folder of a site, works on it and closes it.
pub(crate) fn with_store<T>(folder: &Path, work: impl AsyncFnOnce(&Arc<Store>) -> T) -> T {
    let mut config = Config::default();
    config.data.folder = folder.join("data");
    std::fs::create_dir_all(&config.data.folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let store = ceralacca::serve::store::open(&config, clock, random).await.unwrap();
        let result = work(&store).await;
        store.close().await.unwrap();
        result
    })
}

/// The account `id`, which is made when it is not there.
pub(crate) async fn account(store: &Store, id: u64, address: &str) -> Account {
    let settings = AccountSettings { address: address.to_owned(), ..AccountSettings::default() };
    store.apply_account(AccountId(id), 1, settings).await.unwrap();
    store.account(AccountId(id)).await.unwrap()
}

/// Appends a message with a text of `octets` that does not compress, to the INBOX.
pub(crate) async fn append(store: &Store, account: &Account, seed: u64, octets: usize) {
    let mut noise = vec![0; octets];
    SeededRandom::new(seed).fill(&mut noise);
    let mut writer = store.message_writer();
    let head = format!("Subject: {seed}\r\nContent-Type: application/octet-stream\r\n\r\n");
    writer.write(head.as_bytes()).await.unwrap();
    writer.write(&noise).await.unwrap();
    let message = writer.finish().await.unwrap();
    let request = AppendRequest {
        mailbox: MailboxId(1),
        message: &message,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    account.append(request).await.unwrap();
}
