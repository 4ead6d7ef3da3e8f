//! The texts of receipts, notices and envelopes, for people only (RFC 6109 §4.2, §4.3.1).
//!
//! They are legal texts and therefore Italian. Each is a heading and paragraphs, rendered twice
//! with the same information: as plain text and as HTML without any reference. Programs read the
//! certification data, never these.
//!
//! Invariant: both renderings are ISO-8859-1, as the rule asks. HTML keeps every character by
//! reference; plain text falls back to a near sign, else to `?`.

use super::{
    facts::{Recipient, RecipientKind, TransmissionFacts},
    instant::CertifiedInstant,
};

/// A heading and paragraphs, each of one or more lines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Text {
    pub(super) heading: &'static str,
    pub(super) paragraphs: Vec<Vec<String>>,
}

impl Text {
    /// The plain rendering in ISO-8859-1, line ends CR LF.
    pub(super) fn plain(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.heading);
        for paragraph in &self.paragraphs {
            text.push_str("\r\n");
            for line in paragraph {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        latin1(&text)
    }

    /// The HTML rendering in ISO-8859-1, line ends CR LF.
    pub(super) fn html(&self) -> Vec<u8> {
        let heading = html_escaped(self.heading);
        let mut html = format!(
            "<html lang=\"it\">\r\n<head><title>{heading}</title></head>\r\n<body>\r\n\
             <h3>{heading}</h3>\r\n<hr>\r\n"
        );
        for paragraph in &self.paragraphs {
            let lines: Vec<String> = paragraph.iter().map(|line| html_escaped(line)).collect();
            html.push_str(&format_args!("<p>{}</p>\r\n", lines.join("<br>\r\n")).to_string());
        }
        html.push_str("</body>\r\n</html>\r\n");
        latin1(&html)
    }
}

/// `Il giorno dd/mm/yyyy alle ore hh:mm:ss (zone)`, the opening of every text.
pub(super) fn opening(at: &CertifiedInstant) -> String {
    format!("Il giorno {} alle ore {} ({})", at.day(), at.time(), at.zone())
}

/// The original's subject in quotes.
pub(super) fn subject(facts: &TransmissionFacts) -> String {
    format!("\"{}\"", facts.subject.as_deref().unwrap_or_default())
}

/// One line for each recipient.
pub(super) fn recipients(recipients: &[Recipient]) -> Vec<String> {
    recipients.iter().map(|recipient| recipient.address.clone()).collect()
}

/// One line for each recipient, with its kind (RFC 6109 §3.1.4).
pub(super) fn recipients_with_kinds(recipients: &[Recipient]) -> Vec<String> {
    recipients
        .iter()
        .map(|recipient| match recipient.kind {
            RecipientKind::Certified => format!("{} (\"posta certificata\")", recipient.address),
            RecipientKind::External => format!("{} (\"posta ordinaria\")", recipient.address),
        })
        .collect()
}

/// The last line of every text but that of the anomaly envelope.
pub(super) fn identifier(facts: &TransmissionFacts) -> Vec<String> {
    vec![format!("Identificativo messaggio: {}", facts.identifier)]
}

fn html_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            _ if latin1_octet(character).is_some() => escaped.push(character),
            _ if character.is_control() => escaped.push(' '),
            _ => escaped.extend(format!("&#{};", u32::from(character)).chars()),
        }
    }
    escaped
}

/// ISO-8859-1 without its control characters above 127.
fn latin1_octet(character: char) -> Option<u8> {
    u8::try_from(u32::from(character)).ok().filter(|octet| !matches!(octet, 0x7f..=0x9f))
}

fn latin1(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    for character in text.chars() {
        match latin1_octet(character) {
            Some(octet) => octets.push(octet),
            None => octets.extend_from_slice(near_sign(character).as_bytes()),
        }
    }
    octets
}

/// What old western mail writes for a sign that ISO-8859-1 lacks.
fn near_sign(character: char) -> &'static str {
    match character {
        '‘' | '’' | '‚' | '‛' | '′' => "'",
        '“' | '”' | '„' | '″' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '−' => "-",
        '…' => "...",
        '•' => "*",
        '€' => "EUR",
        '™' => "(TM)",
        '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => " ",
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => "",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_outside_latin_1_fall_back_in_text_and_stay_in_html() {
        let text = Text {
            heading: "Prova",
            paragraphs: vec![vec!["l’Università “A” – 5 € 日".to_owned(), "<b>&\u{85}".to_owned()]],
        };
        assert_eq!(text.plain(), b"Prova\r\n\r\nl'Universit\xe0 \"A\" - 5 EUR ?\r\n<b>&?\r\n");
        let html: String = text.html().into_iter().map(char::from).collect();
        assert!(
            html.contains(
                "<p>l&#8217;Università &#8220;A&#8221; &#8211; 5 &#8364; &#26085;<br>\r\n&lt;b&gt;&amp; </p>"
            ),
            "{html}"
        );
    }
}
