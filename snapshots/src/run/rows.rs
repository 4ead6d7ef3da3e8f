//! Values of runs ([`crate::fields`]).

use bytes::Bytes;
use prost::Message;
use storage::error::StoreError;
use trust::{clock::UnixMillis, digest::Sha256Digest};

use super::{
    ClosedRun, RunProgress,
    keys::{SNAPSHOT_RUN_PROGRESS, SNAPSHOT_RUNS},
    record::RunRecord,
};
pub(super) use crate::fields::encode;
use crate::{
    fields::{damaged, decode},
    tree::{
        TreeRoot,
        page::{PageId, PageRef},
    },
};

/// The one row that says how far runs are.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct HeadRow {
    /// The last closed run; 0 = none.
    #[prost(uint64, tag = "1")]
    pub(super) runs: u64,
    /// The hash of its record; empty = none.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) record: Vec<u8>,
    /// When it was closed.
    #[prost(sint64, tag = "3")]
    pub(super) closed_millis: i64,
    /// The tree of accounts as it is now: the run's that takes place, else the last run's. Its root
    /// page, empty = the one without rows.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) page: Vec<u8>,
    /// The birth of the root page.
    #[prost(uint64, tag = "5")]
    pub(super) birth: u64,
    /// Accounts in it.
    #[prost(uint64, tag = "6")]
    pub(super) accounts: u64,
    /// The run that takes place.
    #[prost(message, optional, tag = "7")]
    pub(super) current: Option<Current>,
    /// The sweep over all accounts goes on after this one.
    #[prost(uint64, optional, tag = "8")]
    pub(super) swept: Option<u64>,
    /// The instant that the last closed run was to cover.
    #[prost(sint64, optional, tag = "9")]
    pub(super) covered_millis: Option<i64>,
    /// The row had been lost, and the tree is not known: the next run builds it anew.
    #[prost(bool, tag = "10")]
    pub(super) is_lost: bool,
}

/// A run that takes place.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Current {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(sint64, tag = "2")]
    pub(super) begun_millis: i64,
    #[prost(sint64, tag = "3")]
    pub(super) due_millis: i64,
    /// 0 = accounts that may have changed, 1 = snapshots taken between two runs, 2 = accounts that
    /// failed, 3 = done.
    #[prost(uint32, tag = "4")]
    pub(super) phase: u32,
    /// The phase goes on after this account.
    #[prost(uint64, optional, tag = "5")]
    pub(super) after: Option<u64>,
    /// Accounts that failed and are tried again.
    #[prost(uint64, repeated, tag = "6")]
    pub(super) again: Vec<u64>,
    #[prost(uint64, tag = "7")]
    pub(super) looked_at: u64,
    #[prost(uint64, tag = "8")]
    pub(super) taken: u64,
    #[prost(uint64, tag = "9")]
    pub(super) failed: u64,
    #[prost(uint64, tag = "10")]
    pub(super) pages: u64,
    #[prost(uint64, tag = "11")]
    pub(super) page_octets: u64,
    /// The latest instant of a record that was entered.
    #[prost(sint64, tag = "12")]
    pub(super) latest_millis: i64,
    /// What the clock said when it began, where the record says another time.
    #[prost(sint64, optional, tag = "13")]
    pub(super) begun_clock_millis: Option<i64>,
    /// The tree is built anew: 0 = it is not, 1 = pages of the one before are sorted out, 2 = every
    /// account is entered.
    #[prost(uint32, tag = "14")]
    pub(super) anew: u32,
    /// Sorting out goes on after this key.
    #[prost(bytes = "vec", tag = "15")]
    pub(super) sorted: Vec<u8>,
}

/// What a run does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    Changed,
    Between,
    Again,
    Done,
}

impl Current {
    pub(super) fn phase(&self) -> Phase {
        match self.phase {
            0 => Phase::Changed,
            1 => Phase::Between,
            2 => Phase::Again,
            _ => Phase::Done,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.phase() == Phase::Done
    }

    /// Goes on to the next phase.
    pub(super) fn next_phase(&mut self) {
        self.phase = self.phase.saturating_add(1);
        self.after = None;
    }

    pub(super) fn progress(&self) -> RunProgress {
        RunProgress {
            number: self.number,
            begun: UnixMillis(self.begun_millis),
            due: UnixMillis(self.due_millis),
            looked_at: self.looked_at,
            taken: self.taken,
            failed: self.failed,
            pages: self.pages,
            page_octets: self.page_octets,
        }
    }
}

impl HeadRow {
    pub(super) fn tree(&self) -> TreeRoot {
        match digest(&self.page) {
            None => TreeRoot::empty(),
            Some(id) => TreeRoot {
                page: PageRef { birth: self.birth, id: PageId(id) },
                rows: self.accounts,
            },
        }
    }

    pub(super) fn set_tree(&mut self, tree: TreeRoot) {
        let empty = tree.page == PageRef::empty();
        self.page = if empty { Vec::new() } else { tree.page.id.0.0.to_vec() };
        self.birth = tree.page.birth;
        self.accounts = tree.rows;
    }
}

/// A closed run.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RunRow {
    /// The octets of its record.
    #[prost(bytes = "vec", tag = "1")]
    record: Vec<u8>,
    /// The birth of the root page.
    #[prost(uint64, tag = "2")]
    birth: u64,
    #[prost(bytes = "vec", optional, tag = "3")]
    signature: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    stamp: Option<Vec<u8>>,
    #[prost(bool, tag = "5")]
    going: bool,
    /// What the clock said when it began and was closed, where the record says other times.
    #[prost(sint64, optional, tag = "6")]
    begun_clock: Option<i64>,
    #[prost(sint64, optional, tag = "7")]
    closed_clock: Option<i64>,
}

impl RunRow {
    pub(super) fn of(run: &ClosedRun) -> Self {
        Self {
            record: run.record.encode().to_vec(),
            birth: run.root.page.birth,
            signature: run.signature.clone(),
            stamp: run.stamp.clone(),
            going: run.going,
            begun_clock: run.clock.0.map(|at| at.0),
            closed_clock: run.clock.1.map(|at| at.0),
        }
    }
}

/// A digest in a row; `None` when there is none.
pub(super) fn digest(octets: &[u8]) -> Option<Sha256Digest> {
    octets.try_into().ok().map(Sha256Digest)
}

pub(super) fn decode_head(octets: &Bytes) -> Result<HeadRow, StoreError> {
    decode(SNAPSHOT_RUN_PROGRESS, &super::keys::head(), octets)
}

pub(super) fn decode_run(key: &[u8], octets: &[u8]) -> Result<ClosedRun, StoreError> {
    let row: RunRow = decode(SNAPSHOT_RUNS, key, octets)?;
    let record = RunRecord::decode(&row.record)
        .filter(|record| record.number.to_be_bytes() == key)
        .ok_or_else(|| damaged(SNAPSHOT_RUNS, key, "its record is no record of this run"))?;
    let page = PageRef { birth: row.birth, id: record.root };
    let root = TreeRoot { page, rows: record.accounts };
    let clock = (row.begun_clock.map(UnixMillis), row.closed_clock.map(UnixMillis));
    let (signature, stamp) = (row.signature, row.stamp);
    Ok(ClosedRun { record, root, signature, stamp, going: row.going, clock })
}

#[cfg(test)]
mod tests {
    use storage::{catalog::engine::Batch, ids::AccountId};

    use super::{
        super::{keys, note_due},
        *,
    };
    use crate::golden::Golden;

    const PAGE: PageRef = PageRef { birth: 5, id: PageId(Sha256Digest([3; 32])) };

    #[test]
    fn progress_of_runs_stays_as_it_is() {
        let current = Current {
            number: 1,
            begun_millis: 1_795_867_200_123,
            due_millis: 1_795_867_200_000,
            phase: 2,
            after: Some(5),
            again: vec![6, 600],
            looked_at: 7,
            taken: 8,
            failed: 9,
            pages: 10,
            page_octets: 11,
            latest_millis: 12,
            begun_clock_millis: Some(-13),
            anew: 2,
            sorted: vec![15; 3],
        };
        let head = HeadRow {
            runs: 1,
            record: vec![2; 32],
            closed_millis: 3,
            page: vec![4; 32],
            birth: 5,
            accounts: 6,
            current: Some(current),
            swept: Some(8),
            covered_millis: Some(-9),
            is_lost: true,
        };
        let golden = Golden::of("snapshot_run_progress").key(keys::head());
        golden.fields("rows::HeadRow", 1).holds(&head, encode, |octets| {
            decode_head(&Bytes::copy_from_slice(octets)).expect("a head")
        });
        let first = Some(Current { number: 1, ..Current::default() });
        for (name, least) in [
            ("least", HeadRow::default()),
            ("first", HeadRow { current: first, ..HeadRow::default() }),
        ] {
            let golden = Golden::of("snapshot_run_progress").variant(name).key(keys::head());
            golden.fields("rows::HeadRow", 1).holds(&least, encode, |octets| {
                decode_head(&Bytes::copy_from_slice(octets)).expect("a head")
            });
        }
        for (number, phase) in
            [(0, Phase::Changed), (1, Phase::Between), (2, Phase::Again), (3, Phase::Done)]
        {
            assert_eq!(Current { phase: number, ..Current::default() }.phase(), phase);
        }
    }

    #[test]
    fn records_of_runs_stay_as_they_are() {
        let record = RunRecord {
            number: 9,
            begun: UnixMillis(-1),
            closed: UnixMillis(1_795_867_200_123),
            root: PAGE.id,
            accounts: 12,
            previous: Some(Sha256Digest([4; 32])),
        };
        let run = ClosedRun {
            record,
            root: TreeRoot { page: PAGE, rows: 12 },
            signature: Some(vec![3; 40]),
            stamp: Some(vec![4; 40]),
            going: true,
            clock: (Some(UnixMillis(-2)), Some(UnixMillis(-3))),
        };
        let key = keys::run(9);
        let golden = Golden::of("snapshot_runs").key(&key).fields("rows::RunRow", 1);
        golden.holds(
            &run,
            |run| encode(&RunRow::of(run)),
            |octets| decode_run(&key, octets).expect("a run"),
        );
        let least =
            ClosedRun { signature: None, stamp: None, going: false, clock: (None, None), ..run };
        let golden = Golden::of("snapshot_runs").variant("least").key(&key);
        golden.fields("rows::RunRow", 1).holds(
            &least,
            |run| encode(&RunRow::of(run)),
            |octets| decode_run(&key, octets).expect("a run"),
        );
    }

    #[test]
    fn keys_of_runs_stay_as_they_are() {
        let stored = keys::page(PAGE);
        Golden::of("departed_run_pages").key(keys::departed(7, &stored)).is([]);
        Golden::of("snapshot_run_due").key(keys::due(AccountId(7))).is(1_u64.to_be_bytes());
        let mut batch = Batch::default();
        note_due(&mut batch, AccountId(8), 0);
        let [(family, key, none)] = &batch.put[..] else { panic!("one row") };
        assert_eq!(*family, keys::SNAPSHOT_RUN_DUE);
        Golden::of("snapshot_run_due").variant("none").key(key).is(none);
        let record = [1_u8; 101];
        Golden::of("snapshot_run_needs").key(keys::need(9, AccountId(7), 3)).is(record);
        // The key alone: what is stored under it is held in `pages`.
        Golden::of("snapshot_run_pages").key(stored).is([]);
    }
}
