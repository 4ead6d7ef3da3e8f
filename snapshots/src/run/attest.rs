//! Which run shows that a snapshot was what it was, and that such a run is kept.
//!
//! A snapshot is *attested* by a run whose tree has its record as the account's, or a later record from
//! which the chain of previous records leads back to it. For a snapshot that is kept by schedule the
//! covering rule keeps such a run ([`super::thin`] says why). Any other is noted as needing one, with the
//! records in between, which may go before it does: a snapshot on demand by the run that enters it, a
//! held one when it is held.

use bytes::Bytes;
use storage::{catalog::engine::Batch, ids::AccountId};

use super::{
    ClosedRun, Runs,
    keys::{self, SNAPSHOT_RUN_NEEDS},
};
use crate::{
    error::SnapshotError,
    keep::snapshot::Snapshot,
    proof::Attested,
    record::{RECORD_OCTETS, SnapshotRecord},
    tree::{read::row, row::AccountRow},
};

/// A run that attests a snapshot.
struct Attesting {
    run: ClosedRun,
    /// The records from the snapshot's own to the one in the run's tree.
    records: Vec<SnapshotRecord>,
}

impl Runs {
    /// A run that attests the snapshot, and what leads from one to the other: one with a time stamp
    /// when there is one, else one with a signature.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NotPresent`] when no signed run has the snapshot: no run took place since, or it
    /// was neither kept by schedule nor noted.
    pub async fn attested(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(ClosedRun, Attested), SnapshotError> {
        let found = self.attesting(snapshot).await?;
        let signed = found.into_iter().filter(|found| found.run.signature.is_some());
        let best = signed.max_by_key(|found| {
            // Of several the earliest: it is nearest to the snapshot.
            (found.run.stamp.is_some(), std::cmp::Reverse(found.run.number()))
        });
        let Attesting { run, records } = best.ok_or(SnapshotError::NotPresent)?;
        let attested = Attested::make(&self.pages(), run.root, records).await?;
        Ok((run, attested))
    }

    /// Notes that these snapshots of an account need the run that attests them, as long as they are
    /// kept. Those that no run attests are noted by the next run, if they are held by then.
    pub async fn note_needed(
        &self,
        account: AccountId,
        number: Option<u64>,
    ) -> Result<(), SnapshotError> {
        let _one = self.one.lock().await;
        let all = self.snapshots.list(account).await?;
        for snapshot in all.iter().filter(|one| number.is_none_or(|number| one.number == number)) {
            let mut found = self.attesting(snapshot).await?.into_iter();
            if let Some(Attesting { run, records }) = found.next() {
                let octets: Vec<u8> =
                    records.iter().skip(1).flat_map(SnapshotRecord::encode).collect();
                let mut batch = Batch::default();
                let key = keys::need(run.number(), account, snapshot.number);
                batch.put(SNAPSHOT_RUN_NEEDS, key, octets);
                self.store.commit(batch).await?;
            }
        }
        Ok(())
    }

    /// Every kept run that attests the snapshot, ascending.
    async fn attesting(&self, snapshot: &Snapshot) -> Result<Vec<Attesting>, SnapshotError> {
        let account = snapshot.record.account;
        let later: Vec<_> = self.snapshots.list(account).await?;
        let later = later.into_iter().filter(|one| one.number > snapshot.number);
        let later: Vec<SnapshotRecord> = later.map(|one| one.record).collect();
        let chain = chain(&snapshot.record, &later);
        let (pages, salts) = (self.pages(), AccountRow::salts());
        let mut found = Vec::new();
        let runs = self.list().await?;
        let behind = |run: &ClosedRun| run.record.closed >= snapshot.record.instant;
        for run in runs.into_iter().filter(behind) {
            let key = keys::need(run.number(), account, snapshot.number);
            if let Some(octets) = self.store.engine().get(SNAPSHOT_RUN_NEEDS, &key).await? {
                let between = records_of(&octets).ok_or_else(|| SnapshotError::Damaged {
                    object: storage::catalog::keys::object(SNAPSHOT_RUN_NEEDS, &key),
                    detail: "its records follow no known layout",
                })?;
                let records = std::iter::once(snapshot.record.clone()).chain(between).collect();
                found.push(Attesting { run, records });
                continue;
            }
            let entered = row::<AccountRow>(&pages, run.root, &salts, account.0).await?;
            let Some(entered) = entered.map(|row| row.record) else { continue };
            match chain.iter().position(|record| record.hash() == entered) {
                Some(at) => {
                    let records = chain.iter().take(at + 1).cloned().collect();
                    found.push(Attesting { run, records });
                }
                // Later runs only have later records.
                None if later.iter().any(|record| record.hash() == entered) => break,
                None => {}
            }
        }
        Ok(found)
    }
}

/// The record and those of `later`, ascending, that follow it without a gap.
fn chain(first: &SnapshotRecord, later: &[SnapshotRecord]) -> Vec<SnapshotRecord> {
    let mut chain = vec![first.clone()];
    for record in later {
        let Some(last) = chain.last().map(SnapshotRecord::hash) else { break };
        if record.previous != Some(last) || chain.len() >= usize::from(u16::MAX) {
            break;
        }
        chain.push(record.clone());
    }
    chain
}

fn records_of(octets: &Bytes) -> Option<Vec<SnapshotRecord>> {
    let (records, rest) = octets.as_chunks::<RECORD_OCTETS>();
    if !rest.is_empty() {
        return None;
    }
    records.iter().map(|record| SnapshotRecord::decode(record)).collect()
}
