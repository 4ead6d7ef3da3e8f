//! Blocks against what they repeat: whoever reads by way of a block must see what the rows say.
//!
//! A block that readers pass over (damaged, old, of a newer program) is no violation: it is built
//! anew by itself. One that they use and that says something else is.

use super::{Fault, Invariant, Reporter, account::Checked, pass_over};
use crate::{
    account::{
        after,
        headers::{
            page::{HeaderFields, MessageHeaders},
            read,
        },
        message_name,
    },
    catalog::{
        engine::Scan,
        keys::{self, KeyReader},
        records::MailboxRecord,
    },
    error::StoreError,
    ids::{EmailNumber, MailboxId},
    mailbox::blocks::read::{BlockReader, Rows, rows_between},
    sealed::Opener,
    summary::Summary,
};

/// Checks the blocks of every mailbox of an account.
pub(super) async fn check(
    checked: &Checked<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    for (id, record) in checked.mailbox_records() {
        mailbox(checked, id, record, reporter).await?;
    }
    of_no_mailbox(checked, reporter).await?;
    headers(checked, reporter).await
}

/// Every header in a block is what the message's summary says, if there is the message.
async fn headers(checked: &Checked<'_>, reporter: &mut Reporter<'_>) -> Result<(), StoreError> {
    let (account, window) = (checked.id, checked.core.limits.block_rows);
    let mut opener = Opener::new()?;
    let mut scan = Scan::prefix(keys::HEADER_BLOCKS, &keys::account(account), 1);
    scan.start = after(&keys::message(account, EmailNumber(0)));
    loop {
        let found = checked.snapshot.scan(&scan).await?;
        let Some((key, value)) = found.first() else { return Ok(()) };
        scan.start = after(key);
        let Some((_, page)) = read::open(&mut opener, window, key, value, HeaderFields::ALL) else {
            continue;
        };
        for number in page.numbers() {
            let key = keys::message(account, *number);
            // What cannot be read of summaries is reported with them.
            let Some(octets) = checked.snapshot.get(keys::SUMMARIES, &key).await? else { continue };
            let summary = Summary::decode(&octets, || message_name(account, *number));
            let Some(summary) = pass_over(summary)? else { continue };
            if page.find(*number) != Some(MessageHeaders::of(*number, &summary)) {
                let name = message_name(account, *number);
                reporter.violation(Invariant::Durable, name, Fault::HeadersDiffer);
            }
        }
    }
}

async fn mailbox(
    checked: &Checked<'_>,
    id: MailboxId,
    record: &MailboxRecord,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let (snapshot, account) = (&*checked.snapshot, checked.id);
    // What cannot be read of rows and indexes was reported with them.
    let opened = BlockReader::open(snapshot, account, id, record).await;
    let Some((Some(mut reader), _)) = pass_over(opened)? else { return Ok(()) };
    for listed in std::mem::take(&mut reader.list.blocks) {
        let value = reader.values(&[listed]).await?.pop().flatten();
        let rows = reader.rows_of(listed, value.as_ref()).await;
        let Some(Rows::Are(rows)) = pass_over(rows)? else { continue };
        let before = u64::from(reader.list.before(listed.window));
        let uids = before + 1..=before + u64::from(reader.list.span);
        let mut present = Vec::new();
        let read = rows_between(snapshot, account, id, uids, &mut present).await;
        if pass_over(read)?.is_some() && present != rows {
            let object = format!("a block of mailbox {id} of account {account}");
            reporter.violation(Invariant::Ascending, object, Fault::BlockDiffers { uid: before });
        }
    }
    Ok(())
}

/// Finds blocks whose mailbox does not exist, one seek for each mailbox.
async fn of_no_mailbox(
    checked: &Checked<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut scan = Scan::prefix(keys::MAILBOX_BLOCKS, &keys::account(checked.id), 1);
    loop {
        let found = checked.snapshot.scan(&scan).await?;
        let Some((key, _)) = found.first() else { return Ok(()) };
        let mut reader = KeyReader::new(keys::MAILBOX_BLOCKS, key);
        reader.take_u64()?;
        let mailbox = MailboxId(reader.take_u64()?);
        if !checked.mailbox_records().any(|(id, _)| id == mailbox) {
            let object = keys::object(keys::MAILBOX_BLOCKS, key);
            reporter.violation(Invariant::Ascending, object, Fault::NoMailbox);
        }
        scan.start = after(&keys::mailbox_block(checked.id, mailbox, u32::MAX));
    }
}
