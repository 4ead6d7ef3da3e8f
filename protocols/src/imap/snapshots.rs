//! Mailboxes that snapshots show, among the names of an account.
//!
//! Invariants:
//!
//! * A client that lists everything is not shown them: it would download every message once for each
//!   instant. They are shown to who asks for names that begin with `Snapshot`, where the holder
//!   subscribes to one, and to everybody where [`snapshots_listed`] says so.
//! * What a command opens of snapshots is bounded by
//!   [`snapshots_listed_max`]; older instants are opened by their name.
//!
//! [`snapshots_listed`]: super::ImapLimits::snapshots_listed
//! [`snapshots_listed_max`]: super::ImapLimits::snapshots_listed_max
//!
//! Not here: what a snapshot holds (the floor above tells), refusals of changes (`completion`).

use std::collections::{BTreeMap, BTreeSet};

use storage::{account::name::INBOX, error::StoreError};

use super::{command::pattern::Pattern, limits::ImapLimits, session::Authenticated};
use crate::access::{MailboxEntry, SNAPSHOTS, is_of_snapshots, snapshot_of};

/// How much is wanted of the snapshot of an instant.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    /// The mailboxes that the holder subscribes to.
    Subscribed,
    /// That it is there.
    Name,
    /// Every name.
    All,
}

/// What is wanted, by instant.
type Wanted = BTreeMap<String, Part>;

/// The newest instants, as many as are shown.
async fn newest(state: &Authenticated, limits: &ImapLimits) -> Result<Vec<String>, StoreError> {
    let mut instants = state.account.snapshots().await?;
    Ok(instants.split_off(instants.len().saturating_sub(limits.snapshots_listed_max)))
}

/// The instants of mailboxes that `entries` only names as subscribed to.
fn subscribed(entries: &[MailboxEntry]) -> Wanted {
    let names = entries.iter().filter(|entry| entry.subscribed && entry.mailbox_id.is_none());
    let instants = names.filter_map(|entry| snapshot_of(&entry.name));
    instants.map(|(instant, _)| (instant.to_owned(), Part::Subscribed)).collect()
}

/// Adds to `entries`, the account's tree, what LIST shows of snapshots. Returns names that stand below
/// others and are not among them, so that it is known which names have children.
pub(crate) async fn list(
    state: &Authenticated,
    limits: &ImapLimits,
    patterns: &[Pattern],
    entries: &mut Vec<MailboxEntry>,
) -> Result<Vec<String>, StoreError> {
    let mut wanted = subscribed(entries);
    if limits.snapshots_listed || patterns.iter().any(|pattern| pattern.is_below(SNAPSHOTS)) {
        let part = |instant: &str| {
            let name = format!("{SNAPSHOTS}/{instant}/");
            let below = patterns.iter().any(|pattern| pattern.reaches_below(&name));
            if below { Part::All } else { Part::Name }
        };
        let newest = newest(state, limits).await?;
        wanted.extend(newest.into_iter().map(|instant| {
            let part = part(&instant);
            (instant, part)
        }));
        // An older one that is called by its name.
        for pattern in patterns {
            let named = pattern.fixed();
            let Some((instant, below)) = snapshot_of(&named) else { continue };
            let whole = !below.is_empty() || named.ends_with('/') || !pattern.has_wildcard();
            if whole && !instant.is_empty() && !wanted.contains_key(instant) {
                wanted.insert(instant.to_owned(), Part::All);
            }
        }
    }
    add(state, wanted, entries).await
}

/// Adds to `entries` what of snapshots is among `names`, and, `below`, under them; with `subscribed`
/// also what the holder subscribes to.
pub(crate) async fn named<'n>(
    state: &Authenticated,
    limits: &ImapLimits,
    (names, with_subscribed): (impl Iterator<Item = (&'n String, bool)> + Send, bool),
    entries: &mut Vec<MailboxEntry>,
) -> Result<(), StoreError> {
    let mut wanted = if with_subscribed { subscribed(entries) } else { Wanted::new() };
    let mut instants: BTreeSet<String> = BTreeSet::new();
    let mut all = false;
    for (name, below) in names {
        all |= below && name == SNAPSHOTS;
        instants.extend(snapshot_of(name).map(|(instant, _)| instant.to_owned()));
    }
    if all {
        instants.extend(newest(state, limits).await?);
    }
    wanted.extend(instants.into_iter().map(|instant| (instant, Part::All)));
    add(state, wanted, entries).await?;
    Ok(())
}

async fn add(
    state: &Authenticated,
    wanted: Wanted,
    entries: &mut Vec<MailboxEntry>,
) -> Result<Vec<String>, StoreError> {
    let mut above = Vec::new();
    if wanted.is_empty() {
        return Ok(above);
    }
    let listed = std::mem::take(entries);
    let mut names: BTreeMap<String, MailboxEntry> =
        listed.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    for (instant, part) in wanted {
        let shown = match part {
            Part::Name => {
                // No account is without an INBOX.
                above.push(format!("{SNAPSHOTS}/{instant}/{INBOX}"));
                vec![parent(SNAPSHOTS.to_owned()), parent(format!("{SNAPSHOTS}/{instant}"))]
            }
            Part::Subscribed | Part::All => match state.account.list_snapshot(&instant).await {
                // Its time is over.
                Err(StoreError::NoSuchMailboxName(_)) => continue,
                shown => shown?,
            },
        };
        for entry in shown {
            let known = names.get(&entry.name);
            let subscribed = known.is_some_and(|known| known.subscribed);
            // A mailbox of the account's own may be called so since before there were snapshots.
            let is_own = known.is_some_and(|known| known.mailbox_id.is_some());
            if !is_own && (part != Part::Subscribed || subscribed) {
                names.insert(entry.name.clone(), MailboxEntry { subscribed, ..entry });
            }
        }
    }
    entries.extend(names.into_values());
    entries.sort_by_key(|entry| entry.name != INBOX);
    Ok(above)
}

/// A name that stands above mailboxes of snapshots.
fn parent(name: String) -> MailboxEntry {
    MailboxEntry {
        name,
        mailbox_id: None,
        subscribed: false,
        special_use: None,
        read_only: true,
        state: None,
    }
}

/// Refuses to change what snapshots show, or to put anything in its place.
pub(crate) fn unchanged(name: &str) -> Result<&str, super::completion::Completion> {
    if is_of_snapshots(name) { Err(super::completion::snapshot_stays()) } else { Ok(name) }
}
