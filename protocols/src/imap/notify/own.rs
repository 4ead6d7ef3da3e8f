//! What the client did itself: it is not told of that (RFC 5465 §5).

use std::collections::{BTreeMap, BTreeSet};

use storage::{account::name, ids::Uid};
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
    arrived: BTreeMap<String, BTreeSet<Uid>>,
    pub(super) tree: Vec<Own>,
}

impl Owns {
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty() && self.tree.is_empty()
    }

    pub(super) fn arrived(&mut self, name: &str, uids: impl IntoIterator<Item = Uid>) {
        self.arrived.entry(normalised(name)).or_default().extend(uids);
    }

    pub(super) fn did(&mut self, own: Own) {
        self.tree.push(own);
    }

    pub(super) fn has(&self, name: &str, uid: Uid) -> bool {
        self.among(name).is_some_and(|uids| uids.contains(&uid))
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

    /// The messages that the client put into a mailbox.
    pub(super) fn among(&self, name: &str) -> Option<&BTreeSet<Uid>> {
        self.arrived.get(name)
    }
}
