//! STORE and UID STORE (RFC 3501 §6.4.6, §6.4.8), on a condition where asked (RFC 7162 §3.1.3).

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    ids::{ModSeq, Uid},
    mailbox::{
        flags::{FlagChange, Flags},
        view::MessageRow,
    },
};

use super::expunge::check_writable;
use crate::{
    imap::{
        completion::{CommandResult, Completion, Condition, Failure, expunged},
        grammar::{Store, sequence::write_set},
        message_limit,
        selected::{SelectedMailbox, Told},
        session::Context,
    },
    lines::{Disconnect, Stream},
};

pub(crate) async fn store<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    store: &Store,
) -> CommandResult {
    check_writable(mailbox)?;
    if store.unchanged_since.is_some() && !mailbox.keeps_mod_seq() {
        return Err(super::fetch::no_mod_seq().into());
    }
    let mut named = mailbox.resolve(&store.set, store.uid)?;
    let limit = context.server.settings.limits.message_limit;
    let exceeded = message_limit::cut(mailbox.rows(), &mut named, limit);
    let known: BTreeMap<Uid, (ModSeq, Flags)> = named
        .iter()
        .filter_map(|&index| mailbox.rows().get(index))
        .filter(|row| !mailbox.is_expunged(row.uid))
        .map(|row| (row.uid, (row.mod_seq, row.flags.clone())))
        .collect();
    let mut some_are_gone = known.len() < named.len();
    let mut refused = Vec::new();
    if !known.is_empty() {
        let (rows, left) = change(mailbox, store, &known).await?;
        some_are_gone |= rows.len() + left.len() < known.len();
        tell(context, mailbox, store, &known, rows).await?;
        refused = left;
    }
    let mut completion = match exceeded {
        // A message number that leads nowhere is the client's to know, a UID is not (§6.4.8).
        _ if some_are_gone && !store.uid => expunged(),
        Some(exceeded) if refused.is_empty() => exceeded.completion(),
        _ => Completion::ok("STORE"),
    };
    if let Some(exceeded) = exceeded.filter(|_| !is_told(&completion)) {
        context.frame.put(exceeded.notice().as_bytes()).await?;
    }
    if !refused.is_empty() {
        completion.code = Some(format!("MODIFIED {}", modified(mailbox, store, &refused)).into());
    }
    if completion.condition == Condition::Ok { Ok(completion) } else { Err(completion.into()) }
}

/// Whether the tagged response says that there were too many messages.
fn is_told(completion: &Completion) -> bool {
    completion.code.as_ref().is_some_and(|code| code.starts_with("MESSAGELIMIT"))
}

/// The messages that failed the condition, as the client named them.
fn modified(mailbox: &SelectedMailbox, store: &Store, refused: &[Uid]) -> String {
    if store.uid {
        return write_set(refused.iter().map(|uid| uid.get()));
    }
    let refused: BTreeSet<Uid> = refused.iter().copied().collect();
    let numbered = (1_u32..).zip(mailbox.rows());
    write_set(numbered.filter(|(_, row)| refused.contains(&row.uid)).map(|(number, _)| number))
}

/// Changes the flags of the messages in `known`, and returns the rows as they are now and the
/// messages that failed the condition, ascending.
///
/// The store has one modification sequence for all flags of a message. Where another flag than
/// those named made it higher, the condition holds all the same (RFC 7162 §3.1.12).
async fn change(
    mailbox: &mut SelectedMailbox,
    store: &Store,
    known: &BTreeMap<Uid, (ModSeq, Flags)>,
) -> Result<(Vec<MessageRow>, Vec<Uid>), Failure> {
    let view = std::sync::Arc::clone(&mailbox.view);
    let uids: Vec<Uid> = known.keys().copied().collect();
    let condition = store.unchanged_since;
    let (mut rows, mut refused) =
        view.store_flags(&uids, store.change, &store.flags, condition).await?;
    let Some(bound) = condition.filter(|_| !refused.is_empty()) else { return Ok((rows, refused)) };
    mailbox.refresh().await?;
    let unconcerned = |uid: &Uid| {
        let (Some((before, old)), Some(row)) = (known.get(uid), mailbox.row(*uid)) else {
            return false;
        };
        store.change != FlagChange::Replace
            && *before <= bound
            && among(old, &store.flags) == among(&row.flags, &store.flags)
    };
    let (again, others): (Vec<Uid>, Vec<Uid>) = refused.into_iter().partition(unconcerned);
    refused = others;
    if let Some(latest) =
        again.iter().filter_map(|uid| mailbox.row(*uid)).map(|row| row.mod_seq).max()
    {
        // What changes once more from here on is left alone.
        let (more, left) =
            view.store_flags(&again, store.change, &store.flags, Some(latest)).await?;
        rows.extend(more);
        rows.sort_unstable_by_key(|row| row.uid);
        refused.extend(left);
        refused.sort_unstable();
    }
    for uid in &refused {
        mailbox.tell_again(*uid);
    }
    Ok((rows, refused))
}

/// Those of `flags` that are `named`.
fn among(flags: &Flags, named: &Flags) -> Flags {
    Flags {
        seen: flags.seen && named.seen,
        answered: flags.answered && named.answered,
        flagged: flags.flagged && named.flagged,
        deleted: flags.deleted && named.deleted,
        draft: flags.draft && named.draft,
        keywords: flags.keywords.intersection(&named.keywords).cloned().collect(),
    }
}

/// Tells what became of the messages. After .SILENT the client need not hear of flags that it can
/// work out itself, but of the modification sequence (RFC 7162 §3.1.3).
async fn tell<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    store: &Store,
    known: &BTreeMap<Uid, (ModSeq, Flags)>,
    rows: Vec<MessageRow>,
) -> Result<(), Disconnect> {
    let enabled = context.enabled;
    let mut answers: Vec<(Uid, bool)> = Vec::new();
    for row in &rows {
        let Some((before, flags)) = known.get(&row.uid) else { continue };
        let mut expected = flags.clone();
        expected.apply(store.change, &store.flags);
        let with_flags = !store.silent || expected != row.flags;
        let with_mod_seq = store.unchanged_since.is_some() || *before != row.mod_seq;
        if with_flags || (enabled.condstore && with_mod_seq) {
            answers.push((row.uid, with_flags));
        }
    }
    mailbox.learn_quietly(rows);
    mailbox.report_keywords(&mut context.frame).await?;
    for (uid, flags) in answers {
        // RFC 7162 §3.2.4: with QRESYNC every such response names its UID.
        let told = Told { uid: store.uid || enabled.qresync, flags };
        if let Ok(index) = mailbox.rows().binary_search_by_key(&uid, |row| row.uid) {
            context.frame.put(&mailbox.fetch_line(index, enabled, told)).await?;
        }
    }
    Ok(())
}
