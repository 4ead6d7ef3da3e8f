//! LIST (RFC 3501 §6.3.8), extended (RFC 5258, RFC 9051 §6.3.9), with what may be returned beside
//! it: special uses (RFC 6154 §5), counters (RFC 5819), rights (RFC 8440), annotations (RFC 9590).
//!
//! The tree is read once, and every pattern is tried on every name in a time that their lengths
//! bound.

use std::collections::BTreeSet;

use storage::{error::StoreError, mailbox::view::Access};

use super::{
    acl, metadata,
    pattern::{Pattern, patterns},
    status,
};
use crate::{
    access::MailboxEntry,
    imap::{
        completion::{CommandResult, Completion, Failure, refusal},
        grammar::{
            list::{ListCommand, Return, Selection},
            mailbox_name::NameForm,
            write,
        },
        session::{Authenticated, Context},
        snapshots,
    },
    lines::Stream,
};

/// Names that are tried before other sessions have their turn.
const NAMES_PER_TURN: usize = 64;

pub(crate) async fn list<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    command: &ListCommand,
) -> CommandResult {
    // An empty pattern asks for the delimiter (RFC 3501 §6.3.8), in the plain form only
    // (RFC 5258 §3).
    if !command.extended && command.patterns.iter().all(String::is_empty) {
        context.frame.put(b"* LIST (\\Noselect) \"/\" \"\"\r\n").await?;
        return Ok(Completion::ok("LIST"));
    }
    let octets_max = context.server.settings.limits.list_pattern_octets_max;
    let patterns = patterns(&command.reference, &command.patterns, octets_max)?;
    let mut entries = state.account.list().await?;
    let limits = &context.server.settings.limits;
    let below = snapshots::list(state, limits, &patterns, &mut entries).await?;
    let listing = Listing::new(command, &patterns, &entries, &below).await;
    let mut longest_left_out = None;
    for (entry, matched) in entries.iter().zip(&listing.matched) {
        let Some(line) = listing.line(entry, *matched, context) else { continue };
        context.frame.put(&line).await?;
        if entry.mailbox_id.is_some() {
            let left_out = beside(context, state, command, entry).await?;
            longest_left_out = longest_left_out.max(left_out);
        }
    }
    Ok(match longest_left_out {
        Some(octets) => Completion::ok_with(format!("METADATA LONGENTRIES {octets}"), "LIST"),
        None => Completion::ok("LIST"),
    })
}

/// Sends what else is wanted of a mailbox. Returns the octets of the longest annotation that was
/// left out.
async fn beside<S: Stream>(
    context: &mut Context<S>,
    state: &Authenticated,
    command: &ListCommand,
    entry: &MailboxEntry,
) -> Result<Option<u64>, Failure> {
    let mut longest_left_out = None;
    for wanted in &command.returns {
        let line = match wanted {
            Return::Subscribed | Return::Children | Return::SpecialUse => continue,
            Return::MyRights => {
                let access = if entry.read_only { Access::ReadOnly } else { Access::ReadWrite };
                acl::my_rights_line(context, &entry.name, access)
            }
            Return::Status(items) => {
                match status::line(context, state, &entry.name, items).await {
                    Ok(line) => line,
                    // It went while the list was sent.
                    Err(Failure::Refused(gone)) if is_gone(&gone) => continue,
                    Err(failure) => return Err(failure),
                }
            }
            Return::Metadata(entries) => {
                let annotations = match state.account.annotations(Some(&entry.name)).await {
                    Err(error) if is_gone(&refusal(&error)) => continue,
                    read => read?,
                };
                let names = context.enabled.names();
                let response = metadata::response(&entry.name, entries, &annotations, names);
                longest_left_out = longest_left_out.max(response.longest_left_out);
                response.line
            }
        };
        context.frame.put(&line).await?;
    }
    Ok(longest_left_out)
}

/// Whether a mailbox was refused because it is not there.
pub(crate) fn is_gone(completion: &Completion) -> bool {
    completion.code == refusal(&StoreError::NoSuchMailboxName(String::new())).code
}

/// Which names of a tree a command wants.
struct Listing<'a> {
    command: &'a ListCommand,
    /// The names of mailboxes that exist, those among them that are not listed.
    existing: BTreeSet<&'a str>,
    /// For each entry whether a pattern matches it.
    matched: Vec<bool>,
    /// Names that are selected and that no pattern matches, by option.
    unmatched: Vec<(Selection, BTreeSet<&'a str>)>,
}

impl<'a> Listing<'a> {
    async fn new(
        command: &'a ListCommand,
        patterns: &[Pattern],
        entries: &'a [MailboxEntry],
        below: &'a [String],
    ) -> Self {
        let mut matched = Vec::with_capacity(entries.len());
        for entry in entries {
            matched.push(patterns.iter().any(|pattern| pattern.matches(&entry.name)));
            if matched.len() % NAMES_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        let existing = entries.iter().filter(|entry| entry.mailbox_id.is_some());
        let mut this = Self {
            command,
            existing: existing
                .map(|entry| entry.name.as_str())
                .chain(below.iter().map(String::as_str))
                .collect(),
            matched,
            unmatched: Vec::new(),
        };
        if command.selection.contains(&Selection::RecursiveMatch) {
            for &option in &command.selection {
                let wanted = |(entry, matched): &(&MailboxEntry, &bool)| {
                    !**matched && this.selected(entry) && has(entry, option) == Some(true)
                };
                let names = entries.iter().zip(&this.matched).filter(wanted);
                let names = names.map(|(entry, _)| entry.name.as_str()).collect();
                this.unmatched.push((option, names));
            }
        }
        this
    }

    /// Whether every option that selects is true of `entry`.
    fn selected(&self, entry: &MailboxEntry) -> bool {
        self.command.selection.iter().all(|option| has(entry, *option) != Some(false))
    }

    fn selects(&self) -> bool {
        self.command
            .selection
            .iter()
            .any(|option| matches!(option, Selection::Subscribed | Selection::SpecialUse))
    }

    /// The response for `entry`, if the command wants it.
    fn line<S>(
        &self,
        entry: &MailboxEntry,
        matched: bool,
        context: &Context<S>,
    ) -> Option<Vec<u8>> {
        if !matched {
            return None;
        }
        let has_children = is_above(&self.existing, &entry.name);
        // What a parent must tell of selected names below it that are not listed themselves
        // (RFC 5258 §3.5).
        let below: Vec<&str> = self
            .unmatched
            .iter()
            .filter(|(_, names)| is_above(names, &entry.name))
            .map(|(option, _)| option.name())
            .collect();
        let wanted = if self.selects() {
            self.selected(entry) || !below.is_empty()
        } else {
            // A name that is only subscribed to is told to those who ask for such.
            entry.mailbox_id.is_some() || has_children
        };
        if !wanted {
            return None;
        }
        let attributes = self.attributes(entry, has_children, context.enabled.rev2);
        let names = context.enabled.names();
        let mut line = line("LIST", &entry.name, names, &attributes);
        if !below.is_empty() {
            let options: Vec<_> = below.iter().map(|option| format!("\"{option}\"")).collect();
            line.truncate(line.len() - 2);
            let item = format!(" (\"CHILDINFO\" ({}))\r\n", options.join(" "));
            line.extend_from_slice(item.as_bytes());
        }
        Some(line)
    }

    fn attributes(
        &self,
        entry: &MailboxEntry,
        has_children: bool,
        rev2: bool,
    ) -> Vec<&'static str> {
        let ListCommand { extended, selection, returns, .. } = self.command;
        let mut attributes = Vec::new();
        if entry.mailbox_id.is_none() {
            attributes.push(if *extended || rev2 { "\\NonExistent" } else { "\\Noselect" });
        }
        let tells_subscribed =
            selection.contains(&Selection::Subscribed) || returns.contains(&Return::Subscribed);
        if tells_subscribed && entry.subscribed {
            attributes.push("\\Subscribed");
        }
        if !extended || returns.contains(&Return::Children) {
            attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        // Told whether or not it is asked for (RFC 6154 §2).
        attributes.extend(entry.special_use.map(crate::access::SpecialUse::attribute));
        attributes
    }
}

/// Whether `option` is true of `entry`; `None` for one that selects nothing: no mailbox is remote.
fn has(entry: &MailboxEntry, option: Selection) -> Option<bool> {
    match option {
        Selection::Subscribed => Some(entry.subscribed),
        Selection::SpecialUse => Some(entry.special_use.is_some()),
        Selection::Remote | Selection::RecursiveMatch => None,
    }
}

/// Whether one of `names` is below `name`.
fn is_above(names: &BTreeSet<&str>, name: &str) -> bool {
    let prefix = format!("{name}/");
    names.range(prefix.as_str()..).next().is_some_and(|next| next.starts_with(&prefix))
}

/// A LIST or LSUB response.
pub(crate) fn line(response: &str, name: &str, names: NameForm, attributes: &[&str]) -> Vec<u8> {
    let mut line = format!("* {response} ({}) \"/\" ", attributes.join(" ")).into_bytes();
    write::mailbox(&mut line, name, names);
    line.extend_from_slice(b"\r\n");
    line
}

/// The LIST response that tells the name of a mailbox to who called it otherwise, or knew it under
/// another (RFC 9051 §6.3.9.7, RFC 5465 §5.4).
pub(crate) fn old_name_line(
    name: &str,
    asked: &str,
    names: NameForm,
    attributes: &[&str],
) -> Vec<u8> {
    let mut line = line("LIST", name, names, attributes);
    line.truncate(line.len() - 2);
    line.extend_from_slice(b" (\"OLDNAME\" (");
    write::mailbox(&mut line, asked, names);
    line.extend_from_slice(b"))\r\n");
    line
}
