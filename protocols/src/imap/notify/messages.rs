//! Counters of the mailboxes that are not selected, as a client knows them (RFC 5465 §5.1 to §5.3).

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    account::name::INBOX,
    error::StoreError,
    ids::{ModSeq, Uid, UidValidity},
    mailbox::view::{Changes, MailboxState},
};

use super::{Identity, Watching, identity, look::Look, own::Owns};
use crate::{
    imap::{
        command::status,
        completion::Failure,
        enabled::Enabled,
        grammar::{StatusItem, notify::Messages},
        selected::SelectedMailbox,
        session::{Authenticated, Context},
    },
    lines::{Disconnect, Stream},
};

/// How often the changes of a mailbox are read until they fit its counters.
const READS_MAX: usize = 4;

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

impl News {
    const RENEWED: Self = Self { renewed: true, counted: false, flags: false, unseen: false };
}

/// The watched mailboxes.
#[derive(Debug, Default)]
pub(super) struct Watched {
    known: BTreeMap<Identity, Counted>,
    /// Messages that the client expunged from the mailbox that it left.
    own_gone: BTreeMap<Identity, BTreeSet<Uid>>,
}

/// A mailbox whose messages are wanted.
struct Place<'e> {
    it: Identity,
    name: &'e str,
    messages: Messages,
    /// Its counters when it was listed.
    listed: &'e MailboxState,
}

/// The mailboxes whose messages are wanted, in the order of the tree.
fn places<'e>(watching: &[Watching<'e>], selected: Option<&Identity>) -> Vec<Place<'e>> {
    let places = watching.iter().filter_map(|(entry, events)| {
        let (name, messages) = (entry.name.as_str(), events.messages);
        Some(Place { it: identity(entry)?, name, messages, listed: entry.state.as_ref()? })
    });
    places
        .filter(|place| place.messages != Messages::Nothing && Some(&place.it) != selected)
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
        selected: Option<&Identity>,
        status: bool,
        watching: &[Watching<'_>],
    ) -> Result<Self, Failure> {
        let mut known = BTreeMap::new();
        for Place { it, name, messages, listed } in places(watching, selected) {
            if let Some(before) = self.known.get(&it).filter(|_| !status) {
                known.insert(it, before.clone());
                continue;
            }
            known.insert(it, Counted::of(listed));
            if status {
                let mut items =
                    vec![StatusItem::Messages, StatusItem::UidNext, StatusItem::UidValidity];
                if messages == Messages::AndFlags {
                    items.push(StatusItem::HighestModSeq);
                }
                put_status(context, name, listed, &items).await?;
            }
        }
        Ok(Self { known, own_gone: self.own_gone.clone() })
    }

    /// Tells what changed, but for what the client did. Opens no mailbox that is as it was. Says whether
    /// it came to the end.
    pub(super) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        selected: Option<&Identity>,
        look: &Look<'_, '_>,
    ) -> Result<bool, Failure> {
        let places = places(&look.watching, selected);
        let moved = look.own.inbox_moved_to();
        let inbox = places.iter().find(|place| place.name == INBOX);
        let inbox = inbox.and_then(|place| self.known.get(&place.it)).map(|inbox| inbox.exists);
        for (index, place) in places.iter().enumerate() {
            if !look.goes_on(context, index).await? {
                return Ok(false);
            }
            let found = match self.known.get(&place.it) {
                Some(before) if before.uid_validity == place.listed.uid_validity => {
                    let own_gone = self.own_gone.get(&place.it);
                    compare(state, place, before, look.own, own_gone).await?
                }
                Some(_) => Some((News::RENEWED, place.listed.clone())),
                // All that the client knew of in INBOX is here now.
                None if moved == Some(place.name) && inbox == Some(place.listed.exists) => {
                    Some((News::default(), place.listed.clone()))
                }
                // It may stand where another stood. The client knows of one that it has just made.
                None => {
                    let renewed = place.listed.exists > 0 || !look.own.made(place.name);
                    Some((News { renewed, ..News::default() }, place.listed.clone()))
                }
            };
            let Some((news, now)) = found else { continue };
            let items = told(news, place.messages, context.enabled);
            if !items.is_empty() {
                put_status(context, place.name, &now, &items).await?;
            }
            self.known.insert(place.it.clone(), Counted::of(&now));
            self.own_gone.remove(&place.it);
        }
        let watched: BTreeSet<&Identity> = places.iter().map(|place| &place.it).collect();
        self.known.retain(|it, _| watched.contains(it));
        self.own_gone.clear();
        Ok(true)
    }
}

/// What happened to a mailbox since it was as `before`, and its counters now; `None` when it is gone,
/// or another has its name by now: the next listing tells.
async fn compare(
    state: &Authenticated,
    place: &Place<'_>,
    before: &Counted,
    own_acts: &Owns,
    own_gone: Option<&BTreeSet<Uid>>,
) -> Result<Option<(News, MailboxState)>, StoreError> {
    let listed = place.listed;
    if before.mod_seq == ModSeq(0) {
        return Ok(Some((by_counters(before, listed), listed.clone())));
    }
    if before.mod_seq == listed.highest_mod_seq {
        return Ok(Some((News::default(), listed.clone())));
    }
    match changes(state, place, before.mod_seq).await {
        Ok(Some((changes, now))) => {
            let own = own_acts.among(place.it.0.as_deref(), now.uid_validity);
            // What the client knew of in INBOX it took away itself.
            let all_gone = place.name == INBOX && own_acts.inbox_moved_to().is_some();
            let is_own_gone =
                |uid| all_gone || own_gone.is_some_and(|own_gone| own_gone.contains(&uid));
            let news = match changes {
                Some(changes) => by_rows(before, &changes, &now, own, is_own_gone),
                None => by_counters(before, &now),
            };
            Ok(Some((news, now)))
        }
        Ok(None) | Err(StoreError::NoSuchMailboxName(_) | StoreError::NoSuchMailbox { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The changes of a mailbox and the counters that they lead to. No changes where they are not known any
/// more, or new ones come faster than they are read.
async fn changes(
    state: &Authenticated,
    place: &Place<'_>,
    since: ModSeq,
) -> Result<Option<(Option<Changes>, MailboxState)>, StoreError> {
    let view = state.account.open(place.name).await?;
    let mut tries = READS_MAX;
    loop {
        let changes = view.changes_since(since).await?;
        let now = view.state().await?;
        if (now.mailbox_id, now.uid_validity) != (place.it.1, place.listed.uid_validity) {
            return Ok(None);
        }
        tries -= 1;
        if changes.incomplete || tries == 0 {
            return Ok(Some((None, now)));
        }
        if changes.up_to == now.highest_mod_seq {
            return Ok(Some((Some(changes), now)));
        }
    }
}

/// Of what the client itself put there or took away nothing is said.
fn by_rows(
    before: &Counted,
    changes: &Changes,
    now: &MailboxState,
    own: Option<&BTreeSet<Uid>>,
    is_own_gone: impl Fn(Uid) -> bool,
) -> News {
    let is_new = |uid: Uid| u64::from(uid.get()) >= before.uid_next;
    let there = || changes.changed.iter().map(|row| row.uid);
    let gone = changes.expunged.iter().copied();
    News {
        flags: there().any(|uid| !is_new(uid)),
        // One that came and went meanwhile was never there.
        counted: there().any(|uid| is_new(uid) && own.is_none_or(|own| !own.contains(&uid)))
            || gone.into_iter().any(|uid| !is_new(uid) && !is_own_gone(uid)),
        unseen: now.unseen != before.unseen,
        renewed: false,
    }
}

fn by_counters(before: &Counted, now: &MailboxState) -> News {
    let now = Counted::of(now);
    let unseen = now.unseen != before.unseen;
    News {
        counted: (now.uid_next, now.exists) != (before.uid_next, before.exists),
        flags: unseen || now.mod_seq != before.mod_seq,
        unseen,
        renewed: false,
    }
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

/// Sends a STATUS response.
async fn put_status<S: Stream>(
    context: &mut Context<S>,
    name: &str,
    now: &MailboxState,
    items: &[StatusItem],
) -> Result<(), Disconnect> {
    let values = items.iter().filter_map(|item| Some((*item, status::counted(*item, now)?)));
    let line = status::response(name, context.enabled.names(), &values.collect::<Vec<_>>());
    context.frame.put(&line).await
}
