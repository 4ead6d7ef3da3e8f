//! The operations, one file each.

use super::Operations;

pub mod backup;
pub mod check;
pub mod collect;
pub mod erase;
pub mod quarantine;
pub mod queue;
pub mod quota;
pub mod rebuild_index;
pub mod repair;
pub mod scrub;
pub mod stats;
pub mod take_over;

#[cfg(test)]
mod tests;

/// What a running server offers. Operations that must have the store for themselves are not here:
/// their commands open it when the server is stopped.
#[must_use]
pub fn served() -> Operations {
    Operations::default()
        .with::<check::StoreCheck>()
        .with::<collect::StoreCollect>()
        .with::<erase::MessageErase>()
        .with::<quota::AccountQuota>()
        .with::<backup::BackupNow>()
        .with::<backup::ListHeld>()
        .with::<backup::ReleaseHeld>()
        .with::<quarantine::QuarantineList>()
        .with::<quarantine::QuarantineShow>()
        .with::<quarantine::QuarantineOpen>()
        .with::<quarantine::QuarantineRead>()
        .with::<queue::QueueList>()
        .with::<queue::QueueShow>()
        .with::<queue::QueueChange>()
        .with::<scrub::StoreScrub>()
        .with::<stats::StoreStats>()
}
