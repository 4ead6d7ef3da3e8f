//! The mailboxes of one account: each has a record and exactly one name, and its counters are
//! what its rows add up to.

use std::collections::BTreeSet;

use super::{
    RECOVERED, Repairer,
    account::{Patient, Place},
};
use crate::{
    account::{
        name::{INBOX, MailboxName},
        tier::Tier,
    },
    catalog::{
        keys,
        records::{self, IndexRecord, MailboxRecord},
    },
    error::StoreError,
    ids::MailboxId,
};

/// Gives every mailbox that is known from anywhere a record whose numbers are right.
pub(super) fn complete(repairer: &mut Repairer<'_>, patient: &mut Patient) {
    let mut validities = BTreeSet::new();
    let ids: Vec<MailboxId> = patient.places.keys().copied().collect();
    for id in ids {
        let named = patient.names.iter().find(|(_, named)| **named == id);
        let named = named.map(|(name, _)| name.clone());
        let object = patient.mailbox_name(id);
        let place = patient.place(id);
        let found = place.found.clone();
        let Some(mut record) = found else {
            if place.uid_max == 0 && named.is_none() {
                // Only a deletion, or a record that cannot be read, speaks of it: it is empty.
                continue;
            }
            let name = named.unwrap_or_else(|| format!("{RECOVERED}/{id}"));
            repairer.changed(object, format!("it had no record: made anew as {name:?}"));
            let record = anew(patient, id, name);
            validities.insert(record.uid_validity);
            patient.place(id).record = record;
            continue;
        };
        record.uid_next = record.uid_next.max(place.uid_max + 1);
        record.recent_from = record.recent_from.min(record.uid_next);
        record.highest_mod_seq = record.highest_mod_seq.max(place.mod_seq_max);
        if !validities.insert(record.uid_validity) {
            record.uid_validity = take_uid_validity(patient);
            validities.insert(record.uid_validity);
        }
        patient.place(id).record = record;
    }
    rename_doubles(repairer, patient);
    let has_inbox = |place: &Place| place.record.name == INBOX && !place.record.deleting;
    if !patient.places.values().any(has_inbox) {
        make(repairer, patient, INBOX);
    }
}

/// Makes a mailbox with a name that is free.
fn make(repairer: &mut Repairer<'_>, patient: &mut Patient, name: &str) -> MailboxId {
    let id = MailboxId(patient.head.next_mailbox_id);
    patient.head.next_mailbox_id += 1;
    let record = anew(patient, id, name.to_owned());
    patient.place(id).record = record;
    repairer.changed(patient.name(), format!("the mailbox {name} was made"));
    id
}

/// The record of a mailbox whose own is lost. The UIDs of its rows stay, under a new UIDVALIDITY:
/// higher ones may have been given before.
fn anew(patient: &mut Patient, id: MailboxId, name: String) -> MailboxRecord {
    let uid_validity = take_uid_validity(patient);
    let mod_seq = patient.take_mod_seq().0;
    let uid_next = patient.place(id).uid_max + 1;
    MailboxRecord {
        name,
        uid_validity,
        uid_next,
        recent_from: uid_next,
        highest_mod_seq: mod_seq,
        expunge_floor: mod_seq,
        ..MailboxRecord::default()
    }
}

fn take_uid_validity(patient: &mut Patient) -> u32 {
    let taken = patient.head.next_uid_validity;
    patient.head.next_uid_validity += 1;
    u32::try_from(taken).unwrap_or(u32::MAX)
}

/// Two mailboxes never have one name, and a name can be one.
fn rename_doubles(repairer: &mut Repairer<'_>, patient: &mut Patient) {
    let mut taken = BTreeSet::new();
    let ids: Vec<MailboxId> = patient.places.keys().copied().collect();
    // Those that the index of names leads to keep theirs.
    let (led, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| {
        let record = &patient.places[id].record;
        patient.names.get(&record.name) == Some(id)
    });
    for id in led.into_iter().chain(others) {
        let object = patient.mailbox_name(id);
        let record = &mut patient.place(id).record;
        if record.uid_validity == 0 || record.deleting {
            continue;
        }
        let valid = MailboxName::new(&record.name).is_ok_and(|name| name.as_str() == record.name);
        if !valid || taken.contains(&record.name) {
            let name = format!("{RECOVERED}/{id}");
            repairer
                .changed(object, format!("its name {:?} is taken or none: {name:?}", record.name));
            record.name = name;
        }
        taken.insert(record.name.clone());
    }
}

/// The mailbox [`RECOVERED`], made when there is none.
pub(super) fn recovered(repairer: &mut Repairer<'_>, patient: &mut Patient) -> MailboxId {
    if let Some(id) = patient.recovered {
        return id;
    }
    let named = |(id, place): (&MailboxId, &Place)| {
        let record = &place.record;
        (record.name == RECOVERED && !record.deleting && record.uid_validity != 0).then_some(*id)
    };
    let found = patient.places.iter().find_map(named);
    let id = found.unwrap_or_else(|| make(repairer, patient, RECOVERED));
    patient.recovered = Some(id);
    id
}

/// Writes counters, names and head.
pub(super) async fn settle(
    repairer: &mut Repairer<'_>,
    patient: &mut Patient,
) -> Result<(), StoreError> {
    let ids: Vec<MailboxId> = patient.places.keys().copied().collect();
    let (mut octets, mut messages, mut named) = (0_u64, 0, 0);
    let mut archive = (0_u64, 0);
    let tiers = patient.found_head.is_none_or(|head| head.tiers);
    for id in ids {
        let object = patient.mailbox_name(id);
        let key = keys::mailbox(patient.id, id);
        let place = patient.place(id);
        if place.record.uid_validity == 0 {
            forget(repairer, patient, id).await?;
            continue;
        }
        let (tally, record) = (&place.tally, &mut place.record);
        record.exists = tally.exists;
        record.unseen = tally.unseen;
        record.deleted = tally.deleted;
        record.octets = tally.octets;
        record.charged_octets = tally.charged_octets;
        record.highest_mod_seq = record.highest_mod_seq.max(place.mod_seq_max);
        // An account that no program which knows tiers has changed yet stays as it is.
        if tiers && !record.deleting {
            record.tier = Tier::of_name(&record.name).number();
        }
        octets = octets.saturating_add(tally.charged_octets);
        messages += tally.exists;
        if Tier::of(record) == Tier::Archive {
            archive.0 = archive.0.saturating_add(tally.charged_octets);
            archive.1 += tally.exists;
        }
        named += u64::from(!record.deleting);
        let (deleting, pending) = (record.deleting, place.pending);
        if place.found.as_ref() != Some(&place.record) {
            if place.found.is_some() {
                repairer.changed(object.clone(), "its counters agree with its rows again");
            }
            let record = records::encode(&place.record);
            repairer.put(keys::MAILBOXES, key.clone(), record).await?;
        }
        if deleting != pending {
            repairer.changed(object, "the list of deletions agrees with its record again");
            if deleting {
                repairer.put(keys::MAILBOX_DELETIONS, key, bytes::Bytes::new()).await?;
            } else {
                repairer.delete(keys::MAILBOX_DELETIONS, key).await?;
            }
        }
    }
    names(repairer, patient).await?;
    let head = &mut patient.head;
    (head.usage_octets, head.usage_messages, head.mailboxes) = (octets, messages, named);
    (head.archive_octets, head.archive_messages) = archive;
    head.tiers = tiers;
    if repairer.report.changes > patient.changes_before {
        // What was repaired may show in a snapshot.
        head.captured_version = 0;
    }
    if patient.found_head != Some(patient.head) {
        repairer.changed(patient.name(), "its counters and usage agree with its rows again");
        patient.head.version += 1;
        let key = keys::account(patient.id);
        repairer.put(keys::ACCOUNT_HEADS, key, records::encode(&patient.head)).await?;
    }
    Ok(())
}

/// Takes out what speaks of a mailbox that has neither record, name nor rows.
async fn forget(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
    id: MailboxId,
) -> Result<(), StoreError> {
    for family in [keys::MAILBOXES, keys::MAILBOX_DELETIONS] {
        let key = keys::mailbox(patient.id, id);
        if repairer.core.engine.get(family, &key).await?.is_some() {
            repairer.remove(family, key, "the mailbox has neither name nor rows").await?;
        }
    }
    Ok(())
}

/// Makes the index of names agree with the records.
async fn names(repairer: &mut Repairer<'_>, patient: &Patient) -> Result<(), StoreError> {
    let wanted = |(id, place): (&MailboxId, &Place)| {
        let record = &place.record;
        (record.uid_validity != 0 && !record.deleting).then(|| (record.name.clone(), *id))
    };
    let wanted: std::collections::BTreeMap<_, _> =
        patient.places.iter().filter_map(wanted).collect();
    for name in patient.names.keys().filter(|name| !wanted.contains_key(*name)) {
        let key = keys::mailbox_name(patient.id, name);
        repairer.remove(keys::MAILBOX_NAMES, key, "no mailbox is called that").await?;
    }
    for (name, id) in wanted {
        if patient.names.get(&name) != Some(&id) {
            let object = patient.mailbox_name(id);
            repairer.changed(object, format!("its name {name:?} leads to it again"));
            let key = keys::mailbox_name(patient.id, &name);
            repairer
                .put(keys::MAILBOX_NAMES, key, records::encode(&IndexRecord { id: id.0 }))
                .await?;
        }
    }
    Ok(())
}
