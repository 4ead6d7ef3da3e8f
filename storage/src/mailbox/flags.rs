//! Flags of a message in a mailbox (RFC 9051 §2.3.2).

use std::collections::BTreeSet;

/// The system flags and keywords of one row.
///
/// `\Recent` is not here: it belongs to a session, not to a row (RFC 3501 §2.3.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Flags {
    /// `\Seen`
    pub seen: bool,
    /// `\Answered`
    pub answered: bool,
    /// `\Flagged`
    pub flagged: bool,
    /// `\Deleted`
    pub deleted: bool,
    /// `\Draft`
    pub draft: bool,
    /// Keywords as the first client wrote them, compared without regard to ASCII case.
    pub keywords: BTreeSet<Keyword>,
}

/// A keyword: a valid IMAP atom of 1 to 64 octets (the bound is ours, so that rows stay small).
#[derive(Clone, Debug)]
pub struct Keyword(String);

impl Keyword {
    /// Octets a keyword may have.
    pub const OCTETS_MAX: usize = 64;

    /// Checks that `text` is an atom (RFC 9051 §9) within the bound.
    ///
    /// # Errors
    ///
    /// The text itself, when it is not.
    pub fn new(text: &str) -> Result<Self, InvalidKeyword> {
        let is_atom_char = |octet: u8| {
            octet.is_ascii_graphic()
                && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
        };
        if text.is_empty() || text.len() > Self::OCTETS_MAX || !text.bytes().all(is_atom_char) {
            return Err(InvalidKeyword(text.chars().take(Self::OCTETS_MAX).collect()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The keyword as first written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let lower = |text: &str| text.to_ascii_lowercase();
        lower(&self.0).cmp(&lower(&other.0))
    }
}

/// A text that cannot be a keyword.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} cannot be a keyword: use 1 to 64 letters, digits or signs without spaces, quotes, brackets or wildcards"
)]
pub struct InvalidKeyword(String);

/// How STORE changes flags (RFC 9051 §6.4.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagChange {
    /// `FLAGS`: the row has exactly these flags afterwards.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

impl Flags {
    /// Applies `change` with `other`.
    pub fn apply(&mut self, change: FlagChange, other: &Self) {
        match change {
            FlagChange::Replace => self.clone_from(other),
            FlagChange::Add => {
                self.seen |= other.seen;
                self.answered |= other.answered;
                self.flagged |= other.flagged;
                self.deleted |= other.deleted;
                self.draft |= other.draft;
                self.keywords.extend(other.keywords.iter().cloned());
            }
            FlagChange::Remove => {
                self.seen &= !other.seen;
                self.answered &= !other.answered;
                self.flagged &= !other.flagged;
                self.deleted &= !other.deleted;
                self.draft &= !other.draft;
                self.keywords.retain(|keyword| !other.keywords.contains(keyword));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keywords(words: &[&str]) -> BTreeSet<Keyword> {
        words.iter().map(|word| Keyword::new(word).expect("an atom")).collect()
    }

    #[test]
    fn keywords_are_atoms_and_compare_without_case() {
        assert!(Keyword::new("$Forwarded").is_ok());
        for wrong in ["", "two words", "a]", "\\Seen", "é", "a\r", &"x".repeat(65)] {
            assert!(Keyword::new(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(keywords(&["Junk", "junk"]).len(), 1);
    }

    #[test]
    fn add_remove_and_replace_touch_only_what_they_name() {
        let mut flags = Flags { seen: true, keywords: keywords(&["a"]), ..Flags::default() };
        flags.apply(
            FlagChange::Add,
            &Flags { deleted: true, keywords: keywords(&["b"]), ..Flags::default() },
        );
        assert!(flags.seen && flags.deleted && flags.keywords.len() == 2);
        flags.apply(
            FlagChange::Remove,
            &Flags { seen: true, keywords: keywords(&["A"]), ..Flags::default() },
        );
        assert!(!flags.seen && flags.deleted && flags.keywords == keywords(&["b"]));
        flags.apply(FlagChange::Replace, &Flags { draft: true, ..Flags::default() });
        assert_eq!(flags, Flags { draft: true, ..Flags::default() });
    }
}
