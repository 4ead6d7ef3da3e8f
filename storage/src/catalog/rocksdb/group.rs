//! Group commit: one thread takes every batch that waits and writes them under one sync.
//!
//! * Batches are checked in the order in which they arrived, each against the database and the
//!   batches before it in the group; one whose conditions fail gets its answer alone.
//! * The whole group is one write to RocksDB, so a crash keeps all of it or nothing.
//! * While one group syncs, the next one gathers. When the last groups had company, the next one
//!   gathers for [`RocksConfig::group_wait`] longer: a sync costs as much for one batch as for many.
//!   Who commits alone never waits.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use super::{engine_error, options::RocksConfig};
use crate::{
    catalog::{
        commit::{self, Resolved},
        engine::{Batch, Durability, Family},
    },
    error::StoreError,
};

type Reply = oneshot::Sender<Result<Vec<u64>, StoreError>>;

/// A batch that waits, and where its answer goes.
pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) reply: Reply,
}

/// Groups that say whether there is company.
const GROUPS_REMEMBERED: usize = 8;

/// The one writer of the database.
pub(super) struct Leader {
    db: Arc<DB>,
    families: Arc<BTreeSet<Family>>,
    batches_max: usize,
    octets_max: usize,
    wait: Duration,
    /// Batches of the last groups.
    sizes: [usize; GROUPS_REMEMBERED],
    next_size: usize,
    /// A write or sync failed: the log's end is unknown.
    failed: bool,
}

impl Leader {
    pub(super) fn new(db: Arc<DB>, families: Arc<BTreeSet<Family>>, config: &RocksConfig) -> Self {
        Self {
            db,
            families,
            batches_max: config.group_batches_max.max(1),
            octets_max: config.group_octets_max,
            wait: config.group_wait,
            sizes: [1; GROUPS_REMEMBERED],
            next_size: 0,
            failed: false,
        }
    }

    /// Commits groups until every sender is gone, then makes everything durable.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut octets = octets_of(&first.batch);
            let mut group = vec![first];
            if self.has_company() {
                std::thread::sleep(self.wait);
            }
            while group.len() < self.batches_max && octets < self.octets_max {
                let Ok(next) = waiting.try_recv() else { break };
                octets += octets_of(&next.batch);
                group.push(next);
            }
            self.sizes[self.next_size % GROUPS_REMEMBERED] = group.len();
            self.next_size = self.next_size.wrapping_add(1);
            self.commit(group, octets);
        }
        if !self.failed {
            // Only buffered commits can be unsynced here, and those promised nothing.
            let _ = self.db.flush_wal(true);
        }
    }

    /// Says whether several batches are likely to come together.
    fn has_company(&self) -> bool {
        !self.wait.is_zero() && self.sizes.iter().sum::<usize>() > GROUPS_REMEMBERED
    }

    fn commit(&mut self, group: Vec<Request>, octets: usize) {
        let mut overlay: HashMap<(Family, Bytes), Option<Bytes>> = HashMap::new();
        let mut write = WriteBatch::with_capacity_bytes(octets);
        let mut left = group.len();
        let mut sync = false;
        let mut accepted: Vec<(Reply, Vec<u64>)> = Vec::new();
        for Request { batch, reply } in group {
            left -= 1;
            let durability = batch.durability;
            match self.resolve(batch, &overlay) {
                Ok(Resolved { writes, numbers }) => {
                    sync |= durability == Durability::Synced;
                    for (family, key, value) in writes {
                        self.add(&mut write, family, &key, value.as_ref());
                        // Only batches that follow look at it.
                        if left > 0 {
                            overlay.insert((family, key), value);
                        }
                    }
                    accepted.push((reply, numbers));
                }
                // Whoever asked may have gone; there is nobody else to tell.
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let written = self.db.write_opt(write, &options);
        self.failed |= written.is_err();
        for (reply, numbers) in accepted {
            let answer = match &written {
                Ok(()) => Ok(numbers),
                Err(error) => Err(engine_error("commit", error.clone())),
            };
            drop(reply.send(answer));
        }
    }

    fn resolve(
        &self,
        batch: Batch,
        overlay: &HashMap<(Family, Bytes), Option<Bytes>>,
    ) -> Result<Resolved, StoreError> {
        if self.failed {
            return Err(StoreError::Engine {
                operation: "commit",
                source: "an earlier write failed: restart the program".into(),
            });
        }
        commit::resolve(batch, &self.families, |family, key| {
            if !overlay.is_empty()
                && let Some(value) = overlay.get(&(family, key.clone()))
            {
                return Ok(value.clone());
            }
            let Some(column) = self.db.cf_handle(family.0) else { return Ok(None) };
            let value = self.db.get_pinned_cf(column, key);
            let value = value.map_err(|error| engine_error("commit", error))?;
            Ok(value.map(|octets| Bytes::copy_from_slice(&octets)))
        })
    }

    /// Adds one write. Every declared family has a column, which was checked at opening.
    fn add(&self, write: &mut WriteBatch, family: Family, key: &[u8], value: Option<&Bytes>) {
        if let Some(column) = self.db.cf_handle(family.0) {
            match value {
                Some(value) => write.put_cf(column, key, value),
                None => write.delete_cf(column, key),
            }
        }
    }
}

/// Octets that a write costs besides key and value, roughly.
const WRITE_OCTETS: usize = 24;

/// Octets of a batch in the log, roughly.
fn octets_of(batch: &Batch) -> usize {
    let put = batch.put.iter().chain(&batch.numbered);
    let put: usize = put.map(|(_, key, value)| WRITE_OCTETS + key.len() + value.len()).sum();
    let delete: usize = batch.delete.iter().map(|(_, key)| WRITE_OCTETS + key.len()).sum();
    put + delete
}
