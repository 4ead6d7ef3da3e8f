//! Annotations are of mailboxes that have a name; grants are of accounts that exist.

use super::{Fault, Invariant, PAGE, Reporter, account::Checked};
use crate::{
    account::{annotations::annotation_at, grants},
    catalog::{keys, pages::Pages},
    error::StoreError,
};

pub(super) async fn check(
    checked: &Checked<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let prefix = keys::account(checked.id);
    let mut pages = Pages::prefix(keys::ANNOTATIONS, &prefix, PAGE);
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, value) in &page {
            let annotation = annotation_at(key, value);
            let Some((mailbox, ..)) = reporter.take(Invariant::Ascending, annotation)? else {
                continue;
            };
            let named = |id| {
                checked.mailbox_records().any(|(found, record)| found == id && !record.deleting)
            };
            if mailbox.is_some_and(|id| !named(id)) {
                let object = keys::object(keys::ANNOTATIONS, key);
                reporter.violation(Invariant::Ascending, object, Fault::NoMailbox);
            }
        }
    }
    let mut pages = Pages::prefix(keys::ACCOUNT_GRANTS, &prefix, PAGE);
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, _) in &page {
            let Some(read) = reporter.take(Invariant::Ascending, grants::read_in(key))? else {
                continue;
            };
            let head = checked.snapshot.get(keys::ACCOUNT_HEADS, &keys::account(read)).await?;
            if head.is_none() {
                let object = keys::object(keys::ACCOUNT_GRANTS, key);
                let fault = Fault::NoAccount { account: read };
                reporter.violation(Invariant::Ascending, object, fault);
            }
        }
    }
    Ok(())
}
