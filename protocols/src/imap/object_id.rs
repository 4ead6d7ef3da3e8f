//! Object identifiers (RFC 8474): names of mailboxes and messages that no RENAME or MOVE changes.
//!
//! Invariant: no two mailboxes, and no two messages, that one login can see have the same. Their numbers
//! are counted by account, so one that another account shares has the account's number in front, and a
//! mailbox that a snapshot shows the snapshot's; a message there is the one that it is elsewhere. A letter
//! tells the kinds apart, as in the examples there.

use storage::{
    ids::{EmailNumber, MailboxId},
    mailbox::view::MailboxView,
};

/// The MAILBOXID of the mailbox `id` behind `view` (RFC 8474 §4): `F` and its number; `S` in snapshots.
pub(crate) fn mailbox_id(view: &dyn MailboxView, id: MailboxId) -> String {
    match (view.other_account(), view.snapshot()) {
        (Some(account), _) => format!("F{account}-{id}"),
        (None, Some(snapshot)) => format!("S{snapshot}-{id}"),
        (None, None) => own_mailbox_id(id),
    }
}

/// As [`mailbox_id`], of a mailbox of the account itself.
pub(crate) fn own_mailbox_id(id: MailboxId) -> String {
    format!("F{id}")
}

/// The EMAILID of a message behind `view` (RFC 8474 §5.1): the same for every copy of it.
pub(crate) fn email_id(view: &dyn MailboxView, number: EmailNumber) -> String {
    match view.other_account() {
        Some(account) => format!("M{account}-{number}"),
        None => format!("M{number}"),
    }
}
