//! What the collector writes down: condemnations, and how far a run is.
//!
//! | family | key | value |
//! |---|---|---|
//! | `condemned` | StoredId (32) | [`Condemned`] |
//! | `collector_state` | `run` | [`Position`]: only while a run is not finished |
//! | `collector_state` | `purge` | instant: octets of chunks that were swept since may still be in the engine's files |

use bytes::Bytes;
use trust::clock::UnixMillis;

use super::Run;
use crate::{
    catalog::engine::{Batch, Durability, Expected, Family},
    error::StoreError,
    pack::index::STAGED_CHUNKS,
    record,
};

/// How far the run is that is not finished.
pub(crate) const COLLECTOR_STATE: Family = Family("collector_state");
const RUN_KEY: &[u8] = b"run";
const PURGE_KEY: &[u8] = b"purge";

const ROW_VERSION: u8 = 1;

/// That a chunk will be removed unless something refers to it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Condemned {
    /// Since when.
    pub(super) since: UnixMillis,
    /// The run that did it.
    pub(super) run: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct CondemnedFields {
    #[prost(sint64, tag = "1")]
    since_millis: i64,
    #[prost(fixed64, tag = "2")]
    run: u64,
}

impl Condemned {
    pub(super) fn encode(self) -> Bytes {
        let fields = CondemnedFields { since_millis: self.since.0, run: self.run };
        record::encode(ROW_VERSION, &fields).into()
    }

    pub(super) fn decode(
        octets: &[u8],
        object: impl FnOnce() -> String,
    ) -> Result<Self, StoreError> {
        let fields: CondemnedFields = record::decode(octets, ROW_VERSION, object)?;
        Ok(Self { since: UnixMillis(fields.since_millis), run: fields.run })
    }
}

/// Where a run that was cut short goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Position {
    /// At a partition.
    Chunks {
        /// In the second pass of a run without grace.
        second: bool,
        /// First prefix of the partition.
        next: u64,
    },
    /// At the packs.
    Packs,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PositionFields {
    /// 1 first pass over the chunks, 2 second pass, 3 packs.
    #[prost(uint32, tag = "1")]
    phase: u32,
    #[prost(fixed64, tag = "2")]
    next: u64,
}

/// That old values of staged chunks are to be purged.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct PurgeFields {
    #[prost(sint64, tag = "1")]
    since_millis: i64,
}

impl Run<'_> {
    /// Adds to the batch of a sweep that the engine's files may have octets of what it removes: of a
    /// chunk that is staged, or that was before the packer took it.
    pub(super) fn owe_purge(&self, batch: &mut Batch) {
        let fields = PurgeFields { since_millis: self.now().0 };
        batch.put(COLLECTOR_STATE, PURGE_KEY, record::encode(ROW_VERSION, &fields));
    }

    /// Makes the octets of swept chunks be gone from the engine's files, once for a run that swept
    /// any, or after one that did not come so far.
    pub(super) async fn purge_staged(&self) -> Result<(), StoreError> {
        let owed = self.octets.engine.get(COLLECTOR_STATE, PURGE_KEY).await?;
        let Some(owed) = owed.filter(|_| !self.options.dry_run) else { return Ok(()) };
        let octets = self.octets.engine.purge(&[(STAGED_CHUNKS, Bytes::new(), None)]).await?;
        self.budget.pay(octets, 0).await;
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        batch.expect(COLLECTOR_STATE, PURGE_KEY, Expected::Value(owed));
        batch.delete(COLLECTOR_STATE, PURGE_KEY);
        self.commit_or_leave(batch).await.map(drop)
    }

    /// Where an earlier run was cut short, if one was. A record that cannot be read means from the
    /// start, which is always right.
    pub(super) async fn resume(&mut self) -> Result<Option<Position>, StoreError> {
        let Some(octets) = self.octets.engine.get(COLLECTOR_STATE, RUN_KEY).await? else {
            return Ok(None);
        };
        let object = || "collector_state row `run`".to_owned();
        let fields = match record::decode::<PositionFields>(&octets, ROW_VERSION, object) {
            Ok(fields) => fields,
            Err(StoreError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.report.resumed = true;
        Ok(match fields.phase {
            1 | 2 => Some(Position::Chunks { second: fields.phase == 2, next: fields.next }),
            3 => Some(Position::Packs),
            _ => None,
        })
    }

    /// Writes down how far the run is.
    pub(super) async fn save(&self, position: Position) -> Result<(), StoreError> {
        let (phase, next) = match position {
            Position::Chunks { second, next } => (1 + u32::from(second), next),
            Position::Packs => (3, 0),
        };
        let mut batch = Batch { durability: Durability::Buffered, ..Batch::default() };
        let octets = record::encode(ROW_VERSION, &PositionFields { phase, next });
        batch.put(COLLECTOR_STATE, RUN_KEY, octets);
        self.commit_unless_dry(batch).await
    }

    /// Ends the run.
    pub(super) async fn finish(&self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.delete(COLLECTOR_STATE, RUN_KEY);
        self.commit_unless_dry(batch).await
    }

    pub(super) async fn commit_unless_dry(&self, batch: Batch) -> Result<(), StoreError> {
        if !self.options.dry_run {
            self.octets.engine.commit(batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::Golden;

    fn holds<M: prost::Message + std::fmt::Debug + Default + PartialEq>(
        golden: Golden,
        sample: &M,
    ) {
        golden.holds(
            sample,
            |sample| record::encode(ROW_VERSION, sample),
            |octets| record::decode(octets, ROW_VERSION, || "it".into()).expect("a record"),
        );
    }

    #[test]
    fn records_of_the_collector_stay_as_they_are() {
        let condemned = Condemned { since: UnixMillis(1_795_867_200_123), run: 1 << 60 };
        let golden = Golden::of("condemned").key([3; 32]).fields("state::CondemnedFields", 9);
        golden.holds(
            &condemned,
            |condemned| condemned.encode(),
            |octets| Condemned::decode(octets, || "it".into()).expect("a record"),
        );
        let fields = PositionFields { phase: 2, next: 1 << 60 };
        let golden = Golden::of("collector_state").variant("run").key(RUN_KEY);
        holds(golden.fields("state::PositionFields", 9), &fields);
        let fields = PurgeFields { since_millis: 1_795_867_200_123 };
        let golden = Golden::of("collector_state").variant("purge").key(PURGE_KEY);
        holds(golden.fields("state::PurgeFields", 9), &fields);
    }
}
