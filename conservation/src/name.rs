//! Names of packages and of what stands in them.
//!
//! They become file names in archives that are unpacked on any system, decades later: ASCII
//! letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`. None of them needs escaping in
//! a manifest (RFC 8493 §2.1.3), leaves its folder, or is a reserved word of a shell.

use std::fmt;

/// A text that is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} cannot name a file of a package: use letters, digits, `.`, `_`, `-` and, in paths, `/`; at most 70 characters a part and {max} in all", max = PayloadPath::LENGTH_MAX)]
pub struct InvalidName(String);

/// The identifier of a package: one name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PackageId(String);

/// A file in a package: names joined by `/`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PayloadPath(String);

/// Characters that one name may have. With [`PayloadPath::LENGTH_MAX`] it keeps every path of an
/// archive within what the oldest header of tar can say (100 characters behind a `/` within the
/// first 155).
const NAME_LENGTH_MAX: usize = 70;

impl PackageId {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(invalid(text)) }
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PayloadPath {
    /// Characters that a path may have.
    pub const LENGTH_MAX: usize = 100;

    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        if text.len() <= Self::LENGTH_MAX && text.split('/').all(is_name) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(text))
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for PayloadPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && !text.starts_with(['.', '-'])
        && text.bytes().all(is_plain)
}

fn invalid(text: &str) -> InvalidName {
    InvalidName(text.chars().take(PayloadPath::LENGTH_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder_and_need_no_escape() {
        for good in ["a", "2026/INBOX/17.eml", "message_1-b.eml"] {
            assert!(PayloadPath::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(71);
        for wrong in [
            "", "/a", "a/", "a//b", "..", "a/../b", ".", "~a", "-a", "a b", "a%b", "à", "a\n",
            &long,
        ] {
            assert!(PayloadPath::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(PackageId::new("a/b").is_err());
    }
}
