//! LIST (RFC 3501 §6.3.8), with `\HasChildren` (RFC 3348 §3) and special uses (RFC 6154 §2).

use crate::{
    access::{MailboxEntry, SpecialUse},
    imap::{
        completion::{CommandResult, Completion},
        grammar::{mailbox_name::NameForm, write},
        session::{Authenticated, Context},
    },
    lines::Stream,
};

pub(crate) async fn list<S: Stream>(
    context: &mut Context<S>,
    state: &mut Authenticated,
    reference: &str,
    pattern: &str,
) -> CommandResult {
    // An empty pattern asks for the delimiter (RFC 3501 §6.3.8).
    if pattern.is_empty() {
        context.frame.put(b"* LIST (\\Noselect) \"/\" \"\"\r\n").await?;
        return Ok(Completion::ok("LIST"));
    }
    let names = context.enabled.names();
    let pattern = Pattern::new(reference, pattern);
    let entries = state.account.list().await?;
    for entry in &entries {
        let has_children = has_children(&entries, &entry.name);
        // A name that is only subscribed to is LSUB's affair.
        if !pattern.matches(&entry.name) || (entry.mailbox_id.is_none() && !has_children) {
            continue;
        }
        let line = line("LIST", &entry.name, names, &attributes(entry, has_children));
        context.frame.put(&line).await?;
    }
    Ok(Completion::ok("LIST"))
}

fn has_children(entries: &[MailboxEntry], name: &str) -> bool {
    entries.iter().any(|other| {
        other.mailbox_id.is_some()
            && other.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
    })
}

fn attributes(entry: &MailboxEntry, has_children: bool) -> Vec<&'static str> {
    let mut attributes = Vec::new();
    if entry.mailbox_id.is_none() {
        attributes.push("\\Noselect");
    }
    attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" });
    attributes.extend(entry.special_use.map(|special_use| match special_use {
        SpecialUse::Archive => "\\Archive",
        SpecialUse::Drafts => "\\Drafts",
        SpecialUse::Junk => "\\Junk",
        SpecialUse::Sent => "\\Sent",
        SpecialUse::Trash => "\\Trash",
    }));
    attributes
}

/// A LIST or LSUB response.
pub(super) fn line(response: &str, name: &str, names: NameForm, attributes: &[&str]) -> Vec<u8> {
    let mut line = format!("* {response} ({}) \"/\" ", attributes.join(" ")).into_bytes();
    write::mailbox(&mut line, name, names);
    line.extend_from_slice(b"\r\n");
    line
}

/// A reference and a mailbox name with wildcards, as one pattern.
pub(super) struct Pattern(Vec<char>);

impl Pattern {
    pub(super) fn new(reference: &str, pattern: &str) -> Self {
        let mut whole: Vec<char> = reference.chars().chain(pattern.chars()).collect();
        // INBOX is compared without case (RFC 3501 §5.1).
        let inbox = whole.iter().take(5).collect::<String>();
        if inbox.eq_ignore_ascii_case("INBOX") && whole.get(5).is_none_or(|c| "/*%".contains(*c)) {
            whole.splice(..5, "INBOX".chars());
        }
        // Runs of wildcards mean the strongest of them.
        whole.dedup_by(|next, kept| match (*kept, *next) {
            ('*' | '%', '*' | '%') => {
                *kept = if *kept == '*' || *next == '*' { '*' } else { '%' };
                true
            }
            _ => false,
        });
        Self(whole)
    }

    /// Matches by the set of pattern positions that the name so far can have reached, so that the
    /// time is bounded by the product of the lengths.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.pass_wildcards(&mut reached);
        for character in name.chars() {
            let mut next = vec![false; reached.len()];
            for (position, pattern) in self.0.iter().enumerate().filter(|(at, _)| reached[*at]) {
                match pattern {
                    '*' => next[position] = true,
                    '%' => next[position] |= character != '/',
                    other => next[position + 1] |= *other == character,
                }
            }
            self.pass_wildcards(&mut next);
            reached = next;
        }
        reached[self.0.len()]
    }

    fn pass_wildcards(&self, reached: &mut [bool]) {
        for (position, pattern) in self.0.iter().enumerate() {
            if reached[position] && matches!(pattern, '*' | '%') {
                reached[position + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_rfc_3501_section_6_3_8() {
        for (reference, pattern, name, matches) in [
            ("", "*", "a/b/c", true),
            ("", "%", "a", true),
            ("", "%", "a/b", false),
            ("", "a/%", "a/b", true),
            ("a/", "%", "a/b", true),
            ("", "%/%", "a/b", true),
            ("", "*c", "a/b/c", true),
            ("", "inbox", "INBOX", true),
            ("", "inbox/*", "INBOX/x", true),
            ("", "inboxes", "INBOXes", false),
            ("", "%*", "a/b", true),
            ("", "a", "ab", false),
            ("", "Attività%", "Attività 2026", true),
        ] {
            assert_eq!(
                Pattern::new(reference, pattern).matches(name),
                matches,
                "{reference}{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_pattern_of_many_wildcards_takes_no_exponential_time() {
        let pattern = Pattern::new("", &"*a".repeat(1_000));
        assert!(!pattern.matches(&"a".repeat(999)));
    }
}
