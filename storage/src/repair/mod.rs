//! `ceralacca store repair`: makes records agree again, and throws nothing away.
//!
//! | found | done |
//! |---|---|
//! | a message without rows that has not departed | a row in the mailbox [`RECOVERED`] |
//! | a departed message | left as it is, under the last of the snapshots that list it; not departed any more when it has rows |
//! | a head that was lost, or does not know its latest snapshot | every message is taken for held by the highest snapshot that is known |
//! | a row that cannot be read | taken out; its message goes to [`RECOVERED`] when no other row has it |
//! | a mailbox without a record, or with a name that is taken | made anew, with a new UIDVALIDITY, or renamed below [`RECOVERED`] |
//! | a missing or damaged summary | parsed again from the octets |
//! | blocks of an account that changes | deleted: they are built again |
//! | counters, usage, numbers of rows | counted anew |
//! | `mailbox_changes`, `mailbox_names`, `account_addresses`, `message_references`, `erasures` | made to agree with the rows and records |
//! | an account without a head | a new one, its counters far above everything found |
//! | an account without settings | those of the registry |
//! | octets, or a message record, that cannot be read | left as they are and named |
//!
//! * Every record that is replaced or removed is first copied to the family `repair_log`, in the
//!   same batch, and stays there for 400 days ([`log`]).
//! * UIDs, MODSEQs and EmailNumbers only go up. What is taken out of a mailbox is in its expunge
//!   log, so that clients notice.
//! * It may be cut short anywhere: the next run goes on. Nobody else may use the store meanwhile.
//! * Memory is bounded as in `check`: rows and messages are streamed.
//!
//! Not here: chunks and packs (`octets::check`, [`rebuild_index`]), held messages, which belong to
//! the floor above.
//!
//! [`rebuild_index`]: crate::octets::OctetStore::rebuild_index

mod account;
mod addresses;
mod departed;
pub mod log;
mod mailboxes;
mod messages;
mod notes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    account::settings::AccountSettings,
    catalog::{
        engine::{Batch, Durability, Family, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, RepairLogRecord},
    },
    error::StoreError,
    ids::AccountId,
    store::StoreCore,
};

/// The mailbox that gets what had no place.
pub const RECOVERED: &str = "Recovered";

/// Entries read at once, and changes written at once.
const PAGE: usize = 500;

/// Findings that are listed; all are counted.
const LISTED_MAX: usize = 1_000;

/// Numbers left free above the highest found when a counter was lost: those in between may have
/// been given and taken away again.
const LOST_NUMBERS: u64 = 1 << 20;

/// Knows what the settings of an account must be, the registry, and where snapshots are.
#[async_trait::async_trait]
pub trait SettingsSource: Send + Sync {
    /// Version and settings of `id`, if there is such an account.
    async fn settings(&self, id: AccountId) -> Result<Option<(u64, AccountSettings)>, StoreError>;

    /// The family in which a floor above keeps snapshots, if there is one: its keys begin with
    /// AccountId (8), number of the snapshot (8), and end there.
    fn snapshots(&self) -> Option<Family> {
        None
    }
}

/// Something that was, or would be, changed; or something that has to stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Account, mailbox, message or key.
    pub object: String,
    /// What was found and what became of it.
    pub detail: String,
}

/// What a repair did, or would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RepairReport {
    /// Whether anything was written.
    pub applied: bool,
    /// Accounts looked at.
    pub accounts: u64,
    /// Messages looked at.
    pub messages: u64,
    /// Messages that got a row in [`RECOVERED`].
    pub recovered: u64,
    /// Changes, all of them.
    pub changes: u64,
    /// The first of them.
    pub first_changes: Vec<Finding>,
    /// What cannot be repaired from what is here, all of it.
    pub left: u64,
    /// The first of it.
    pub first_left: Vec<Finding>,
}

impl RepairReport {
    /// Adds what cannot be repaired.
    pub fn leave(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.left += 1;
        if self.first_left.len() < LISTED_MAX {
            self.first_left.push(Finding { object: object.into(), detail: detail.into() });
        }
    }

    /// Adds a change.
    pub fn change(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.changes += 1;
        if self.first_changes.len() < LISTED_MAX {
            self.first_changes.push(Finding { object: object.into(), detail: detail.into() });
        }
    }
}

/// Called now and then with the accounts looked at.
pub type Progress<'p> = &'p (dyn Fn(&RepairReport) + Send + Sync);

/// A repair under way.
struct Repairer<'r> {
    core: &'r StoreCore,
    source: &'r dyn SettingsSource,
    progress: Progress<'r>,
    report: RepairReport,
    batch: Batch,
    /// The account whose blocks are deleted before the first write.
    blocks_of: Option<AccountId>,
    /// Addresses of accounts whose settings come from the registry.
    restored: BTreeMap<AccountId, String>,
}

/// Repairs the whole store; writes only when `apply` says so.
pub(crate) async fn run(
    core: &StoreCore,
    source: &dyn SettingsSource,
    apply: bool,
    progress: Progress<'_>,
) -> Result<RepairReport, StoreError> {
    let report = RepairReport { applied: apply, ..RepairReport::default() };
    let (batch, restored) = (Batch::default(), BTreeMap::new());
    let blocks_of = None;
    let mut repairer = Repairer { core, source, progress, report, batch, blocks_of, restored };
    for id in repairer.accounts().await? {
        repairer.blocks_of = Some(id);
        account::repair(&mut repairer, id).await?;
        repairer.flush().await?;
        repairer.blocks_of = None;
        repairer.report.accounts += 1;
        progress(&repairer.report);
    }
    addresses::repair(&mut repairer).await?;
    repairer.flush().await?;
    Ok(repairer.report)
}

impl Repairer<'_> {
    /// Every account that has a record anywhere.
    async fn accounts(&mut self) -> Result<BTreeSet<AccountId>, StoreError> {
        let mut accounts = BTreeSet::new();
        for family in keys::OF_ACCOUNTS {
            let mut start = Bytes::new();
            loop {
                let scan = Scan { family, start, end: None, reverse: false, limit: 1 };
                let found = self.core.engine.scan(&scan).await?;
                let Some((key, _)) = found.first() else { break };
                let Ok(id) = KeyReader::new(family, key).take_u64() else {
                    self.remove(family, key.clone(), "its key names no account").await?;
                    start = crate::account::after(key);
                    continue;
                };
                accounts.insert(AccountId(id));
                match id.checked_add(1) {
                    Some(next) => start = keys::account(AccountId(next)),
                    None => break,
                }
            }
        }
        Ok(accounts)
    }

    fn changed(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.report.change(object, detail);
    }

    fn left(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.report.leave(object, detail);
    }

    /// Takes a record out, and says why.
    async fn remove(&mut self, family: Family, key: Bytes, why: &str) -> Result<(), StoreError> {
        self.changed(keys::object(family, &key), format!("{why}: taken out"));
        self.delete(family, key).await
    }

    async fn put(&mut self, family: Family, key: Bytes, value: Bytes) -> Result<(), StoreError> {
        self.keep(family, &key).await?;
        // A batch removes after it writes; here the later one wins.
        self.batch.delete.retain(|(of, removed)| (*of, removed) != (family, &key));
        self.batch.put(family, key, value);
        self.flush_when_full().await
    }

    async fn delete(&mut self, family: Family, key: Bytes) -> Result<(), StoreError> {
        self.keep(family, &key).await?;
        self.batch.delete(family, key);
        self.flush_when_full().await
    }

    /// Copies what stands under `key` to the repair log.
    async fn keep(&mut self, family: Family, key: &Bytes) -> Result<(), StoreError> {
        if let Some(value) = self.core.engine.get(family, key).await? {
            let record = RepairLogRecord {
                at: self.core.clock.now().0,
                family: family.0.to_owned(),
                key: key.clone(),
                value,
            };
            self.batch.append_numbered(keys::REPAIR_LOG, Bytes::new(), records::encode(&record));
        }
        Ok(())
    }

    async fn flush_when_full(&mut self) -> Result<(), StoreError> {
        if self.batch.put.len() + self.batch.delete.len() < PAGE {
            Ok(())
        } else {
            self.flush().await
        }
    }

    /// Writes what was gathered; forgets it in a dry run.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        if !self.report.applied || batch.put.is_empty() && batch.delete.is_empty() {
            return Ok(());
        }
        if let Some(id) = self.blocks_of.take() {
            self.forget_blocks(id).await?;
        }
        batch.durability = Durability::Synced;
        self.core.engine.commit(batch).await.map(drop)
    }

    /// Blocks repeat rows and summaries, and are built again by themselves. They go before the
    /// first of these changes, so that none is stale wherever the repair is cut short.
    async fn forget_blocks(&self, id: AccountId) -> Result<(), StoreError> {
        for family in [keys::MAILBOX_BLOCKS, keys::HEADER_BLOCKS] {
            let mut pages = Pages::prefix(family, &keys::account(id), PAGE);
            while let Some(page) = pages.next(&*self.core.engine).await? {
                let mut batch = Batch::default();
                for (key, _) in page {
                    batch.delete(family, key);
                }
                batch.durability = Durability::Synced;
                self.core.engine.commit(batch).await?;
            }
        }
        Ok(())
    }
}

/// Sorts out what a record reads as: damage is `None`, anything else an error.
fn readable<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
