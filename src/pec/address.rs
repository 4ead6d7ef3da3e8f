//! Addresses of the SMTP transaction, which is what a provider certifies (RFC 6109 §2.1).
//!
//! An [`Address`] is a `Mailbox` of RFC 5321 §4.1.2 in ASCII, checked once. Invariants:
//!
//! * The text stays as it was written: paths are relayed unaltered (RFC 6109 §3.1.5).
//! * Two addresses are equal when they differ only in the case of letters or in needless quotes
//!   of the local part. RFC 5321 §2.4 leaves the case of the local part to the final system; a
//!   certified mailbox is the same mailbox in either case, and no provider tells them apart.
//!
//! A [`ReportAddress`] is what anybody outside may have as reverse path: more than a certified address.
//!
//! Not here: lists of addresses in header fields ([`super::header_addresses`]).

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use idna::AsciiDenyList;
use protocols::smtp::grammar::Mailbox;

/// Octets a path may have without its angle brackets (RFC 5321 §4.5.3.1.3).
pub(super) const ADDRESS_OCTETS_MAX: usize = 254;
/// Octets a local part may have (RFC 5321 §4.5.3.1.1).
const LOCAL_PART_OCTETS_MAX: usize = 64;
/// Octets a domain may have as text (RFC 1035 §3.1).
const DOMAIN_OCTETS_MAX: usize = 253;

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressFault {
    /// There is no `@` outside quotes.
    #[error("an address is written local-part@domain")]
    NoAt,
    /// The local part is empty, too long or holds an octet that it must not hold.
    #[error("the part before the @ is not a valid local part")]
    LocalPart,
    /// The domain is not a host name of ASCII labels or an address literal.
    #[error("the part after the @ is not a valid domain")]
    Domain,
    /// The whole is longer than a path may be.
    #[error("an address has at most {ADDRESS_OCTETS_MAX} octets")]
    TooLong,
}

/// A domain in lower case without a final dot, or an address literal in brackets.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Domain(String);

impl Domain {
    /// Checks `text` and folds its case.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let folded = text.to_ascii_lowercase();
        if is_address_literal(&folded) || is_host_name(&folded) {
            Ok(Self(folded))
        } else {
            Err(AddressFault::Domain)
        }
    }

    /// The domain in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        Self::parse(text)
    }
}

/// A checked address. Equality, order and hash ignore case; see the module's invariants.
#[derive(Clone)]
pub struct Address {
    text: String,
    folded: String,
    domain: Domain,
}

impl Address {
    /// Checks `text`, which has no angle brackets and no source route.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if text.len() > ADDRESS_OCTETS_MAX {
            return Err(AddressFault::TooLong);
        }
        let (local_part, domain) = split_at_sign(text).ok_or(AddressFault::NoAt)?;
        let plain = plain_local_part(local_part).ok_or(AddressFault::LocalPart)?;
        let domain = Domain::parse(domain)?;
        let folded = format!("{}@{domain}", plain.to_ascii_lowercase());
        Ok(Self { text: text.to_owned(), folded, domain })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address folded for look-ups: lower case, needless quotes removed.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The domain, folded.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

/// Where a report to a sender outside goes: every reverse path that SMTP takes and that can be
/// sent to.
///
/// The local part may be of any length, since forwarders write long ones, and outside ASCII
/// (RFC 6531 §3.3). A domain outside ASCII is looked up as A-labels (RFC 5891 §4.4), and written so
/// where that makes the whole address ASCII, which every server takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportAddress {
    text: String,
    domain: Domain,
}

impl ReportAddress {
    /// Checks `text`, which has no angle brackets and no source route; `None` when nothing can be
    /// sent there.
    pub fn parse(text: &str) -> Option<Self> {
        Mailbox::parse(text)?;
        let (local_part, written) = split_at_sign(text)?;
        let domain = if written.is_ascii() {
            Domain::parse(written).ok()?
        } else {
            let labels = idna::domain_to_ascii_cow(written.as_bytes(), AsciiDenyList::STD3).ok()?;
            Domain::parse(&labels).ok()?
        };
        let text = if local_part.is_ascii() && !written.is_ascii() {
            format!("{local_part}@{domain}")
        } else {
            text.to_owned()
        };
        (text.len() <= ADDRESS_OCTETS_MAX).then_some(Self { text, domain })
    }

    /// The address to be sent to.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The domain in A-labels, folded.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.text)
    }
}

impl FromStr for Address {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        Self::parse(text)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded.cmp(&other.folded)
    }
}

/// Splits at the last `@`: a domain never holds one, a quoted local part may.
fn split_at_sign(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once('@')
}

/// Returns the local part without needless quotes, `None` when it is not one.
fn plain_local_part(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > LOCAL_PART_OCTETS_MAX {
        return None;
    }
    let Some(inside) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return is_dot_string(text).then(|| text.to_owned());
    };
    if text.len() < 2 {
        return None;
    }
    let mut content = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => content.push(characters.next().filter(|next| is_printable(*next))?),
            '"' => return None,
            _ if is_printable(character) => content.push(character),
            _ => return None,
        }
    }
    if is_dot_string(&content) { Some(content) } else { Some(quoted(&content)) }
}

/// Writes `content` as a quoted string (RFC 5321 §4.1.2).
pub(super) fn quoted(content: &str) -> String {
    let mut text = String::with_capacity(content.len() + 2);
    text.push('"');
    for character in content.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~')
}

/// `Dot-string` of RFC 5321 §4.1.2.
pub(super) fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_octet))
}

/// `atext` of RFC 5322 §3.2.3.
pub(super) fn is_atom_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DOMAIN_OCTETS_MAX && text.split('.').all(label)
}

fn is_address_literal(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return false;
    };
    match inside.strip_prefix("ipv6:") {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => inside.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_grammar_are_taken_and_others_are_named() {
        for good in [
            "anna.bianchi@alfa.example",
            "\"anna bianchi\"@alfa.example",
            "\"a\\\"b@c\"@alfa.example",
            "a+b=c@XN--LBA.example",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
        ] {
            assert_eq!(Address::parse(good).map(|address| address.to_string()), Ok(good.into()));
        }
        for (bad, fault) in [
            ("anna", AddressFault::NoAt),
            ("@alfa.example", AddressFault::LocalPart),
            ("a..b@alfa.example", AddressFault::LocalPart),
            ("\"@alfa.example", AddressFault::LocalPart),
            ("\"a\"b\"@alfa.example", AddressFault::LocalPart),
            ("\"a\\\"@alfa.example", AddressFault::LocalPart),
            ("è@alfa.example", AddressFault::LocalPart),
            ("a\r\n@alfa.example", AddressFault::LocalPart),
            ("a@", AddressFault::Domain),
            ("a@-alfa.example", AddressFault::Domain),
            ("a@alfa..example", AddressFault::Domain),
            ("a@alfa.example.", AddressFault::Domain),
            ("a@[192.0.2.300]", AddressFault::Domain),
            ("a@caffè.example", AddressFault::Domain),
        ] {
            assert_eq!(Address::parse(bad).map(|address| address.to_string()), Err(fault), "{bad}");
        }
        assert_eq!(
            Address::parse(&format!("a@{}.example", "x.".repeat(130))).err(),
            Some(AddressFault::TooLong)
        );
    }

    #[test]
    fn a_report_goes_wherever_a_reverse_path_leads() {
        let long = format!("bounce+{}=posta.example@x.example", "a".repeat(90));
        for (path, address, domain) in [
            ("Ospite@Posta.example", "Ospite@Posta.example", "posta.example"),
            (&long, &long, "x.example"),
            ("josé@bücher.example", "josé@bücher.example", "xn--bcher-kva.example"),
            ("jose@Bücher.example", "jose@xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("\"josé b\"@posta.example", "\"josé b\"@posta.example", "posta.example"),
            ("x@[192.0.2.1]", "x@[192.0.2.1]", "[192.0.2.1]"),
        ] {
            let read = ReportAddress::parse(path).expect(path);
            assert_eq!((read.as_str(), read.domain().as_str()), (address, domain));
        }
        // 60 octets as they are written, more than 63 as an A-label.
        let label: String = (0..20).filter_map(|n| char::from_u32(0x4e00 + n * 997)).collect();
        let grows = format!("a@{label}.example");
        for path in ["", "a", "a@", "a@xn--\u{e8}.example", "a@\u{301}a.example", &grows] {
            assert_eq!(ReportAddress::parse(path), None, "{path}");
        }
    }

    #[test]
    fn case_and_needless_quotes_do_not_tell_addresses_apart() {
        let written = Address::parse("\"Anna.Bianchi\"@ALFA.example").unwrap();
        assert_eq!(written, Address::parse("anna.bianchi@alfa.EXAMPLE").unwrap());
        assert_eq!(written.as_str(), "\"Anna.Bianchi\"@ALFA.example");
        assert_eq!(written.domain().as_str(), "alfa.example");
        assert_ne!(written, Address::parse("annabianchi@alfa.example").unwrap());
    }
}
