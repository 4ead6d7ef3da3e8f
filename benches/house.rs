//! What the measures share: a runtime, a store in a folder, its accounts, messages appended to it.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::{
        engine::{Batch, Engine as _},
        rocksdb::{RocksConfig, RocksEngine},
    },
    ids::{AccountId, EmailNumber, MailboxId},
    mailbox::{append::AppendRequest, flags::Flags},
    octets::{OctetStoreConfig, StagedMessage},
    pack::store::local_objects,
    store::{Store, StoreLimits},
};
use trust::{clock::SystemClock, random::SystemRandom};

use crate::Failure;

/// Runs `measure` on as many threads as the machine has, in a folder of the build's, on a disk: the
/// system's temporary folder may be memory.
pub(crate) fn in_folder<T, F>(measure: impl FnOnce(std::path::PathBuf) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let threads = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(measure(folder.path().to_owned()))
}

/// A store with its engine, which says how often writers were held up.
pub(crate) struct House {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<RocksEngine>,
}

impl House {
    /// Opens the store in `folder`, with accounts 1 to `accounts`.
    pub(crate) async fn open(
        folder: &Path,
        octets: OctetStoreConfig,
        accounts: usize,
    ) -> Result<Self, Failure> {
        let families = Store::families(&[]);
        let config = RocksConfig::default();
        let engine = RocksEngine::open(&folder.join("catalog"), &families, &config).await?;
        let objects = local_objects(&folder.join("objects"))?;
        let store = Store::open_with_engine(
            engine.clone(),
            objects,
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
            octets,
            StoreLimits::default(),
        )
        .await?;
        for account in 0..accounts {
            let settings = AccountSettings {
                address: format!("writer{account}@pec.alfa.example"),
                plan: "base".to_owned(),
                ..AccountSettings::default()
            };
            store.apply_account(account_id(account), 1, settings).await?;
        }
        Ok(Self { store, engine })
    }

    /// Moves everything that is staged into packs.
    pub(crate) async fn pack_all(&self) -> Result<(), Failure> {
        while self.store.octets().pack_once().await?.did_something() {}
        Ok(())
    }

    /// Says how often writers were held up, and closes.
    pub(crate) async fn close(self, name: &str) -> Result<(), Failure> {
        let stalls = self.engine.stalls()?;
        crate::tell(&format!(
            "NOTE {name}: the catalog stopped writers {} times and slowed them {} times",
            stalls.stops, stalls.delays
        ));
        self.store.close().await?;
        self.engine.close().await?;
        Ok(())
    }
}

/// The account of a writer.
pub(crate) fn account_id(writer: usize) -> AccountId {
    AccountId(u64::try_from(writer).unwrap_or(u64::MAX).saturating_add(1))
}

/// The account of a writer, and its INBOX.
pub(crate) async fn inbox(store: &Store, writer: usize) -> Result<(Account, MailboxId), Failure> {
    let account = store.account(account_id(writer)).await?;
    let inbox = account.mailbox_by_name("INBOX").await?.id();
    Ok((account, inbox))
}

/// Takes in a message.
pub(crate) async fn stage(store: &Store, message: &[u8]) -> Result<StagedMessage, Failure> {
    let mut taken_in = store.message_writer();
    taken_in.write(message).await?;
    Ok(taken_in.finish().await?)
}

/// Appends a message; durable on return.
pub(crate) async fn append(
    account: &Account,
    mailbox: MailboxId,
    message: &StagedMessage,
) -> Result<EmailNumber, Failure> {
    let request = AppendRequest {
        mailbox,
        message,
        flags: Flags::default(),
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Enforce,
        also: Batch::default(),
    };
    Ok(account.append(request).await?.email_number)
}

/// How many a second.
pub(crate) fn per_second(count: usize, time: Duration) -> Result<f64, Failure> {
    Ok(f64::from(u32::try_from(count)?) / time.as_secs_f64())
}
