//! Patterns of LIST and LSUB (RFC 3501 §6.3.8): names in which `*` stands for anything and `%` for
//! anything within a level.
//!
//! Not here: which of the names that match are wanted (`list`, `lsub`).

use storage::account::name::{NAME_OCTETS_MAX, normalised};

use crate::imap::completion::Completion;

/// The patterns of one command, each behind `reference`. Longer ones than `octets_max` in all are
/// refused: names are tried on each of them.
pub(super) fn patterns(
    reference: &str,
    patterns: &[String],
    octets_max: usize,
) -> Result<Vec<Pattern>, Completion> {
    let octets: usize = patterns.iter().map(|pattern| pattern.len() + reference.len()).sum();
    if octets > octets_max {
        return Err(Completion::no(
            "LIMIT",
            "Modelli di nomi troppo lunghi / The patterns of names are too long",
        ));
    }
    Ok(patterns.iter().map(|pattern| Pattern::new(reference, pattern)).collect())
}

/// A reference and a mailbox name with wildcards, as one pattern.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<char>);

impl Pattern {
    pub(super) fn new(reference: &str, pattern: &str) -> Self {
        // Names stand in normalisation form C (RFC 9051 §5.1).
        let mut whole: Vec<char> = normalised(&format!("{reference}{pattern}")).chars().collect();
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

    /// What it begins with, to its first wildcard.
    pub(crate) fn fixed(&self) -> String {
        self.0.iter().take_while(|c| !matches!(c, '*' | '%')).collect()
    }

    /// Whether it is anything but a name.
    pub(crate) fn has_wildcard(&self) -> bool {
        self.0.iter().any(|c| matches!(c, '*' | '%'))
    }

    /// Whether all that it can match begins with `top`, a first level: with that level alone where a
    /// wildcard follows at once.
    pub(crate) fn is_below(&self, top: &str) -> bool {
        let fixed = self.fixed();
        fixed.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether any name that begins with `prefix` and goes on can match.
    pub(crate) fn reaches_below(&self, prefix: &str) -> bool {
        let mut reached = self.reached(prefix);
        reached.pop();
        reached.contains(&true)
    }

    /// Matches by the set of pattern positions that the name so far can have reached, so that the
    /// time is bounded by the product of the lengths.
    pub(super) fn matches(&self, name: &str) -> bool {
        if self.0.iter().filter(|c| !matches!(c, '*' | '%')).count() > NAME_OCTETS_MAX {
            return false;
        }
        self.reached(name)[self.0.len()]
    }

    /// Which positions of the pattern `name` can have reached.
    fn reached(&self, name: &str) -> Vec<bool> {
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
        reached
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
            ("", "Attivita\u{300}%", "Attività 2026", true),
        ] {
            assert_eq!(
                Pattern::new(reference, pattern).matches(name),
                matches,
                "{reference}{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_a_pattern_can_match_is_known_from_how_it_begins() {
        for (pattern, below, reaches) in [
            ("*", false, true),
            ("%", false, false),
            ("Snap*", false, true),
            ("Snapshot", true, false),
            ("Snapshot%", true, false),
            ("Snapshot*", true, true),
            ("Snapshots/*", false, false),
            ("Snapshot/%", true, false),
            ("Snapshot/%/%", true, true),
            ("Snapshot/a/", true, false),
            ("Snapshot/a/INBOX", true, true),
            ("Snapshot/b/INBOX", true, false),
            ("%/%/INBOX", false, true),
        ] {
            let tried = Pattern::new("", pattern);
            assert_eq!(tried.is_below("Snapshot"), below, "{pattern}");
            assert_eq!(tried.reaches_below("Snapshot/a/"), reaches, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_of_many_wildcards_takes_no_exponential_time() {
        let pattern = Pattern::new("", &"*a".repeat(1_000));
        assert!(!pattern.matches(&"a".repeat(999)));
    }
}
