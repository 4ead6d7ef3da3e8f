//! EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use storage::ids::Uid;

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure, refusal},
        grammar::sequence::SequenceSet,
        message_limit::{self, Exceeded},
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

pub(crate) async fn expunge<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    uids: Option<&SequenceSet>,
) -> CommandResult {
    check_writable(mailbox)?;
    mailbox.refresh().await?;
    let mut deleted = deleted(mailbox, uids)?;
    // EXPUNGE itself and CLOSE know no limit (RFC 9738 §3.1).
    let limit = context.server.settings.limits.message_limit.filter(|_| uids.is_some());
    let exceeded = message_limit::cut(mailbox.rows(), &mut deleted, limit);
    remove(mailbox, &deleted).await?;
    partly(context, exceeded, "EXPUNGE").await
}

/// The end of a command that may have worked on a part of its messages. With QRESYNC the tagged OK
/// needs its code for HIGHESTMODSEQ (RFC 7162 §3.2.9).
pub(super) async fn partly<S: Stream>(
    context: &mut Context<S>,
    exceeded: Option<Exceeded>,
    text: &'static str,
) -> CommandResult {
    match exceeded {
        None => Ok(Completion::ok(text)),
        Some(exceeded) if context.enabled.qresync => {
            context.frame.put(exceeded.notice().as_bytes()).await?;
            Ok(Completion::ok(text))
        }
        Some(exceeded) => Ok(exceeded.completion()),
    }
}

/// Removes all messages with `\Deleted` that the client knows of.
pub(super) async fn remove_deleted(mailbox: &mut SelectedMailbox) -> Result<(), Failure> {
    mailbox.refresh().await?;
    let deleted = deleted(mailbox, None)?;
    remove(mailbox, &deleted).await
}

/// The messages with `\Deleted` that the client knows of, those in `uids` where given.
fn deleted(
    mailbox: &SelectedMailbox,
    uids: Option<&SequenceSet>,
) -> Result<Vec<usize>, Completion> {
    let named: Vec<usize> = match uids {
        Some(set) => mailbox.resolve(set, true)?,
        None => (0..mailbox.rows().len()).collect(),
    };
    let is_deleted = |index: &usize| {
        let row = mailbox.rows().get(*index);
        row.is_some_and(|row| row.flags.deleted && !mailbox.is_expunged(row.uid))
    };
    Ok(named.into_iter().filter(is_deleted).collect())
}

/// Removes messages. The session reports them.
async fn remove(mailbox: &mut SelectedMailbox, deleted: &[usize]) -> Result<(), Failure> {
    let deleted: Vec<Uid> = mailbox.uids(deleted);
    if deleted.is_empty() {
        return Ok(());
    }
    for uid in mailbox.view.expunge(&deleted).await? {
        mailbox.forget(uid);
    }
    Ok(())
}

/// Refuses changes to a mailbox that was opened by EXAMINE or cannot be changed at all.
pub(super) fn check_writable(mailbox: &SelectedMailbox) -> Result<(), Completion> {
    use storage::{error::StoreError, mailbox::view::Access};
    if mailbox.writable {
        return Ok(());
    }
    Err(match mailbox.view.access() {
        Access::ReadOnly => refusal(&StoreError::ReadOnly),
        Access::ReadWrite => Completion::no(
            "READ-ONLY",
            "Cartella aperta in sola lettura: usare SELECT / Opened read-only: use SELECT",
        ),
    })
}
