//! Values of `snapshots` and `snapshot_accounts` ([`crate::fields`]).

use prost::Message;
use storage::{
    error::StoreError,
    ids::{AccountId, EmailNumber, ModSeq},
};
use trust::clock::UnixMillis;

use super::{
    keys::{self, SNAPSHOT_ACCOUNTS, SNAPSHOTS},
    settings::{Hold, Overrides},
    snapshot::{Snapshot, SnapshotKind},
};
use crate::{
    fields::{damaged, decode, encode},
    hash::SnapshotSecret,
    record::SnapshotRecord,
};

#[derive(Clone, PartialEq, Eq, Message)]
struct HoldFields {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(sint64, tag = "2")]
    since: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct SnapshotFields {
    /// The octets of the `SnapshotRecord`.
    #[prost(bytes = "vec", tag = "1")]
    record: Vec<u8>,
    #[prost(uint64, tag = "2")]
    email_numbers_below: u64,
    #[prost(uint64, tag = "3")]
    mod_seq: u64,
    #[prost(uint32, tag = "4")]
    kind: u32,
    #[prost(message, optional, tag = "5")]
    hold: Option<HoldFields>,
    #[prost(bool, tag = "6")]
    going: bool,
    #[prost(sint64, optional, tag = "7")]
    asked_at: Option<i64>,
    #[prost(sint64, optional, tag = "8")]
    clock: Option<i64>,
    #[prost(sint64, optional, tag = "9")]
    stood_until: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AccountFields {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    hold: Option<HoldFields>,
    #[prost(uint32, optional, tag = "3")]
    every_minutes: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    hourly_hours: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    daily_days: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    monthly_months: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    on_demand_days: Option<u32>,
}

/// What is kept of an account besides its snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountEntry {
    /// `None` before the first snapshot.
    pub(crate) secret: Option<SnapshotSecret>,
    pub(crate) hold: Option<Hold>,
    pub(crate) overrides: Overrides,
}

fn hold_fields(hold: &Hold) -> HoldFields {
    HoldFields { reason: hold.reason.clone(), since: hold.since.0 }
}

fn hold_of(fields: HoldFields) -> Hold {
    Hold { reason: fields.reason, since: UnixMillis(fields.since) }
}

/// The value in [`SNAPSHOTS`].
pub(crate) fn encode_snapshot(snapshot: &Snapshot, going: bool) -> Vec<u8> {
    encode(&SnapshotFields {
        record: snapshot.record.encode().to_vec(),
        email_numbers_below: snapshot.email_numbers_below.0,
        mod_seq: snapshot.mod_seq.0,
        kind: snapshot.kind.number(),
        hold: snapshot.hold.as_ref().map(hold_fields),
        going,
        asked_at: snapshot.asked_at.map(|asked_at| asked_at.0),
        clock: snapshot.clock.map(|clock| clock.0),
        stood_until: snapshot.stood_until.map(|until| until.0),
    })
}

/// The snapshot under `key`, and whether it is going.
pub(crate) fn decode_snapshot(key: &[u8], octets: &[u8]) -> Result<(Snapshot, bool), StoreError> {
    let (account, number) = keys::snapshot_of(key)?;
    let fields: SnapshotFields = decode(SNAPSHOTS, key, octets)?;
    let damaged = |detail| damaged(SNAPSHOTS, key, detail);
    let record = SnapshotRecord::decode(&fields.record)
        .ok_or_else(|| damaged("its record follows no known layout"))?;
    if record.account != account {
        return Err(damaged("its record is of another account"));
    }
    let snapshot = Snapshot {
        number,
        record,
        kind: SnapshotKind::of_number(fields.kind)
            .ok_or_else(|| damaged("it is of no known kind"))?,
        asked_at: fields.asked_at.map(UnixMillis),
        clock: fields.clock.map(UnixMillis),
        stood_until: fields.stood_until.map(UnixMillis),
        hold: fields.hold.map(hold_of),
        email_numbers_below: EmailNumber(fields.email_numbers_below),
        mod_seq: ModSeq(fields.mod_seq),
    };
    Ok((snapshot, fields.going))
}

/// The value in [`SNAPSHOT_ACCOUNTS`].
pub(crate) fn encode_account(entry: &AccountEntry) -> Vec<u8> {
    let Overrides { every_minutes, hourly_hours, daily_days, monthly_months, on_demand_days } =
        entry.overrides;
    encode(&AccountFields {
        secret: entry.secret.as_ref().map(|secret| secret.0.to_vec()).unwrap_or_default(),
        hold: entry.hold.as_ref().map(hold_fields),
        every_minutes,
        hourly_hours,
        daily_days,
        monthly_months,
        on_demand_days,
    })
}

/// Reads a value of [`SNAPSHOT_ACCOUNTS`].
pub(crate) fn decode_account(id: AccountId, octets: &[u8]) -> Result<AccountEntry, StoreError> {
    let key = keys::account(id);
    let fields: AccountFields = decode(SNAPSHOT_ACCOUNTS, &key, octets)?;
    let secret = match fields.secret.as_slice() {
        [] => None,
        octets => Some(SnapshotSecret(octets.try_into().map_err(|_| {
            damaged(SNAPSHOT_ACCOUNTS, &key, "its secret does not have 32 octets")
        })?)),
    };
    let AccountFields {
        every_minutes,
        hourly_hours,
        daily_days,
        monthly_months,
        on_demand_days,
        ..
    } = fields;
    let overrides =
        Overrides { every_minutes, hourly_hours, daily_days, monthly_months, on_demand_days };
    Ok(AccountEntry { secret, hold: fields.hold.map(hold_of), overrides })
}

#[cfg(test)]
mod tests {
    use trust::digest::Sha256Digest;

    use super::*;
    use crate::{golden::Golden, state::StateRoot};

    const ACCOUNT: AccountId = AccountId(0x0102_0304_0506_0708);
    /// 2026-11-28T12:00:00.123Z.
    const AT: UnixMillis = UnixMillis(1_795_867_200_123);

    #[test]
    fn records_of_snapshots_stay_as_they_are() {
        for kind in [SnapshotKind::Scheduled, SnapshotKind::OnDemand, SnapshotKind::Operator] {
            let record = SnapshotRecord {
                account: ACCOUNT,
                instant: AT,
                previous: Some(Sha256Digest([2; 32])),
                state_root: StateRoot(Sha256Digest([3; 32])),
                mailboxes: 4,
                messages: 5,
                octets: 6,
            };
            let snapshot = Snapshot {
                number: 9,
                record,
                kind,
                asked_at: Some(AT.plus_millis(-1)),
                clock: Some(AT.plus_millis(-2)),
                stood_until: Some(AT.plus_millis(3_600_000)),
                hold: Some(Hold { reason: "causa 12/2026".into(), since: AT }),
                email_numbers_below: EmailNumber(7),
                mod_seq: ModSeq(8),
            };
            let key = keys::snapshot(ACCOUNT, 9);
            let golden = Golden::of("snapshots").variant(kind).key(&key);
            golden.fields("records::SnapshotFields", 1).holds(
                &(snapshot, true),
                |(snapshot, going)| encode_snapshot(snapshot, *going),
                |octets| decode_snapshot(&key, octets).expect("a snapshot"),
            );
        }
    }

    #[test]
    fn records_without_what_may_be_absent_stay_as_they_are() {
        let record = SnapshotRecord {
            account: ACCOUNT,
            instant: AT,
            previous: None,
            state_root: StateRoot(Sha256Digest([3; 32])),
            mailboxes: 0,
            messages: 0,
            octets: 0,
        };
        let snapshot = Snapshot {
            number: 9,
            record,
            kind: SnapshotKind::Scheduled,
            asked_at: None,
            clock: None,
            stood_until: None,
            hold: None,
            email_numbers_below: EmailNumber(0),
            mod_seq: ModSeq(0),
        };
        let key = keys::snapshot(ACCOUNT, 9);
        let golden = Golden::of("snapshots").variant("least").key(&key);
        golden.fields("records::SnapshotFields", 1).holds(
            &(snapshot, false),
            |(snapshot, going)| encode_snapshot(snapshot, *going),
            |octets| decode_snapshot(&key, octets).expect("a snapshot"),
        );
        let golden = Golden::of("snapshot_accounts").variant("least").key(keys::account(ACCOUNT));
        golden.fields("records::AccountFields", 1).holds(
            &(None, None, Overrides::default()),
            |_| encode_account(&AccountEntry::default()),
            |octets| parts(decode_account(ACCOUNT, octets).expect("an account")),
        );
    }

    /// What is compared of an entry.
    fn parts(entry: AccountEntry) -> (Option<[u8; 32]>, Option<Hold>, Overrides) {
        (entry.secret.map(|secret| secret.0), entry.hold, entry.overrides)
    }

    #[test]
    fn what_accounts_have_of_their_own_stays_as_it_is() {
        let overrides = Overrides {
            every_minutes: Some(0),
            hourly_hours: Some(4),
            daily_days: Some(5),
            monthly_months: Some(6),
            on_demand_days: Some(7),
        };
        let hold = Hold { reason: "causa 12/2026".into(), since: AT };
        let sample = (Some([0x5a; 32]), Some(hold), overrides);
        let golden = Golden::of("snapshot_accounts").key(keys::account(ACCOUNT));
        golden.fields("records::AccountFields", 1).holds(
            &sample,
            |(secret, hold, overrides)| {
                encode_account(&AccountEntry {
                    secret: secret.map(SnapshotSecret),
                    hold: hold.clone(),
                    overrides: *overrides,
                })
            },
            |octets| parts(decode_account(ACCOUNT, octets).expect("an account")),
        );
    }
}
