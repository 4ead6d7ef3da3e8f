//! Names of mailboxes: what can be one, and how names form a tree.
//!
//! A name is UTF-8 in normalisation form C, with `/` between its levels. `INBOX` is written in
//! capitals however the client wrote it, also as the first level of a longer name
//! (RFC 9051 §5.1). Modified UTF-7 is the protocol's affair.

use std::{borrow::Cow, fmt};

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::error::StoreError;

/// The mailbox every account has.
pub const INBOX: &str = "INBOX";

/// What stands between two levels.
pub const SEPARATOR: char = '/';

/// Octets of a whole name. Longer than any client asks for; names are index keys and part of every
/// LIST answer.
pub const NAME_OCTETS_MAX: usize = 1_000;

/// Octets of one level, the bound of common file systems, so that exports can use the name.
pub const LEVEL_OCTETS_MAX: usize = 255;

/// Levels of a name.
pub const LEVELS_MAX: usize = 20;

/// Brings `text`, a name or a pattern of names, into normalisation form C. What is longer than a
/// name can be stays as it is: it names nothing, and its work is bounded so.
#[must_use]
pub fn normalised(text: &str) -> Cow<'_, str> {
    if text.len() > NAME_OCTETS_MAX || is_nfc(text) {
        return text.into();
    }
    text.nfc().collect::<String>().into()
}

/// A valid name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MailboxName(String);

impl MailboxName {
    /// Checks and normalises `text`. A separator at the end is dropped: it only says that the
    /// client means to create mailboxes below (RFC 9051 §6.3.4).
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidMailboxName`] with the reason.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        let invalid = |reason| StoreError::InvalidMailboxName {
            name: text.chars().take(LEVEL_OCTETS_MAX).collect(),
            reason,
        };
        // Before the normalisation, so that its work is bounded.
        if text.len() > NAME_OCTETS_MAX {
            return Err(invalid("it is longer than 1,000 octets"));
        }
        let mut name = normalised(text).into_owned();
        if name.ends_with(SEPARATOR) {
            name.pop();
        }
        if name.len() > NAME_OCTETS_MAX {
            return Err(invalid("it is longer than 1,000 octets"));
        }
        if name.chars().any(forbidden) {
            return Err(invalid("it has a control character or a line separator"));
        }
        let levels: Vec<&str> = name.split(SEPARATOR).collect();
        if levels.iter().any(|level| level.is_empty()) {
            return Err(invalid("a level between two separators is empty"));
        }
        if levels.iter().any(|level| level.len() > LEVEL_OCTETS_MAX) {
            return Err(invalid("a level is longer than 255 octets"));
        }
        if levels.iter().any(|level| level.trim() != *level) {
            return Err(invalid("a level begins or ends with a space"));
        }
        if levels.len() > LEVELS_MAX {
            return Err(invalid("it has more than 20 levels"));
        }
        let first = levels.first().copied().unwrap_or_default();
        if first.eq_ignore_ascii_case(INBOX) {
            name.replace_range(..INBOX.len(), INBOX);
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this is INBOX itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0 == INBOX
    }

    /// The names above this one, the nearest first.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        let name = &self.0;
        name.rmatch_indices(SEPARATOR).map(|(end, _)| Self(name[..end].to_owned()))
    }

    /// What the names below this one begin with.
    #[must_use]
    pub fn below_prefix(&self) -> String {
        format!("{}{SEPARATOR}", self.0)
    }

    /// The name that a mailbox below `self` gets when `self` becomes `to`; `None` when `name` is
    /// neither `self` nor below it.
    pub fn renamed(&self, name: &str, to: &Self) -> Option<Result<Self, StoreError>> {
        let rest = name.strip_prefix(&self.0)?;
        (rest.is_empty() || rest.starts_with(SEPARATOR)).then(|| Self::new(&format!("{to}{rest}")))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Control characters (C0, DEL, C1) and the two Unicode line ends, which RFC 5198 §2 keeps out of
/// network text.
fn forbidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (written, kept) in [
            ("inbox", "INBOX"),
            ("Inbox/Figli", "INBOX/Figli"),
            ("Inboxes", "Inboxes"),
            ("Lavori/", "Lavori"),
            ("Perche\u{301}", "Perché"),
            ("a/b/c", "a/b/c"),
        ] {
            assert_eq!(MailboxName::new(written).expect(written).as_str(), kept);
        }
    }

    #[test]
    fn names_that_clients_or_exports_would_break_on_are_refused() {
        let long_level = "x".repeat(256);
        let long_name = ["x"; 501].join("/");
        let deep = ["x"; 21].join("/");
        for wrong in [
            "",
            "/",
            "/a",
            "a//b",
            "a//",
            "a\r\nb",
            "a\0",
            "a\u{85}b",
            "a\u{2028}b",
            " a",
            "a /b",
            &long_level,
            &long_name,
            &deep,
        ] {
            let error = MailboxName::new(wrong).expect_err(wrong);
            assert!(matches!(error, StoreError::InvalidMailboxName { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn a_subtree_is_renamed_by_levels_not_by_letters() {
        let from = MailboxName::new("a/b").expect("a name");
        let to = MailboxName::new("z").expect("a name");
        let renamed = |name: &str| from.renamed(name, &to).map(|name| name.expect("a name").0);
        assert_eq!(renamed("a/b").as_deref(), Some("z"));
        assert_eq!(renamed("a/b/c").as_deref(), Some("z/c"));
        assert_eq!(renamed("a/bc"), None);
        assert_eq!(renamed("a"), None);
        let above: Vec<_> =
            MailboxName::new("a/b/c").expect("a name").above().map(|n| n.0).collect();
        assert_eq!(above, ["a/b", "a"]);
    }
}
