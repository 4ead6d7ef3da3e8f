//! `select` and `header_search`: messages per second of a mailbox of 100,000 that is opened, and of
//! one whose senders are searched through, by way of blocks.
//!
//! The limit is what anybody must do who keeps the same octets compressed and verified: BLAKE3-256
//! over every block, decompressing it, and then, for `select`, a copy of the list that is handed
//! out; for `header_search`, decompressing the senders alone, and one search through their text. The
//! blocks are in memory for the limit; the program reads them from the catalog, whose cache
//! holds them after the first round. Rounds take turns.
//!
//! `select_gain` and `header_search_gain` have beside them, instead of a limit, what the program
//! does without blocks: it reads every row, or every summary. Their ratio says how many
//! times faster blocks are.

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::try_join_all};
use object_store::local::LocalFileSystem;
use storage::{
    account::{
        Account,
        headers::page::{HeaderField, HeaderFields, MessageHeaders},
        quota::QuotaRule,
        settings::AccountSettings,
    },
    catalog::{
        engine::{Batch, Family, Scan},
        keys,
        rocksdb::RocksConfig,
    },
    ids::{AccountId, EmailNumber},
    mailbox::{append::AppendRequest, flags::Flags, live::LiveMailbox, view::MailboxView as _},
    octets::OctetStoreConfig,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{clock::SystemClock, random::SystemRandom};

use crate::{
    Failure,
    line::{Goal, Line},
};

pub(crate) const MESSAGES: usize = 100_000;
/// Messages appended at a time: they share a batch.
const TOGETHER: usize = 128;
/// Messages whose headers are asked for at a time, as IMAP does.
const ASKED: usize = 8_192;
const ROUNDS: u8 = 5;
pub(crate) const ACCOUNT: AccountId = AccountId(1);
/// A sender of one message in a thousand.
pub(crate) const SENDER: &str = "ufficio777@pec.beta.example";
/// Octets before a block's compressed frame, and where the length of its plain octets stands.
const FRAME_AT: usize = 37;
const LENGTH_AT: usize = 33;
/// The version of blocks in parts, whose table stands where others have their length.
const IN_PARTS: u8 = 2;

/// Opening, beside its limit.
pub(crate) fn select() -> Result<Line, Failure> {
    let [_, blocks, limit] = run(|folder| Box::pin(opened(folder)))?;
    Ok(Line { name: "select", unit: "messages/s", value: blocks, limit, goal: Goal::AtLeast(0.5) })
}

/// Opening by blocks, beside opening by rows.
pub(crate) fn select_gain() -> Result<Line, Failure> {
    let [rows, blocks, _] = run(|folder| Box::pin(opened(folder)))?;
    Ok(Line {
        name: "select_gain",
        unit: "messages/s",
        value: blocks,
        limit: rows,
        goal: Goal::AtLeast(5.0),
    })
}

/// Searching, beside its limit.
pub(crate) fn header_search() -> Result<Line, Failure> {
    let [_, blocks, limit] = run(|folder| Box::pin(searched(folder)))?;
    Ok(Line {
        name: "header_search",
        unit: "messages/s",
        value: blocks,
        limit,
        goal: Goal::AtLeast(0.5),
    })
}

/// Searching by blocks, beside searching by summaries.
pub(crate) fn header_search_gain() -> Result<Line, Failure> {
    let [summaries, blocks, _] = run(|folder| Box::pin(searched(folder)))?;
    let (value, limit) = (blocks, summaries);
    Ok(Line {
        name: "header_search_gain",
        unit: "messages/s",
        value,
        limit,
        goal: Goal::AtLeast(5.0),
    })
}

/// Messages per second without blocks, with blocks, and of the limit.
type Rates = [f64; 3];

type Measuring<'f> =
    std::pin::Pin<Box<dyn Future<Output = Result<[Duration; 3], Failure>> + Send + 'f>>;

fn run(measure: impl FnOnce(&Path) -> Measuring<'_>) -> Result<Rates, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let times = runtime.block_on(measure(folder.path()))?;
    let count = f64::from(u32::try_from(MESSAGES)?) * f64::from(ROUNDS);
    Ok(times.map(|time| count / time.as_secs_f64()))
}

async fn opened(folder: &Path) -> Result<[Duration; 3], Failure> {
    let (store, account, inbox) = furnished(folder).await?;
    let blocks = values(&store, keys::MAILBOX_BLOCKS).await?;
    let mut times = [Duration::ZERO; 3];
    // The first round fills the catalog's cache and is not counted.
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let rows = inbox.rows().await?.1;
        let by_rows = began.elapsed();
        drop(rows);
        let began = Instant::now();
        let listing = inbox.listing().await?;
        let by_blocks = began.elapsed();
        if listing.messages.len() != MESSAGES || listing.blocks < MESSAGES / 1_024 {
            return Err("the mailbox was not opened by blocks".into());
        }
        let began = Instant::now();
        for value in &blocks {
            std::hint::black_box(plain(value)?);
        }
        std::hint::black_box(listing.messages.clone());
        let limit = began.elapsed();
        if round > 0 {
            add(&mut times, [by_rows, by_blocks, limit]);
        }
    }
    drop((account, inbox));
    store.close().await?;
    Ok(times)
}

async fn searched(folder: &Path) -> Result<[Duration; 3], Failure> {
    let (store, account, inbox) = furnished(folder).await?;
    let blocks = values(&store, keys::HEADER_BLOCKS).await?;
    let rows = inbox.list().await?.1;
    let numbers: Vec<EmailNumber> = rows.iter().map(|row| row.email_number).collect();
    let mut times = [Duration::ZERO; 3];
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let mut by_summaries = 0;
        for number in &numbers {
            let headers = MessageHeaders::of(*number, &*inbox.summary(*number).await?);
            by_summaries += usize::from(headers.contains(HeaderField::From, SENDER));
        }
        let summaries = began.elapsed();
        let began = Instant::now();
        let mut by_blocks = 0;
        for asked in numbers.chunks(ASKED) {
            let headers = inbox.headers(asked, HeaderFields::NONE.with(HeaderField::From)).await?;
            let found = headers.iter().flatten();
            by_blocks += found.filter(|one| one.contains(HeaderField::From, SENDER)).count();
        }
        let in_blocks = began.elapsed();
        if by_summaries != by_blocks || by_blocks != MESSAGES / 1_000 {
            return Err(format!("{by_blocks} found by blocks, {by_summaries} without").into());
        }
        let began = Instant::now();
        for value in &blocks {
            let senders = plain_senders(value)?;
            std::hint::black_box(String::from_utf8_lossy(&senders).contains("no sender"));
        }
        let limit = began.elapsed();
        if round > 0 {
            add(&mut times, [summaries, in_blocks, limit]);
        }
    }
    drop((account, inbox));
    store.close().await?;
    Ok(times)
}

fn add(times: &mut [Duration; 3], round: [Duration; 3]) {
    for (time, more) in times.iter_mut().zip(round) {
        *time += more;
    }
}

/// Verifies and decompresses a block as its format says, without looking at what it says.
fn plain(value: &[u8]) -> Result<Vec<u8>, Failure> {
    std::hint::black_box(blake3::hash(value));
    let length = value.get(LENGTH_AT..FRAME_AT).ok_or("a short block")?;
    let length = u32::from_be_bytes(length.try_into()?);
    let frame = value.get(FRAME_AT..).ok_or("a short block")?;
    Ok(zstd::bulk::decompress(frame, usize::try_from(length)?)?)
}

/// The same of the senders in a header block: the second of its parts. Nothing of the list, which is
/// among the blocks.
fn plain_senders(value: &[u8]) -> Result<Vec<u8>, Failure> {
    if value.first() != Some(&IN_PARTS) {
        return Ok(Vec::new());
    }
    std::hint::black_box(blake3::hash(value));
    let at = |place: usize| -> Result<usize, Failure> {
        let length = value.get(place..place + 4).ok_or("a short block")?;
        Ok(usize::try_from(u32::from_be_bytes(length.try_into()?))?)
    };
    let first = LENGTH_AT + 1;
    let parts = usize::from(*value.get(LENGTH_AT).ok_or("a short block")?);
    let begin = first + 8 * parts + at(first + 4)?;
    let (octets, frame) = (at(first + 8)?, at(first + 12)?);
    let frame = value.get(begin..begin + frame).ok_or("a short block")?;
    Ok(zstd::bulk::decompress(frame, octets)?)
}

/// The blocks in a family, and the list.
async fn values(store: &Store, family: Family) -> Result<Vec<bytes::Bytes>, Failure> {
    let entries = store.engine().scan(&Scan::prefix(family, &[], 1_000)).await?;
    Ok(entries.into_iter().map(|(_, value)| value).collect())
}

/// A store with one account that has all messages in INBOX, and its blocks.
pub(crate) async fn furnished(
    folder: &Path,
) -> Result<(Arc<Store>, Account, Arc<LiveMailbox>), Failure> {
    let (store, account, inbox) = empty(folder).await?;
    for first in (0..MESSAGES).step_by(TOGETHER) {
        let some = first..(first + TOGETHER).min(MESSAGES);
        try_join_all(some.map(|number| append(&store, &account, &inbox, number))).await?;
    }
    store.build_blocks(&|_| async { true }.boxed()).await?;
    Ok((store, account, inbox))
}

/// A store with one account that has nothing yet.
pub(crate) async fn empty(
    folder: &Path,
) -> Result<(Arc<Store>, Account, Arc<LiveMailbox>), Failure> {
    let objects = folder.join("objects");
    std::fs::create_dir(&objects)?;
    let config = StoreConfig {
        catalog_folder: folder.join("catalog"),
        families: ceralacca::serve::store::families(),
        references: Vec::new(),
        catalog: RocksConfig::default(),
        octets: OctetStoreConfig::default(),
        limits: StoreLimits::default(),
    };
    let objects = Arc::new(LocalFileSystem::new_with_prefix(objects)?.with_fsync(true));
    let store = Store::open(config, objects, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
    let settings = AccountSettings {
        address: "anna@pec.alfa.example".to_owned(),
        plan: "base".to_owned(),
        ..AccountSettings::default()
    };
    store.apply_account(ACCOUNT, 1, settings).await?;
    let account = store.account(ACCOUNT).await?;
    let inbox = account.mailbox_by_name("INBOX").await?;
    Ok((store, account, inbox))
}

/// Appends message `number`.
pub(crate) async fn append(
    store: &Store,
    account: &Account,
    inbox: &LiveMailbox,
    number: usize,
) -> Result<(), Failure> {
    let mut writer = store.message_writer();
    writer.write(message(number).as_bytes()).await?;
    let staged = writer.finish().await?;
    let request = AppendRequest {
        mailbox: inbox.id(),
        message: &staged,
        flags: Flags { seen: !number.is_multiple_of(7), ..Flags::default() },
        internal_date: None,
        charged_octets: None,
        quota: QuotaRule::Exempt,
        also: Batch::default(),
    };
    account.append(request).await?;
    Ok(())
}

/// A small message with the headers of an ordinary one.
fn message(number: usize) -> String {
    let sender = number % 1_000;
    let mut text = String::new();
    let _ = write!(
        text,
        "Message-ID: <{number:08x}.{sender}@pec.beta.example>\r\n\
         Date: Sat, {} Nov 2026 {:02}:{:02}:00 +0100\r\n\
         From: \"Ufficio Protocollo {sender}\" <ufficio{sender}@pec.beta.example>\r\n\
         To: Anna Rossi <anna@pec.alfa.example>\r\n\
         Cc: archivio{}@pec.beta.example\r\n\
         Subject: =?utf-8?Q?Perizia_n=C2=B0_{number}_e_relazione_di_collaudo?=\r\n\
         References: <{:08x}.{sender}@pec.beta.example>\r\n\r\n\
         Si trasmette quanto in oggetto, pratica {number}.\r\n",
        1 + number % 28,
        number / 60 % 24,
        number % 60,
        number % 30,
        number / 2,
    );
    text
}
