//! `append`: messages of 20 KB per second, appended by 32 writers, each to its own account, each
//! counted when it is durable.
//!
//! The limit is [`crate::appender`] with as many writers, on the same runtime, in the same folder.
//! Rounds of the two take turns, so that neither has the machine at a better moment. Making the
//! messages is not timed.

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use object_store::local::LocalFileSystem;
use storage::{
    account::{quota::QuotaRule, settings::AccountSettings},
    catalog::{engine::Batch, rocksdb::RocksConfig},
    ids::AccountId,
    mailbox::{append::AppendRequest, flags::Flags},
    octets::OctetStoreConfig,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{clock::SystemClock, random::SystemRandom};

use crate::{Failure, appender::Appender, line::Line, messages};

const WRITERS: usize = 32;
const MESSAGES_PER_WRITER: usize = 100;
const ROUNDS: u8 = 5;

/// Runs the rounds.
pub(crate) fn measure() -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    // A folder of the build's, on a disk; the system's temporary folder may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(rounds(folder.path()))
}

async fn rounds(folder: &Path) -> Result<Line, Failure> {
    let store = open(folder).await?;
    let appender = Arc::new(Appender::create(&folder.join("appended"))?);
    let (mut in_store, mut in_file) = (Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        let shares = shares(round.into());
        in_store += timed(&shares, |writer, share| {
            let store = Arc::clone(&store);
            async move { append_all(&store, writer, &share).await }
        })
        .await?;
        in_file += timed(&shares, |_, share| {
            let appender = Arc::clone(&appender);
            async move {
                for message in share.iter() {
                    appender.append(message).await?;
                }
                Ok(())
            }
        })
        .await?;
    }
    store.close().await?;
    let count = u32::try_from(WRITERS * MESSAGES_PER_WRITER * usize::from(ROUNDS))?;
    let per_second = |time: Duration| f64::from(count) / time.as_secs_f64();
    Ok(Line {
        name: "append",
        unit: "messages/s",
        value: per_second(in_store),
        limit: per_second(in_file),
        goal: 0.6,
    })
}

type Share = Arc<Vec<Vec<u8>>>;

/// New messages for every writer of a round.
fn shares(round: u64) -> Vec<Share> {
    let all = messages::make(round, WRITERS * MESSAGES_PER_WRITER);
    all.chunks(MESSAGES_PER_WRITER).map(|share| Arc::new(share.to_vec())).collect()
}

/// How long all writers together take for their shares.
async fn timed<F>(shares: &[Share], write: impl Fn(usize, Share) -> F) -> Result<Duration, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let began = Instant::now();
    let writers: Vec<_> = shares
        .iter()
        .enumerate()
        .map(|(writer, share)| tokio::spawn(write(writer, Arc::clone(share))))
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(began.elapsed())
}

async fn open(folder: &Path) -> Result<Arc<Store>, Failure> {
    let objects = folder.join("objects");
    std::fs::create_dir(&objects)?;
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: Vec::new(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = Arc::new(LocalFileSystem::new_with_prefix(objects)?.with_fsync(true));
    let clock = Arc::new(SystemClock);
    let store = Store::open(config, objects, clock, Arc::new(SystemRandom)).await?;
    for writer in 0..WRITERS {
        let settings = AccountSettings {
            address: format!("writer{writer}@pec.alfa.example"),
            plan: "base".to_owned(),
            ..AccountSettings::default()
        };
        store.apply_account(account_id(writer), 1, settings).await?;
    }
    Ok(store)
}

fn account_id(writer: usize) -> AccountId {
    AccountId(u64::try_from(writer).unwrap_or(u64::MAX).saturating_add(1))
}

async fn append_all(store: &Store, writer: usize, share: &[Vec<u8>]) -> Result<(), Failure> {
    let account = store.account(account_id(writer)).await?;
    let inbox = account.mailbox_by_name("INBOX").await?.id();
    for message in share {
        let mut taken_in = store.message_writer();
        taken_in.write(message).await?;
        let staged = taken_in.finish().await?;
        let request = AppendRequest {
            mailbox: inbox,
            message: &staged,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        account.append(request).await?;
    }
    Ok(())
}
