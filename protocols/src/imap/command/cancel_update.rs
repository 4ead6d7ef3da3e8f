//! CANCELUPDATE (RFC 5267 §4.3.5).

use crate::imap::{
    completion::{CommandResult, Completion},
    selected::SelectedMailbox,
};

/// Forgets the contexts of `tags`; refuses when there is no such context.
pub(crate) fn cancel_update(mailbox: &mut SelectedMailbox, tags: &[Vec<u8>]) -> CommandResult {
    let mut all = true;
    for tag in tags {
        all &= mailbox.contexts.cancel(tag);
    }
    if all {
        Ok(Completion::ok("CANCELUPDATE"))
    } else {
        Err(Completion::bad("Nessun contesto con quell'etichetta / No context has that tag").into())
    }
}
