//! The messages of one account: each has a row, or has departed, and a summary, and its number of rows
//! is right.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    PAGE, Repairer,
    account::{Patient, identity},
    departed, readable,
};
use crate::{
    account::message_name,
    catalog::{
        engine::{Family, Scan},
        keys::{self, KeyReader},
        pages::Pages,
        records::{self, ReferencesRecord},
    },
    error::StoreError,
    ids::EmailNumber,
    mailbox::rows::row_at,
    mime::{
        summary::SummaryBuilder,
        walker::{WalkLimits, Walker},
    },
    octets::{Kept, OctetStore, StoredMessage},
    summary::{Envelope, Summary},
};

/// Messages looked at in one walk over the rows. An entry takes some 60 octets of memory.
const RANGE_MESSAGES: usize = 1 << 18;

/// The number in a key of a family of messages.
pub(super) fn number_of(family: Family, key: &[u8]) -> Result<EmailNumber, StoreError> {
    let mut reader = KeyReader::new(family, key);
    reader.take_u64()?;
    let number = EmailNumber(reader.take_u64()?);
    reader.finish()?;
    Ok(number)
}

pub(super) async fn repair(
    repairer: &mut Repairer<'_>,
    patient: &mut Patient,
) -> Result<(), StoreError> {
    strays(repairer, patient).await?;
    departed::strays(repairer, patient).await?;
    let mut first = Some(0);
    while let Some(from) = first {
        let (mut rows, next) = range(repairer, patient, from).await?;
        count_rows(repairer, patient, &mut rows).await?;
        let listed = departed::listed(repairer, patient, &rows).await?;
        for (number, rows) in rows {
            message(repairer, patient, EmailNumber(number), rows, &listed).await?;
            repairer.report.messages += 1;
            if repairer.report.messages.is_multiple_of(PAGE as u64) {
                (repairer.progress)(&repairer.report);
            }
        }
        first = next;
    }
    Ok(())
}

/// The numbers of the messages from `from` on, and where the next range begins.
async fn range(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
    from: u64,
) -> Result<(BTreeMap<u64, u64>, Option<u64>), StoreError> {
    let mut numbers = BTreeMap::new();
    let mut pages = Pages::new(Scan {
        start: keys::message(patient.id, EmailNumber(from)),
        ..Scan::prefix(keys::MESSAGES, &keys::account(patient.id), PAGE)
    });
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, _) in &page {
            match readable(number_of(keys::MESSAGES, key))? {
                Some(number) => {
                    numbers.insert(number.0, 0);
                }
                None => repairer.left(keys::object(keys::MESSAGES, key), "its key is no message's"),
            }
        }
        if numbers.len() >= RANGE_MESSAGES && !pages.is_at_end() {
            let next = numbers.keys().next_back().and_then(|last| last.checked_add(1));
            return Ok((numbers, next));
        }
    }
    Ok((numbers, None))
}

async fn count_rows(
    repairer: &Repairer<'_>,
    patient: &Patient,
    numbers: &mut BTreeMap<u64, u64>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::MAILBOX_ROWS, &keys::account(patient.id), PAGE);
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, value) in &page {
            if let Some(row) = readable(row_at(key, value))?
                && let Some(rows) = numbers.get_mut(&row.email_number.0)
            {
                *rows += 1;
            }
        }
    }
    Ok(())
}

async fn message(
    repairer: &mut Repairer<'_>,
    patient: &mut Patient,
    number: EmailNumber,
    rows: u64,
    listed: &departed::Listed,
) -> Result<(), StoreError> {
    let departed = departed::repair_message(repairer, patient, number, rows, listed).await?;
    let (name, key) = (message_name(patient.id, number), keys::message(patient.id, number));
    let stored = repairer.core.engine.get(keys::MESSAGES, &key).await?;
    let kept = stored.map(|stored| Kept::decode(&stored, || name.clone())).transpose();
    let Some(kept) = readable(kept)?.flatten() else {
        repairer.left(name, "its record cannot be read: restore it from a back-up");
        return Ok(());
    };
    erasure(repairer, &key, matches!(kept, Kept::Erased(_))).await?;
    if summary(repairer, &name, number, patient, &kept).await? && rows == 0 && !departed {
        // Without a summary no client could be shown the row.
        patient.recover(repairer, number, identity(&kept)).await?;
    }
    references(repairer, patient, number, rows).await
}

/// Erased messages, and no others, stand in the list of them.
async fn erasure(repairer: &mut Repairer<'_>, key: &Bytes, erased: bool) -> Result<(), StoreError> {
    let family = keys::ERASURES;
    if repairer.core.engine.get(family, key).await?.is_some() == erased {
        return Ok(());
    }
    if erased {
        repairer.changed(keys::object(family, key), "it was missing: added");
        repairer.put(family, key.clone(), Bytes::new()).await
    } else {
        repairer.remove(family, key.clone(), "its message is not erased").await
    }
}

/// Makes the summary right; says whether there is one.
async fn summary(
    repairer: &mut Repairer<'_>,
    name: &str,
    number: EmailNumber,
    patient: &Patient,
    kept: &Kept,
) -> Result<bool, StoreError> {
    let key = keys::message(patient.id, number);
    let found = repairer.core.engine.get(keys::SUMMARIES, &key).await?;
    let found = found.map(|octets| Summary::decode(&octets, || name.to_owned())).transpose();
    let (size, erased) = (identity(kept).0, matches!(kept, Kept::Erased(_)));
    let found = readable(found)?.flatten();
    if found.is_some_and(|summary| summary.size == size && summary.erased == erased) {
        return Ok(true);
    }
    let made = match kept {
        Kept::Message(stored) => readable(summarise(&repairer.core.octets, stored).await)?,
        // What the lists showed instead of it is lost with the summary.
        Kept::Erased(_) => Some(Summary::of_erased(size, Envelope::default())),
    };
    match made {
        None => {
            repairer.left(name, "it has no summary, and its octets cannot be rebuilt");
            Ok(false)
        }
        Some(summary) => {
            repairer.changed(name, "its summary was made again");
            repairer.put(keys::SUMMARIES, key, summary.encode().into()).await?;
            Ok(true)
        }
    }
}

/// The record exists where there are two rows or more.
async fn references(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
    number: EmailNumber,
    rows: u64,
) -> Result<(), StoreError> {
    let family = keys::MESSAGE_REFERENCES;
    let key = keys::message(patient.id, number);
    let found = repairer.core.engine.get(family, &key).await?;
    let right = (rows > 1).then(|| records::encode(&ReferencesRecord { rows }));
    if found == right {
        return Ok(());
    }
    let detail = format!("its number of rows is {rows} again");
    repairer.changed(message_name(patient.id, number), detail);
    match right {
        Some(record) => repairer.put(family, key, record).await,
        None => repairer.delete(family, key).await,
    }
}

/// Takes out summaries, numbers of rows and erasures of messages that have no record.
async fn strays(repairer: &mut Repairer<'_>, patient: &Patient) -> Result<(), StoreError> {
    for family in [keys::SUMMARIES, keys::MESSAGE_REFERENCES, keys::ERASURES] {
        let mut pages = Pages::prefix(family, &keys::account(patient.id), PAGE);
        while let Some(page) = pages.next(&*repairer.core.engine).await? {
            for (key, _) in page {
                // One record at a time: each may have a mebibyte.
                if repairer.core.engine.get(keys::MESSAGES, &key).await?.is_none() {
                    repairer.remove(family, key, "its message has no record").await?;
                }
            }
        }
    }
    Ok(())
}

/// Parses a stored message again. [`StoreError::Damaged`] when its octets cannot be rebuilt.
async fn summarise(
    octets: &Arc<OctetStore>,
    stored: &StoredMessage,
) -> Result<Summary, StoreError> {
    octets.verify_message(stored).await?;
    let limits = WalkLimits {
        header_octets_max: octets.config.header_octets_max,
        depth_max: octets.config.depth_max,
        parts_max: octets.config.parts_max,
    };
    let mut walker = Walker::new(SummaryBuilder::default(), limits);
    let mut position = 0;
    while position < stored.size() {
        let read = octets.read(stored, position..stored.size()).await?;
        if read.is_empty() {
            break;
        }
        position += read.len() as u64;
        walker.push(&read);
    }
    Ok(walker.finish().finish())
}
