//! EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1).

use storage::ids::Uid;

use crate::imap::{
    completion::{CommandResult, Completion, Failure, refusal},
    grammar::sequence::SequenceSet,
    selected::SelectedMailbox,
};

pub(crate) async fn expunge(
    mailbox: &mut SelectedMailbox,
    uids: Option<&SequenceSet>,
) -> CommandResult {
    check_writable(mailbox)?;
    remove_deleted(mailbox, uids).await?;
    Ok(Completion::ok("EXPUNGE"))
}

/// Removes the messages with `\Deleted` that the client knows of, those in `uids` where given.
/// The session reports them.
pub(super) async fn remove_deleted(
    mailbox: &mut SelectedMailbox,
    uids: Option<&SequenceSet>,
) -> Result<(), Failure> {
    mailbox.refresh().await?;
    let named: Vec<usize> = match uids {
        Some(set) => mailbox.resolve(set, true)?,
        None => (0..mailbox.rows().len()).collect(),
    };
    let deleted: Vec<Uid> = named
        .into_iter()
        .filter_map(|index| mailbox.rows().get(index))
        .filter(|row| row.flags.deleted && !mailbox.is_expunged(row.uid))
        .map(|row| row.uid)
        .collect();
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
