//! What is noted about mailboxes and the server, as a client knows it (RFC 5465 §5.6, §5.7): of each
//! value its digest is kept.

use std::collections::{BTreeMap, BTreeSet};

use storage::error::StoreError;
use trust::digest::Sha256Digest;

use super::{
    Identity, events, identity,
    own::{Own, Owns},
};
use crate::{
    access::MailboxEntry,
    imap::{
        completion::Failure,
        grammar::{notify::Wanted, write},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

type Values = BTreeMap<String, Sha256Digest>;

/// The annotations of what is watched; `None` is the server.
#[derive(Debug, Default)]
pub(super) struct Annotated(BTreeMap<Option<Identity>, Values>);

/// Places whose annotations are wanted: identity and name.
fn places<'e>(
    wanted: &Wanted,
    entries: &'e [MailboxEntry],
) -> Vec<(Option<Identity>, Option<&'e str>)> {
    let of_server = wanted.groups.iter().any(|group| group.events.server_metadata);
    let mailboxes = entries.iter().filter(|entry| events(wanted, entry).mailbox_metadata);
    let mailboxes =
        mailboxes.filter_map(|entry| Some((Some(identity(entry)?), Some(entry.name.as_str()))));
    of_server.then_some((None, None)).into_iter().chain(mailboxes).collect()
}

/// Reads what is noted; `None` when the mailbox is gone.
async fn read(state: &Authenticated, name: Option<&str>) -> Result<Option<Values>, StoreError> {
    match state.account.annotations(name).await {
        Ok(found) => {
            let value = |one: crate::access::Annotation| (one.entry, Sha256Digest::of(&one.value));
            Ok(Some(found.into_iter().map(value).collect()))
        }
        Err(StoreError::NoSuchMailboxName(_) | StoreError::NoSuchMailbox { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Annotated {
    /// What is known and watched, and what is not known yet.
    pub(super) async fn begun(
        &self,
        state: &Authenticated,
        wanted: &Wanted,
        entries: &[MailboxEntry],
    ) -> Result<Self, Failure> {
        let mut known = BTreeMap::new();
        for (place, name) in places(wanted, entries) {
            let values = match self.0.get(&place) {
                Some(values) => Some(values.clone()),
                None => read(state, name).await?,
            };
            known.extend(values.map(|values| (place, values)));
        }
        Ok(Self(known))
    }

    /// Tells which entries changed, but for what the client noted.
    pub(super) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        wanted: &Wanted,
        own: &Owns,
        entries: &[MailboxEntry],
    ) -> Result<(), Failure> {
        let places = places(wanted, entries);
        let watched: BTreeSet<&Option<Identity>> = places.iter().map(|(place, _)| place).collect();
        self.0.retain(|known, _| watched.contains(known));
        for (place, name) in places {
            let Some(now) = read(state, name).await? else { continue };
            let before = self.0.entry(place).or_default();
            take_in(before, name, own);
            let names = before.keys().chain(now.keys());
            let mut changed: Vec<&String> =
                names.filter(|entry| before.get(*entry) != now.get(*entry)).collect();
            changed.sort_unstable();
            changed.dedup();
            if !changed.is_empty() {
                let mut line = b"* METADATA ".to_vec();
                write::mailbox(&mut line, name.unwrap_or_default(), context.enabled.names());
                for entry in changed {
                    line.push(b' ');
                    write::astring(&mut line, entry.as_bytes());
                }
                line.extend_from_slice(b"\r\n");
                context.frame.put(&line).await?;
            }
            *before = now;
        }
        Ok(())
    }
}

/// Takes in what the client noted at `name`.
fn take_in(values: &mut Values, name: Option<&str>, own: &Owns) {
    for one in &own.tree {
        let Own::Annotated(place, changes) = one else { continue };
        if place.as_deref() != name {
            continue;
        }
        for (entry, value) in changes {
            match value {
                Some(value) => values.insert(entry.clone(), *value),
                None => values.remove(entry),
            };
        }
    }
}
