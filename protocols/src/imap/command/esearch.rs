//! ESEARCH: one search in several mailboxes (RFC 7377 §2).
//!
//! Each mailbox is opened, searched and answered by itself, one after the other: what is held is one
//! list of messages. Names that cannot be opened are passed over (§2.2). A limit on messages is one for
//! all of them: where there is one, answers, which it bounds, are held until all mailboxes were within
//! it, so that a command that is refused tells nothing.

use std::{collections::BTreeSet, sync::Arc};

use storage::{error::StoreError, ids::MailboxId, mailbox::view::MailboxView};

use crate::{
    access::{MailboxEntry, is_of_others, is_of_snapshots, realm_of},
    imap::{
        completion::{CommandResult, Completion, Failure},
        contexts,
        found::{Searched, Telling, settle_saved},
        grammar::multisearch::{MultiSearch, Source},
        progress,
        selected::SelectedMailbox,
        session::{Authenticated, Context},
        snapshots,
    },
    lines::{Disconnect, Stream},
};

pub(crate) async fn esearch<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    mailbox: Option<&mut SelectedMailbox>,
    search: MultiSearch,
) -> CommandResult {
    let is_selected =
        |source: &Source| matches!(source, Source::Selected | Source::SelectedDelayed);
    let selected = search.sources.iter().any(is_selected);
    let others = !search.sources.iter().all(is_selected);
    if selected && mailbox.is_none() {
        return Err(Completion::bad("Nessuna cartella aperta / No mailbox is selected").into());
    }
    if others && (search.results.save || search.program.is_of_selection()) {
        // RFC 7377 §2.1, §2.2: these are of the selected mailbox.
        let text = "SAVE, $ e numeri di messaggio valgono solo per la cartella aperta / SAVE, $ and message numbers are for the selected mailbox only";
        return Err(Completion::bad(text).into());
    }
    let mut progress = Progress::default();
    let entries = entries(context, state, &search.sources).await?;
    let mut wanted = wanted(&entries, &search.sources);
    // Of several mailboxes each is counted as one, of one its messages are.
    let goal = wanted.len();
    let counts = goal > 1 && context.progress.counts(goal);
    if let Some(mailbox) = mailbox {
        let realm = mailbox.realm.clone();
        let it = (realm.as_deref(), mailbox.view.state().await?.mailbox_id);
        if selected || wanted.iter().any(|(of, _)| *of == it) {
            wanted.retain(|(of, _)| *of != it);
            let named = entries.iter().find(|entry| identity(entry) == Some(it));
            // A mailbox that was deleted meanwhile has no name to answer by.
            if let Some(entry) = named {
                let named = (&search, entry.name.as_str());
                let done = in_selected(context, mailbox, named, &mut progress).await;
                settle_saved(mailbox, Some(&search.results), done)?;
            }
        }
    }
    if wanted.len() > context.server.settings.limits.search_mailboxes_max {
        let text = "Troppe cartelle: cercare in meno / Too many mailboxes: search fewer";
        return Err(Completion::no("LIMIT", text).into());
    }
    if counts {
        context.progress.reached(goal - wanted.len());
    }
    for (left, (_, name)) in (0..wanted.len()).rev().zip(wanted) {
        progress::tell(context).await?;
        context.frame.take_turns().await?;
        in_other(context, state, (&search, name), &mut progress).await?;
        if counts {
            context.progress.reached(goal - left);
        }
    }
    context.frame.put(&progress.held).await?;
    if search.results.update {
        let tag = context.tag.clone();
        contexts::refuse(context, &tag).await?;
    }
    Ok(Completion::ok("ESEARCH"))
}

/// How far the command has come.
#[derive(Debug, Default)]
struct Progress {
    /// Messages that were searched through.
    worked_on: usize,
    /// Answers that are not told yet.
    held: Vec<u8>,
}

impl Progress {
    async fn tell<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        line: &[u8],
    ) -> Result<(), Disconnect> {
        if context.server.settings.limits.message_limit.is_none() {
            return context.frame.put(line).await;
        }
        self.held.extend_from_slice(line);
        Ok(())
    }
}

/// What makes a mailbox this one whatever its name: where its number counts, and the number.
type Identity<'e> = (Option<&'e str>, MailboxId);

fn identity(entry: &MailboxEntry) -> Option<Identity<'_>> {
    Some((realm_of(&entry.name), entry.mailbox_id?))
}

/// The account's tree, with what of snapshots `sources` name.
async fn entries<S: Stream>(
    context: &Context<S>,
    state: &Authenticated,
    sources: &[Source],
) -> Result<Vec<MailboxEntry>, StoreError> {
    let mut entries = state.account.list().await?;
    let names = sources.iter().flat_map(|source| match source {
        Source::Subtree(tops) => tops.iter().map(|name| (name, true)).collect(),
        Source::SubtreeOne(names) | Source::Mailboxes(names) => {
            names.iter().map(|name| (name, false)).collect()
        }
        _ => Vec::new(),
    });
    let subscribed = sources.contains(&Source::Subscribed);
    let limits = &context.server.settings.limits;
    snapshots::named(state, limits, (names, subscribed), &mut entries).await?;
    Ok(entries)
}

/// The mailboxes that `sources` name, each once, in the order of the tree.
fn wanted<'e>(entries: &'e [MailboxEntry], sources: &[Source]) -> Vec<(Identity<'e>, &'e str)> {
    let is_of = |entry: &MailboxEntry, source: &Source| {
        let below = |top: &String| {
            entry.name.strip_prefix(top.as_str()).and_then(|rest| rest.strip_prefix('/'))
        };
        let is_one = |names: &[String]| names.contains(&entry.name);
        match source {
            Source::Selected | Source::SelectedDelayed => false,
            // Receipts are delivered beside the message they are about, wherever that is
            // (RFC 5465 §6.3).
            Source::Inboxes | Source::Personal => {
                !is_of_others(&entry.name) && !is_of_snapshots(&entry.name)
            }
            Source::Subscribed => entry.subscribed,
            Source::Mailboxes(names) => is_one(names),
            Source::Subtree(tops) => is_one(tops) || tops.iter().any(|top| below(top).is_some()),
            Source::SubtreeOne(tops) => {
                let one = |top| below(top).is_some_and(|rest| !rest.contains('/'));
                is_one(tops) || tops.iter().any(one)
            }
        }
    };
    let mut known = BTreeSet::new();
    let of_any = |entry: &&MailboxEntry| sources.iter().any(|source| is_of(entry, source));
    let named = entries.iter().filter(of_any);
    let mailboxes = named.filter_map(|entry| Some((identity(entry)?, entry.name.as_str())));
    mailboxes.filter(|(it, _)| known.insert(*it)).collect()
}

/// Searches through what the client knows of its selected mailbox.
async fn in_selected<S: Stream>(
    context: &mut Context<S>,
    mailbox: &mut SelectedMailbox,
    (search, name): (&MultiSearch, &str),
    progress: &mut Progress,
) -> Result<(), Failure> {
    let searched = Searched::selected(mailbox);
    searched.admit(context, &search.program, &mut progress.worked_on).await?;
    let found = searched.find(context, &search.program).await?;
    let uid_validity = mailbox.view.state().await?.uid_validity;
    let telling = Telling {
        response: "SEARCH",
        uid: true,
        mod_seq: search.program.asks_mod_seq(),
        mailbox: Some((name, uid_validity)),
    };
    if found.is_empty() {
        if search.results.save {
            mailbox.saved.clear();
        }
        return Ok(());
    }
    let line = telling.kept(context, mailbox, &search.results, &found)?;
    Ok(progress.tell(context, &line).await?)
}

/// Searches through a mailbox that is not selected, as it is now. One in which nothing is found is
/// not answered for (RFC 7377 §2.1).
async fn in_other<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    (search, name): (&MultiSearch, &str),
    progress: &mut Progress,
) -> Result<(), Failure> {
    let opened = open(state, name).await;
    let (view, uid_validity, rows) = match opened {
        Ok(opened) => opened,
        Err(
            StoreError::NoSuchMailboxName(_)
            | StoreError::NoSuchMailbox { .. }
            | StoreError::SnapshotExpired { .. },
        ) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let searched = Searched { view: view.as_ref(), rows: &rows, selected: None };
    searched.admit(context, &search.program, &mut progress.worked_on).await?;
    let found = searched.find(context, &search.program).await?;
    if !found.is_empty() && search.results.tell() {
        let telling = Telling {
            response: "SEARCH",
            uid: true,
            mod_seq: search.program.asks_mod_seq(),
            mailbox: Some((name, uid_validity)),
        };
        let line = telling.extended(context, &rows, &search.results, &found);
        progress.tell(context, &line).await?;
    }
    Ok(())
}

type Opened =
    (Arc<dyn MailboxView>, storage::ids::UidValidity, Vec<storage::mailbox::view::ListedMessage>);

async fn open(state: &Authenticated, name: &str) -> Result<Opened, StoreError> {
    let view = state.account.open(name).await?;
    let uid_validity = view.state().await?.uid_validity;
    let (_, rows) = view.list().await?;
    Ok((view, uid_validity, rows))
}
