//! COPY and UID COPY (RFC 3501 §6.4.7), with COPYUID (RFC 4315 §3).

use std::num::NonZeroU32;

use storage::{
    error::StoreError,
    ids::{MailboxId, Uid},
    mailbox::view::Copied,
};

use crate::{
    imap::{
        completion::{CommandResult, Completion, Failure, expunged, refusal},
        grammar::sequence::{SequenceSet, write_set},
        message_limit::{self, Exceeded},
        progress,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
        snapshots,
    },
    lines::Stream,
};

pub(crate) async fn copy<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mailbox: &mut SelectedMailbox,
    set: &SequenceSet,
    destination: &str,
    uid: bool,
) -> CommandResult {
    let limits = &context.server.settings.limits;
    let limit = limits.message_limit.unwrap_or(limits.save_limit);
    let (uids, exceeded) = messages(mailbox, set, uid, Some(limit))?;
    if let Some(exceeded) = exceeded {
        return Err(exceeded.refusal().into());
    }
    let name = destination;
    let destination = find(state, name).await?;
    if uids.is_empty() {
        return Ok(Completion::ok("COPY"));
    }
    let copied = progress::during(context, mailbox.view.copy(&uids, destination)).await?;
    let copied = copied.map_err(gone_meanwhile)?;
    context.notify.arrived(copied.uid_validity, copied.uids.iter().map(|(_, to)| *to));
    Ok(match copy_uid(&copied) {
        Some(code) => Completion::ok_with(code, "COPY"),
        None => Completion::ok("COPY"),
    })
}

/// The messages that `set` names, the last `limit` of them. Nothing is copied when one of those
/// named by number is gone: the client must know first (RFC 2180 §4.4).
pub(super) fn messages(
    mailbox: &SelectedMailbox,
    set: &SequenceSet,
    uid: bool,
    limit: Option<NonZeroU32>,
) -> Result<(Vec<Uid>, Option<Exceeded>), Completion> {
    let mut named = mailbox.resolve(set, uid)?;
    let exceeded = message_limit::cut(mailbox.rows(), &mut named, limit);
    let mut uids = mailbox.uids(&named);
    uids.retain(|&uid| !mailbox.is_expunged(uid));
    if uids.len() < named.len() && !uid { Err(expunged()) } else { Ok((uids, exceeded)) }
}

/// Finds the destination; without one the client may create it (RFC 3501 §6.4.7).
pub(super) async fn find(state: &Authenticated, name: &str) -> Result<MailboxId, Failure> {
    match state.account.destination(snapshots::unchanged(name)?).await {
        Ok(destination) => Ok(destination),
        Err(StoreError::NoSuchMailboxName(_)) => Err(try_create().into()),
        Err(error) => Err(error.into()),
    }
}

/// The mailbox does not exist but could be created (RFC 3501 §7.1).
pub(super) fn try_create() -> Completion {
    Completion::no(
        "TRYCREATE",
        "La cartella non esiste: crearla prima / No such mailbox: create it first",
    )
}

/// The destination was deleted between finding and filling it.
pub(super) fn gone_meanwhile(error: StoreError) -> Failure {
    match error {
        StoreError::NoSuchMailbox { .. } => try_create().into(),
        other => refusal(&other).into(),
    }
}

/// `COPYUID uidvalidity source destination`; `None` when nothing was copied.
pub(super) fn copy_uid(copied: &Copied) -> Option<String> {
    if copied.uids.is_empty() {
        return None;
    }
    let source = write_set(copied.uids.iter().map(|(from, _)| from.get()));
    let destination = write_set(copied.uids.iter().map(|(_, to)| to.get()));
    Some(format!("COPYUID {} {source} {destination}", copied.uid_validity))
}
