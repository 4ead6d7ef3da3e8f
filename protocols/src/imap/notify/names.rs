//! Names of mailboxes and subscriptions as a client knows them (RFC 5465 §5.4, §5.5).

use std::collections::{BTreeMap, BTreeSet};

use super::{Identity, events, identity, own::Own};
use crate::{
    access::{MailboxEntry, SpecialUse},
    imap::{
        command::list::{line, old_name_line},
        grammar::notify::{Events, Wanted},
        session::Context,
    },
    lines::{Disconnect, Stream},
};

/// What is known of a name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Name {
    /// The mailbox; `None` for a name that only stands above others, or is subscribed to.
    identity: Option<Identity>,
    subscribed: bool,
    special_use: Option<SpecialUse>,
}

/// Every name of the tree.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Tree(BTreeMap<String, Name>);

/// What happened to a name.
#[derive(Debug, Default, Eq, PartialEq)]
struct Change {
    /// Its mailbox came, went or got or lost children.
    named: bool,
    /// The name that its mailbox had.
    old_name: Option<String>,
    /// The mailbox above, by the name that it has now, whose new name is why this one has another.
    renamed_with: Option<String>,
    subscribed: bool,
}

impl Tree {
    pub(super) fn of(entries: &[MailboxEntry]) -> Self {
        let name = |entry: &MailboxEntry| Name {
            identity: identity(entry),
            subscribed: entry.subscribed,
            special_use: entry.special_use,
        };
        Self(entries.iter().map(|entry| (entry.name.clone(), name(entry))).collect())
    }

    /// Tells what changed since this was the tree, but for what the client did; then this is the tree
    /// as it is now.
    pub(super) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        wanted: &Wanted,
        own: &[Own],
        entries: &[MailboxEntry],
    ) -> Result<(), Disconnect> {
        let now = Self::of(entries);
        if *self == now {
            return Ok(());
        }
        let mut before = std::mem::take(self);
        before.take_in(own, &now);
        // Names above come first.
        let mut told_anew = BTreeSet::new();
        for (name, change) in before.changes(&now) {
            let subscribed = |name: &str| before.subscribes(name) || now.subscribes(name);
            let is_wanted = |name: &str, wants: fn(&Events) -> bool| {
                wants(&events(wanted, name, subscribed(name)))
            };
            let of_names = |name: &str| is_wanted(name, |events| events.names);
            let told = (change.named
                && (of_names(&name) || change.old_name.as_deref().is_some_and(of_names)))
                || (change.subscribed && is_wanted(&name, |events| events.subscriptions));
            let of_above = change.renamed_with.as_ref();
            if of_above.is_some_and(|above| told_anew.contains(above)) && !change.subscribed {
                // No events of those below (RFC 5465 §5.4).
                told_anew.insert(name);
                continue;
            }
            if told {
                let attributes = now.attributes(&name);
                let names = context.enabled.names();
                let line = match &change.old_name {
                    Some(old_name) => old_name_line(&name, old_name, names, &attributes),
                    None => line("LIST", &name, names, &attributes),
                };
                context.frame.put(&line).await?;
                if change.old_name.is_some() {
                    told_anew.insert(name);
                }
            }
        }
        *self = now;
        Ok(())
    }

    fn identity(&self, name: &str) -> Option<&Identity> {
        self.0.get(name)?.identity.as_ref()
    }

    fn subscribes(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|name| name.subscribed)
    }

    /// Whether a mailbox stands below `name`.
    fn has_children(&self, name: &str) -> bool {
        let prefix = format!("{name}/");
        let below = self.0.range(prefix.clone()..);
        let mut below = below.take_while(|(name, _)| name.starts_with(&prefix));
        below.any(|(_, name)| name.identity.is_some())
    }

    fn attributes(&self, name: &str) -> Vec<&'static str> {
        let mut attributes = Vec::new();
        let exists = self.identity(name).is_some();
        attributes.extend((!exists).then_some("\\NonExistent"));
        attributes.extend(self.subscribes(name).then_some("\\Subscribed"));
        match (self.has_children(name), exists) {
            (true, _) => attributes.push("\\HasChildren"),
            (false, true) => attributes.push("\\HasNoChildren"),
            (false, false) => {}
        }
        let special_use = self.0.get(name).and_then(|name| name.special_use);
        attributes.extend(special_use.map(SpecialUse::attribute));
        attributes
    }

    /// Takes in what the client did, as far as that is how it is `now`.
    fn take_in(&mut self, own: &[Own], now: &Self) {
        for one in own {
            match one {
                Own::Created(name) => self.take_over(now, name),
                Own::Deleted(name) => {
                    if let Some(gone) = self.0.get_mut(name) {
                        gone.identity = None;
                    }
                }
                Own::Renamed { from, to } if from == "INBOX" => self.take_over(now, to),
                Own::Renamed { from, to } => {
                    let prefix = format!("{from}/");
                    let moved: Vec<String> = self
                        .0
                        .keys()
                        .filter(|name| *name == from || name.starts_with(&prefix))
                        .cloned()
                        .collect();
                    for name in moved {
                        let new_name = format!("{to}{}", &name[from.len()..]);
                        let identity =
                            self.0.get_mut(&name).and_then(|known| known.identity.take());
                        self.0.entry(new_name).or_default().identity = identity;
                    }
                    // What was missing above it.
                    self.take_over(now, to);
                }
                Own::Subscribed(name, subscribed) => {
                    self.0.entry(name.clone()).or_default().subscribed = *subscribed;
                }
                Own::Annotated(..) => {}
            }
        }
    }

    /// Takes over `name`, and what is new above it.
    fn take_over(&mut self, now: &Self, name: &str) {
        let above = name.match_indices('/').map(|(end, _)| &name[..end]);
        for name in above.chain([name]) {
            if self.identity(name).is_none()
                && let Some(new) = now.0.get(name)
            {
                let known = self.0.entry(name.to_owned()).or_default();
                known.identity.clone_from(&new.identity);
            }
        }
    }

    /// What happened since this was the tree, by name.
    fn changes(&self, now: &Self) -> BTreeMap<String, Change> {
        let by_identity = |tree: &Self| -> BTreeMap<Identity, String> {
            let names = tree.0.iter();
            names.filter_map(|(name, of)| Some((of.identity.clone()?, name.clone()))).collect()
        };
        let (were, are) = (by_identity(self), by_identity(now));
        let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        for name in names {
            let (before, after) = (self.identity(name), now.identity(name));
            if self.subscribes(name) != now.subscribes(name) {
                changes.entry(name.clone()).or_default().subscribed = true;
            }
            if before == after {
                let children = self.has_children(name) != now.has_children(name);
                if after.is_some() && children {
                    changes.entry(name.clone()).or_default().named = true;
                }
                continue;
            }
            let old_name = after.and_then(|it| were.get(it)).cloned();
            let went_on = before.is_some_and(|it| are.contains_key(it));
            if after.is_none() && went_on {
                // Told under its new name.
                continue;
            }
            // A mailbox that comes or goes affects the name above it, too (RFC 5465 §5.4).
            if old_name.is_none()
                && let Some((above, _)) = name.rsplit_once('/')
            {
                changes.entry(above.to_owned()).or_default().named = true;
            }
            let renamed_with = old_name.as_deref().and_then(|old_name| {
                let renamed = |was: &str, is: &str| {
                    now.identity(is).and_then(|it| were.get(it)).is_some_and(|name| name == was)
                };
                above_alike(old_name, name).find(|(was, is)| renamed(was, is))
            });
            let renamed_with = renamed_with.map(|(_, is)| is.to_owned());
            let change = changes.entry(name.clone()).or_default();
            (change.named, change.old_name, change.renamed_with) = (true, old_name, renamed_with);
        }
        changes
    }
}

/// The names above two, as long as the levels below are the same.
fn above_alike<'n>(was: &'n str, is: &'n str) -> impl Iterator<Item = (&'n str, &'n str)> {
    let above = |(was, is): &(&'n str, &'n str)| {
        let ((was, last_was), (is, last_is)) = (was.rsplit_once('/')?, is.rsplit_once('/')?);
        (last_was == last_is).then_some((was, is))
    };
    std::iter::successors(Some((was, is)), above).skip(1)
}
