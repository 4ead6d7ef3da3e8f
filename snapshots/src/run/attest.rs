//! Which run shows that a snapshot was what it was, and that such a run is kept.
//!
//! A snapshot is *attested* by a run whose tree has its record as the account's, or a later record from
//! which the chain of previous records leads back to it. For a snapshot that is kept by schedule the
//! covering rule keeps such a run ([`super::thin`] says why). Any other is noted as needing one, with the
//! records in between, which may go before it does: a snapshot on demand by the run that enters it, one
//! that no run entered itself by the run that enters the next, a held one in the batch that holds it.

use bytes::Bytes;
use storage::{
    catalog::{engine::Batch, pages::Pages},
    ids::AccountId,
};

use super::{
    ClosedRun, Head, Runs,
    anew::{Earlier, Entered},
    keys::{self, SNAPSHOT_RUN_NEEDS},
    rows::{Current, Phase},
};
use crate::{
    error::SnapshotError,
    keep::{lost::is_damage, settings::Hold, snapshot::Snapshot},
    proof::Attested,
    record::{RECORD_OCTETS, SnapshotRecord},
    tree::{TreeRoot, read::row, row::AccountRow},
};

/// Records that lead from one snapshot to another, at most; a layout counts them in 16 bits.
const CHAIN_MAX: usize = 60_000;

/// Needs read at once.
const NEEDS_PER_PAGE: usize = 500;

/// A row of [`SNAPSHOT_RUN_NEEDS`].
pub(super) struct Need {
    pub(super) key: Bytes,
    pub(super) records: Vec<u8>,
}

/// Whose needs are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeedsOf<'a> {
    /// Its latest snapshot.
    pub(super) latest: &'a Snapshot,
    /// All of its snapshots are held.
    pub(super) held: bool,
    /// It waited for a run before this one looked at it.
    pub(super) waits: bool,
}

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
        let (found, damaged) = self.attesting(snapshot).await?;
        let signed = found.into_iter().filter(|found| found.run.signature.is_some());
        let best = signed.max_by_key(|found| {
            // Of several the earliest: it is nearest to the snapshot.
            (found.run.stamp.is_some(), std::cmp::Reverse(found.run.number()))
        });
        let Some(Attesting { run, records }) = best else {
            return Err(damaged.unwrap_or(SnapshotError::NotPresent));
        };
        let attested = Attested::make(&self.pages(), run.root, records).await?;
        Ok((run, attested))
    }

    /// Holds snapshots, or lets them go again, as [`Snapshots::hold`] does, and notes in the same batch
    /// which runs they need, so that what is held stays provable. What no run has entered yet is noted
    /// by the one that enters it. `also` is applied in that batch, too.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NoSuchSnapshot`]. When it cannot be found out which runs are needed, the hold
    /// stands nevertheless, and the error says what is damaged.
    ///
    /// [`Snapshots::hold`]: crate::keep::Snapshots::hold
    pub async fn hold(
        &self,
        account: AccountId,
        number: Option<u64>,
        hold: Option<Hold>,
        mut also: Batch,
    ) -> Result<(), SnapshotError> {
        let _one = self.one.lock().await;
        let (mut needed, mut failed) = (Vec::new(), None);
        if hold.is_some()
            && let Err(error) = self.needed(account, number, &mut needed, &mut failed).await
        {
            failed = Some(error);
        }
        for need in needed {
            also.put(SNAPSHOT_RUN_NEEDS, need.key, need.records);
        }
        self.snapshots.hold(account, number, hold, also).await?;
        failed.map_or(Ok(()), Err)
    }

    /// What is to be noted of these snapshots of an account, so that the runs that attest them stay. The
    /// run that takes place is one of them, when its tree has the record already. `damaged`: why it cannot
    /// be told of one of them; the others are noted nevertheless.
    async fn needed(
        &self,
        account: AccountId,
        number: Option<u64>,
        needed: &mut Vec<Need>,
        damaged: &mut Option<SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let all = self.snapshots.list(account).await?;
        let head = Head::read(&**self.store.engine()).await?;
        for snapshot in all.iter().filter(|one| number.is_none_or(|number| one.number == number)) {
            let (found, unreadable) = self.attesting(snapshot).await?;
            let closed = found.into_iter().next();
            if closed.is_none() && unreadable.is_some() {
                *damaged = unreadable;
                continue;
            }
            let (run, records) = match (closed, &head.row.current) {
                (Some(Attesting { run, records }), _) => (run.number(), records),
                (None, Some(current)) => {
                    let chains = Chains::of(snapshot, &all);
                    let led = self.led(current.number, head.row.tree(), snapshot, &chains).await?;
                    let Led::Here(records) = led else { continue };
                    (current.number, records)
                }
                (None, None) => continue,
            };
            let key = keys::need(run, account, snapshot.number);
            needed.push(Need { key, records: octets(records.iter().skip(1)) });
        }
        Ok(())
    }

    /// What is to be noted when a run enters the latest one `of` an account: which snapshots behind the row
    /// that the tree has of the account need the run, as far as the covering rule does not keep it for them
    /// anyway. The one of that row does, too, when this very run may have entered it: no tree that is kept has
    /// it then; and when it was asked for once more since a run entered it. Where the tree has no row of the account, because it
    /// is built anew, that of the `earlier` one counts.
    pub(super) async fn needs(
        &self,
        current: &Current,
        tree: TreeRoot,
        earlier: Option<Earlier>,
        of: NeedsOf<'_>,
    ) -> Result<Vec<Need>, SnapshotError> {
        let NeedsOf { latest, held, waits } = of;
        let account = latest.record.account;
        let row = row::<AccountRow>(&self.pages(), tree, &AccountRow::salts(), account.0).await;
        let (mut before, mut since) = match row {
            Ok(before) => (before.map(|row| row.record), None),
            // The step that enters the account meets it, too, and gives the tree up.
            Err(error) if is_damage(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let again = before.is_some() && current.phase() != Phase::Changed;
        if let (None, Some(earlier)) = (before, earlier) {
            match self.entered_by(earlier, account).await? {
                Entered::Known(record) => before = record,
                Entered::Unknown(begun) => since = Some(begun),
            }
        }
        let is_covered = !held && latest.hold.is_none() && !latest.is_asked_for();
        let is_next = latest.record.previous == before && !again;
        let is_same = before == Some(latest.record.hash());
        if !waits && (is_same || (is_next && is_covered)) {
            return Ok(Vec::new());
        }
        let all = self.snapshots.list(account).await?;
        let mut needs = Vec::new();
        // From the latest one back, as far as records follow each other.
        let mut chain: Vec<&SnapshotRecord> = Vec::new();
        for snapshot in all.iter().rev().skip_while(|one| one.number > latest.number) {
            let hash = snapshot.record.hash();
            let follows = chain.last().is_none_or(|next| next.previous == Some(hash));
            let is_before = Some(hash) == before;
            let is_older =
                !chain.is_empty() && since.is_some_and(|since| snapshot.taken().0 < since);
            let is_entered = is_before && !again && !(waits && snapshot.is_asked_for());
            if !follows || is_entered || is_older || chain.len() >= CHAIN_MAX {
                break;
            }
            // Behind the latest one are those that no run has entered.
            if !chain.is_empty() || !is_covered {
                let key = keys::need(current.number, account, snapshot.number);
                needs.push(Need { key, records: octets(chain.iter().rev().copied()) });
            }
            if is_before {
                break;
            }
            chain.push(&snapshot.record);
        }
        if again && chain.last().is_some_and(|first| first.previous == before) {
            // What was noted for the row goes on to the one that takes its place.
            let prefix = keys::needs(current.number, account);
            let mut pages = Pages::prefix(SNAPSHOT_RUN_NEEDS, &prefix, NEEDS_PER_PAGE);
            while let Some(page) = pages.next(&**self.store.engine()).await? {
                for (key, records) in page {
                    let further = octets(chain.iter().rev().copied());
                    needs.push(Need { key, records: [&records[..], &further].concat() });
                }
            }
        }
        Ok(needs)
    }

    /// Every kept run that attests the snapshot, ascending, of those whose trees can be read; and why
    /// another cannot.
    async fn attesting(
        &self,
        snapshot: &Snapshot,
    ) -> Result<(Vec<Attesting>, Option<SnapshotError>), SnapshotError> {
        let all = self.snapshots.list(snapshot.record.account).await?;
        let chains = Chains::of(snapshot, &all);
        let (mut found, mut damaged) = (Vec::new(), None);
        let runs = self.list().await?;
        let behind = |run: &ClosedRun| run.record.closed >= snapshot.record.instant;
        for run in runs.into_iter().filter(behind) {
            match self.led(run.number(), run.root, snapshot, &chains).await {
                Ok(Led::Here(records)) => found.push(Attesting { run, records }),
                // Later runs only have later records.
                Ok(Led::Past) => break,
                Ok(Led::Nowhere) => {}
                Err(error) if is_damage(&error) => damaged = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok((found, damaged))
    }

    /// Whether the tree of a run has a record that leads back to the snapshot's.
    async fn led(
        &self,
        run: u64,
        root: TreeRoot,
        snapshot: &Snapshot,
        Chains { chain, later }: &Chains,
    ) -> Result<Led, SnapshotError> {
        let account = snapshot.record.account;
        let key = keys::need(run, account, snapshot.number);
        if let Some(octets) = self.store.engine().get(SNAPSHOT_RUN_NEEDS, &key).await? {
            let between = records_of(&octets).ok_or_else(|| SnapshotError::Damaged {
                object: storage::catalog::keys::object(SNAPSHOT_RUN_NEEDS, &key),
                detail: "its records follow no known layout",
            })?;
            let records = std::iter::once(snapshot.record.clone()).chain(between).collect();
            return Ok(Led::Here(records));
        }
        let (pages, salts) = (self.pages(), AccountRow::salts());
        let entered = row::<AccountRow>(&pages, root, &salts, account.0).await?;
        let Some(entered) = entered.map(|row| row.record) else { return Ok(Led::Nowhere) };
        Ok(match chain.iter().position(|record| record.hash() == entered) {
            Some(at) => Led::Here(chain.iter().take(at + 1).cloned().collect()),
            None if later.iter().any(|record| record.hash() == entered) => Led::Past,
            None => Led::Nowhere,
        })
    }
}

/// The records behind a snapshot's.
struct Chains {
    /// Its own, and those that follow it without a gap.
    chain: Vec<SnapshotRecord>,
    /// All behind it.
    later: Vec<SnapshotRecord>,
}

impl Chains {
    fn of(snapshot: &Snapshot, all: &[Snapshot]) -> Self {
        let later = all.iter().filter(|one| one.number > snapshot.number);
        let later: Vec<_> = later.map(|one| one.record.clone()).collect();
        Self { chain: chain(&snapshot.record, &later), later }
    }
}

/// What the tree of a run has of a snapshot.
enum Led {
    /// The records from the snapshot's own to the tree's.
    Here(Vec<SnapshotRecord>),
    /// A later record, to which a gap leads.
    Past,
    /// Nothing, or an earlier record.
    Nowhere,
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

pub(super) fn records_of(octets: &Bytes) -> Option<Vec<SnapshotRecord>> {
    let (records, rest) = octets.as_chunks::<RECORD_OCTETS>();
    if !rest.is_empty() {
        return None;
    }
    records.iter().map(|record| SnapshotRecord::decode(record)).collect()
}

fn octets<'a>(records: impl Iterator<Item = &'a SnapshotRecord>) -> Vec<u8> {
    records.flat_map(SnapshotRecord::encode).collect()
}
