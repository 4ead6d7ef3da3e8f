//! `dedup_pec`: octets that the store keeps of certified exchanges with a PDF of 1 MB, when sender and
//! recipient are in one store, over the octets of the PDF after zstd.
//!
//! The engine is the real one: original, acceptance receipt, transport envelope and complete delivery
//! receipt of every transmission. Counted are the packs on disk, their indexes included, once nothing
//! is staged any more. The limit is zstd of the files, at the level of the packs. Beside it stands what
//! the same messages take as one file each (Maildir), and as one zstd file each.

use std::path::{Path, PathBuf};

use storage::{
    ids::AccountId, mailbox::view::MailboxView as _, octets::OctetStoreConfig, store::Store,
};

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    provider::{Provider, RECIPIENT, SENDER},
};

const EXCHANGES: usize = 4;
/// The level of zstd that the limit and the compressed Maildir use.
const LEVEL: i32 = 6;
const KIB: f64 = 1_024.0;

/// Runs the exchanges.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(exchange)
}

async fn exchange(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let octets = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let provider = Provider::start(&folder, threads, octets).await?;
    let made = messages::make_large(1, EXCHANGES, SENDER, RECIPIENT);
    let originals: Vec<Vec<u8>> = made.iter().map(|large| large.message.clone()).collect();
    provider.transmit(&originals, 0).await?;
    let store = provider.store();
    while store.octets().pack_once().await?.did_something() {}
    let mut maildir = Sizes::default();
    for original in &originals {
        maildir.add(original)?;
    }
    for account in [AccountId(1), AccountId(2)] {
        add_mailbox(store, account, &mut maildir).await?;
    }
    let kept = octets_in(&folder.join("objects"))?;
    provider.stop().await?;
    let mut limit = 0;
    for large in &made {
        limit += zstd::bulk::compress(&large.pdf, LEVEL)?.len();
    }
    let kib = |octets: u64| u32::try_from(octets).map(|octets| f64::from(octets) / KIB);
    let (kept, limit) = (kib(kept)?, kib(u64::try_from(limit)?)?);
    let (plain, compressed) = (kib(maildir.octets)?, kib(maildir.compressed)?);
    crate::tell(&format!(
        "NOTE dedup_pec: {} messages; as Maildir {:.1} KiB ({:.2} of the PDF after zstd), as Maildir with zstd {:.1} KiB ({:.2})",
        maildir.messages,
        plain,
        plain / limit,
        compressed,
        compressed / limit,
    ));
    Ok(Line { name: "dedup_pec", unit: "KiB", value: kept, limit, goal: Goal::AtMost(1.05) })
}

/// What a mail store of files would need.
#[derive(Default)]
struct Sizes {
    messages: u32,
    octets: u64,
    compressed: u64,
}

impl Sizes {
    fn add(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.messages += 1;
        self.octets += message.len() as u64;
        self.compressed += zstd::bulk::compress(message, LEVEL)?.len() as u64;
        Ok(())
    }
}

async fn add_mailbox(store: &Store, id: AccountId, sizes: &mut Sizes) -> Result<(), Failure> {
    let account = store.account(id).await?;
    let inbox = account.mailbox_by_name("INBOX").await?;
    let (_, rows) = inbox.rows().await?;
    for row in rows {
        let message = account.stored(row.email_number).await?;
        let mut octets = Vec::new();
        while (octets.len() as u64) < message.size() {
            let next = octets.len() as u64..message.size();
            octets.extend_from_slice(&store.octets().read(&message, next).await?);
        }
        sizes.add(&octets)?;
    }
    Ok(())
}

fn octets_in(folder: &Path) -> Result<u64, Failure> {
    let mut octets = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        octets += if data.is_dir() { octets_in(&entry.path())? } else { data.len() };
    }
    Ok(octets)
}
