//! Which checkpoints stay, and the removal of what none of them names.
//!
//! * The newest checkpoint always stays.
//! * The node confirms that the back-up is its own, before it begins and after every few objects that
//!   it removed: a restore may have begun meanwhile.
//! * A manifest goes first; pieces and copies of packs go only when every manifest that is left was
//!   read and names none of them. While one that is left cannot be read (it is damaged, or of a
//!   data key from before), nothing but manifests goes; it goes itself when its time is over.
//! * What nobody names is left alone while it is young: another node, or the next increment, may be
//!   about to name it.
//!
//! Not here: the pins of the collector (`run`), which follow the manifests that are left.

use std::collections::{BTreeSet, HashSet};

use trust::clock::UnixMillis;

use super::{
    BackupError,
    manifest::{CheckpointName, PieceId},
    packs::list_packs,
    repository::{Repository, delete, modified},
};
use crate::{pack::store::PackId, store::Store};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// How long which checkpoints stay, in milliseconds of age.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetentionRules {
    /// Every one.
    pub keep_all_millis: i64,
    /// The last one of each hour.
    pub keep_hourly_millis: i64,
    /// The last one of each day.
    pub keep_daily_millis: i64,
    /// Objects that nobody names stay at least this long. A day.
    pub unnamed_millis: i64,
}

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Checkpoints that stay.
    pub kept: u64,
    /// Checkpoints removed.
    pub checkpoints: u64,
    /// Pieces removed.
    pub pieces: u64,
    /// Copies of packs removed.
    pub packs: u64,
    /// Octets of all objects removed but manifests.
    pub octets: u64,
    /// Checkpoints that stay and whose manifest cannot be read: nothing else was removed.
    pub unreadable: u64,
}

/// The checkpoints of `names` (oldest first) that stay at `now`.
#[must_use]
pub fn retained(
    names: &[CheckpointName],
    now: UnixMillis,
    rules: &RetentionRules,
) -> BTreeSet<CheckpointName> {
    let mut stay = BTreeSet::new();
    let (mut hours, mut days) = (HashSet::new(), HashSet::new());
    for name in names.iter().rev() {
        let age = now.0.saturating_sub(name.instant.0);
        // The first one met of each hour and day is its last.
        let last_of_hour = hours.insert((name.epoch, name.instant.0.div_euclid(HOUR)));
        let last_of_day = days.insert((name.epoch, name.instant.0.div_euclid(DAY)));
        let stays = stay.is_empty()
            || age <= rules.keep_all_millis
            || last_of_hour && age <= rules.keep_hourly_millis
            || last_of_day && age <= rules.keep_daily_millis;
        if stays {
            stay.insert(*name);
        }
    }
    stay
}

/// Objects removed between two looks at the claim.
const REMOVALS_PER_LOOK: u64 = 50;

/// Lets an object go only while the back-up is this node's.
struct Guard<'g> {
    store: &'g Store,
    repository: &'g Repository,
    removed: u64,
}

impl Guard<'_> {
    async fn confirm(&self) -> Result<(), BackupError> {
        Ok(self.store.confirm_claim(&*self.repository.objects).await?)
    }

    async fn before_removal(&mut self) -> Result<(), BackupError> {
        if self.removed.is_multiple_of(REMOVALS_PER_LOOK) {
            self.confirm().await?;
        }
        self.removed += 1;
        Ok(())
    }
}

/// Removes checkpoints that are over their time, then what no other names.
///
/// Copies of packs are only removed from a repository that has such copies: `packs_in_place` says
/// that the packs there belong to the store itself.
pub async fn sweep(
    store: &Store,
    repository: &Repository,
    packs_in_place: bool,
    now: UnixMillis,
    rules: &RetentionRules,
) -> Result<Swept, BackupError> {
    let mut guard = Guard { store, repository, removed: 0 };
    guard.confirm().await?;
    let names = repository.checkpoints().await?;
    let stay = retained(&names, now, rules);
    let mut swept = Swept { kept: stay.len() as u64, ..Swept::default() };
    for name in names.iter().filter(|name| !stay.contains(name)) {
        guard.before_removal().await?;
        repository.delete_manifest(*name).await?;
        swept.checkpoints += 1;
    }
    let mut pieces: HashSet<PieceId> = HashSet::new();
    let mut packs: HashSet<PackId> = HashSet::new();
    for name in &stay {
        let manifest = match repository.manifest(*name).await {
            Ok(manifest) => manifest,
            Err(BackupError::Damaged { .. } | BackupError::Seal(_)) => {
                swept.unreadable += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        pieces.extend(manifest.files.iter().flat_map(|file| &file.pieces).map(|piece| piece.id));
        packs.extend(manifest.packs.iter().map(|copy| copy.pack));
    }
    if swept.unreadable > 0 {
        return Ok(swept);
    }
    let old = now.0.saturating_sub(rules.unnamed_millis);
    for (id, meta) in repository.list_pieces().await? {
        if modified(&meta).0 < old && !pieces.contains(&id) {
            guard.before_removal().await?;
            repository.delete_piece(id).await?;
            swept.pieces += 1;
            swept.octets += meta.size;
        }
    }
    if packs_in_place {
        return Ok(swept);
    }
    for (pack, meta) in list_packs(&*repository.objects).await? {
        if modified(&meta).0 < old && !packs.contains(&pack) {
            guard.before_removal().await?;
            delete(&*repository.objects, &pack.path()).await?;
            swept.packs += 1;
            swept.octets += meta.size;
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stay_while_young_then_one_an_hour_then_one_a_day_and_the_newest_always() {
        let rules = RetentionRules {
            keep_all_millis: 2 * HOUR,
            keep_hourly_millis: DAY,
            keep_daily_millis: 7 * DAY,
            unnamed_millis: DAY,
        };
        let now = UnixMillis(1_795_240_800_000);
        let at = |ago: i64| CheckpointName { epoch: 1, instant: UnixMillis(now.0 - ago) };
        // One every ten minutes for ten days.
        let names: Vec<_> = (0..10 * 24 * 6).rev().map(|step| at(step * HOUR / 6)).collect();
        let stay = retained(&names, now, &rules);
        let within = |from: i64, to: i64| {
            stay.iter().filter(|name| (from..to).contains(&(now.0 - name.instant.0))).count()
        };
        assert_eq!(within(0, 2 * HOUR), 12, "every ten minutes");
        assert!((21..=23).contains(&within(2 * HOUR + 1, DAY)), "{}", within(2 * HOUR + 1, DAY));
        assert!((6..=7).contains(&within(DAY + 1, 7 * DAY + 1)));
        assert_eq!(within(7 * DAY + 1, 11 * DAY), 0);
        let years = retained(&[at(900 * DAY), at(800 * DAY)], now, &rules);
        assert_eq!(years.into_iter().collect::<Vec<_>>(), [at(800 * DAY)]);
    }
}
