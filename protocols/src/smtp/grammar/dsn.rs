//! What a sender asks to be told: the parameters of delivery status notifications (RFC 3461).
//!
//! ```text
//! MAIL: "RET=" ( "FULL" / "HDRS" )                           ; §4.3
//!       "ENVID=" xtext                                       ; §4.4, 100 octets
//! RCPT: "NOTIFY=" ( "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ) )   ; §4.1
//!       "ORCPT=" addr-type ";" xtext                         ; §4.2, 500 octets
//! xtext   = *( xchar / hexchar )
//! xchar   = %d33-42 / %d44-60 / %d62-126
//! hexchar = "+" 2( %d48-57 / %d65-70 )
//! ```
//!
//! An address of the type `utf-8` may have UTF-8 in it where SMTPUTF8 is spoken; a server that offers
//! both extensions must take it (RFC 6533 §3). It is kept in the form of seven bits, in which a
//! character outside ASCII is `\x{` its number in hexadecimal digits `}`, and passed on so.
//!
//! Invariant: what is kept is printable ASCII, so that it can stand in a report as it is, and
//! what is written reads back the same.
//!
//! Not here: which reports are due, and what they look like.

use std::fmt::{self, Write as _};

/// Octets that ENVID may have, encoded (RFC 3461 §4.4).
const ENVELOPE_ID_OCTETS_MAX: usize = 100;

/// Octets that ORCPT may have, encoded (RFC 3461 §4.2).
const ORIGINAL_RECIPIENT_OCTETS_MAX: usize = 500;

/// Octets that RET and ENVID add to a line of MAIL.
pub const MAIL_OCTETS: usize = " RET=HDRS ENVID=".len() + ENVELOPE_ID_OCTETS_MAX;

/// Octets that NOTIFY and ORCPT add to a line of RCPT.
pub const RCPT_OCTETS: usize =
    " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=".len() + ORIGINAL_RECIPIENT_OCTETS_MAX;

/// How much of the message a report of a failure returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

impl Ret {
    /// Reads the value of RET, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("FULL") {
            Some(Self::Full)
        } else {
            value.eq_ignore_ascii_case("HDRS").then_some(Self::Headers)
        }
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// Of what the sender wants to hear about one recipient.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Notify {
    /// Nothing was said: failures, and delays where the server tells of them (RFC 3461 §5.2.1).
    #[default]
    Unspecified,
    /// Nothing at all.
    Never,
    /// What is true here; at least one is.
    On {
        /// The message came into the mailbox, or where no reports are made.
        success: bool,
        /// It will not arrive.
        failure: bool,
        /// It is late.
        delay: bool,
    },
}

impl Notify {
    /// Reads the value of NOTIFY, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in value.split(',') {
            let wanted = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut success,
                "FAILURE" => &mut failure,
                "DELAY" => &mut delay,
                _ => return None,
            };
            *wanted = true;
        }
        Some(Self::On { success, failure, delay })
    }

    /// Whether a delivery is to be reported.
    pub fn wants_success(self) -> bool {
        matches!(self, Self::On { success: true, .. })
    }

    /// Whether a failure is to be reported.
    pub fn wants_failure(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { failure: true, .. })
    }

    /// Whether a delay may be reported.
    pub fn wants_delay(self) -> bool {
        matches!(self, Self::Unspecified | Self::On { delay: true, .. })
    }

    /// As a number that records keep: 0 unspecified, 1 never, else the sum of 2 success, 4
    /// failure, 8 delay.
    pub fn to_number(self) -> u32 {
        match self {
            Self::Unspecified => 0,
            Self::Never => 1,
            Self::On { success, failure, delay } => {
                2 * u32::from(success) + 4 * u32::from(failure) + 8 * u32::from(delay)
            }
        }
    }

    /// Reads what [`Notify::to_number`] wrote; anything else counts as unspecified.
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Never,
            2..=15 if number & 1 == 0 => Self::On {
                success: number & 2 != 0,
                failure: number & 4 != 0,
                delay: number & 8 != 0,
            },
            _ => Self::Unspecified,
        }
    }

    /// The value of NOTIFY; `None` when there is nothing to say.
    pub fn value(self) -> Option<String> {
        match self {
            Self::Unspecified => None,
            Self::Never => Some("NEVER".to_owned()),
            Self::On { success, failure, delay } => {
                let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                let wanted: Vec<&str> =
                    words.into_iter().filter_map(|(wanted, word)| wanted.then_some(word)).collect();
                Some(wanted.join(","))
            }
        }
    }
}

/// The sender's own name for the transaction, decoded: 1 to 100 octets of printable ASCII.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvelopeId(String);

impl EnvelopeId {
    /// Reads the value of ENVID.
    pub fn parse(value: &str) -> Option<Self> {
        (value.len() <= ENVELOPE_ID_OCTETS_MAX).then_some(())?;
        from_xtext(value).filter(|text| !text.is_empty()).map(Self)
    }

    /// Takes one out of a record.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::parse(&to_xtext(text)).filter(|read| read.0 == text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of ENVID.
    pub fn value(&self) -> String {
        to_xtext(&self.0)
    }
}

/// The type of addresses that may be outside ASCII (RFC 6533 §3).
const UTF_8: &str = "utf-8";

/// The recipient as the first sender named him, decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginalRecipient {
    address_type: String,
    address: String,
}

impl OriginalRecipient {
    /// Reads the value of ORCPT.
    pub fn parse(value: &str) -> Option<Self> {
        (value.len() <= ORIGINAL_RECIPIENT_OCTETS_MAX).then_some(())?;
        let (address_type, address) = value.split_once(';')?;
        let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
        let named = !address_type.is_empty() && address_type.bytes().all(atom);
        let seven_bit = if address_type.eq_ignore_ascii_case(UTF_8) {
            in_seven_bits(address)
        } else {
            address.to_owned()
        };
        let address = from_xtext(&seven_bit).filter(|address| !address.is_empty())?;
        let read = named.then(|| Self { address_type: address_type.to_owned(), address })?;
        // In seven bits it may have become longer.
        (read.value().len() <= ORIGINAL_RECIPIENT_OCTETS_MAX).then_some(read)
    }

    /// Takes one out of a record: type, semicolon, address.
    pub fn from_text(text: &str) -> Option<Self> {
        let (address_type, address) = text.split_once(';')?;
        Self::parse(&format!("{address_type};{}", to_xtext(address)))
    }

    /// The value of ORCPT.
    pub fn value(&self) -> String {
        format!("{};{}", self.address_type, to_xtext(&self.address))
    }
}

/// As a report writes it and records keep it: type, semicolon, address.
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{};{}", self.address_type, self.address)
    }
}

/// Decodes xtext; what it stands for must be printable ASCII.
fn from_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let meant = match octet {
            b'+' => 16 * hex_digit(octets.next()?)? + hex_digit(octets.next()?)?,
            b'=' => return None,
            33..=126 => octet,
            _ => return None,
        };
        (32..=126).contains(&meant).then(|| decoded.push(char::from(meant)))?;
    }
    Some(decoded)
}

/// `EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"` for every character outside ASCII (RFC 6533 §3).
fn in_seven_bits(address: &str) -> String {
    let mut written = String::with_capacity(address.len());
    for character in address.chars() {
        if character.is_ascii() {
            written.push(character);
        } else {
            // Writing into memory does not fail.
            let _ = write!(written, "\\x{{{:X}}}", u32::from(character));
        }
    }
    written
}

/// Only capitals are allowed (RFC 3461 §4).
fn hex_digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

fn to_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if (33..=126).contains(&octet) && octet != b'+' && octet != b'=' {
            encoded.push(char::from(octet));
        } else {
            // Writing into memory does not fail.
            let _ = write!(encoded, "+{octet:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_of_the_standard_are_read() {
        // RFC 3461 §4.1 to §4.4 and its example in §10.
        let on = |success, failure, delay| Notify::On { success, failure, delay };
        for (value, expected) in [
            ("SUCCESS", on(true, false, false)),
            ("failure,Delay", on(false, true, true)),
            ("SUCCESS,FAILURE,DELAY", on(true, true, true)),
            ("NEVER", Notify::Never),
        ] {
            let read = Notify::parse(value).expect(value);
            assert_eq!(read, expected);
            assert_eq!(Notify::from_number(read.to_number()), read);
            assert_eq!(read.value(), Some(value.to_ascii_uppercase()));
        }
        assert_eq!(Notify::from_number(Notify::Unspecified.to_number()), Notify::Unspecified);
        let original = OriginalRecipient::parse("rfc822;Carol@Ivory.EDU").expect("one");
        assert_eq!(original.to_string(), "rfc822;Carol@Ivory.EDU");
        let odd = OriginalRecipient::parse("rfc822;a+2Bb+3Dc+20d@e.example").expect("one");
        assert_eq!(odd.to_string(), "rfc822;a+b=c d@e.example");
        assert_eq!(odd.value(), "rfc822;a+2Bb+3Dc+20d@e.example");
        // RFC 6533 §3: as it is, and in seven bits.
        for value in ["utf-8;josé@bücher.example", r"UTF-8;jos\x{E9}@b\x{FC}cher.example"] {
            let abroad = OriginalRecipient::parse(value).expect(value);
            let kept = abroad.to_string();
            assert_eq!(&kept[6..], r"jos\x{E9}@b\x{FC}cher.example");
            assert_eq!(OriginalRecipient::from_text(&kept), Some(abroad));
        }
        assert_eq!(EnvelopeId::parse("QQ314159").expect("one").as_str(), "QQ314159");
        assert_eq!(Ret::parse("hdrs"), Some(Ret::Headers));
        assert_eq!(Ret::parse("FULL"), Some(Ret::Full));
    }

    #[test]
    fn what_is_no_parameter_is_refused() {
        for value in ["", "ALWAYS", "NEVER,SUCCESS", "SUCCESS,NEVER", "SUCCESS,", ",FAILURE"] {
            assert_eq!(Notify::parse(value), None, "{value:?}");
        }
        for value in ["", "rfc822", ";a@b.example", "rfc822;", "rfc 822;a", "rfc822;a+2b", "x;+0A"]
        {
            assert_eq!(OriginalRecipient::parse(value), None, "{value:?}");
        }
        for value in ["", "a=b", "+", "+2", "+GG", "+0D+0A", "+7F", "+C3", "a b"] {
            assert_eq!(EnvelopeId::parse(value), None, "{value:?}");
        }
        assert_eq!(EnvelopeId::parse(&"a".repeat(100)).map(|id| id.0.len()), Some(100));
        assert_eq!(EnvelopeId::parse(&"a".repeat(101)), None);
        assert!(OriginalRecipient::parse(&format!("rfc822;{}", "a".repeat(493))).is_some());
        assert_eq!(OriginalRecipient::parse(&format!("rfc822;{}", "a".repeat(494))), None);
        assert_eq!(OriginalRecipient::parse("rfc822;josé@b.example"), None, "of another type");
        let most = format!("utf-8;{}", "è".repeat(82));
        assert_eq!(OriginalRecipient::parse(&most).map(|kept| kept.value().len()), Some(498));
        assert_eq!(OriginalRecipient::parse(&format!("{most}è")), None, "too long in seven bits");
        assert_eq!(Ret::parse("FULLY"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[ -~]{1,33}") {
            prop_assert_eq!(from_xtext(&to_xtext(&text)), Some(text.clone()));
            let id = EnvelopeId::from_text(&text).unwrap();
            prop_assert_eq!(EnvelopeId::parse(&id.value()), Some(id));
            let original = OriginalRecipient::from_text(&format!("rfc822;{text}")).unwrap();
            prop_assert_eq!(OriginalRecipient::parse(&original.value()), Some(original));
        }

        #[test]
        fn any_text_is_read_without_panic(text in any::<String>(), number: u32) {
            let _ = (Notify::parse(&text), Ret::parse(&text), EnvelopeId::parse(&text));
            let _ = (OriginalRecipient::parse(&text), EnvelopeId::from_text(&text));
            let notify = Notify::from_number(number);
            prop_assert_eq!(Notify::from_number(notify.to_number()), notify);
        }
    }
}
