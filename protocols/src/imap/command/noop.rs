//! NOOP and CHECK in the selected state (RFC 3501 §6.1.2, §6.4.1): every change is durable when it
//! is acknowledged, so all that is left to do is to look for changes of others.

use crate::imap::{
    completion::{CommandResult, Completion},
    selected::SelectedMailbox,
};

pub(crate) async fn noop(mailbox: &mut SelectedMailbox) -> CommandResult {
    mailbox.refresh().await?;
    Ok(Completion::ok("NOOP"))
}
