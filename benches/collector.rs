//! `collector`: octets given back per second, after nine tenths of 2 GB were deleted.
//!
//! The limit does what no collector can do without, on the same octets in the same folder: every pack
//! is read whole, a tenth of it is written to a new file that is synced, and the old file is deleted.
//! A line beside it says what the disk holds after one run, objects and catalog, for each live octet.

use std::{
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use storage::{
    account::{Account, quota::QuotaRule, settings::AccountSettings},
    catalog::{engine::Batch, rocksdb::RocksConfig},
    collector::{CollectOptions, CollectReport},
    ids::{AccountId, MailboxId, Uid},
    mailbox::{
        append::AppendRequest,
        flags::{FlagChange, Flags},
        view::MailboxView as _,
    },
    octets::OctetStoreConfig,
    pack::store::local_objects,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{
    clock::SystemClock,
    random::{RandomSource as _, SeededRandom, SystemRandom},
};

use crate::{
    Failure,
    line::{Goal, Line},
    tell,
};

const ACCOUNTS: u64 = 8;
const MESSAGE_OCTETS: usize = 100 << 10;
/// Octets of all messages; [`OCTETS`] names another number.
const OCTETS_DEFAULT: usize = 2 << 30;
const OCTETS: &str = "CERALACCA_BENCH_COLLECTOR_OCTETS";

/// Fills, deletes, collects.
pub(crate) fn measure() -> Result<Line, Failure> {
    let octets = match std::env::var(OCTETS) {
        Ok(text) => text.parse()?,
        Err(_) => OCTETS_DEFAULT,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A folder of the build's, on a disk; the system's temporary folder may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    runtime.block_on(run(folder.path(), octets))
}

async fn run(folder: &Path, octets: usize) -> Result<Line, Failure> {
    let store = open(folder).await?;
    let per_account = octets / MESSAGE_OCTETS / usize::try_from(ACCOUNTS)?;
    let writers: Vec<_> = (1..=ACCOUNTS)
        .map(|account| tokio::spawn(fill(Arc::clone(&store), AccountId(account), per_account)))
        .collect();
    for writer in writers {
        writer.await??;
    }
    while store.octets().pack_once().await?.did_something() {}
    let before = octets_in(folder)?;
    for account in 1..=ACCOUNTS {
        delete(&store.account(AccountId(account)).await?).await?;
    }
    let limit = compact_plainly(&folder.join("objects"), &folder.join("plain"))?;
    let options = CollectOptions {
        grace: Duration::ZERO,
        octets_per_second: 0,
        requests_per_second: 0,
        ..CollectOptions::default()
    };
    let began = Instant::now();
    let report = store.collect(&options, &|_| {}).await?;
    let took = began.elapsed();
    store.close().await?;
    let after = octets_in(&folder.join("objects"))? + octets_in(&folder.join("catalog"))?;
    note(before, after, &report);
    let freed = report.octets_before.saturating_sub(report.octets_after);
    let per_second = |octets: u64, took: Duration| megabytes(octets) / took.as_secs_f64();
    Ok(Line {
        name: "collector",
        unit: "MB/s",
        value: per_second(freed, took),
        limit: per_second(freed, limit),
        goal: Goal::AtLeast(0.5),
    })
}

fn note(before: u64, after: u64, report: &CollectReport) {
    let live = report.kept_octets;
    let ratio = megabytes(after) / megabytes(live);
    let (before, after, live) = (megabytes(before), megabytes(after), megabytes(live));
    tell(&format!(
        "NOTE name=collector_disk before={before:.1} after={after:.1} live={live:.1} unit=MB \
         ratio={ratio:.3} goal=1.25 swept={} rewritten={} removed={}",
        report.chunks_swept, report.packs_rewritten, report.packs_removed
    ));
}

fn megabytes(octets: u64) -> f64 {
    // Figures for people; a pack's size fits.
    f64::from(u32::try_from(octets >> 10).unwrap_or(u32::MAX)) / 1_024.0
}

async fn open(folder: &Path) -> Result<Arc<Store>, Failure> {
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: Vec::new(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = local_objects(&folder.join("objects"))?;
    let random = Arc::new(SystemRandom);
    let store = Store::open(config, objects, Arc::new(SystemClock), random).await?;
    for account in 1..=ACCOUNTS {
        let settings = AccountSettings {
            address: format!("holder{account}@pec.alfa.example"),
            plan: "base".to_owned(),
            ..AccountSettings::default()
        };
        store.apply_account(AccountId(account), 1, settings).await?;
    }
    Ok(store)
}

/// A message of random octets, which do not shrink.
fn message(seed: u64) -> Vec<u8> {
    let mut octets = format!("Subject: {seed}\r\nContent-Type: text/plain\r\n\r\n").into_bytes();
    let mut body = vec![0; MESSAGE_OCTETS];
    SeededRandom::new(seed).fill(&mut body);
    octets.extend_from_slice(&body);
    octets
}

async fn fill(store: Arc<Store>, id: AccountId, messages: usize) -> Result<(), Failure> {
    let account = store.account(id).await?;
    let mailbox = inbox(&account).await?;
    for number in 0..messages {
        let mut writer = store.message_writer();
        writer.write(&message(id.0 << 32 | u64::try_from(number)?)).await?;
        let request = AppendRequest {
            mailbox,
            message: &writer.finish().await?,
            flags: Flags::default(),
            internal_date: None,
            charged_octets: None,
            quota: QuotaRule::Enforce,
            also: Batch::default(),
        };
        account.append(request).await?;
        if number % 64 == 63 {
            // As the server's packer, which runs beside.
            store.octets().pack_once().await?;
        }
    }
    Ok(())
}

async fn inbox(account: &Account) -> Result<MailboxId, Failure> {
    Ok(account.mailbox_by_name("INBOX").await?.id())
}

/// Expunges nine messages of ten.
async fn delete(account: &Account) -> Result<(), Failure> {
    let inbox = account.mailbox_by_name("INBOX").await?;
    let uids: Vec<Uid> = inbox.rows().await?.1.into_iter().map(|row| row.uid).collect();
    let gone: Vec<Uid> = uids.into_iter().filter(|uid| !uid.get().is_multiple_of(10)).collect();
    let deleted = Flags { deleted: true, ..Flags::default() };
    for uids in gone.chunks(1_000) {
        inbox.store_flags(uids, FlagChange::Add, &deleted, None).await?;
        inbox.expunge(uids).await?;
    }
    Ok(())
}

/// Copies the packs, then takes the time that reading them, writing a tenth and deleting them
/// takes.
fn compact_plainly(objects: &Path, plain: &Path) -> Result<Duration, Failure> {
    let old = plain.join("old");
    std::fs::create_dir_all(&old)?;
    let mut copies = Vec::new();
    for (number, pack) in files(objects)?.into_iter().enumerate() {
        let copy = old.join(number.to_string());
        std::fs::copy(pack, &copy)?;
        copies.push(copy);
    }
    let began = Instant::now();
    for (number, copy) in copies.iter().enumerate() {
        let octets = std::fs::read(copy)?;
        let mut new = std::fs::File::create(plain.join(number.to_string()))?;
        new.write_all(octets.get(..octets.len() / 10).unwrap_or_default())?;
        new.sync_all()?;
        std::fs::remove_file(copy)?;
    }
    let took = began.elapsed();
    std::fs::remove_dir_all(plain)?;
    Ok(took)
}

fn octets_in(folder: &Path) -> Result<u64, Failure> {
    files(folder)?.iter().map(|file| Ok(std::fs::metadata(file)?.len())).sum()
}

fn files(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.append(&mut self::files(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
