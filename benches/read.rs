//! `read_cold` and `read_hot`: whole messages of 20 KB read per second by 8 readers, out of packs.
//!
//! Cold: a store that was just opened, with none of its files in the system's cache. Hot: the same
//! messages read again, as far as the store keeps them.
//!
//! The limit is one file that holds the messages' octets, each a zstd frame whose place is known: read,
//! decompressed, digested with BLAKE3. For `read_cold` it is not in the system's cache either; for
//! `read_hot` it is. Rounds take turns.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use storage::{ids::EmailNumber, octets::OctetStoreConfig};

use crate::{
    Failure,
    append::{Share, timed},
    house::{self, House},
    line::{Goal, Line},
    messages,
};

const READERS: usize = 8;
const MESSAGES_PER_READER: usize = 150;
const ROUNDS: usize = 5;

/// Runs the rounds with cold caches.
pub(crate) fn cold() -> Result<Line, Failure> {
    house::in_folder(|folder| rounds(folder, Warmth::Cold))
}

/// Runs the rounds with warm caches.
pub(crate) fn hot() -> Result<Line, Failure> {
    house::in_folder(|folder| rounds(folder, Warmth::Hot))
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Warmth {
    Cold,
    Hot,
}

/// One message: its number in its account, its octets, its place in the plain file.
#[derive(Clone, Copy)]
struct Written {
    number: EmailNumber,
    octets: usize,
    offset: u64,
    frame: usize,
}

async fn rounds(folder: PathBuf, warmth: Warmth) -> Result<Line, Failure> {
    let config = OctetStoreConfig { pack_patience_calls: 0, ..OctetStoreConfig::default() };
    let house = House::open(&folder, config.clone(), READERS).await?;
    let path = folder.join("frames");
    let shares = write(&house, &path).await?;
    house.pack_all().await?;
    house.close("read").await?;
    let mut house = House::open(&folder, config.clone(), 0).await?;
    let file = Arc::new(File::open(&path)?);
    let (mut in_store, mut in_file) = (Duration::ZERO, Duration::ZERO);
    if warmth == Warmth::Hot {
        read_store(&house, &shares).await?;
        read_file(&file, &shares).await?;
    }
    for _ in 0..ROUNDS {
        if warmth == Warmth::Cold {
            house.store.close().await?;
            drop(house);
            forget_files(&folder)?;
            house = House::open(&folder, config.clone(), 0).await?;
        }
        in_store += read_store(&house, &shares).await?;
        in_file += read_file(&file, &shares).await?;
    }
    house.store.close().await?;
    let count = READERS * MESSAGES_PER_READER * ROUNDS;
    Ok(Line {
        name: if warmth == Warmth::Cold { "read_cold" } else { "read_hot" },
        unit: "messages/s",
        value: house::per_second(count, in_store)?,
        limit: house::per_second(count, in_file)?,
        goal: Goal::AtLeast(0.5),
    })
}

/// Appends the messages to the store, and their frames to a file.
async fn write(house: &House, path: &Path) -> Result<Vec<Share<Written>>, Failure> {
    let mut frames = Vec::new();
    let mut shares = Vec::new();
    for reader in 0..READERS {
        let (account, inbox) = house::inbox(&house.store, reader).await?;
        let mut share = Vec::new();
        for message in messages::make(u64::try_from(reader)?, MESSAGES_PER_READER) {
            let staged = house::stage(&house.store, &message).await?;
            let number = house::append(&account, inbox, &staged).await?;
            let frame = zstd::bulk::compress(&message, 1)?;
            let (octets, offset) = (message.len(), frames.len() as u64);
            share.push(Written { number, octets, offset, frame: frame.len() });
            frames.extend_from_slice(&frame);
        }
        shares.push(Arc::new(share));
    }
    std::fs::write(path, frames)?;
    File::open(path)?.sync_all()?;
    Ok(shares)
}

async fn read_store(house: &House, shares: &[Share<Written>]) -> Result<Duration, Failure> {
    timed(shares, |reader, share| {
        let store = Arc::clone(&house.store);
        async move {
            let account = store.account(house::account_id(reader)).await?;
            for written in share.iter() {
                let message = account.stored(written.number).await?;
                let octets = store.octets().read(&message, 0..message.size()).await?;
                if octets.len() != written.octets {
                    return Err("a message was read in part".into());
                }
            }
            Ok(())
        }
    })
    .await
}

async fn read_file(file: &Arc<File>, shares: &[Share<Written>]) -> Result<Duration, Failure> {
    timed(shares, |_, share| {
        let file = Arc::clone(file);
        async move {
            for written in share.iter() {
                let file = Arc::clone(&file);
                let Written { octets, offset, frame, .. } = *written;
                let read = move || -> Result<(), Failure> {
                    let mut stored = vec![0; frame];
                    file.read_exact_at(&mut stored, offset)?;
                    let plain = zstd::bulk::decompress(&stored, octets)?;
                    std::hint::black_box(blake3::hash(&plain));
                    Ok(())
                };
                tokio::task::spawn_blocking(read).await??;
            }
            Ok(())
        }
    })
    .await
}

/// Takes every file of `folder` out of the system's cache.
fn forget_files(folder: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_files(&path)?;
            continue;
        }
        let done = Command::new("dd")
            .arg(format!("if={}", path.display()))
            .args(["iflag=nocache", "count=0", "status=none"])
            .status()?;
        if !done.success() {
            return Err(format!("dd could not forget {}", path.display()).into());
        }
    }
    Ok(())
}
