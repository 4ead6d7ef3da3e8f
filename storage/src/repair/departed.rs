//! Departed messages of one account, and what its head notes of snapshots.
//!
//! A message that stays too long is harmless, one that is removed too early is lost. So where it is not
//! known which messages the latest snapshot holds, every message is taken for held: it departs with its
//! last row, under the highest snapshot that is known from anywhere, and goes when that one goes, or
//! is passed on to the one before it as far as that held it. The next snapshot sets it right.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{LOST_NUMBERS, PAGE, Repairer, account::Patient, readable};
use crate::{
    account::{capture::departed_at, message_name},
    catalog::{
        engine::Family,
        keys::{self, KeyReader},
        pages::Pages,
    },
    error::StoreError,
    ids::EmailNumber,
};

/// Snapshots by the number of the message that is listed under them.
pub(super) type Listed = BTreeMap<u64, BTreeSet<u64>>;

/// Makes what the head notes of snapshots agree with those that are known.
pub(super) async fn repair_head(
    repairer: &mut Repairer<'_>,
    patient: &mut Patient,
) -> Result<(), StoreError> {
    let known = known(repairer, patient).await?;
    let lost = patient.found_head.is_none();
    let head = &mut patient.head;
    if !lost && head.has_sound_snapshot() && known <= head.snapshot {
        return Ok(());
    }
    let latest = known.max(head.snapshot);
    let next = latest.saturating_add(1 + if lost { LOST_NUMBERS } else { 0 });
    head.next_snapshot = head.next_snapshot.max(next);
    head.snapshot = latest;
    head.snapshot_below = if latest == 0 { 0 } else { head.next_email_number };
    // Nothing that was expunged is forgotten before the next snapshot.
    head.snapshot_mod_seq = 0;
    let detail = match latest {
        0 => format!("it has no snapshot; the next is {}", head.next_snapshot),
        latest => format!("every message is taken for held by snapshot {latest}"),
    };
    repairer.changed(patient.name(), detail);
    Ok(())
}

/// The highest number of a snapshot that stands anywhere; 0 = none.
async fn known(repairer: &Repairer<'_>, patient: &Patient) -> Result<u64, StoreError> {
    let mut highest = 0;
    let families = [Some(keys::DEPARTED_MESSAGES), repairer.source.snapshots()];
    for family in families.into_iter().flatten() {
        let mut pages = Pages::prefix(family, &keys::account(patient.id), PAGE);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, _) in page {
                highest = highest.max(snapshot_in(family, &key).unwrap_or(0));
            }
        }
    }
    Ok(highest)
}

/// The snapshot in a key; `None` when the key is none of the family's.
fn snapshot_in(family: Family, key: &[u8]) -> Option<u64> {
    if family == keys::DEPARTED_MESSAGES {
        return departed_at(key).ok().map(|(snapshot, _)| snapshot).filter(|it| *it < u64::MAX);
    }
    let mut fields = KeyReader::new(family, key);
    fields.take_u64().ok()?;
    let snapshot = fields.take_u64().ok()?;
    fields.finish().ok()?;
    Some(snapshot)
}

/// What is listed of the messages that `rows` names.
pub(super) async fn listed(
    repairer: &Repairer<'_>,
    patient: &Patient,
    rows: &BTreeMap<u64, u64>,
) -> Result<Listed, StoreError> {
    let mut listed = Listed::new();
    let mut pages = Pages::prefix(keys::DEPARTED_MESSAGES, &keys::account(patient.id), PAGE);
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, _) in page {
            if let Some((snapshot, number)) = readable(departed_at(&key))?
                && rows.contains_key(&number.0)
            {
                listed.entry(number.0).or_default().insert(snapshot);
            }
        }
    }
    Ok(listed)
}

/// Leaves one entry of a message without rows, under the last of its snapshots, and none of one that
/// has rows. Says whether the message has departed.
pub(super) async fn repair_message(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
    number: EmailNumber,
    rows: u64,
    listed: &Listed,
) -> Result<bool, StoreError> {
    let Some(snapshots) = listed.get(&number.0) else { return Ok(false) };
    let stays = snapshots.last().copied().filter(|last| rows == 0 && *last > 0);
    for snapshot in snapshots.iter().filter(|snapshot| Some(**snapshot) != stays) {
        let why = match stays {
            _ if rows > 0 => format!("{} has rows", message_name(patient.id, number)),
            Some(stays) => format!("it is listed under snapshot {stays}, too"),
            None => "there never was such a snapshot".to_owned(),
        };
        let key = keys::departed_message(patient.id, *snapshot, number);
        repairer.remove(keys::DEPARTED_MESSAGES, key, &why).await?;
    }
    Ok(stays.is_some())
}

/// Takes out entries of messages that do not exist.
pub(super) async fn strays(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::DEPARTED_MESSAGES, &keys::account(patient.id), PAGE);
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, _) in page {
            let Some((_, number)) = readable(departed_at(&key))? else { continue };
            let message: Bytes = keys::message(patient.id, number);
            if repairer.core.engine.get(keys::MESSAGES, &message).await?.is_none() {
                let why = "its message has no record";
                repairer.remove(keys::DEPARTED_MESSAGES, key, why).await?;
            }
        }
    }
    Ok(())
}
