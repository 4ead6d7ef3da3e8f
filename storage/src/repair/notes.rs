//! Annotations of mailboxes that are gone, or that cannot be read, and grants of accounts that are
//! gone.

use super::{PAGE, Repairer, account::Patient, readable};
use crate::{
    account::{annotations::annotation_at, grants},
    catalog::{keys, pages::Pages},
    error::StoreError,
};

pub(super) async fn repair(
    repairer: &mut Repairer<'_>,
    patient: &Patient,
) -> Result<(), StoreError> {
    let prefix = keys::account(patient.id);
    let mut pages = Pages::prefix(keys::ANNOTATIONS, &prefix, PAGE);
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, value) in page {
            let Some((mailbox, ..)) = readable(annotation_at(&key, &value))? else {
                repairer.remove(keys::ANNOTATIONS, key, "it cannot be read").await?;
                continue;
            };
            let place = mailbox.map(|id| patient.places.get(&id));
            if place.is_some_and(|place| place.is_none_or(|place| place.record.deleting)) {
                repairer.remove(keys::ANNOTATIONS, key, "its mailbox is gone").await?;
            }
        }
    }
    let mut pages = Pages::prefix(keys::ACCOUNT_GRANTS, &prefix, PAGE);
    while let Some(page) = pages.next(&*repairer.core.engine).await? {
        for (key, _) in page {
            let Some(read) = readable(grants::read_in(&key))? else { continue };
            let head = repairer.core.engine.get(keys::ACCOUNT_HEADS, &keys::account(read)).await?;
            if head.is_none() {
                repairer.remove(keys::ACCOUNT_GRANTS, key, "no such account is read").await?;
            }
        }
    }
    Ok(())
}
