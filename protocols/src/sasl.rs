//! SASL messages that SMTP, IMAP and POP3 share (RFC 4422).
//!
//! Not here: how each protocol carries them (RFC 4954, RFC 9051 §6.2.2, RFC 5034), and the check
//! of the password ([`crate::access::Authenticator`]).

use std::fmt;

/// Octets a login may have: the longest address (RFC 5321 §4.5.3.1.3).
const LOGIN_OCTETS_MAX: usize = 254;

/// Octets a password may have: enough for any passphrase, little enough to hash quickly.
const PASSWORD_OCTETS_MAX: usize = 1_024;

/// A login and its password.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    login: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Takes a login and a password in UTF-8, neither empty nor with a NUL in it.
    pub fn new(login: &[u8], password: &[u8]) -> Option<Self> {
        let login = text(login, LOGIN_OCTETS_MAX)?;
        let password = text(password, PASSWORD_OCTETS_MAX)?;
        Some(Self { login, password })
    }

    /// Reads the one message of PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
    ///
    /// Nobody acts for another here: an authorization identity must be the login itself.
    pub fn from_plain(message: &[u8]) -> Option<Self> {
        let mut fields = message.splitn(3, |octet| *octet == 0);
        let (authorization, login, password) = (fields.next()?, fields.next()?, fields.next()?);
        (authorization.is_empty() || authorization == login).then_some(())?;
        Self::new(login, password)
    }

    /// The login.
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }
}

fn text(octets: &[u8], octets_max: usize) -> Option<String> {
    let fits = (1..=octets_max).contains(&octets.len()) && !octets.contains(&0);
    fits.then(|| std::str::from_utf8(octets).ok().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_messages_of_the_standard_are_read() {
        // RFC 4616 §4: the first example, and one with an authorization identity.
        let read = Credentials::from_plain(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!((read.login(), read.password()), ("tim", "tanstaaftanstaaf"));
        assert!(Credentials::from_plain(b"tim\0tim\0tanstaaftanstaaf").is_some());
        let others: [&[u8]; 7] = [
            b"",
            b"\0tim",
            b"\0tim\0",
            b"\0\0x",
            b"Ursel\0Kurt\0xipj3plmq",
            b"\0a\0b\0c",
            b"\0\xff\0b",
        ];
        for message in others {
            assert_eq!(Credentials::from_plain(message), None, "{message:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let read = Credentials::from_plain(b"\0tim\0tanstaaf").unwrap();
        assert!(!format!("{read:?}").contains("tanstaaf"));
    }
}
