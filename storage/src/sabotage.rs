//! Bugs that tests plant, to see that the simulation of the whole store finds them.
//!
//! A bug is planted for the present thread, and so for everything that a current-thread runtime
//! runs on it, until the [`Planted`] is dropped. Outside of tests no bug can be planted, and
//! [`planted`] is `false` at compile time.

/// A mistake that the store could make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PlantedBug {
    /// The sweep expects neither the condemnation nor the index row as it read them.
    SweepWithoutRecheck,
    /// A batch that shares a chunk leaves its condemnation where it is.
    DedupHitKeepsCondemnation,
    /// A batch that stores a chunk as new leaves its condemnation where it is.
    NewChunkKeepsCondemnation,
    /// The collector takes a pack for dead by an index that it read before the packer moved chunks
    /// there.
    ScanIgnoresMove,
    /// A batch may name a pack of a generation that has been retired.
    RetiredGenerationAccepted,
    /// A writer does not wait for its packs: rows may stand before their chunks.
    RowBeforeChunk,
    /// A batch of an account is answered before the log is synced.
    MissingSync,
    /// The index names a cold pack before the pack is durable.
    ColdBeforeDurable,
    /// A reader that does not find a chunk does not look where it was moved to.
    ReaderIgnoresMove,
    /// A message is removed with its last row although the latest snapshot holds it.
    DepartureForgotten,
    /// With a snapshot go all messages listed under it, also those that the one before it holds.
    ForgetIgnoresPrevious,
}

#[cfg(test)]
thread_local! {
    static PRESENT: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
}

/// Says whether `bug` is planted.
#[cfg(test)]
pub(crate) fn planted(bug: PlantedBug) -> bool {
    PRESENT.get() == Some(bug)
}

/// Says whether `bug` is planted: never.
#[cfg(not(test))]
pub(crate) const fn planted(_bug: PlantedBug) -> bool {
    false
}

/// Takes the bug out again when dropped.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Planted(Option<PlantedBug>);

/// Plants `bug` for this thread.
#[cfg(test)]
#[must_use]
pub(crate) fn plant(bug: PlantedBug) -> Planted {
    Planted(PRESENT.replace(Some(bug)))
}

#[cfg(test)]
impl Drop for Planted {
    fn drop(&mut self) {
        PRESENT.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_bug_is_there_until_it_is_taken_out() {
        for bug in [
            PlantedBug::SweepWithoutRecheck,
            PlantedBug::DedupHitKeepsCondemnation,
            PlantedBug::NewChunkKeepsCondemnation,
            PlantedBug::ScanIgnoresMove,
            PlantedBug::RetiredGenerationAccepted,
            PlantedBug::RowBeforeChunk,
            PlantedBug::MissingSync,
            PlantedBug::ColdBeforeDurable,
            PlantedBug::ReaderIgnoresMove,
            PlantedBug::DepartureForgotten,
            PlantedBug::ForgetIgnoresPrevious,
        ] {
            let planted_bug = plant(bug);
            assert!(planted(bug));
            drop(planted_bug);
            assert!(!planted(bug));
        }
    }
}
