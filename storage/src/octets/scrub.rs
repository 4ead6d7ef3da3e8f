//! Scrubbing: every octet of every pack is read and compared with its digest, pack after pack.
//!
//! * A run goes over the packs in the order of their names. How far it is, and what it found,
//!   stands in `scrub_state` after every pack, so that it goes on where a stop cut it short.
//! * A chunk whose stored form is damaged gets a row in `damaged_chunks`; the next message with
//!   the same octets then stores it anew (`octets::store`). The row counts only while the index
//!   leads to the same place.
//! * One pack at a time, at most some 8 MiB of it in memory. How fast is the caller's.
//!
//! Not here: staged chunks, which the catalog's own sums protect and `check` reads; whose message a
//! damaged chunk belongs to (`Store::concerned`).

use bytes::Bytes;

use super::{check::after, store::OctetStore};
use crate::{
    catalog::{
        engine::{Batch, Durability, Family, Scan},
        pages::Pages,
    },
    error::StoreError,
    ids::StoredId,
    pack::{
        format::PackEntry,
        index::{CHUNK_INDEX, DAMAGED_CHUNKS, IndexRow, PACKS, Place, stored_id_of},
        store::PackId,
        stored,
    },
    record,
};

/// How far the scrubbing of the store is. Key: `run`.
pub const SCRUB_STATE: Family = Family("scrub_state");
const RUN_KEY: &[u8] = b"run";
const VERSION: u8 = 1;

/// Octets of a pack read at once, about.
const WINDOW_OCTETS: u64 = 4 << 20;
/// Rows read at a time.
const ROWS: usize = 256;

/// What one run, or a part of it, has seen.
#[derive(Clone, Copy, Eq, PartialEq, prost::Message)]
pub struct ScrubCounts {
    /// When it began, in milliseconds since 1970.
    #[prost(sint64, tag = "1")]
    pub began_millis: i64,
    /// When it ended; 0 while it goes on.
    #[prost(sint64, tag = "2")]
    pub ended_millis: i64,
    /// Packs read.
    #[prost(uint64, tag = "3")]
    pub packs: u64,
    /// Chunks verified.
    #[prost(uint64, tag = "4")]
    pub chunks: u64,
    /// Octets read.
    #[prost(uint64, tag = "5")]
    pub octets: u64,
    /// Packs that are missing, or whose header, index or footer is damaged.
    #[prost(uint64, tag = "6")]
    pub damaged_packs: u64,
    /// Chunks that the index leads to and that are damaged.
    #[prost(uint64, tag = "7")]
    pub damaged_chunks: u64,
}

/// The present run and the last whole one.
#[derive(Clone, Eq, PartialEq, prost::Message)]
pub struct ScrubState {
    /// The run that goes on; absent between two runs.
    #[prost(message, optional, tag = "1")]
    pub present: Option<ScrubCounts>,
    /// The last pack that it has read, 16 octets.
    #[prost(bytes = "bytes", tag = "2")]
    pub position: Bytes,
    /// The last run that came to its end.
    #[prost(message, optional, tag = "3")]
    pub last: Option<ScrubCounts>,
}

/// What one step did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScrubStep {
    /// Octets that it read.
    pub octets: u64,
    /// What is damaged: pack or chunk, and how.
    pub damages: Vec<(String, String)>,
    /// The run came to its end.
    pub ended: bool,
}

impl OctetStore {
    /// How far the scrubbing is.
    pub async fn scrub_state(&self) -> Result<ScrubState, StoreError> {
        let octets = self.engine.get(SCRUB_STATE, RUN_KEY).await?;
        let object = || "scrub_state row `run`".to_owned();
        octets.map_or(Ok(ScrubState::default()), |octets| record::decode(&octets, VERSION, object))
    }

    /// Reads the next pack of the present run, and begins a run when there is none.
    pub async fn scrub_step(&self, now_millis: i64) -> Result<ScrubStep, StoreError> {
        let mut state = self.scrub_state().await?;
        let mut counts = state
            .present
            .unwrap_or(ScrubCounts { began_millis: now_millis, ..ScrubCounts::default() });
        let start = if state.position.is_empty() { Bytes::new() } else { after(&state.position) };
        let scan = Scan { family: PACKS, start, end: None, reverse: false, limit: 1 };
        let mut step = ScrubStep::default();
        match self.engine.scan(&scan).await?.pop() {
            None => {
                counts.ended_millis = now_millis;
                state = ScrubState { last: Some(counts), ..ScrubState::default() };
                step.ended = true;
            }
            Some((key, _)) => {
                if let Some(pack) = PackId::from_octets(&key) {
                    self.scrub_pack(pack, &mut counts, &mut step).await?;
                }
                state.present = Some(counts);
                state.position = key;
            }
        }
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        batch.put(SCRUB_STATE, RUN_KEY, record::encode(VERSION, &state));
        self.engine.commit(batch).await?;
        Ok(step)
    }

    async fn scrub_pack(
        &self,
        pack: PackId,
        counts: &mut ScrubCounts,
        step: &mut ScrubStep,
    ) -> Result<(), StoreError> {
        counts.packs += 1;
        let damage = match self.packs.read_index(pack).await {
            Ok(Some((pack_octets, entries))) => {
                let outcome = self.scrub_entries(pack, entries, counts, step).await;
                counts.octets += pack_octets;
                step.octets += pack_octets;
                return outcome;
            }
            // The collector takes the row away before the object.
            Ok(None) if self.engine.get(PACKS, &pack.0).await?.is_none() => return Ok(()),
            Ok(None) => (pack.path(), "there is no such object".to_owned()),
            Err(StoreError::Damaged { object, detail }) => (object, detail),
            Err(error) => return Err(error),
        };
        counts.damaged_packs += 1;
        step.damages.push(damage);
        self.scrub_by_rows(pack, counts, step).await
    }

    /// Reads the chunks in the order in which they lie, some at a time.
    async fn scrub_entries(
        &self,
        pack: PackId,
        mut entries: Vec<PackEntry>,
        counts: &mut ScrubCounts,
        step: &mut ScrubStep,
    ) -> Result<(), StoreError> {
        entries.sort_unstable_by_key(|entry| entry.offset);
        let mut rest = entries.as_slice();
        while let Some(first) = rest.first() {
            let near = |entry: &&PackEntry| entry.offset - first.offset < WINDOW_OCTETS;
            let (window, later) = rest.split_at(rest.iter().take_while(near).count().max(1));
            rest = later;
            let end = window.last().map_or(first.offset, |last| {
                last.offset.saturating_add(u64::from(last.stored_octets))
            });
            let octets = self.packs.read(pack, first.offset..end).await?.unwrap_or_default();
            for entry in window {
                let begin = usize::try_from(entry.offset - first.offset).unwrap_or(usize::MAX);
                let form = begin
                    .checked_add(entry.stored_octets as usize)
                    .and_then(|end| (begin <= octets.len() && end <= octets.len()).then_some(end))
                    .map(|end| octets.slice(begin..end));
                counts.chunks += 1;
                if let Err(detail) = self.verify_form(entry, form).await? {
                    self.damaged(pack, entry, detail, counts, step).await?;
                }
            }
        }
        Ok(())
    }

    /// The inner error says what is wrong.
    async fn verify_form(
        &self,
        entry: &PackEntry,
        form: Option<Bytes>,
    ) -> Result<Result<(), String>, StoreError> {
        let Some(form) = form else { return Ok(Err("the pack ends before it".to_owned())) };
        let (secret, entry) = (self.secret.clone(), *entry);
        let verified = super::store::off_thread(form.len(), move || {
            let name = || entry.stored_id.to_string();
            stored::verify(&form, entry.plain_octets, entry.stored_id, &secret, &name)
        });
        match verified.await {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::Damaged { detail, .. }) => Ok(Err(detail)),
            Err(error) => Err(error),
        }
    }

    /// Remembers a damaged chunk, unless the index leads elsewhere.
    async fn damaged(
        &self,
        pack: PackId,
        entry: &PackEntry,
        detail: String,
        counts: &mut ScrubCounts,
        step: &mut ScrubStep,
    ) -> Result<(), StoreError> {
        let place = Place::Packed { pack, offset: entry.offset };
        let row = self.index_row(entry.stored_id).await?;
        let Some(row) = row.filter(|row| row.place == place) else { return Ok(()) };
        counts.damaged_chunks += 1;
        step.damages.push((super::store::describe(entry.stored_id, place), detail));
        self.note_damaged(entry.stored_id, &row).await
    }

    /// Reads the chunks of a pack whose own index is gone, as the store's index names them.
    async fn scrub_by_rows(
        &self,
        pack: PackId,
        counts: &mut ScrubCounts,
        step: &mut ScrubStep,
    ) -> Result<(), StoreError> {
        let mut pages = Pages::prefix(CHUNK_INDEX, &[], ROWS);
        while let Some(page) = pages.next(&*self.engine).await? {
            for (key, value) in &page {
                let Some(stored_id) = stored_id_of(key) else { continue };
                let Ok(row) = IndexRow::decode(value, stored_id) else { continue };
                let Place::Packed { pack: of, offset } = row.place else { continue };
                if of != pack {
                    continue;
                }
                let form = self.stored_form(stored_id, &row).await?;
                let IndexRow { stored_octets, plain_octets, .. } = row;
                let entry = PackEntry { stored_id, offset, stored_octets, plain_octets };
                counts.chunks += 1;
                if let Err(detail) = self.verify_form(&entry, form).await? {
                    self.damaged(pack, &entry, detail, counts, step).await?;
                }
            }
        }
        Ok(())
    }

    /// Chunks that are known to be damaged, at most `limit`. Rows of `damaged_chunks` that the
    /// index has left behind are taken out.
    pub async fn damaged_chunks(&self, limit: usize) -> Result<Vec<StoredId>, StoreError> {
        let mut damaged = Vec::new();
        let mut pages = Pages::prefix(DAMAGED_CHUNKS, &[], ROWS);
        while damaged.len() < limit {
            let Some(page) = pages.next(&*self.engine).await? else { break };
            let mut healed = Batch { durability: Durability::Buffered, ..Batch::default() };
            for (key, value) in &page {
                if self.engine.get(CHUNK_INDEX, key).await?.as_ref() == Some(value) {
                    damaged.extend(stored_id_of(key));
                } else {
                    healed.delete(DAMAGED_CHUNKS, key.clone());
                }
            }
            self.engine.commit(healed).await?;
        }
        damaged.truncate(limit);
        Ok(damaged)
    }
}
