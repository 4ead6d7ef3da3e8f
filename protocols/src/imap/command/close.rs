//! CLOSE (RFC 3501 §6.4.2): expunges in silence, unless the mailbox is read-only.

use super::expunge::remove_deleted;
use crate::imap::{
    completion::Completion,
    selected::SelectedMailbox,
    session::{Done, Transition},
};

pub(crate) async fn close(mailbox: &mut SelectedMailbox) -> Done {
    if mailbox.writable {
        remove_deleted(mailbox).await?;
    }
    Ok((Completion::ok("CLOSE"), Transition::Deselect))
}
