//! URLs of messages and their parts (RFC 5092 §6, RFC 4469 §4, RFC 5550 §3.11 for PARTIAL), as far as a
//! client may name messages of its own account to its own server: without a server, or relative to
//! the selected mailbox.
//!
//! Invariant: a URL with a server, a user or an authorization (`URLAUTH`) names nothing here and is
//! refused with BADURL, never fetched.

use std::num::NonZeroU32;

use storage::ids::Uid;

use super::{
    ParseError, Section,
    mailbox_name::{self, NameForm},
    sections,
};

/// A message, or octets of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MessageUrl {
    /// The mailbox; `None` = the selected one.
    pub(crate) mailbox: Option<String>,
    /// The mailbox that is meant if there is none of that name: what the client wrote, read in the form
    /// in which its commands name mailboxes.
    pub(crate) or_mailbox: Option<String>,
    /// The UIDVALIDITY under which the UID was seen.
    pub(crate) uid_validity: Option<NonZeroU32>,
    pub(crate) uid: Uid,
    /// The part; `None` = the whole message.
    pub(crate) section: Option<Section>,
    /// From which octet, and how many.
    pub(crate) partial: Option<(u32, Option<NonZeroU32>)>,
    /// As it was written, for `[BADURL "…"]`.
    pub(crate) text: String,
}

const BAD_URL: ParseError = ParseError::Impossible {
    code: "BADURL",
    text: "Questo URL non indica un messaggio di questa casella / This URL names no message of this account",
};

impl MessageUrl {
    /// Reads a URL; it cannot hold what cannot stand in a response code.
    pub(crate) fn parse(octets: &[u8], names: NameForm) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(octets).map_err(|_| BAD_URL)?;
        if !text.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\')) {
            return Err(BAD_URL);
        }
        Self::read(text, names).ok_or(BAD_URL)
    }

    fn read(text: &str, form: NameForm) -> Option<Self> {
        // `/mailbox[;UIDVALIDITY=n]/;UID=n[/;SECTION=s][/;PARTIAL=r]`, or from `;UID=` on.
        let (mailbox, mut rest) = match text.strip_prefix('/') {
            Some(path) if !path.starts_with(';') && !path.starts_with('/') => {
                let at = find(path, "/;UID=")?;
                (Some(&path[..at]), &path[at + 1..])
            }
            Some(path) if path.starts_with(';') => (None, path),
            Some(_) => return None,
            None => (None, text),
        };
        let (mailbox, uid_validity) = match mailbox {
            None => (None, None),
            Some(named) => {
                let at = find(named, ";UIDVALIDITY=");
                let uid_validity = match at {
                    Some(at) => Some(named[at + ";UIDVALIDITY=".len()..].parse().ok()?),
                    None => None,
                };
                let name = unescape(&named[..at.unwrap_or(named.len())])?;
                (Some(canonical(name)), uid_validity)
            }
        };
        let or_mailbox = match &mailbox {
            Some(name) if form == NameForm::ModifiedUtf7 => {
                mailbox_name::decode(name.as_bytes()).map(canonical).filter(|other| other != name)
            }
            _ => None,
        };
        let uid = take(&mut rest, ";UID=")?;
        let uid = Uid::new(uid.parse().ok()?)?;
        let section = match take(&mut rest, "/;SECTION=") {
            Some(section) => Some(sections::parse(unescape(section)?.as_bytes())?),
            None => None,
        };
        let partial = match take(&mut rest, "/;PARTIAL=") {
            None => None,
            Some(range) => Some(match range.split_once('.') {
                Some((origin, count)) => (origin.parse().ok()?, Some(count.parse().ok()?)),
                None => (range.parse().ok()?, None),
            }),
        };
        let text = text.to_owned();
        let url = Self { mailbox, or_mailbox, uid_validity, uid, section, partial, text };
        rest.is_empty().then_some(url)
    }
}

fn canonical(name: String) -> String {
    if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name }
}

/// Where `what` stands, in any case.
fn find(text: &str, what: &str) -> Option<usize> {
    text.to_ascii_uppercase().find(what)
}

/// Takes what stands behind `word`, up to the next `/;`.
fn take<'a>(rest: &mut &'a str, word: &str) -> Option<&'a str> {
    let start = rest.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word))?;
    let value = &rest[start.len()..];
    let end = value.find("/;").unwrap_or(value.len());
    *rest = &value[end..];
    Some(&value[..end])
}

/// Undoes `%xx` (RFC 3986 §2.1).
fn unescape(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        octets.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(octets).ok().filter(|text| !text.contains(['\r', '\n', '\0']))
}

#[cfg(test)]
mod tests {
    use super::{super::SectionText, *};

    fn read(text: &str) -> Option<MessageUrl> {
        MessageUrl::parse(text.as_bytes(), NameForm::ModifiedUtf7).ok()
    }

    #[test]
    fn paths_of_this_account_are_read() {
        let url = read("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER").unwrap();
        assert_eq!(url.mailbox.as_deref(), Some("Drafts"));
        assert_eq!(url.uid_validity, NonZeroU32::new(385_759_045));
        assert_eq!(url.uid.get(), 20);
        assert_eq!(url.section.unwrap().text, SectionText::Header);
        let url = read("/inbox/;uid=7/;section=1.2.MIME/;partial=10.5").unwrap();
        assert_eq!(url.mailbox.as_deref(), Some("INBOX"));
        assert_eq!(url.section.unwrap().part, [1, 2]);
        assert_eq!(url.partial, Some((10, NonZeroU32::new(5))));
        assert_eq!(read("/;UID=3").unwrap().mailbox, None);
        assert_eq!(read(";UID=3/;PARTIAL=4").unwrap().partial, Some((4, None)));
        assert_eq!(read("/Attivit%C3%A0/;UID=1").unwrap().mailbox.as_deref(), Some("Attività"));
        let url = read("/A&-B/;UID=1").unwrap();
        assert_eq!(
            (url.mailbox.as_deref(), url.or_mailbox.as_deref()),
            (Some("A&-B"), Some("A&B"))
        );
        let url = MessageUrl::parse(b"/A&-B/;UID=1", NameForm::Utf8).unwrap();
        assert_eq!((url.mailbox.as_deref(), url.or_mailbox), (Some("A&-B"), None));
        assert_eq!(read("/a/b/;UID=1").unwrap().mailbox.as_deref(), Some("a/b"));
    }

    #[test]
    fn other_urls_are_refused() {
        for wrong in [
            "imap://anna@pec.example/INBOX/;UID=1",
            "//pec.example/INBOX/;UID=1",
            "/INBOX/;UID=0",
            "/INBOX/;UID=1;URLAUTH=anonymous",
            "/INBOX/;UID=1/;SECTION=X",
            "/INBOX/;UID=1/;PARTIAL=x",
            "/INBOX/;UID=1/;PARTIAL=1.0",
            "/INBOX",
            "/INBOX/;UID=1/x",
            "/IN%0ABOX/;UID=1",
            "/IN%BOX/;UID=1",
            "",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
