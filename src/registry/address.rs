//! The address of an account: `local-part@domain`.
//!
//! Stricter than RFC 5321 §4.1.2 on purpose: an address that holders write on paper has no quoted
//! local part and no character that clients or registers stumble over. Two addresses that differ
//! in case only are the same (the form kept is lower case).

use std::{fmt, str::FromStr};

use crate::config::{DomainName, NotADomainName};

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART_OCTETS_MAX: usize = 64;

/// An address in the one form that it is kept and compared in.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AccountAddress {
    local_part: String,
    domain: DomainName,
}

/// Why a text is not an address an account can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// No `@`, or more than one.
    #[error("an address has one @, such as nome.cognome@pec.example")]
    NoAt,
    /// The local part is empty, too long, or has a character that is not allowed.
    #[error(
        "before the @ stand 1 to 64 letters, digits, dots, hyphens or underscores; a dot never first, last or twice"
    )]
    LocalPart,
    /// The part after `@` is no domain.
    #[error(transparent)]
    Domain(#[from] NotADomainName),
}

impl AccountAddress {
    /// What stands before `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// What stands after `@`.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }
}

impl fmt::Display for AccountAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.local_part, self.domain)
    }
}

impl FromStr for AccountAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local_part, domain) = text.split_once('@').ok_or(AddressError::NoAt)?;
        if domain.contains('@') {
            return Err(AddressError::NoAt);
        }
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b".-_".contains(&octet);
        let atoms = local_part.split('.').all(|atom| !atom.is_empty());
        if local_part.len() > LOCAL_PART_OCTETS_MAX || !atoms || !local_part.bytes().all(allowed) {
            return Err(AddressError::LocalPart);
        }
        Ok(Self { local_part: local_part.to_ascii_lowercase(), domain: domain.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_lower_case_and_bad_ones_are_refused() {
        let good = "Anna.Rossi_2@PEC.Example".parse::<AccountAddress>();
        assert_eq!(good.map(|address| address.to_string()), Ok("anna.rossi_2@pec.example".into()));
        let long = format!("{}@pec.example", "a".repeat(65));
        let rows = [
            ("anna", AddressError::NoAt),
            ("a@b@pec.example", AddressError::NoAt),
            ("@pec.example", AddressError::LocalPart),
            (".anna@pec.example", AddressError::LocalPart),
            ("an..na@pec.example", AddressError::LocalPart),
            ("anna.@pec.example", AddressError::LocalPart),
            ("anna rossi@pec.example", AddressError::LocalPart),
            ("nicolò@pec.example", AddressError::LocalPart),
            ("\"anna\"@pec.example", AddressError::LocalPart),
            (long.as_str(), AddressError::LocalPart),
            ("anna@localhost", AddressError::Domain(NotADomainName)),
            ("anna@-pec.example", AddressError::Domain(NotADomainName)),
            ("anna@", AddressError::Domain(NotADomainName)),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<AccountAddress>(), Err(expected), "{text}");
        }
    }
}
