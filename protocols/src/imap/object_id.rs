//! Object identifiers (RFC 8474): names of mailboxes that no RENAME changes.
//!
//! Invariant: no two mailboxes that one login can see have the same. Numbers of mailboxes are
//! counted by account, so one that another account shares has the account's number in front.

use storage::{ids::MailboxId, mailbox::view::MailboxView};

/// The MAILBOXID of the mailbox `id` behind `view` (RFC 8474 §4): `F` and its number.
pub(crate) fn mailbox_id(view: &dyn MailboxView, id: MailboxId) -> String {
    match view.other_account() {
        Some(account) => format!("F{account}-{id}"),
        None => own_mailbox_id(id),
    }
}

/// As [`mailbox_id`], of a mailbox of the account itself.
pub(crate) fn own_mailbox_id(id: MailboxId) -> String {
    format!("F{id}")
}
