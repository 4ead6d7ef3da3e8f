//! The trace field that every server adds on top (RFC 5321 §4.4, RFC 3848 §2, RFC 6531 §4.3).
//!
//! ```text
//! Received: from client.example ([192.0.2.1])
//!  by mail.example with ESMTPS id 12ab;
//!  Sat, 21 Nov 2026 21:40:00 +0000
//! ```
//!
//! Recipients are not named (`for`): one of several could be a blind copy (RFC 5321 §7.2).

use std::fmt::Write as _;

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter, tz::TimeZone};
use trust::clock::UnixMillis;

use crate::smtp::{grammar::Domain, transport::Peer};

/// Writes the field with its CR LF, for a message that `server_name` took from `peer` at `now`
/// and calls `identifier`. `smtp_utf8` says whether the transaction used SMTPUTF8.
#[must_use]
pub fn received_field(
    peer: &Peer,
    smtp_utf8: bool,
    server_name: &str,
    identifier: &str,
    now: UnixMillis,
) -> Vec<u8> {
    let address = Domain::Address(peer.address.to_canonical());
    let mut field = format!("Received: from {} ({address})\r\n", clean(&peer.helo));
    let _ = write!(field, "\tby {} with {}", clean(server_name), protocol(peer, smtp_utf8));
    let identifier = clean(identifier);
    if !identifier.is_empty() {
        let _ = write!(field, " id {identifier}");
    }
    let _ = write!(field, ";\r\n\t{}\r\n", date(now));
    field.into_bytes()
}

/// The words of RFC 3848 §2 and RFC 6531 §4.3.
fn protocol(peer: &Peer, smtp_utf8: bool) -> &'static str {
    if smtp_utf8 {
        return match (peer.tls.is_some(), peer.identity.is_some()) {
            (false, false) => "UTF8SMTP",
            (false, true) => "UTF8SMTPA",
            (true, false) => "UTF8SMTPS",
            (true, true) => "UTF8SMTPSA",
        };
    }
    match (peer.extended, peer.tls.is_some(), peer.identity.is_some()) {
        (false, ..) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, false, true) => "ESMTPA",
        (true, true, false) => "ESMTPS",
        (true, true, true) => "ESMTPSA",
    }
}

/// Only what can stand in an atom or an address literal: nothing may fold, quote or comment.
fn clean(text: &str) -> String {
    let stands = |character: &char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.@:[]".contains(*character)
    };
    text.chars().filter(stands).take(255).collect()
}

fn date(now: UnixMillis) -> String {
    let instant = Timestamp::from_millisecond(now.0).unwrap_or_default();
    // The years of the mail format are 1900 and later; an instant outside is a broken clock.
    DateTimePrinter::new()
        .zoned_to_string(&instant.to_zoned(TimeZone::UTC))
        .unwrap_or_else(|_| "Thu, 1 Jan 1970 00:00:00 +0000".to_owned())
}

#[cfg(test)]
mod tests {
    use storage::ids::AccountId;

    use super::*;
    use crate::{access::Identity, smtp::transport::Service};

    #[test]
    fn the_field_says_who_by_and_when_and_cannot_be_broken_out_of() {
        let mut peer = Peer {
            service: Service::Relay,
            address: "::ffff:192.0.2.1".parse().unwrap(),
            helo: "client.example)\r\nX-Evil: (".to_owned(),
            extended: true,
            tls: Some("TLSv1.3".to_owned()),
            identity: None,
        };
        let now = UnixMillis(1_795_297_200_000);
        assert_eq!(
            String::from_utf8(received_field(&peer, false, "mail.example", "12ab", now)).unwrap(),
            "Received: from client.exampleX-Evil: ([192.0.2.1])\r\n\
             \tby mail.example with ESMTPS id 12ab;\r\n\
             \tSat, 21 Nov 2026 21:40:00 +0000\r\n"
        );
        peer.identity = Some(Identity { account_id: AccountId(1), address: "a@b.example".into() });
        assert_eq!(protocol(&peer, false), "ESMTPSA");
        peer.tls = None;
        peer.identity = None;
        assert_eq!(protocol(&peer, false), "ESMTP");
        peer.extended = false;
        assert_eq!(protocol(&peer, false), "SMTP");
        peer.extended = true;
        assert_eq!(protocol(&peer, true), "UTF8SMTP");
        peer.tls = Some("TLSv1.3".to_owned());
        assert_eq!(protocol(&peer, true), "UTF8SMTPS");
    }
}
