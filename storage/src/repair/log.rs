//! The repair log: what repairs replaced or took out.
//!
//! An entry stays [`RETENTION_MILLIS`], so that what a repair did can be looked at, and undone by hand,
//! long after. Then it goes: without an end the log would grow for ever, and keep what was erased.
//!
//! Not here: who writes it (`repair`), when it is trimmed (the program's disposal).

use trust::clock::UnixMillis;

use crate::{
    catalog::{
        engine::{Batch, Engine},
        keys::REPAIR_LOG,
        pages::Pages,
        records::{self, RepairLogRecord},
    },
    error::StoreError,
};

/// How long an entry stays, in milliseconds: 400 days.
pub const RETENTION_MILLIS: i64 = 400 * 86_400_000;

/// Entries read, and removed, at once.
const PAGE: usize = 500;

/// Removes the entries that were written before `before`, and returns how many they were. The log is in
/// the order of its writing: an entry that cannot be read is as old as the next one that can.
pub(crate) async fn trim(engine: &dyn Engine, before: UnixMillis) -> Result<u64, StoreError> {
    let mut pages = Pages::prefix(REPAIR_LOG, &[], PAGE);
    let (mut removed, mut unreadable) = (0, Vec::new());
    while let Some(page) = pages.next(engine).await? {
        let (mut batch, mut complete) = (Batch::default(), false);
        for (key, value) in page {
            match records::decode::<RepairLogRecord>(REPAIR_LOG, &key, &value) {
                Ok(record) if record.at < before.0 => {
                    for key in unreadable.drain(..).chain([key]) {
                        batch.delete(REPAIR_LOG, key);
                    }
                }
                Ok(_) => {
                    complete = true;
                    break;
                }
                Err(StoreError::Damaged { .. }) => unreadable.push(key),
                Err(error) => return Err(error),
            }
        }
        removed += batch.delete.len() as u64;
        if !batch.delete.is_empty() {
            engine.commit(batch).await?;
        }
        if complete {
            break;
        }
    }
    Ok(removed)
}
