//! What the client did itself: it is not told of that (RFC 5465 §5).

use std::collections::{BTreeMap, BTreeSet};

use storage::{
    account::name,
    ids::{Uid, UidValidity},
};
use trust::digest::Sha256Digest;

use crate::imap::grammar::{Command, metadata::SetMetadata};

/// A command that changes the tree of mailboxes, or what is noted about it. Names are as they stand
/// in the tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Own {
    Created(String),
    Deleted(String),
    Renamed {
        from: String,
        to: String,
    },
    Subscribed(String, bool),
    /// Of a mailbox, or with `None` of the server: entries and their values.
    Annotated(Option<String>, Vec<(String, Option<Sha256Digest>)>),
}

/// The name under which a mailbox stands.
fn normalised(name: &str) -> String {
    name::normalised(name).into_owned()
}

impl Own {
    /// What `command` does when it succeeds.
    pub(crate) fn of(command: &Command) -> Option<Self> {
        Some(match command {
            Command::Create { mailbox, .. } => {
                Self::Created(normalised(mailbox.strip_suffix('/').unwrap_or(mailbox)))
            }
            Command::Delete { mailbox } => Self::Deleted(normalised(mailbox)),
            Command::Rename { from, to } => {
                Self::Renamed { from: normalised(from), to: normalised(to) }
            }
            Command::Subscribe { mailbox, subscribed } => {
                Self::Subscribed(normalised(mailbox), *subscribed)
            }
            Command::SetMetadata(SetMetadata { mailbox, values }) => {
                let place = Some(normalised(mailbox)).filter(|name| !name.is_empty());
                let digest = |value: &Option<Vec<u8>>| value.as_deref().map(Sha256Digest::of);
                let values = values.iter();
                let values =
                    values.map(|(entry, value)| (entry.as_str().to_owned(), digest(value)));
                Self::Annotated(place, values.collect())
            }
            _ => return None,
        })
    }
}

/// What the client did since the watched mailboxes were looked at.
#[derive(Debug, Default)]
pub(super) struct Owns {
    arrived: BTreeMap<UidValidity, BTreeSet<Uid>>,
    pub(super) tree: Vec<Own>,
    /// How many of `tree` are taken in where names are known.
    taken_in: usize,
}

impl Owns {
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.tree.is_empty()
    }

    pub(super) fn arrived(
        &mut self,
        uid_validity: UidValidity,
        uids: impl IntoIterator<Item = Uid>,
    ) {
        self.arrived.entry(uid_validity).or_default().extend(uids);
    }

    pub(super) fn did(&mut self, own: Own) {
        self.tree.push(own);
    }

    /// What no look at the tree has taken in.
    pub(super) fn new_in_tree(&self) -> &[Own] {
        self.tree.get(self.taken_in..).unwrap_or_default()
    }

    pub(super) fn taken_in(&mut self) {
        self.taken_in = self.tree.len();
    }

    /// The name that the client gave to what was in INBOX, which stays (RFC 9051 §6.3.6).
    pub(super) fn inbox_moved_to(&self) -> Option<&str> {
        self.tree.iter().rev().find_map(|own| match own {
            Own::Renamed { from, to } if from == name::INBOX => Some(to.as_str()),
            _ => None,
        })
    }

    /// Whether the client has made the mailbox `name`, or subscribed to it.
    pub(super) fn made(&self, name: &str) -> bool {
        self.tree.iter().any(|own| match own {
            Own::Created(made) | Own::Renamed { to: made, .. } | Own::Subscribed(made, true) => {
                made == name
            }
            _ => false,
        })
    }

    /// The messages that the client put into a mailbox of `realm`: nobody puts any into those of others
    /// or of snapshots.
    pub(super) fn among(
        &self,
        realm: Option<&str>,
        uid_validity: UidValidity,
    ) -> Option<&BTreeSet<Uid>> {
        if realm.is_some() { None } else { self.arrived.get(&uid_validity) }
    }
}
