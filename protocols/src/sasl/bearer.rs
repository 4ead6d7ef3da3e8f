//! The one message of OAUTHBEARER (RFC 7628 §3.1).
//!
//! ```text
//! gs2-header kvsep *kvpair kvsep        kvsep = %x01
//! gs2-header = ( "n" / "y" ) "," [ "a=" login ] ","
//! kvpair     = key "=" value kvsep      key: auth, host, port, …
//! ```
//!
//! Not here: what is in a token, and whether it is believed
//! ([`crate::access::Authenticator::verify_token`]).

use super::scram::saslname;

/// Octets a token may have: what fits into a line of an exchange, base64 taken off.
const TOKEN_OCTETS_MAX: usize = 8_192;

/// Pairs that are looked at.
const PAIRS_MAX: usize = 16;

/// What a client sends.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct BearerMessage {
    /// Whom it wants to be.
    pub(super) login: Option<String>,
    /// The token; base64 and points in most cases.
    pub(super) token: String,
}

impl std::fmt::Debug for BearerMessage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BearerMessage").field("login", &self.login).finish_non_exhaustive()
    }
}

impl BearerMessage {
    /// Reads it. Host and port are not compared: a token is bound to its audience.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let message = std::str::from_utf8(message).ok()?;
        let (header, pairs) = message.split_once('\x01')?;
        let login = Some(login_of(header)?).filter(|login| !login.is_empty());
        // Every pair ends with the separator, and one more ends the message.
        let pairs = pairs.strip_suffix("\x01\x01")?;
        let mut token = None;
        for (number, pair) in pairs.split('\x01').enumerate() {
            let (key, value) = pair.split_once('=')?;
            if number >= PAIRS_MAX || !key.bytes().all(|octet| octet.is_ascii_alphabetic()) {
                return None;
            }
            if key.eq_ignore_ascii_case("auth") && token.replace(token_of(value)?).is_some() {
                return None;
            }
        }
        Some(Self { login, token: token? })
    }
}

/// RFC 5801 §4, without a channel binding, which OAUTHBEARER has none of; empty when nobody is named.
fn login_of(header: &str) -> Option<String> {
    let mut fields = header.split(',');
    let (flag, login) = (fields.next()?, fields.next()?);
    (matches!(flag, "n" | "y") && fields.next() == Some("") && fields.next().is_none())
        .then_some(())?;
    // GNU SASL may write `a=` when there is none.
    if matches!(login, "" | "a=") {
        return Some(String::new());
    }
    saslname(login.strip_prefix("a=")?).ok()
}

/// `Bearer` in any case, then `b64token` (RFC 6750 §2.1).
fn token_of(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    let fits = scheme.eq_ignore_ascii_case("bearer")
        && (1..=TOKEN_OCTETS_MAX).contains(&token.len())
        && token.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet));
    fits.then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_the_standard_is_read() {
        // RFC 7628 §4.1.
        let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01\
                        auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let read = BearerMessage::read(message).unwrap();
        assert_eq!(read.login.as_deref(), Some("user@example.com"));
        assert_eq!(read.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        let short = BearerMessage::read(b"n,,\x01auth=bearer x.y.z\x01\x01").unwrap();
        assert_eq!((short.login, short.token.as_str()), (None, "x.y.z"));
        let odd = BearerMessage::read(b"y,a=a=2Cb=3D@x.example,\x01auth=Bearer t\x01\x01").unwrap();
        assert_eq!(odd.login.as_deref(), Some("a,b=@x.example"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let messages: [&[u8]; 12] = [
            b"",
            b"\x01",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer x\x01",
            b"n,,auth=Bearer x\x01\x01",
            b"p=tls-unique,,\x01auth=Bearer x\x01\x01",
            b"n,b=x,\x01auth=Bearer x\x01\x01",
            b"n,,\x01auth=Basic x\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer x y\x01\x01",
            b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
            b"n,,\x01auth=Bearer \xff\x01\x01",
        ];
        for message in messages {
            assert_eq!(BearerMessage::read(message), None, "{message:?}");
        }
        let long = format!("n,,\x01auth=Bearer {}\x01\x01", "x".repeat(TOKEN_OCTETS_MAX + 1));
        assert_eq!(BearerMessage::read(long.as_bytes()), None);
    }

    #[test]
    fn a_token_is_not_printed() {
        let read = BearerMessage::read(b"n,,\x01auth=Bearer secret\x01\x01").unwrap();
        assert!(!format!("{read:?}").contains("secret"));
    }
}
