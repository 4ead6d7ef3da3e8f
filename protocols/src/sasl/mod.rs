//! SASL (RFC 4422): the mechanisms, one piece of code for SMTP, IMAP and POP3.
//!
//! * [`Credentials`]: a login and its password. [`Mechanism`]: names, and who offers which.
//! * [`exchange`]: the messages of one login, whatever the mechanism.
//! * [`scram`]: the messages and proofs of SCRAM-SHA-256. * `bearer`: the message of OAUTHBEARER.
//!
//! Not here: how each protocol carries the messages (RFC 4954, RFC 9051 §6.2.2, RFC 5034), what is
//! known of a login ([`crate::access::Authenticator`]), and what ties a login to its connection
//! ([`crate::net::stream::ChannelBindings`]).

mod bearer;
pub mod exchange;
pub mod scram;

use std::fmt;

pub use exchange::{Exchange, Step};

use crate::{access::Authenticator, net::stream::ChannelBindings};

/// Octets of a line of an exchange, base64 and line end included (RFC 4954 §4, RFC 5034 §4).
pub const LINE_OCTETS_MAX: usize = 12_288;

/// A way of logging in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mechanism {
    /// RFC 4616
    Plain,
    /// User name and password, asked for one after the other. No standard; old clients of SMTP
    /// and IMAP have nothing else.
    Login,
    /// A token of an issuer that is believed (RFC 7628).
    OauthBearer,
    /// RFC 7677
    ScramSha256,
    /// The same, bound to the TLS connection (RFC 5802 §6).
    ScramSha256Plus,
}

impl Mechanism {
    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OauthBearer => "OAUTHBEARER",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// What is offered on a connection under TLS with `bindings`, strongest first: many clients take
    /// the first that they know. LOGIN only with `login_too`, OAUTHBEARER only where `authenticator`
    /// takes tokens.
    pub fn offered(
        bindings: &ChannelBindings,
        login_too: bool,
        authenticator: &dyn Authenticator,
    ) -> Vec<Self> {
        let all =
            [Self::ScramSha256Plus, Self::ScramSha256, Self::OauthBearer, Self::Plain, Self::Login];
        let offered = |mechanism: &Self| match mechanism {
            Self::ScramSha256Plus => !bindings.is_empty(),
            Self::Login => login_too,
            Self::OauthBearer => authenticator.token_refusal().is_some(),
            Self::ScramSha256 | Self::Plain => true,
        };
        all.into_iter().filter(offered).collect()
    }

    /// Finds the mechanism called `name`, in any case, among `offered`.
    pub fn among(offered: &[Self], name: &str) -> Option<Self> {
        offered.iter().copied().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name()))
    }
}

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
