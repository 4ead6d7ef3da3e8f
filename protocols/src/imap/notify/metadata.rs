//! What is noted about mailboxes and the server, as a client knows it (RFC 5465 §5.6, §5.7): of each
//! value its digest is kept.

use std::collections::{BTreeMap, BTreeSet};

use storage::error::StoreError;
use trust::digest::Sha256Digest;

use super::{
    Identity, Watching, identity,
    look::Look,
    own::{Own, Owns},
};
use crate::{
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
    watching: &[Watching<'e>],
) -> Vec<(Option<Identity>, Option<&'e str>)> {
    let of_server = wanted.groups.iter().any(|group| group.events.server_metadata);
    let mailboxes = watching.iter().filter(|(_, events)| events.mailbox_metadata);
    let mailboxes = mailboxes
        .filter_map(|(entry, _)| Some((Some(identity(entry)?), Some(entry.name.as_str()))));
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
    /// Entries that are known.
    pub(super) fn entries(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// What is known and watched, and what is not known yet.
    pub(super) async fn begun(
        &self,
        state: &Authenticated,
        wanted: &Wanted,
        watching: &[Watching<'_>],
    ) -> Result<Self, Failure> {
        let mut known = BTreeMap::new();
        for (place, name) in places(wanted, watching) {
            let values = match self.0.get(&place) {
                Some(values) => Some(values.clone()),
                None => read(state, name).await?,
            };
            known.extend(values.map(|values| (place, values)));
        }
        Ok(Self(known))
    }

    /// Tells which entries changed, but for what the client noted. Says whether it came to the end.
    pub(super) async fn look<S: Stream>(
        &mut self,
        context: &mut Context<S>,
        state: &Authenticated,
        wanted: &Wanted,
        look: &Look<'_, '_>,
    ) -> Result<bool, Failure> {
        let places = places(wanted, &look.watching);
        let watched: BTreeSet<&Option<Identity>> = places.iter().map(|(place, _)| place).collect();
        self.0.retain(|known, _| watched.contains(known));
        for (index, (place, name)) in places.into_iter().enumerate() {
            if !look.goes_on(context, index).await? {
                return Ok(false);
            }
            let Some(now) = read(state, name).await? else { continue };
            let before = self.0.entry(place).or_default();
            take_in(before, name, look.own);
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
        Ok(true)
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
