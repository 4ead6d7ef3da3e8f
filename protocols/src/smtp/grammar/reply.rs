//! Replies (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! ```text
//! Reply-line  = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
//! Reply-code  = %x32-35 %x30-35 %x30-39
//! status-code = class "." subject "." detail
//! ```
//!
//! [`Reply`] is what our server writes: whatever text it is given, one reply comes out, in lines
//! of printable ASCII of at most 512 octets. [`ServerReply`] is what our client reads.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use smtp_codec::types::Capability;

use super::codec;
use crate::smtp::transport::Refusal;

/// Octets of a reply line with its CR LF (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_OCTETS_MAX: usize = 512;

/// A reply of our server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    code: u16,
    octets: Vec<u8>,
}

impl Reply {
    /// A reply with an enhanced status code.
    #[must_use]
    pub fn new(code: u16, enhanced: &str, text: &str) -> Self {
        Self::from_line(code, &format!("{enhanced} {text}"))
    }

    /// A reply without enhanced status code: the greeting, 334, 354 (RFC 2034 §4).
    #[must_use]
    pub fn bare(code: u16, text: &str) -> Self {
        Self::from_line(code, text)
    }

    /// The server's part of a SASL exchange, which has no bound of its own (RFC 4954 §4).
    #[must_use]
    pub fn challenge(octets: &[u8]) -> Self {
        let line = format!("334 {}\r\n", STANDARD.encode(octets));
        Self { code: 334, octets: line.into_bytes() }
    }

    /// The reply to EHLO; the extensions one a line.
    #[must_use]
    pub fn extensions(server_name: &str, capabilities: Vec<Capability>) -> Self {
        let name: String =
            server_name.chars().map(|letter| char::from(printable(letter))).collect();
        Self { code: 250, octets: codec::ehlo_reply(&name, capabilities) }
    }

    fn from_line(code: u16, text: &str) -> Self {
        let mut octets = format!("{code} ").into_bytes();
        octets.extend(text.chars().map(printable).take(REPLY_LINE_OCTETS_MAX - octets.len() - 2));
        octets.extend_from_slice(b"\r\n");
        Self { code, octets }
    }

    /// The reply code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the command failed.
    pub fn is_error(&self) -> bool {
        self.code >= 400
    }

    /// The whole reply as it goes to the peer.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

/// No text from elsewhere may end a line and so begin a reply of its own.
fn printable(character: char) -> u8 {
    match character {
        ' '..='~' => u8::try_from(character).unwrap_or(b'?'),
        '\t' => b' ',
        _ => b'?',
    }
}

/// A refusal that names a code outside 400 to 599 is a fault of ours: the peer may try again.
impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Self {
        let class = match refusal.code {
            400..=499 => '4',
            500..=599 => '5',
            _ => return Self::new(451, "4.3.0", "local error: try again later"),
        };
        if refusal.enhanced.starts_with(class) {
            Self::new(refusal.code, refusal.enhanced, &refusal.text)
        } else {
            Self::new(refusal.code, &format!("{class}.0.0"), &refusal.text)
        }
    }
}

/// A reply that another server gave us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerReply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The enhanced status code of the first line, if it begins with one.
    pub enhanced: Option<String>,
    /// The text of each line, without codes; printable, foreign octets replaced.
    pub lines: Vec<String>,
}

impl ServerReply {
    /// Whether the server did what it was asked to (2yz).
    pub fn is_positive(&self) -> bool {
        (200..=299).contains(&self.code)
    }

    /// Whether trying again later is pointless (5yz).
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The lines joined by spaces.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl fmt::Display for ServerReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(formatter, " {enhanced}")?;
        }
        let text = self.text();
        match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            Some((end, _)) => write!(formatter, " {}…", text.get(..end).unwrap_or_default()),
            None => write!(formatter, " {text}"),
        }
    }
}

/// Characters of a server's text that are shown, in notices, journal and queue.
const SHOWN_CHARACTERS_MAX: usize = 500;

/// One line of a reply, read.
#[derive(Debug, Eq, PartialEq)]
pub struct ReplyLine {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// Whether the reply ends with this line.
    pub last: bool,
    /// The enhanced status code, if the line begins with one.
    pub enhanced: Option<String>,
    /// What follows, printable.
    pub text: String,
}

impl ReplyLine {
    /// Reads one line, given without its line end.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let framed = [line, b"\r\n"].concat();
        let (code, rest) = codec::reply_code(&framed)?;
        (200..=599).contains(&code).then_some(())?;
        let rest = rest.strip_suffix(b"\r\n")?;
        let (last, text) = match rest.split_first() {
            None => (true, rest),
            Some((b' ', text)) => (true, text),
            Some((b'-', text)) => (false, text),
            Some(_) => return None,
        };
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        let (enhanced, text) = match text.split_once(' ') {
            Some((first, rest)) if is_enhanced(first, code) => {
                (Some(first.to_owned()), rest.to_owned())
            }
            _ if is_enhanced(&text, code) => (Some(text), String::new()),
            _ => (None, text),
        };
        Some(Self { code, last, enhanced, text })
    }
}

/// `class "." subject "." detail`, the class being the reply code's (RFC 2034 §4).
fn is_enhanced(word: &str, code: u16) -> bool {
    let mut numbers = word.split('.');
    let class = numbers.next().is_some_and(|class| class == (code / 100).to_string());
    let is_number = |number: &str| {
        (1..=3).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit())
    };
    class && numbers.clone().count() == 2 && numbers.all(is_number)
}

/// What a server offers in its reply to EHLO, as far as our client uses it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// STARTTLS (RFC 3207)
    pub start_tls: bool,
    /// PIPELINING (RFC 2920)
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152)
    pub eight_bit: bool,
    /// SIZE (RFC 1870); the limit, 0 when there is none or it is not told.
    pub size: Option<u64>,
    /// DSN (RFC 3461)
    pub dsn: bool,
    /// SMTPUTF8 (RFC 6531)
    pub smtp_utf8: bool,
}

impl Extensions {
    /// Reads the lines of a reply to EHLO after the first.
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut extensions = Self::default();
        for line in lines {
            match codec::ehlo_line(line.trim_end()) {
                Some(Capability::StartTLS) => extensions.start_tls = true,
                Some(Capability::Pipelining) => extensions.pipelining = true,
                Some(Capability::EightBitMIME) => extensions.eight_bit = true,
                Some(Capability::Size(size)) => extensions.size = Some(size.into()),
                Some(Capability::DSN) => extensions.dsn = true,
                Some(Capability::SMTPUTF8) => extensions.smtp_utf8 = true,
                // smtp-codec knows limits below 4 GiB only.
                Some(Capability::Other { keyword, params })
                    if keyword.eq_ignore_ascii_case("SIZE") =>
                {
                    let size = params.first().and_then(|size| size.parse().ok());
                    extensions.size = Some(size.unwrap_or(0));
                }
                _ => {}
            }
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_begin_another_reply() {
        let refusal = Refusal::new(550, "5.1.1", "no such user\r\n250 2.0.0 Ok\u{0}\u{e8}");
        assert_eq!(Reply::from(&refusal).octets(), b"550 5.1.1 no such user??250 2.0.0 Ok??\r\n");
    }

    #[test]
    fn a_server_name_cannot_begin_a_line_of_its_own() {
        let reply = Reply::extensions("a\r\n250-X", vec![Capability::Pipelining]);
        assert_eq!(reply.octets(), b"250-a??250-X\r\n250 PIPELINING\r\n");
    }

    #[test]
    fn a_refusal_keeps_the_class_of_its_code() {
        let table = [
            (Refusal::new(550, "4.1.1", "x"), "550 5.0.0 x\r\n"),
            (Refusal::new(250, "2.0.0", "x"), "451 4.3.0 local error: try again later\r\n"),
            (Refusal::new(452, "4.2.2", "x"), "452 4.2.2 x\r\n"),
        ];
        for (refusal, expected) in table {
            assert_eq!(String::from_utf8_lossy(Reply::from(&refusal).octets()), expected);
        }
    }

    #[test]
    fn extensions_are_read_as_servers_write_them() {
        let lines = [
            "SIZE 52428800",
            "pipelining",
            "8BITMIME",
            "STARTTLS",
            "AUTH=LOGIN",
            "X y",
            "DSN",
            "SMTPUTF8",
        ];
        let expected = Extensions {
            start_tls: true,
            pipelining: true,
            eight_bit: true,
            size: Some(52_428_800),
            dsn: true,
            smtp_utf8: true,
        };
        assert_eq!(Extensions::of_lines(lines.into_iter()), expected);
        assert_eq!(Extensions::of_lines(["SIZE"].into_iter()).size, Some(0));
        assert_eq!(Extensions::of_lines(["SIZE 8589934592"].into_iter()).size, Some(8 << 30));
        assert_eq!(Extensions::of_lines(["STARTTLSX"].into_iter()), Extensions::default());
    }

    #[test]
    fn reply_lines_are_read_with_and_without_status() {
        let line = |code, last, enhanced: Option<&str>, text: &str| ReplyLine {
            code,
            last,
            enhanced: enhanced.map(str::to_owned),
            text: text.to_owned(),
        };
        let table: [(&[u8], Option<ReplyLine>); 9] = [
            (b"250 Ok", Some(line(250, true, None, "Ok"))),
            (b"250", Some(line(250, true, None, ""))),
            (b"250-2.1.5 Ok", Some(line(250, false, Some("2.1.5"), "Ok"))),
            (b"550 5.1.1", Some(line(550, true, Some("5.1.1"), ""))),
            (b"550 4.1.1 x", Some(line(550, true, None, "4.1.1 x"))),
            (b"550 caff\xe8", Some(line(550, true, None, "caff\u{fffd}"))),
            (b"99 x", None),
            (b"999 x", None),
            (b"250x", None),
        ];
        for (octets, expected) in table {
            assert_eq!(ReplyLine::parse(octets), expected, "{}", String::from_utf8_lossy(octets));
        }
    }

    proptest! {
        #[test]
        fn every_reply_is_one_line_of_bounded_length(text in any::<String>(), long in 0..2000_usize) {
            let reply = Reply::new(550, "5.0.0", &text.repeat(1 + long / 10));
            let octets = reply.octets();
            prop_assert!(octets.len() <= REPLY_LINE_OCTETS_MAX && octets.ends_with(b"\r\n"));
            let line = octets.strip_suffix(b"\r\n").unwrap();
            prop_assert!(line.iter().all(|octet| (32..127).contains(octet)));
        }

        #[test]
        fn any_reply_line_is_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = ReplyLine::parse(&octets);
            let _ = Extensions::of_lines(std::iter::once(String::from_utf8_lossy(&octets).as_ref()));
        }
    }
}
