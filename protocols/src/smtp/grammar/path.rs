//! Domains, mailboxes and paths (RFC 5321 §4.1.2, §4.1.3).
//!
//! ```text
//! Reverse-path   = Path / "<>"
//! Forward-path   = Path
//! Path           = "<" [ A-d-l ":" ] Mailbox ">"
//! A-d-l          = At-domain *( "," At-domain )      ; read and ignored
//! At-domain      = "@" Domain
//! Domain         = sub-domain *("." sub-domain)
//! sub-domain     = Let-dig [Ldh-str]
//! address-literal= "[" ( IPv4 / "IPv6:" IPv6 ) "]"   ; no other tag is registered
//! Mailbox        = Local-part "@" ( Domain / address-literal )
//! Local-part     = Dot-string / Quoted-string
//! Quoted-string  = DQUOTE *QcontentSMTP DQUOTE
//! ```
//!
//! On the wire sub-domains, atoms and quoted text may also hold UTF-8 (RFC 6531 §3.3); whether the
//! transaction allows it, or the next server offers SMTPUTF8, is for session and client to see
//! ([`Mailbox::is_ascii`]).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::codec;

/// Octets of a path with its angle brackets and without its source route
/// (RFC 5321 §4.5.3.1.3). The 64 octets of a local part (§4.5.3.1.1) are not enforced beside it:
/// forwarders write longer ones into return paths.
pub const PATH_OCTETS_MAX: usize = 256;

/// Octets of a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;

const LABEL_OCTETS_MAX: usize = 63;

/// What stands right of the `@`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Domain {
    /// A name, as written by the peer.
    Name(String),
    /// An address literal.
    Address(IpAddr),
}

impl fmt::Display for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(formatter, "[{address}]"),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[IPv6:{address}]"),
        }
    }
}

/// `Local-part "@" ( Domain / address-literal )`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mailbox {
    /// The local part without quotes; printable ASCII, spaces and UTF-8.
    local_part: String,
    domain: Domain,
}

impl Mailbox {
    /// Reads an address that stands alone, such as `user@dominio.example`.
    pub fn parse(text: &str) -> Option<Self> {
        let framed = format!("{text}\r\n");
        let (mailbox, rest) = mailbox(framed.as_bytes())?;
        (rest == b"\r\n" && framed.len() <= PATH_OCTETS_MAX).then_some(mailbox)
    }

    /// The local part, quotes undone.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether the mailbox can be named without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        let domain_is = match &self.domain {
            Domain::Name(name) => name.is_ascii(),
            Domain::Address(_) => true,
        };
        domain_is && self.local_part.is_ascii()
    }
}

/// Quotes the local part only where it must be (RFC 5321 §4.1.2: the shortest form is to be sent).
impl fmt::Display for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local_part) {
            return write!(formatter, "{}@{}", self.local_part, self.domain);
        }
        formatter.write_str("\"")?;
        for character in self.local_part.chars() {
            if matches!(character, '"' | '\\') {
                formatter.write_str("\\")?;
            }
            write!(formatter, "{character}")?;
        }
        write!(formatter, "\"@{}", self.domain)
    }
}

/// Whom the message comes from: `<>` (a notification) or a mailbox.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Reads a reverse path without angle brackets; empty means `<>`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self::Null) } else { Mailbox::parse(text).map(Self::Mailbox) }
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

/// Without angle brackets; empty for `<>`.
impl fmt::Display for ReversePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(formatter),
        }
    }
}

/// Whom the message goes to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ForwardPath {
    /// `<Postmaster>`, the one name without a domain (RFC 5321 §4.1.1.3).
    Postmaster,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ForwardPath {
    /// Reads a forward path without angle brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("postmaster") {
            return Some(Self::Postmaster);
        }
        Mailbox::parse(text).map(Self::Mailbox)
    }

    /// Whether it can be sent without SMTPUTF8.
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Postmaster => true,
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
        }
    }
}

/// Without angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => formatter.write_str("Postmaster"),
            Self::Mailbox(mailbox) => mailbox.fmt(formatter),
        }
    }
}

/// `Reverse-path = Path / "<>"`; returns it and the rest.
pub(super) fn reverse_path(input: &[u8]) -> Option<(ReversePath, &[u8])> {
    if let Some(rest) = input.strip_prefix(b"<>") {
        return Some((ReversePath::Null, rest));
    }
    let (mailbox, rest) = path(input)?;
    Some((ReversePath::Mailbox(mailbox), rest))
}

/// `"<Postmaster>" / Forward-path`; returns it and the rest.
pub(super) fn forward_path(input: &[u8]) -> Option<(ForwardPath, &[u8])> {
    const POSTMASTER: &[u8] = b"<postmaster>";
    if let Some((start, rest)) = input.split_at_checked(POSTMASTER.len())
        && start.eq_ignore_ascii_case(POSTMASTER)
    {
        return Some((ForwardPath::Postmaster, rest));
    }
    let (mailbox, rest) = path(input)?;
    Some((ForwardPath::Mailbox(mailbox), rest))
}

/// `Path = "<" [ A-d-l ":" ] Mailbox ">"`
fn path(input: &[u8]) -> Option<(Mailbox, &[u8])> {
    let mut inner = input.strip_prefix(b"<")?;
    if inner.first() == Some(&b'@') {
        inner = source_route(inner)?;
    }
    let (mailbox, rest) = mailbox(inner)?;
    let octets = inner.len() - rest.len() + 2;
    (octets <= PATH_OCTETS_MAX).then_some(())?;
    Some((mailbox, rest.strip_prefix(b">")?))
}

/// `A-d-l ":"`; returns the rest.
fn source_route(mut input: &[u8]) -> Option<&[u8]> {
    loop {
        let (_, rest) = domain_name(input.strip_prefix(b"@")?)?;
        match rest.split_first()? {
            (b',', next) => input = next,
            (b':', next) => return Some(next),
            _ => return None,
        }
    }
}

fn mailbox(input: &[u8]) -> Option<(Mailbox, &[u8])> {
    let (local_part, rest) = match input.first()? {
        b'"' => quoted_string(input)?,
        _ => dot_string(input).map(|(text, rest)| (text.to_owned(), rest))?,
    };
    let (domain, rest) = domain(rest.strip_prefix(b"@")?)?;
    Some((Mailbox { local_part, domain }, rest))
}

/// `Quoted-string = DQUOTE *QcontentSMTP DQUOTE`; returns its meaning and the rest.
///
/// An empty one is refused: nobody has such a mailbox, and an address that starts with `@` is
/// read as a source route elsewhere.
fn quoted_string(input: &[u8]) -> Option<(String, &[u8])> {
    let mut rest = input.strip_prefix(b"\"")?;
    let mut octets = Vec::new();
    loop {
        let (octet, next) = rest.split_first()?;
        rest = next;
        match octet {
            b'"' => break,
            // quoted-pairSMTP = %d92 %d32-126
            b'\\' => {
                let (escaped @ 32..=126, next) = rest.split_first()? else { return None };
                octets.push(*escaped);
                rest = next;
            }
            // qtextSMTP = %d32-33 / %d35-91 / %d93-126 / UTF8-non-ascii
            32..=126 | 128.. => octets.push(*octet),
            _ => return None,
        }
    }
    let text = String::from_utf8(octets).ok().filter(|text| !text.is_empty() && stands(text))?;
    Some((text, rest))
}

/// `Dot-string = Atom *("." Atom)`, whose atoms may hold UTF-8; returns it and the rest.
fn dot_string(input: &[u8]) -> Option<(&str, &[u8])> {
    let atom = |octet: &u8| {
        octet.is_ascii_alphanumeric()
            || !octet.is_ascii()
            || b".!#$%&'*+-/=?^_`{|}~".contains(octet)
    };
    let end = input.iter().position(|octet| !atom(octet)).unwrap_or(input.len());
    let (text, rest) = input.split_at_checked(end)?;
    if text.is_ascii() {
        return codec::dot_string(input);
    }
    let text = std::str::from_utf8(text).ok().filter(|text| stands(text))?;
    text.split('.').all(|atom| !atom.is_empty()).then_some((text, rest))
}

/// Whether what is outside ASCII in `text` is visible: no space, no control.
fn stands(text: &str) -> bool {
    let foreign = |character: &char| !character.is_ascii();
    !text.chars().filter(foreign).any(|found| found.is_whitespace() || found.is_control())
}

fn is_dot_string(text: &str) -> bool {
    let framed = format!("{text}\r\n");
    dot_string(framed.as_bytes()).is_some_and(|(_, rest)| rest == b"\r\n")
}

/// `Domain / address-literal`; returns it and the rest.
pub(super) fn domain(input: &[u8]) -> Option<(Domain, &[u8])> {
    let Some(inner) = input.strip_prefix(b"[") else {
        let (name, rest) = domain_name(input)?;
        return Some((Domain::Name(name.to_owned()), rest));
    };
    let end = inner.iter().position(|octet| *octet == b']')?;
    let (literal, rest) = inner.split_at_checked(end)?;
    let literal = std::str::from_utf8(literal).ok()?;
    let address = match literal.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        }
        _ => IpAddr::V4(literal.parse::<Ipv4Addr>().ok()?),
    };
    Some((Domain::Address(address), rest.strip_prefix(b"]")?))
}

/// What IDNA treats as a dot (RFC 3490 §3.1): two names must not differ in such a sign only.
const FOREIGN_DOTS: [char; 3] = ['\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// `Domain = sub-domain *("." sub-domain)`; returns the name and the rest. A label may hold UTF-8
/// (U-label, RFC 6531 §3.3); whether it exists is for DNS to say.
fn domain_name(input: &[u8]) -> Option<(&str, &[u8])> {
    let taken = |octet: &u8| {
        octet.is_ascii_alphanumeric() || !octet.is_ascii() || matches!(octet, b'-' | b'.')
    };
    let end = input.iter().position(|octet| !taken(octet)).unwrap_or(input.len());
    let (name, rest) = input.split_at_checked(end)?;
    let labels_fit = name.split(|octet| *octet == b'.').all(|label| {
        (1..=LABEL_OCTETS_MAX).contains(&label.len())
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
    });
    (labels_fit && name.len() <= DOMAIN_OCTETS_MAX).then_some(())?;
    let name = std::str::from_utf8(name).ok()?;
    (stands(name) && !name.contains(FOREIGN_DOTS)).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_the_standard_are_read() {
        // RFC 5321 §4.1.1.3, §4.1.3, appendix D, and addresses that smtp-codec rejects.
        let table: [(&str, &str); 10] = [
            ("<userc@d.bar.org>", "userc@d.bar.org"),
            ("<@hosta.int,@jkl.org:userc@d.bar.org>", "userc@d.bar.org"),
            ("<Smith@[192.0.2.1]>", "Smith@[192.0.2.1]"),
            ("<Smith@[IPv6:2001:DB8::1]>", "Smith@[IPv6:2001:db8::1]"),
            ("<\"Joe Q. Public\"@example.com>", "\"Joe Q. Public\"@example.com"),
            ("<\"plain.name\"@example.com>", "plain.name@example.com"),
            ("<\"a\\\"b\\\\c\\d\"@example.com>", "\"a\\\"b\\\\cd\"@example.com"),
            ("<\"a>b\"@example.com>", "\"a>b\"@example.com"),
            ("<posta@xn--bcher-kva.example>", "posta@xn--bcher-kva.example"),
            ("<o'neil+tag=x@a--b.example>", "o'neil+tag=x@a--b.example"),
        ];
        for (wire, expected) in table {
            let (path, rest) = forward_path(format!("{wire}\r\n").leak().as_bytes()).expect(wire);
            assert_eq!((path.to_string().as_str(), rest), (expected, b"\r\n".as_slice()), "{wire}");
        }
        assert_eq!(forward_path(b"<POSTMASTER>\r\n").unwrap().0, ForwardPath::Postmaster);
        assert_eq!(
            reverse_path(b"<> SIZE=1\r\n"),
            Some((ReversePath::Null, b" SIZE=1\r\n".as_slice()))
        );
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = format!("<{}@{}.example>", "a".repeat(200), "b".repeat(60));
        let label = format!("<a@{}.example>", "b".repeat(64));
        let table = [
            "user@example.com",
            "<user>",
            "<user@>",
            "<@example.com>",
            "<user@example.com",
            "<us er@example.com>",
            "<user@exa mple.com>",
            "<user@-example.com>",
            "<user@example-.com>",
            "<user@example..com>",
            "<user@.example>",
            "<.user@example.com>",
            "<user.@example.com>",
            "<us..er@example.com>",
            "<user@[192.0.2.256]>",
            "<user@[192.0.2.1>",
            "<user@[IPv6:xyz]>",
            "<\"\"@example.com>",
            "<\"a@example.com>",
            "<\"a\u{1}b\"@example.com>",
            "<us\u{a0}er@example.com>",
            "<us\u{85}er@example.com>",
            "<\"us\u{2028}er\"@example.com>",
            "<us\u{e8}r.@example.com>",
            "<user@ex\u{e8}mple..com>",
            "<user@ex\u{e8}mple\u{3002}com>",
            "<user@-\u{e8}mple.com>",
            "<@a.example user@b.example>",
            "<<a@b.example>>",
            "",
            "<",
            &long,
            &label,
        ];
        for wire in table {
            let framed = format!("{wire}\r\n");
            let read = forward_path(framed.as_bytes());
            assert!(read.is_none_or(|(_, rest)| rest != b"\r\n"), "{wire:?} was taken");
        }
    }

    /// RFC 6531 §3.3.
    #[test]
    fn addresses_outside_ascii_are_read_as_they_are() {
        let table = [
            ("<josé@esempio.example>", "josé@esempio.example"),
            ("<posta@bücher.example>", "posta@bücher.example"),
            ("<用户.名@例子.example>", "用户.名@例子.example"),
            ("<\"il mio è\"@b.example>", "\"il mio è\"@b.example"),
            ("<\"josé\"@b.example>", "josé@b.example"),
        ];
        for (wire, expected) in table {
            let framed = format!("{wire}\r\n");
            let (path, rest) = forward_path(framed.as_bytes()).expect(wire);
            assert_eq!((path.to_string().as_str(), rest), (expected, b"\r\n".as_slice()), "{wire}");
            assert!(!path.is_ascii());
            let ForwardPath::Mailbox(mailbox) = path else { panic!("{wire}") };
            assert_eq!(Mailbox::parse(expected), Some(mailbox), "{wire}");
        }
        for broken in
            [&b"<jos\xe9@b.example>\r\n"[..], b"<\"\xc3\"@b.example>\r\n", b"<a@\xff.example>\r\n"]
        {
            assert_eq!(forward_path(broken), None, "{broken:?}");
        }
        assert!(forward_path(b"<a@b.example>\r\n").unwrap().0.is_ascii());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = forward_path(&octets);
            let _ = reverse_path(&octets);
        }

        #[test]
        fn a_mailbox_is_read_as_it_was_written(
            local_part in "[ -~]{1,40}",
            domain in "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z]{1,10}){1,3}",
        ) {
            let mailbox = Mailbox { local_part, domain: Domain::Name(domain) };
            prop_assert_eq!(Mailbox::parse(&mailbox.to_string()), Some(mailbox));
        }
    }
}
