//! What a client asked NOTIFY to tell it (RFC 5465), and what it knows of the mailboxes it watches.
//!
//! * [`messages`]: counters. * [`names`]: the tree of names and subscriptions. * [`metadata`]:
//!   annotations. * [`own`]: what the client did itself and is not told of. * [`look`]: when and how
//!   often the mailboxes are compared.
//!
//! Invariants:
//!
//! * What is told is the difference between what the client was told before and what is there now:
//!   a change that cannot be read now is told later, and one that was undone meanwhile is not.
//! * A mailbox that can no longer be read is watched no more and nothing is said of its messages; when
//!   it can be read again it is watched again (RFC 5465 §5.9). Whatever can be listed here can be read,
//!   so that no name is ever `\NoAccess`.
//! * What is kept, names and entries of annotations, is bounded by
//!   [`notify_mailboxes_max`](super::ImapLimits::notify_mailboxes_max): a client that watches more is
//!   told so, and nothing else any more (RFC 5465 §5.8).
//!
//! Not here: the moment at which something is told (`news`), the messages of the selected mailbox
//! (`selected`).

mod look;
mod messages;
mod metadata;
mod names;
mod own;

use storage::{
    error::StoreError,
    ids::{MailboxId, Uid, UidValidity},
};
use tokio::time::Instant;

pub(crate) use self::own::Own;
use self::{
    look::Look,
    messages::{Counted, Watched},
    metadata::Annotated,
    names::Tree,
    own::Owns,
};
use super::{
    completion::Failure,
    grammar::{
        FetchItem,
        notify::{Events, Mailboxes, Messages, Wanted},
    },
    limits::ImapLimits,
    selected::SelectedMailbox,
    session::{Authenticated, Context},
    snapshots,
};
use crate::{
    access::{MailboxEntry, is_of_others, is_of_snapshots, realm_of},
    lines::Stream,
};

/// What makes a mailbox this one whatever its name: where its number counts, and the number.
type Identity = (Option<String>, MailboxId);

fn identity(entry: &MailboxEntry) -> Option<Identity> {
    Some((realm_of(&entry.name).map(str::to_owned), entry.mailbox_id?))
}

/// When a client is told something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum When {
    /// At the end of a command.
    Command { numbers_may_change: bool },
    /// In IDLE.
    Idle,
    /// While no command is in progress.
    Between,
}

/// What a client is told of its selected mailbox now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment {
    pub(crate) expunged: Expunged,
    /// Whether new messages are told.
    pub(crate) arrived: bool,
    /// Whether changed flags are told.
    pub(crate) flags: bool,
}

/// Which expunged messages are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expunged {
    /// None: numbers must not change.
    Held,
    /// Those that the client itself expunged.
    Own,
    All,
}

/// Whether everything that was to be told has been.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Looked {
    All,
    /// The client watches more names than it may.
    Overflow,
}

/// What one session is told that did not ask for it just now.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    /// `None` = NOTIFY was never used: the selected mailbox is told of at the end of commands.
    wanted: Option<Wanted>,
    messages: Watched,
    names: Option<Tree>,
    annotations: Annotated,
    own: Owns,
    /// Whether something could not be read the last time, or was left for later.
    stale: bool,
    /// Whether all is to be told that has gathered in the selected mailbox, whatever is wanted from
    /// now on.
    gathered: bool,
    /// When the mailboxes may be looked at again.
    rests_until: Option<Instant>,
}

impl Notify {
    /// Whether anything may be told while no command is in progress.
    pub(crate) fn is_on(&self) -> bool {
        self.wanted.as_ref().is_some_and(|w| w.selected.is_some() || !w.groups.is_empty())
    }

    /// Whether the mailboxes have to be looked at although nobody has announced a change.
    pub(crate) fn is_due(&self) -> bool {
        self.stale || !self.own.is_empty()
    }

    /// What of the selected mailbox is told.
    pub(crate) fn moment(&self, when: When) -> Moment {
        let numbers_may_change = when != When::Command { numbers_may_change: false };
        let held = |expunged| if numbers_may_change { expunged } else { Expunged::Held };
        let wanted = self.wanted.as_ref().filter(|_| !self.gathered || when == When::Between);
        match wanted.map(|wanted| &wanted.selected) {
            None => Moment { expunged: held(Expunged::All), arrived: true, flags: true },
            Some(None) => Moment { expunged: held(Expunged::Own), arrived: false, flags: false },
            Some(Some(selected)) => {
                let waits = when == When::Between && selected.delayed;
                let expunged = if waits { Expunged::Held } else { held(Expunged::All) };
                Moment { expunged, arrived: true, flags: selected.flags }
            }
        }
    }

    /// NOTIFY SET has succeeded: what has gathered, in a mailbox that is `selected` too, is told at its
    /// end as at that of NOOP (RFC 5465 §3.1).
    pub(crate) fn gather(&mut self, selected: bool) {
        (self.gathered, self.stale) = (selected, true);
    }

    /// The selected mailbox was told of.
    pub(crate) fn told(&mut self, moment: Moment) {
        self.gathered &= moment.expunged != Expunged::All || !moment.flags;
    }

    /// What is told of a new message in the selected mailbox.
    pub(crate) fn new_items(&self) -> &[FetchItem] {
        let selected = self.wanted.as_ref().and_then(|wanted| wanted.selected.as_ref());
        selected.map_or(&[], |selected| &selected.items)
    }

    /// Nothing is told from now on, as after NOTIFY NONE.
    pub(crate) fn stop(&mut self) {
        *self = Self { wanted: Some(Wanted::default()), ..Self::default() };
    }

    /// Notes that something could not be read.
    pub(crate) fn try_again(&mut self) {
        self.stale = true;
    }

    /// Notes that the client put messages into its mailbox with this UIDVALIDITY, which no other of its
    /// mailboxes has.
    pub(crate) fn arrived(
        &mut self,
        uid_validity: UidValidity,
        uids: impl IntoIterator<Item = Uid>,
    ) {
        if self.is_on() {
            self.own.arrived(uid_validity, uids);
        }
    }

    /// Notes what else the client did.
    pub(crate) fn did(&mut self, own: Option<Own>) {
        if let Some(own) = own.filter(|_| self.is_on()) {
            self.own.did(own);
        }
    }

    /// Whether the client itself put a message into `mailbox`.
    pub(crate) fn is_own(&self, mailbox: &SelectedMailbox, uid: Uid) -> bool {
        let own = self.own.among(mailbox.realm.as_deref(), mailbox.uid_validity);
        own.is_some_and(|uids| uids.contains(&uid))
    }

    /// The client leaves its selected mailbox: what it was told of it is where watching begins.
    /// Of one that is told of only while it is selected nothing is kept.
    pub(crate) fn left(&mut self, mailbox: &SelectedMailbox) {
        self.gathered = false;
        if self.wanted.as_ref().is_some_and(|wanted| !wanted.groups.is_empty()) {
            let it = (mailbox.realm.clone(), mailbox.id);
            self.messages.left(it, Counted::as_told(mailbox), mailbox.own_gone().clone());
        }
    }

    /// Begins to tell what is `wanted`, or goes on as before when that fails. Of what was watched already
    /// no change is lost. Describes the watched mailboxes where that is wanted.
    pub(crate) async fn set<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        selected: Option<&SelectedMailbox>,
        wanted: Wanted,
    ) -> Result<Looked, Failure> {
        let entries = entries(state, &context.server.settings.limits, &wanted).await?;
        let watching = watching(&wanted, &entries);
        let most = context.server.settings.limits.notify_mailboxes_max;
        if is_too_much(&wanted, &entries, &watching, most) {
            return Ok(Looked::Overflow);
        }
        let selected = selected.map(|mailbox| (mailbox.realm.clone(), mailbox.id));
        let annotations = self.annotations.begun(state, &wanted, &watching).await?;
        if annotations.entries() > most {
            return Ok(Looked::Overflow);
        }
        let watched = &self.messages;
        let watched = watched.begun(context, selected.as_ref(), wanted.status, &watching).await?;
        let known = self.names.take().unwrap_or_else(|| Tree::of(&entries));
        self.names = wants_tree(&wanted).then_some(known);
        (self.annotations, self.messages, self.wanted) = (annotations, watched, Some(wanted));
        self.rests_until = None;
        Ok(Looked::All)
    }

    /// Tells what has changed in the watched mailboxes since the last time. Between commands it waits
    /// until the pause after the last time is over.
    pub(crate) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        selected: Option<&SelectedMailbox>,
        when: When,
    ) -> Result<Looked, Failure> {
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| !wanted.groups.is_empty()) else {
            (self.own, self.stale) = (Owns::default(), false);
            return Ok(Looked::All);
        };
        self.stale = true;
        if !look::has_rested(context, self.rests_until, when).await? {
            return Ok(Looked::All);
        }
        let limits = &context.server.settings.limits;
        let entries = entries(state, limits, wanted).await?;
        let watching = watching(wanted, &entries);
        let (most, pause) = (limits.notify_mailboxes_max, limits.notify_pause);
        if is_too_much(wanted, &entries, &watching, most) {
            return Ok(Looked::Overflow);
        }
        let selected = selected.map(|mailbox| (mailbox.realm.clone(), mailbox.id));
        if let Some(known) = &mut self.names {
            known.look(context, wanted, self.own.new_in_tree(), &entries).await?;
        }
        self.own.taken_in();
        let look = Look { when, own: &self.own, watching };
        let all = self.messages.look(context, state, selected.as_ref(), &look).await?
            && self.annotations.look(context, state, wanted, &look).await?;
        if self.annotations.entries() > most {
            return Ok(Looked::Overflow);
        }
        self.rests_until = Some(Instant::now() + pause);
        if all {
            (self.own, self.stale) = (Owns::default(), false);
        }
        Ok(Looked::All)
    }
}

/// The account's tree, with what of snapshots is wanted by name.
async fn entries(
    state: &Authenticated,
    limits: &ImapLimits,
    wanted: &Wanted,
) -> Result<Vec<MailboxEntry>, StoreError> {
    let mut entries = state.account.list().await?;
    let groups = || wanted.groups.iter().map(|group| &group.mailboxes);
    let subscribed = groups().any(|mailboxes| *mailboxes == Mailboxes::Subscribed);
    let names = groups().flat_map(|mailboxes| match mailboxes {
        Mailboxes::Subtree(tops) => tops.iter().map(|name| (name, true)).collect(),
        Mailboxes::Named(names) => names.iter().map(|name| (name, false)).collect(),
        _ => Vec::new(),
    });
    snapshots::named(state, limits, (names, subscribed), &mut entries).await?;
    for entry in &mut entries {
        let is_shown = entry.mailbox_id.is_some() && entry.state.is_none();
        if is_shown && events(wanted, &entry.name, entry.subscribed).messages != Messages::Nothing {
            entry.state = match state.account.status(&entry.name).await {
                Err(StoreError::NoSuchMailboxName(_) | StoreError::SnapshotExpired { .. }) => None,
                counted => Some(counted?),
            };
        }
    }
    Ok(entries)
}

/// Whether more names are watched than may be. Who wants to know of names has the whole tree kept,
/// because a mailbox may come under a name from any other.
fn is_too_much(
    wanted: &Wanted,
    entries: &[MailboxEntry],
    watching: &[Watching<'_>],
    most: usize,
) -> bool {
    let names = if wants_tree(wanted) { entries.len() } else { watching.len() };
    names > most
}

fn wants_tree(wanted: &Wanted) -> bool {
    wanted.groups.iter().any(|group| group.events.names || group.events.subscriptions)
}

/// A name and what is wanted of it, which is not nothing.
type Watching<'e> = (&'e MailboxEntry, Events);

fn watching<'e>(wanted: &Wanted, entries: &'e [MailboxEntry]) -> Vec<Watching<'e>> {
    let all = entries.iter().map(|entry| (entry, events(wanted, &entry.name, entry.subscribed)));
    all.filter(|(_, events)| *events != Events::default()).collect()
}

/// All that is wanted of one mailbox: that of every group which holds it; nothing where one of them
/// says NONE, wherever that stands (RFC 5465 §8).
fn events(wanted: &Wanted, name: &str, subscribed: bool) -> Events {
    let mut all = Events::default();
    let groups = wanted.groups.iter();
    for group in groups.filter(|one| holds(&one.mailboxes, name, subscribed)) {
        if group.events == Events::default() {
            return group.events;
        }
        let Events { messages, names, subscriptions, mailbox_metadata, server_metadata } =
            group.events;
        all.messages = all.messages.max(messages);
        all.names |= names;
        all.subscriptions |= subscriptions;
        all.mailbox_metadata |= mailbox_metadata;
        all.server_metadata |= server_metadata;
    }
    all
}

/// Whether a name is among `mailboxes` (RFC 5465 §6). Names are taken as they stand, wildcards too.
fn holds(mailboxes: &Mailboxes, name: &str, subscribed: bool) -> bool {
    match mailboxes {
        // Receipts are delivered beside the message they are about, wherever that is (§6.3).
        Mailboxes::Inboxes | Mailboxes::Personal => !is_of_others(name) && !is_of_snapshots(name),
        Mailboxes::Subscribed => subscribed,
        Mailboxes::Subtree(tops) => {
            let mut above = name.match_indices('/').map(|(end, _)| &name[..end]);
            tops.contains(name) || above.any(|name| tops.contains(name))
        }
        Mailboxes::Named(names) => names.contains(name),
    }
}
