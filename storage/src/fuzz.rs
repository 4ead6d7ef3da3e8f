//! What a fuzzer hands in: each target takes any octets and panics when a promise is broken.
//!
//! The targets stand here, and not with the fuzzer (`tests/fuzz`), because they look inside: and so the
//! seeds, and mutations of them, run in every test too. Frames and digests that would stop a fuzzer
//! at the door are put around its octets here.
//!
//! Compiled for tests and by `cargo fuzz` only (`cfg(fuzzing)`).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use object_store::memory::InMemory;
use prost::Message;
use trust::{digest::Sha256Digest, random::SeededRandom};

use crate::{
    account::settings::AccountSettings,
    catalog::{
        engine::{Batch, Engine as _},
        keys::{self, KeyReader},
        records::{
            self, AccountRecord, ExpungeRecord, HeadRecord, HeldRecord, IndexRecord, MailboxRecord,
            ReferencesRecord, RowRecord, SubscriptionsRecord,
        },
        simulated::SimulatedEngine,
    },
    held::{self, HeldId},
    ids::{AccountId, StoredId, Uid},
    mime::{
        visitor::{HeaderEnd, PartEnd, Visitor},
        walker::{WalkLimits, Walker},
    },
    octets::{OctetStore, OctetStoreConfig, StoredMessage, rebuild},
    pack::{
        format,
        index::{IndexRow, PackRow, staged_key_parts},
        store::PackId,
    },
    record,
    summary::Summary,
};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 5] = [
    ("message", message),
    ("recipe", recipe),
    ("pack", pack),
    ("records", catalog_records),
    ("walker", walker),
];

/// Octets of the message that a short input may be blown up to.
const OCTETS_MAX: usize = 200 << 10;

/// Makes long parts out of a short input: `0xff n` repeats what stood in front of it n times.
fn blown_up(input: &[u8]) -> Vec<u8> {
    let mut octets: Vec<u8> = Vec::new();
    let mut input = input.iter();
    while let Some(&octet) = input.next() {
        if octet != 0xff {
            octets.push(octet);
            continue;
        }
        let times = input.next().copied().unwrap_or(0);
        let start = octets.len().saturating_sub(80);
        let repeated = octets[start..].repeat(usize::from(times));
        octets.extend(repeated);
        octets.truncate(OCTETS_MAX);
    }
    octets
}

/// Any message, taken in in pieces of any length, is rebuilt exactly, whole and in ranges; its
/// record and summary read as they were written.
///
/// # Panics
///
/// When that is not so.
pub fn message(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let step = usize::from(input.first().copied().unwrap_or(0)) * 37 + 1;
    runtime.block_on(round_trip(&blown_up(input.get(1..).unwrap_or_default()), step));
}

pub(crate) async fn round_trip(octets: &[u8], step: usize) -> StoredMessage {
    let engine = SimulatedEngine::new(OctetStore::families());
    let random = Arc::new(SeededRandom::new(1));
    let objects = Arc::new(InMemory::new());
    let config = OctetStoreConfig {
        cache_octets_max: 0,
        small_chunk_octets_max: 8 << 10,
        staged_octets_max: 16 << 10,
        ..OctetStoreConfig::default()
    };
    let store = OctetStore::open(engine.clone(), objects, random, config).await.expect("open");
    let mut writer = store.writer();
    for piece in octets.chunks(step) {
        writer.write(piece).await.expect("write");
    }
    let staged = writer.finish().await.expect("finish");
    assert_eq!((staged.size(), staged.digest()), (octets.len() as u64, Sha256Digest::of(octets)));
    let mut batch = Batch::default();
    staged.add_to(&mut batch);
    engine.commit(batch).await.expect("commit");
    let record = staged.stored().encode();
    let stored = StoredMessage::decode(&record, || "it".to_owned()).expect("its own record");
    assert_eq!(&stored, staged.stored());
    let summary = staged.summary().encode();
    let summary = Summary::decode(&summary, || "it".to_owned()).expect("its own summary");
    assert_eq!(&summary, &**staged.summary());
    let size = octets.len();
    for range in [0..size, size / 3..size, size / 2..size / 2 + 100, size.saturating_sub(7)..size] {
        let mut read = Vec::new();
        let end = range.end.min(size);
        while range.start + read.len() < end {
            let from = (range.start + read.len()) as u64;
            let window = store.read(&stored, from..end as u64).await.expect("read");
            assert!(!window.is_empty(), "a read that goes on for ever");
            read.extend_from_slice(&window);
        }
        assert_eq!(read, octets[range.start.min(end)..end]);
    }
    stored
}

/// A recipe of any octets is refused, or rebuilds as many octets as it says.
///
/// # Panics
///
/// When that is not so.
pub fn recipe(input: &[u8]) {
    let framed = record::framed(1, input);
    let Ok(message) = StoredMessage::decode(&framed, || "it".to_owned()) else { return };
    let again = StoredMessage::decode(&message.encode(), || "it".to_owned());
    assert_eq!(again.expect("its own record"), message);
    let recipe = message.recipe();
    if recipe.chunks.iter().any(|chunk| chunk.plain_octets > 1 << 20) || recipe.chunks.len() > 16 {
        return;
    }
    let size = message.size();
    for start in [0, 1, size / 2, size.saturating_sub(9)] {
        let range = start..size.min(start.saturating_add(rebuild::WINDOW_OCTETS));
        if range.is_empty() {
            continue;
        }
        let mut chunks = BTreeMap::new();
        for position in rebuild::chunks_needed(recipe, &range) {
            let octets = recipe.chunks[position as usize].plain_octets as usize;
            chunks.insert(position, Bytes::from(vec![b'x'; octets]));
        }
        let mut octets = Vec::new();
        rebuild::rebuild(&recipe.segments, &range, &chunks, &mut octets).expect("its own chunks");
        assert_eq!(octets.len() as u64, range.end - range.start);
    }
}

/// A pack of any octets is refused, or its index names octets inside the pack, without gaps.
///
/// # Panics
///
/// When that is not so.
pub fn pack(input: &[u8]) {
    let _ = format::read(input, "it");
    // The same octets as chunks and index, with a footer that fits.
    let (cut, rest) = input.split_at(input.len().min(2));
    let chunk_octets = cut.iter().fold(0, |sum, octet| sum * 256 + usize::from(*octet));
    let (chunks, index) = rest.split_at(chunk_octets.min(rest.len()));
    let octets = format::sealed(chunks, index);
    if let Ok(entries) = format::read(&octets, "it") {
        let sum: usize = entries.iter().map(|entry| entry.stored_octets as usize).sum();
        assert_eq!(sum, chunks.len());
        for entry in entries {
            let start = usize::try_from(entry.offset).expect("inside");
            assert!(octets.get(start..start + entry.stored_octets as usize).is_some());
        }
    }
}

/// A value that decodes encodes to one that decodes to the same.
fn stays<M: Message + Default + PartialEq>(input: &[u8]) -> Option<M> {
    let octets = [&[1], input].concat();
    let first: M = records::decode(keys::ACCOUNTS, b"key", &octets).ok()?;
    let second: M =
        records::decode(keys::ACCOUNTS, b"key", &records::encode(&first)).expect("ours");
    // Not `==` on the messages: a floating-point field would differ from itself.
    assert_eq!(first.encode_to_vec(), second.encode_to_vec());
    Some(second)
}

/// Records and keys of any octets are refused, or read the same when they are written again.
///
/// # Panics
///
/// When that is not so.
pub fn catalog_records(input: &[u8]) {
    let (kind, input) = input.split_first().unwrap_or((&0, &[]));
    let uid = Uid::new(7).expect("not zero");
    match kind % 12 {
        0 => drop(
            stays::<AccountRecord>(input)
                .map(|record| AccountSettings::of_record(AccountId(7), record).is_ok()),
        ),
        1 => drop(stays::<HeadRecord>(input)),
        2 => drop(stays::<IndexRecord>(input)),
        3 => drop(stays::<SubscriptionsRecord>(input)),
        4 => drop(stays::<MailboxRecord>(input)),
        5 => {
            let octets = [&[1], input].concat();
            if let Ok(row) = records::decode_row(b"key", uid, &octets) {
                let again = records::encode(&RowRecord::of(&row));
                assert_eq!(records::decode_row(b"key", uid, &again).expect("our own row"), row);
            }
        }
        6 => drop(stays::<ExpungeRecord>(input).map(|record| {
            let uids = record.uids().unwrap_or_default();
            assert!(uids.len() <= records::ROWS_PER_BATCH_LIMIT);
        })),
        7 => drop(stays::<ReferencesRecord>(input)),
        8 => drop(stays::<HeldRecord>(input).map(|record| held::decode(HeldId([0; 16]), &record))),
        9 => {
            let framed = record::framed(1, input);
            let _ = PackRow::decode(&framed, PackId([0; 16]));
            if let Ok(row) = IndexRow::decode(&framed, StoredId([0; 32])) {
                let again = IndexRow::decode(&row.encode(), StoredId([0; 32]));
                assert_eq!(again.expect("our own row"), row);
            }
        }
        10 => {
            let name = || "it".to_owned();
            let _ = StoredMessage::decode(input, name);
            if let Ok(summary) = Summary::decode(&record::framed(1, input), name) {
                let again = Summary::decode(&summary.encode(), name);
                assert_eq!(again.expect("our own summary"), summary);
            }
        }
        _ => {
            let _ = staged_key_parts(input);
            let mut reader = KeyReader::new(keys::MAILBOX_ROWS, input);
            let _ = (reader.take_u64(), reader.take_uid(), reader.take_text());
            let _ = reader.finish();
        }
    }
}

/// What a walk reported: every octet, and where the parts lie.
#[derive(Debug, Default, Eq, PartialEq)]
struct Walked {
    octets: Vec<u8>,
    parts: Vec<(u64, u64, u64)>,
    open: usize,
}

impl Visitor for Walked {
    fn part(&mut self, header_offset: u64) {
        self.open += 1;
        self.parts.push((header_offset, 0, 0));
    }

    fn header(&mut self, header: &HeaderEnd<'_>) {
        self.parts.push((header.body_offset, 1, 0));
    }

    fn leaf(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn structure(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    fn end(&mut self, end: PartEnd) {
        self.open = self.open.checked_sub(1).expect("a part that was open");
        self.parts.push((end.body_octets, 2, end.body_lines));
    }
}

/// A walk reports every octet once, closes what it opens, and does not depend on how the input is cut.
///
/// # Panics
///
/// When that is not so.
pub fn walker(input: &[u8]) {
    let (step, input) = input.split_first().unwrap_or((&0, &[]));
    let limits = WalkLimits { header_octets_max: 4_096, depth_max: 6, parts_max: 40 };
    let walk = |step: usize| {
        let mut walker = Walker::new(Walked::default(), limits);
        input.chunks(step.max(1)).for_each(|piece| walker.push(piece));
        walker.finish()
    };
    let whole = walk(input.len());
    assert_eq!(whole.octets, input);
    assert_eq!(whole.open, 0);
    assert_eq!(walk(usize::from(*step) + 1), whole);
}
