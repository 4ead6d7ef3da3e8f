//! Writes certification data in the order of the grammar.

use super::{CertificationData, Event};
use crate::pec::facts::RecipientKind;

impl CertificationData {
    /// The octets of `daticert.xml`: UTF-8 with declaration, without document type, line ends
    /// CR LF. Characters that XML 1.0 cannot hold become U+FFFD.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = Xml { text: String::with_capacity(1024 + self.facts.recipients.len() * 64) };
        xml.line("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        let (kind, error) = (self.event.kind(), self.event.error());
        xml.line(&format!("<postacert tipo=\"{kind}\" errore=\"{error}\">"));
        self.write_heading(&mut xml);
        self.write_data(&mut xml);
        xml.line("</postacert>");
        xml.text.into_bytes()
    }

    fn write_heading(&self, xml: &mut Xml) {
        xml.line("<intestazione>");
        xml.element("mittente", &self.facts.sender);
        for recipient in &self.facts.recipients {
            let kind = match recipient.kind {
                RecipientKind::Certified => "certificato",
                RecipientKind::External => "esterno",
            };
            xml.element_with("destinatari", "tipo", kind, &recipient.address);
        }
        xml.element("risposte", &self.facts.reply_to);
        xml.optional("oggetto", self.facts.subject.as_deref());
        xml.line("</intestazione>");
    }

    fn write_data(&self, xml: &mut Xml) {
        xml.line("<dati>");
        xml.element("gestore-emittente", &self.issuer);
        xml.line(&format!("<data zona=\"{}\">", escaped(&self.stamp.zone)));
        xml.element("giorno", &self.stamp.day);
        xml.element("ora", &self.stamp.time);
        xml.line("</data>");
        xml.element("identificativo", self.facts.identifier.as_str());
        xml.optional("msgid", self.facts.message_id.as_deref());
        if let Some(receipt) = self.event.receipt() {
            xml.line(&format!("<ricevuta tipo=\"{}\"/>", receipt.as_str()));
        }
        xml.optional("consegna", self.event.recipient());
        if let Event::TakeCharge { recipients } = &self.event {
            for recipient in recipients {
                xml.element("ricezione", recipient);
            }
        }
        xml.optional("errore-esteso", self.event.detail());
        xml.line("</dati>");
    }
}

struct Xml {
    text: String,
}

impl Xml {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push_str("\r\n");
    }

    fn element(&mut self, name: &str, content: &str) {
        self.line(&format!("<{name}>{}</{name}>", escaped(content)));
    }

    fn element_with(&mut self, name: &str, attribute: &str, value: &str, content: &str) {
        let (value, content) = (escaped(value), escaped(content));
        self.line(&format!("<{name} {attribute}=\"{value}\">{content}</{name}>"));
    }

    fn optional(&mut self, name: &str, content: Option<&str>) {
        if let Some(content) = content {
            self.element(name, content);
        }
    }
}

/// Escapes markup, quotes and the line ends that a reader would normalise; replaces what is not a
/// `Char` of XML 1.0 §2.2.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\t' => escaped.push_str("&#9;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
