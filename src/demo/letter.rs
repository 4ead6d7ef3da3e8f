//! The message that the demo submits, as a mail client would build it: accented text, a PDF, a
//! picture.
//!
//! Lines end in CRLF, none is longer than 76 characters, and the last one is complete, so that a
//! client has no reason to change an octet on the way.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trust::random::RandomSource;

/// Characters of base64 on one line (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;
/// Octets of text in one encoded word: 39 give 52 characters of base64, so that the word with its
/// marks and the field's name stays under the 76 characters of RFC 2047 §2.
const ENCODED_WORD_OCTETS: usize = 39;

/// What the message says.
#[derive(Debug)]
pub(super) struct Letter {
    /// Address of the sender; also the From field.
    pub(super) from: String,
    /// The primary recipient.
    pub(super) to: String,
    /// The recipient in copy.
    pub(super) cc: String,
    /// The subject, any letters.
    pub(super) subject: String,
    /// The text, any letters; paragraphs are divided by empty lines.
    pub(super) text: String,
    /// The Date field, as RFC 5322 §3.3 writes it.
    pub(super) date: String,
    /// Attachments: media type, file name, octets.
    pub(super) attachments: Vec<(&'static str, String, Vec<u8>)>,
}

/// A message as submitted, and the identifier that the client gave it.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) octets: Vec<u8>,
    /// Message-ID with its angle brackets.
    pub(super) message_id: String,
}

impl Letter {
    /// Builds the message.
    pub(super) fn build(&self, random: &dyn RandomSource) -> Submitted {
        let domain = self.from.rsplit('@').next().unwrap_or("localhost");
        let message_id = format!("<demo.{:016x}@{domain}>", random.next_u64());
        let boundary = format!("=_ceralacca_{:016x}", random.next_u64());
        let mut message = String::new();
        let mut line = |text: &str| {
            message.push_str(text);
            message.push_str("\r\n");
        };
        line(&format!("Message-ID: {message_id}"));
        line(&format!("Date: {}", self.date));
        line(&format!("From: {}", self.from));
        line(&format!("To: {}", self.to));
        line(&format!("Cc: {}", self.cc));
        line(&format!("Subject: {}", encoded_words(&self.subject)));
        line("MIME-Version: 1.0");
        line("Content-Type: multipart/mixed;");
        line(&format!(" boundary=\"{boundary}\""));
        line("");
        line(&format!("--{boundary}"));
        line("Content-Type: text/plain; charset=UTF-8");
        line("Content-Transfer-Encoding: quoted-printable");
        line("");
        for text in self.text.lines() {
            for encoded in quoted_printable(text) {
                line(&encoded);
            }
        }
        for (kind, name, octets) in &self.attachments {
            line(&format!("--{boundary}"));
            line(&format!("Content-Type: {kind}; name=\"{name}\""));
            line("Content-Transfer-Encoding: base64");
            line(&format!("Content-Disposition: attachment; filename=\"{name}\""));
            line("");
            for encoded in base64_lines(octets) {
                line(&encoded);
            }
        }
        line(&format!("--{boundary}--"));
        Submitted { octets: message.into_bytes(), message_id }
    }
}

/// `text` as encoded words of UTF-8 in base64, folded (RFC 2047 §2).
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for letter in text.chars() {
        match words.last_mut() {
            // A character is never divided between two words (RFC 2047 §5).
            Some(word) if word.len() + letter.len_utf8() <= ENCODED_WORD_OCTETS => {
                word.push(letter);
            }
            _ => words.push(letter.to_string()),
        }
    }
    let encode = |word: &String| format!("=?UTF-8?B?{}?=", STANDARD.encode(word));
    words.iter().map(encode).collect::<Vec<_>>().join("\r\n ")
}

/// One line of text as lines of quoted-printable (RFC 2045 §6.7).
fn quoted_printable(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let octets = text.as_bytes();
    for (index, octet) in octets.iter().enumerate() {
        let last = index + 1 == octets.len();
        let literal = matches!(octet, b'!'..=b'<' | b'>'..=b'~') || (*octet == b' ' && !last);
        let encoded =
            if literal { char::from(*octet).to_string() } else { format!("={octet:02X}") };
        match lines.last_mut() {
            Some(line) if line.len() + encoded.len() < BASE64_LINE => line.push_str(&encoded),
            Some(line) => {
                line.push('=');
                lines.push(encoded);
            }
            None => lines.push(encoded),
        }
    }
    lines
}

fn base64_lines(octets: &[u8]) -> Vec<String> {
    octets.chunks(BASE64_LINE / 4 * 3).map(|chunk| STANDARD.encode(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    fn letter() -> Letter {
        Letter {
            from: "anna@pec.alfa.example".into(),
            to: "bruno@pec.beta.example".into(),
            cc: "carla@pec.beta.example".into(),
            subject: "Perizia di stabilità: così è, perché più sicurezza non c'è né può esserci"
                .into(),
            text: "Città, perché, più.\n\nFine.".into(),
            date: "Sat, 21 Nov 2026 10:00:00 +0100".into(),
            attachments: vec![("application/pdf", "perizia.pdf".into(), vec![0xFF; 1000])],
        }
    }

    #[test]
    fn every_line_ends_in_crlf_is_ascii_and_at_most_78_characters() {
        let octets = letter().build(&SeededRandom::new(1)).octets;
        assert!(octets.is_ascii());
        assert!(octets.ends_with(b"\r\n"));
        let text = String::from_utf8(octets).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines.iter().all(|line| !line.contains(['\r', '\n']) && line.len() <= 78));
    }

    #[test]
    fn quoted_printable_escapes_what_mail_may_change() {
        assert_eq!(quoted_printable("è = "), ["=C3=A8 =3D=20"]);
        assert_eq!(quoted_printable(""), [""]);
        let long = quoted_printable(&"à".repeat(40));
        assert!(long.iter().all(|line| line.len() <= 76));
        let (last, earlier) = long.split_last().unwrap();
        assert!(earlier.iter().all(|line| line.ends_with('=')));
        assert!(!last.ends_with('='));
    }

    #[test]
    fn encoded_words_never_divide_a_character() {
        let words = encoded_words(&"è".repeat(60));
        for word in words.split("\r\n ") {
            assert!(word.len() <= 75);
            let base64 = word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap();
            String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap();
        }
    }
}
