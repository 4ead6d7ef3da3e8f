//! Identifiers that stay with mailboxes and messages (RFC 8474).
//!
//! A letter tells the kinds apart, as in the examples there: no identifier of one kind is ever one
//! of another.

use storage::ids::{EmailNumber, MailboxId};

/// MAILBOXID (RFC 8474 §4).
pub(crate) fn mailbox(id: MailboxId) -> String {
    format!("F{id}")
}

/// EMAILID (RFC 8474 §5.1): the same for every copy of a message.
pub(crate) fn email(number: EmailNumber) -> String {
    format!("M{number}")
}
