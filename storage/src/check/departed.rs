//! Departed messages: each exists, has no rows, and is listed once, under a snapshot that was taken.

use super::{Fault, Invariant, PAGE, Reporter, account::Checked, messages::Range};
use crate::{
    account::{capture::departed_at, message_name},
    catalog::{keys, pages::Pages},
    error::StoreError,
    ids::EmailNumber,
};

/// Checks what the head notes of snapshots.
pub(super) fn check_head(checked: &Checked<'_>, reporter: &mut Reporter<'_>) {
    if !checked.head.has_sound_snapshot() {
        let name = format!("account {}", checked.id);
        reporter.violation(Invariant::Ascending, name, Fault::SnapshotNotBelowNext);
    }
}

/// Counts the entries of the range's messages, and says what is wrong with them.
pub(super) async fn check(
    checked: &Checked<'_>,
    range: &mut Range,
    reporter: &mut Reporter<'_>,
) -> Result<(), StoreError> {
    let mut pages = Pages::prefix(keys::DEPARTED_MESSAGES, &keys::account(checked.id), PAGE);
    while let Some(page) = pages.next(&*checked.snapshot).await? {
        for (key, _) in &page {
            let entry = departed_at(key);
            // A key that cannot be read belongs to no range: the first one reports it.
            let entry = if range.first == 0 {
                reporter.take(Invariant::Durable, entry)?
            } else {
                entry.ok()
            };
            let Some((snapshot, number)) = entry else { continue };
            if (range.first..=range.last).contains(&number.0) {
                entry_of(checked, snapshot, number, range, reporter);
            }
        }
    }
    for (number, found) in &range.messages {
        let name = || message_name(checked.id, EmailNumber(*number));
        if found.departed > 1 {
            let fault = Fault::DepartedTwice { times: found.departed };
            reporter.violation(Invariant::Durable, name(), fault);
        }
        if found.departed > 0 && found.rows > 0 {
            let fault = Fault::DepartedHasRows { rows: found.rows };
            reporter.violation(Invariant::Durable, name(), fault);
        }
    }
    Ok(())
}

fn entry_of(
    checked: &Checked<'_>,
    snapshot: u64,
    number: EmailNumber,
    range: &mut Range,
    reporter: &mut Reporter<'_>,
) {
    let name = || message_name(checked.id, number);
    if snapshot == 0 || snapshot >= checked.head.next_snapshot.max(1) {
        let fault = Fault::DepartedUnderNothing { snapshot };
        reporter.violation(Invariant::Ascending, name(), fault);
    }
    if let Some(message) = range.messages.get_mut(&number.0) {
        message.departed += 1;
        return;
    }
    if number.0 >= checked.head.next_email_number {
        reporter.violation(Invariant::Ascending, name(), Fault::NumberNotBelowNext);
    }
    reporter.violation(Invariant::Durable, name(), Fault::DepartedMissing);
}
