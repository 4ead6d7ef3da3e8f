//! Messages of one account: each has its rows, or departed when the last one went, its summary and
//! its chunks, and is rebuilt whole.
//!
//! Rows come in UID order and messages in EmailNumber order, so they are joined in memory, one
//! range of EmailNumbers after the other: the rows are read once for each range.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use trust::digest::Sha256Digest;

use super::{Fault, Invariant, PAGE, Reporter, account::Checked, departed};
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
    mailbox::{rows::row_at, view::MessageRow},
    octets::{Kept, StoredMessage},
    store::StoreCore,
    summary::Summary,
};

/// Messages of one range. An entry takes some 80 octets of memory.
const RANGE_MESSAGES: usize = 1 << 18;

/// What the message record says, and how many rows were found.
pub(super) struct Found {
    size: u64,
    digest: Sha256Digest,
    pub(super) rows: u64,
    /// Entries of `departed_messages` that name it.
    pub(super) departed: u64,
    erased: bool,
}

impl Found {
    fn new(size: u64, digest: Sha256Digest, erased: bool) -> Self {
        Self { size, digest, rows: 0, departed: 0, erased }
    }
}

/// The messages with EmailNumbers from `first` to `last`.
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) messages: BTreeMap<u64, Found>,
}

/// Checks every message of the account.
pub(super) async fn check(
    checked: &Checked<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut first = 0;
    loop {
        let mut range = read_range(checked, first, reporter).await?;
        count_rows(checked, &mut range, reporter).await?;
        departed::check(checked, &mut range, reporter).await?;
        compare_references(checked, &range, reporter).await?;
        check_erasures(checked, &range, reporter).await?;
        check_summaries(checked, &mut range, reporter).await?;
        match range.last.checked_add(1) {
            Some(next) => first = next,
            None => return Ok(()),
        }
    }
}

/// Reads, and rebuilds, the messages from `first` on, as many as one range holds.
async fn read_range(
    checked: &Checked<'_>,
    first: u64,
    reporter: &mut Reporter<'_>,
) -> Result<Range, StoreError> {
    let mut range = Range { first, last: u64::MAX, messages: BTreeMap::new() };
    let mut pages = Pages::new(Scan {
        start: keys::message(checked.id, EmailNumber(first)),
        ..Scan::prefix(keys::MESSAGES, &keys::account(checked.id), PAGE)
    });
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, value) in &page {
            let number = number_of(keys::MESSAGES, key);
            let Some(number) = reporter.take(Invariant::Durable, number)? else { continue };
            let name = message_name(checked.id, number);
            if number.0 >= checked.head.next_email_number {
                reporter.violation(Invariant::Ascending, name.clone(), Fault::NumberNotBelowNext);
            }
            let kept = Kept::decode(value, || name.clone());
            let found = match reporter.take(Invariant::Durable, kept)? {
                None => continue,
                Some(Kept::Message(stored)) => {
                    rebuild(checked.core, &name, &stored, reporter).await?;
                    Found::new(stored.size(), stored.digest(), false)
                }
                Some(Kept::Erased(erased)) => Found::new(erased.size, erased.digest, true),
            };
            range.messages.insert(number.0, found);
            range.last = number.0;
        }
        if range.messages.len() >= RANGE_MESSAGES && !pages.is_at_end() {
            return Ok(range);
        }
    }
    range.last = u64::MAX;
    Ok(range)
}

/// Rebuilds `stored`, which `name` names, from its chunks.
pub(super) async fn rebuild(
    core: &Arc<StoreCore>,
    name: &str,
    stored: &StoredMessage,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let verified = core.octets.verify_message(stored).await;
    let outcome = verified.map_err(|error| error.of(|| name.to_owned()));
    reporter.take(Invariant::Rebuilt, outcome)?;
    reporter.report.seen.messages += 1;
    reporter.report.seen.octets += stored.size();
    if reporter.report.seen.messages.is_multiple_of(PAGE as u64) {
        reporter.tell();
    }
    Ok(())
}

/// Counts the rows of the range's messages, and finds those without a message.
async fn count_rows(
    checked: &Checked<'_>,
    range: &mut Range,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::MAILBOX_ROWS, &keys::account(checked.id), PAGE);
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, value) in &page {
            // A row that cannot be read was reported when the rows were checked.
            let Ok(row) = row_at(key, value) else { continue };
            if (range.first..=range.last).contains(&row.email_number.0) {
                count_row(key, &row, range, reporter);
            }
        }
    }
    Ok(())
}

fn count_row(key: &[u8], row: &MessageRow, range: &mut Range, reporter: &mut Reporter<'_>) {
    let object = || keys::object(keys::MAILBOX_ROWS, key);
    let Some(message) = range.messages.get_mut(&row.email_number.0) else {
        let fault = Fault::NoMessage { number: row.email_number };
        reporter.violation(Invariant::Durable, object(), fault);
        return;
    };
    message.rows += 1;
    if (message.size, message.digest) != (row.size, row.digest) {
        reporter.violation(Invariant::Rebuilt, object(), Fault::RowDiffers);
    }
}

/// Every message has a row, or has departed, and the numbers of rows are the recorded ones.
async fn compare_references(
    checked: &Checked<'_>,
    range: &Range,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let family = keys::MESSAGE_REFERENCES;
    let mut recorded = BTreeMap::new();
    for_each(checked, family, range, reporter, |number, key, value, reporter| {
        let record = records::decode::<ReferencesRecord>(family, key, value);
        if let Some(record) = reporter.take(Invariant::Durable, record)? {
            recorded.insert(number, record.rows);
        }
        Ok(())
    })
    .await?;
    for (number, found) in &range.messages {
        let rows = recorded.remove(number);
        let wrong = match found.rows {
            0 => found.departed == 0 || rows.is_some(),
            found => rows.unwrap_or(1) != found || rows == Some(1),
        };
        if wrong {
            let name = message_name(checked.id, EmailNumber(*number));
            let (rows, recorded) = (found.rows, rows.unwrap_or(1));
            let fault = Fault::ReferencesMiscounted { rows, recorded };
            reporter.violation(Invariant::Durable, name, fault);
        }
    }
    for number in recorded.keys() {
        let name = message_name(checked.id, EmailNumber(*number));
        reporter.violation(Invariant::Durable, name, Fault::ReferencesOfNothing);
    }
    Ok(())
}

/// The list of erased messages is that of the message records.
async fn check_erasures(
    checked: &Checked<'_>,
    range: &Range,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut listed = BTreeSet::new();
    for_each(checked, keys::ERASURES, range, reporter, |number, _, _, _| {
        listed.insert(number);
        Ok(())
    })
    .await?;
    let erased = range.messages.iter().filter(|(_, found)| found.erased);
    let erased: BTreeSet<u64> = erased.map(|(number, _)| *number).collect();
    for number in listed.symmetric_difference(&erased) {
        let name = message_name(checked.id, EmailNumber(*number));
        reporter.violation(Invariant::Durable, name, Fault::ErasuresDisagree);
    }
    Ok(())
}

/// Every message has a summary that can be read, every summary its message.
async fn check_summaries(
    checked: &Checked<'_>,
    range: &mut Range,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut missing = std::mem::take(&mut range.messages);
    for_each(checked, keys::SUMMARIES, range, reporter, |number, _, value, reporter| {
        let name = message_name(checked.id, EmailNumber(number));
        let message = missing.remove(&number);
        let summary = Summary::decode(value, || name.clone());
        let summary = reporter.take(Invariant::Durable, summary)?;
        match (message, summary) {
            (None, _) => {
                reporter.violation(Invariant::Durable, name, Fault::SummaryAlone);
            }
            (Some(message), Some(summary)) if message.size != summary.size => {
                reporter.violation(Invariant::Rebuilt, name, Fault::SummarySize);
            }
            (Some(message), Some(summary)) if message.erased != summary.erased => {
                reporter.violation(Invariant::Rebuilt, name, Fault::SummaryErasure);
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    for number in missing.keys() {
        let name = message_name(checked.id, EmailNumber(*number));
        reporter.violation(Invariant::Durable, name, Fault::NoSummary);
    }
    Ok(())
}

/// Calls `visit` with number, key and value of every entry of `family` in the range.
async fn for_each<'p>(
    checked: &Checked<'_>,
    family: Family,
    range: &Range,
    reporter: &mut Reporter<'p>,
    mut visit: impl FnMut(u64, &Bytes, &Bytes, &mut Reporter<'p>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut scan = Scan {
        start: keys::message(checked.id, EmailNumber(range.first)),
        ..Scan::prefix(family, &keys::account(checked.id), PAGE)
    };
    if let Some(end) = range.last.checked_add(1) {
        scan.end = Some(keys::message(checked.id, EmailNumber(end)));
    }
    let mut pages = Pages::new(scan);
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, value) in &page {
            let number = number_of(family, key);
            if let Some(number) = reporter.take(Invariant::Durable, number)? {
                visit(number.0, key, value, reporter)?;
            }
        }
    }
    Ok(())
}

fn number_of(family: Family, key: &[u8]) -> Result<EmailNumber, StoreError> {
    let mut reader = KeyReader::new(family, key);
    reader.take_u64()?;
    let number = EmailNumber(reader.take_u64()?);
    reader.finish()?;
    Ok(number)
}
