//! MOVE and UID MOVE (RFC 6851 §3).

use super::{
    copy::{copy_uid, find, gone_meanwhile, messages},
    expunge::{check_writable, partly},
};
use crate::{
    imap::{
        completion::{CommandResult, Completion},
        grammar::sequence::SequenceSet,
        progress,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn r#move<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mailbox: &mut SelectedMailbox,
    set: &SequenceSet,
    destination: &str,
    uid: bool,
) -> CommandResult {
    check_writable(mailbox)?;
    // Unlike COPY it may move a part (RFC 9738 §3.1).
    let limit = context.server.settings.limits.message_limit;
    let (uids, exceeded) = messages(mailbox, set, uid, limit)?;
    let name = destination;
    let destination = find(state, name).await?;
    if uids.is_empty() {
        return Ok(Completion::ok("MOVE"));
    }
    let moved = progress::during(context, mailbox.view.move_to(&uids, destination)).await?;
    let moved = moved.map_err(gone_meanwhile)?;
    context.notify.arrived(moved.uid_validity, moved.uids.iter().map(|(_, to)| *to));
    // The new UIDs come before the EXPUNGE responses (RFC 6851 §4.3), which the session sends.
    if let Some(code) = copy_uid(&moved) {
        context.frame.put(Completion::ok_with(code, "MOVE").line("*").as_bytes()).await?;
    }
    for (from, _) in moved.uids {
        mailbox.forget(from);
    }
    partly(context, exceeded, "MOVE").await
}
