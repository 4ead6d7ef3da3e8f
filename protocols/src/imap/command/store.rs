//! STORE and UID STORE (RFC 3501 §6.4.6, §6.4.8).

use std::collections::BTreeMap;

use storage::{ids::Uid, mailbox::flags::Flags};

use super::expunge::check_writable;
use crate::{
    imap::{
        completion::{CommandResult, Completion, expunged},
        grammar::Store,
        selected::SelectedMailbox,
        session::Context,
    },
    lines::Stream,
};

pub(crate) async fn store<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    store: &Store,
) -> CommandResult {
    check_writable(mailbox)?;
    let named = mailbox.resolve(&store.set, store.uid)?;
    // What the client will believe after .SILENT: it need not be told when that is true.
    let mut expected: BTreeMap<Uid, Flags> = BTreeMap::new();
    let mut some_are_gone = false;
    for row in named.iter().filter_map(|&index| mailbox.rows().get(index)) {
        if mailbox.is_expunged(row.uid) {
            some_are_gone = true;
            continue;
        }
        let mut flags = row.flags.clone();
        flags.apply(store.change, &store.flags);
        expected.insert(row.uid, flags);
    }
    let uids: Vec<Uid> = expected.keys().copied().collect();
    if !uids.is_empty() {
        let (rows, _) = mailbox.view.store_flags(&uids, store.change, &store.flags, None).await?;
        some_are_gone |= rows.len() < uids.len();
        let told: Vec<Uid> = rows
            .iter()
            .filter(|row| !store.silent || expected.get(&row.uid) != Some(&row.flags))
            .map(|row| row.uid)
            .collect();
        mailbox.learn_quietly(rows);
        mailbox.report_keywords(&mut context.frame).await?;
        for index in named {
            let uid = mailbox.rows().get(index).map(|row| row.uid);
            if uid.is_some_and(|uid| told.binary_search(&uid).is_ok()) {
                context.frame.put(&mailbox.flags_line(index, store.uid)).await?;
            }
        }
    }
    // A message number that leads nowhere is the client's to know, a UID is not (§6.4.8).
    if some_are_gone && !store.uid {
        return Err(expunged().into());
    }
    Ok(Completion::ok("STORE"))
}
