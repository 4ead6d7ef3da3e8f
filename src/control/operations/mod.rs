//! The operations, one file each.

use super::Operations;

mod acts;
pub mod archive;
pub mod backup;
pub mod check;
pub mod collect;
pub mod directory;
pub mod erase;
pub mod journal;
pub mod keys;
pub mod quarantine;
pub mod queue;
pub mod quota;
pub mod rebuild_index;
pub mod repair;
pub mod scrub;
pub mod service_levels;
pub mod share;
pub mod snapshot;
pub mod stats;
pub mod take_over;
pub mod transmission;

#[cfg(test)]
mod tests;

/// What a running server offers. Operations that must have the store for themselves are not here:
/// their commands open it when the server is stopped.
#[must_use]
pub fn served() -> Operations {
    Operations::default()
        .with::<archive::ArchiveRestore>()
        .with::<archive::ArchiveRules>()
        .with::<archive::ArchiveRun>()
        .with::<archive::ArchiveStatus>()
        .with::<check::StoreCheck>()
        .with::<collect::StoreCollect>()
        .with::<directory::DirectoryShow>()
        .with::<directory::DirectoryList>()
        .with::<directory::DirectoryFetch>()
        .with::<directory::DirectoryAccept>()
        .with::<erase::MessageErase>()
        .with::<keys::KeysList>()
        .with::<keys::KeysAdd>()
        .with::<keys::KeysRoll>()
        .with::<keys::KeysRemove>()
        .with::<quota::AccountQuota>()
        .with::<backup::BackupNow>()
        .with::<backup::ListHeld>()
        .with::<backup::ReleaseHeld>()
        .with::<journal::JournalSearch>()
        .with::<journal::JournalVerify>()
        .with::<quarantine::QuarantineList>()
        .with::<quarantine::QuarantineShow>()
        .with::<quarantine::QuarantineOpen>()
        .with::<quarantine::QuarantineRead>()
        .with::<queue::QueueList>()
        .with::<queue::QueueShow>()
        .with::<queue::QueueChange>()
        .with::<scrub::StoreScrub>()
        .with::<snapshot::SnapshotList>()
        .with::<snapshot::SnapshotBrowse>()
        .with::<snapshot::compare::SnapshotDiff>()
        .with::<snapshot::compare::SnapshotSearch>()
        .with::<snapshot::restore::SnapshotRestore>()
        .with::<snapshot::restore::RestoreStatus>()
        .with::<snapshot::restore::RestoreChange>()
        .with::<snapshot::export::SnapshotExport>()
        .with::<service_levels::ServiceLevels>()
        .with::<share::AccountShare>()
        .with::<snapshot::SnapshotTake>()
        .with::<snapshot::SnapshotHold>()
        .with::<snapshot::SnapshotChange>()
        .with::<snapshot::SnapshotProve>()
        .with::<snapshot::SnapshotForget>()
        .with::<stats::StoreStats>()
        .with::<transmission::TransmissionList>()
        .with::<transmission::TransmissionShow>()
        .with::<transmission::ArtefactRead>()
        .with::<transmission::ArtefactVerify>()
        .with::<transmission::TrustedCertificates>()
}
