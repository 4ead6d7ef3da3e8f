//! One snapshot, as lists show it.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use storage::{
    account::capture::KeptSnapshot,
    ids::{EmailNumber, ModSeq},
};
use trust::clock::UnixMillis;

use super::settings::Hold;
use crate::record::SnapshotRecord;

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SnapshotKind {
    /// Its time had come.
    Scheduled,
    /// The holder of the account asked for it.
    OnDemand,
    /// The operator asked for it.
    Operator,
}

impl SnapshotKind {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Scheduled => 1,
            Self::OnDemand => 2,
            Self::Operator => 3,
        }
    }

    pub(super) fn of_number(number: u32) -> Option<Self> {
        [Self::Scheduled, Self::OnDemand, Self::Operator]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// A snapshot of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Its number in the account.
    pub number: u64,
    /// What is known of it in public; its instant, above all.
    pub record: SnapshotRecord,
    /// Why it was taken.
    pub kind: SnapshotKind,
    /// When it was asked for, of one that stood already then: the account had not changed since. Its
    /// time counts from here, and it stays what it was taken as.
    pub asked_at: Option<UnixMillis>,
    /// What the clock said when it was taken, where the instant lies behind that: a clock had been ahead
    /// when the one before was taken, and instants ascend. `None` = it said the instant.
    pub clock: Option<UnixMillis>,
    /// When the one was taken that came directly after it, of which nothing else is left: until then it
    /// stood. `None` while that one is kept, and where it is not known when it was taken.
    pub stood_until: Option<UnixMillis>,
    /// Why it stays although its time is over.
    pub hold: Option<Hold>,
    /// Every message of it has a number below this one.
    pub email_numbers_below: EmailNumber,
    /// The account's MODSEQ at its instant.
    pub mod_seq: ModSeq,
}

const NAME: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Snapshot {
    /// The name of its folder, UTC to the second: `2026-11-21T06:00:17Z`. Names sort by time.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(self.record.instant)
    }

    /// When it was taken, by the clock of then.
    #[must_use]
    pub fn taken(&self) -> UnixMillis {
        self.clock.unwrap_or(self.record.instant)
    }

    /// Whether somebody asked for it, when it was taken or since.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.kind != SnapshotKind::Scheduled || self.asked_at.is_some()
    }

    pub(crate) fn kept(&self) -> KeptSnapshot {
        KeptSnapshot {
            number: self.number,
            email_numbers_below: self.email_numbers_below,
            mod_seq: self.mod_seq,
        }
    }
}

/// The name of a snapshot of `instant`.
#[must_use]
pub fn name_of(instant: UnixMillis) -> String {
    // Only instants outside the years -9999 to 9999 have no time stamp.
    let time = Timestamp::from_second(instant.seconds()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime(NAME).to_string()
}

/// The second that [`Snapshot::name`] gave a name to; `None` when it is not such a name.
#[must_use]
pub fn parse_name(name: &str) -> Option<UnixMillis> {
    let time = DateTime::strptime(NAME, name).ok()?;
    let instant = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let instant = UnixMillis(instant.as_second().checked_mul(1_000)?);
    // One spelling only.
    (name_of(instant) == name).then_some(instant)
}
