//! `dictionary`: octets that the small chunks of certified mail take after zstd with a trained
//! dictionary, over what they take without.
//!
//! The chunks are those of real exchanges of small messages through the engine: originals, acceptance
//! receipts, envelopes, delivery receipts. Half of them train the dictionary, the other half are
//! measured. Nothing of this is in the program: the figure says what a dictionary would bring.

use std::{collections::BTreeMap, path::PathBuf};

use storage::{
    ids::{AccountId, ChunkId},
    mailbox::view::MailboxView as _,
    octets::{OctetStoreConfig, recipe::Segment},
    store::Store,
};

use crate::{
    Failure, house,
    line::{Goal, Line},
    messages,
    provider::{Provider, RECIPIENT, SENDER},
};

const EXCHANGES: usize = 200;
/// Octets of the dictionary: what zstd's own tools make.
const DICTIONARY_OCTETS: usize = 110 << 10;
/// Larger chunks gain nothing from a dictionary.
const SMALL_OCTETS_MAX: u32 = 64 << 10;
/// The level of packs.
const LEVEL: i32 = 6;
const KIB: f64 = 1_024.0;

/// Runs the exchanges and compresses their chunks.
pub(crate) fn measure() -> Result<Line, Failure> {
    house::in_folder(exchange)
}

async fn exchange(folder: PathBuf) -> Result<Line, Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let provider = Provider::start(&folder, threads, OctetStoreConfig::default()).await?;
    let made = messages::make_to(1, EXCHANGES, SENDER, RECIPIENT);
    provider.transmit(&made, 0).await?;
    let mut chunks = BTreeMap::new();
    for account in [AccountId(1), AccountId(2)] {
        add_chunks(provider.store(), account, &mut chunks).await?;
    }
    provider.stop().await?;
    // By digest: originals, envelopes and receipts fall into both halves alike.
    let chunks: Vec<Vec<u8>> = chunks.into_values().collect();
    let (trained, measured) = chunks.split_at(chunks.len() / 2);
    let dictionary = zstd::dict::from_samples(trained, DICTIONARY_OCTETS)?;
    let mut with = zstd::bulk::Compressor::with_dictionary(LEVEL, &dictionary)?;
    let (mut plain, mut value, mut limit) = (0, 0, 0);
    for chunk in measured {
        plain += chunk.len();
        value += with.compress(chunk)?.len();
        limit += zstd::bulk::compress(chunk, LEVEL)?.len();
    }
    let kib = |octets: usize| u32::try_from(octets).map(|octets| f64::from(octets) / KIB);
    crate::tell(&format!(
        "NOTE dictionary: {} chunks of {:.1} KiB in all; {:.1} KiB after zstd, {:.1} KiB with a dictionary of {:.1} KiB",
        measured.len(),
        kib(plain)?,
        kib(limit)?,
        kib(value)?,
        kib(dictionary.len())?,
    ));
    let (value, limit) = (kib(value)?, kib(limit)?);
    Ok(Line { name: "dictionary", unit: "KiB", value, limit, goal: Goal::AtMost(1.0) })
}

/// Reads the small chunks that the messages of INBOX have in the clear.
async fn add_chunks(
    store: &Store,
    id: AccountId,
    chunks: &mut BTreeMap<ChunkId, Vec<u8>>,
) -> Result<(), Failure> {
    let account = store.account(id).await?;
    let (_, rows) = account.mailbox_by_name("INBOX").await?.rows().await?;
    for row in rows {
        let message = account.stored(row.email_number).await?;
        let recipe = message.recipe();
        let mut found: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        let mut position = 0;
        for segment in &recipe.segments {
            let end = position + segment.octets();
            if let Segment::Raw(piece) = segment
                && let Some(chunk) = recipe.chunks.get(piece.chunk as usize)
                && chunk.plain_octets <= SMALL_OCTETS_MAX
            {
                let octets = store.octets().read(&message, position..end).await?;
                found.entry(piece.chunk).or_default().extend_from_slice(&octets);
            }
            position = end;
        }
        for (number, octets) in found {
            if let Some(chunk) = recipe.chunks.get(number as usize)
                && octets.len() == chunk.plain_octets as usize
            {
                chunks.insert(chunk.chunk, octets);
            }
        }
    }
    Ok(())
}
