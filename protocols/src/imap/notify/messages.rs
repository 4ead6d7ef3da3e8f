//! Counters of the mailboxes that are not selected, as a client knows them (RFC 5465 §5.1 to §5.3).

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    error::StoreError,
    ids::{ModSeq, Uid, UidValidity},
    mailbox::view::{MailboxState, MailboxView},
};

use super::{Identity, events, identity, of_others, own::Owns};
use crate::{
    access::MailboxEntry,
    imap::{
        command::{list::is_gone, status},
        completion::Failure,
        enabled::Enabled,
        grammar::{
            StatusItem,
            notify::{Messages, Wanted},
        },
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
    lines::Stream,
};

/// What is known of a mailbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Counted {
    uid_validity: UidValidity,
    /// One more than the last UID; 2³² when that is taken.
    uid_next: u64,
    exists: u64,
    unseen: u64,
    mod_seq: ModSeq,
}

impl Counted {
    fn of(state: &MailboxState) -> Self {
        Self {
            uid_validity: state.uid_validity,
            uid_next: state.uid_next.map_or(1 << 32, |uid| uid.get().into()),
            exists: state.exists,
            unseen: state.unseen,
            mod_seq: state.highest_mod_seq,
        }
    }

    /// What a client was told of the mailbox that it had selected.
    pub(super) fn as_told(mailbox: &SelectedMailbox) -> Self {
        let rows = mailbox.rows();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            uid_validity: mailbox.uid_validity,
            uid_next: rows.last().map_or(1, |row| u64::from(row.uid.get()) + 1),
            exists: count(rows.len() - mailbox.own_gone().len().min(rows.len())),
            unseen: count(rows.iter().filter(|row| !row.flags.seen).count()),
            mod_seq: mailbox.told().unwrap_or(ModSeq(0)),
        }
    }
}

/// What happened to the messages of a mailbox.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct News {
    /// It is another mailbox, or its numbers count no more.
    renewed: bool,
    /// Messages came or went.
    counted: bool,
    flags: bool,
    unseen: bool,
}

/// The watched mailboxes.
#[derive(Debug, Default)]
pub(super) struct Watched {
    known: BTreeMap<Identity, Counted>,
    /// Messages that the client expunged from the mailbox that it left.
    own_gone: BTreeMap<Identity, BTreeSet<Uid>>,
}

/// The mailboxes whose messages are wanted, in the order of the tree.
fn places<'e>(
    wanted: &Wanted,
    entries: &'e [MailboxEntry],
    selected: Option<&Identity>,
) -> Vec<(Identity, &'e str, Messages)> {
    let watched = entries.iter().filter_map(|entry| {
        let messages = events(wanted, entry).messages;
        Some((identity(entry)?, entry.name.as_str(), messages))
    });
    watched
        .filter(|(it, _, messages)| *messages != Messages::Nothing && Some(it) != selected)
        .collect()
}

impl Watched {
    /// Says what the client knows of a mailbox that it leaves.
    pub(super) fn left(&mut self, it: Identity, known: Counted, own_gone: BTreeSet<Uid>) {
        self.own_gone.insert(it.clone(), own_gone);
        self.known.insert(it, known);
    }

    /// What is known and watched, and what is not known yet; describes every mailbox where that
    /// is wanted (RFC 5465 §3.1).
    pub(super) async fn begun<S: Stream>(
        &self,
        context: &mut Context<S>,
        state: &Authenticated,
        selected: Option<&Identity>,
        wanted: &Wanted,
        entries: &[MailboxEntry],
    ) -> Result<Self, Failure> {
        let mut known = BTreeMap::new();
        for (it, name, messages) in places(wanted, entries, selected) {
            if let Some(before) = self.known.get(&it).filter(|_| !wanted.status) {
                known.insert(it, before.clone());
                continue;
            }
            let Some((_, counters)) = open(state, name).await? else { continue };
            known.insert(it, Counted::of(&counters));
            if wanted.status {
                let mut items =
                    vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
                if messages == Messages::AndFlags {
                    items.push(StatusItem::HighestModSeq);
                }
                put_status(context, state, name, &items).await?;
            }
        }
        Ok(Self { known, own_gone: self.own_gone.clone() })
    }

    /// Tells what changed, but for what the client did.
    pub(super) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        selected: Option<&Identity>,
        wanted: &Wanted,
        own: &Owns,
        entries: &[MailboxEntry],
    ) -> Result<(), Failure> {
        let places = places(wanted, entries, selected);
        for (it, name, messages) in &places {
            let Some((view, now)) = open(state, name).await? else { continue };
            let news = match self.known.get(it) {
                Some(before) if before.uid_validity == now.uid_validity => {
                    compare(&*view, before, &now, own.among(name), self.own_gone.get(it)).await?
                }
                Some(_) => News { renewed: true, ..News::default() },
                // It may stand where another stood. The client knows of one that it has just made.
                None => {
                    let renewed = now.exists > 0 || !own.made(name);
                    News { renewed, ..News::default() }
                }
            };
            let items = told(news, *messages, context.enabled);
            if !items.is_empty() {
                put_status(context, state, name, &items).await?;
            }
            self.known.insert(it.clone(), Counted::of(&now));
            self.own_gone.remove(it);
        }
        let watched: BTreeSet<&Identity> = places.iter().map(|(it, _, _)| it).collect();
        self.known.retain(|it, _| watched.contains(it));
        self.own_gone.clear();
        Ok(())
    }
}

type Opened = (std::sync::Arc<dyn MailboxView>, MailboxState);

/// A mailbox and its counters; `None` when it is gone.
async fn open(state: &Authenticated, name: &str) -> Result<Option<Opened>, StoreError> {
    let opened = async {
        let view = state.account.open(name).await?;
        let counters = view.state().await?;
        Ok((view, counters))
    };
    match opened.await {
        Ok(opened) => Ok(Some(opened)),
        Err(StoreError::NoSuchMailboxName(_) | StoreError::NoSuchMailbox { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What happened between two moments. Of what the client itself put there or took away nothing is
/// said.
async fn compare(
    view: &dyn MailboxView,
    before: &Counted,
    now: &MailboxState,
    own: Option<&BTreeSet<Uid>>,
    own_gone: Option<&BTreeSet<Uid>>,
) -> Result<News, StoreError> {
    let mut news = News { unseen: now.unseen != before.unseen, ..News::default() };
    let keeps_mod_seq = before.mod_seq > ModSeq(0);
    if keeps_mod_seq && before.mod_seq == now.highest_mod_seq {
        return Ok(News::default());
    }
    let is_new = |uid: Uid| u64::from(uid.get()) >= before.uid_next;
    let changes =
        if keeps_mod_seq { Some(view.changes_since(before.mod_seq).await?) } else { None };
    if let Some(changes) = changes.filter(|changes| !changes.incomplete) {
        let there = || changes.changed.iter().map(|row| row.uid);
        let gone = changes.expunged.iter().copied();
        news.flags = there().any(|uid| !is_new(uid));
        // One that came and went meanwhile was never there.
        news.counted = of_others(there().filter(|uid| is_new(*uid)), own)
            || of_others(gone.filter(|uid| !is_new(*uid)), own_gone);
    } else {
        let now = Counted::of(now);
        news.counted = (now.uid_next, now.exists) != (before.uid_next, before.exists);
        news.flags = news.unseen || now.mod_seq != before.mod_seq;
    }
    Ok(news)
}

/// What of a mailbox is told.
fn told(news: News, messages: Messages, enabled: Enabled) -> Vec<StatusItem> {
    let with_flags = messages == Messages::AndFlags;
    let flags = news.flags && with_flags;
    let mut items = Vec::new();
    // Who does not know modification sequences is told of flags by what is unread.
    if news.renewed || (flags && enabled.condstore) {
        items.push(StatusItem::UidValidity);
    }
    if news.renewed || news.counted {
        items.extend([StatusItem::UidNext, StatusItem::Messages]);
    }
    if with_flags && (news.renewed || (news.unseen && (news.counted || news.flags))) {
        items.push(StatusItem::Unseen);
    }
    if enabled.condstore && (news.renewed || news.counted || flags) {
        items.push(StatusItem::HighestModSeq);
    }
    items
}

/// Sends a STATUS response; none of a mailbox that is gone by now.
async fn put_status<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    name: &str,
    items: &[StatusItem],
) -> Result<(), Failure> {
    match status::line(context, state, name, items).await {
        Ok(line) => Ok(context.frame.put(&line).await?),
        Err(Failure::Refused(gone)) if is_gone(&gone) => Ok(()),
        Err(failure) => Err(failure),
    }
}
