//! Reads certification data that another provider wrote: first a small bounded tree, then the
//! tree in the order of the grammar.
//!
//! Document types and entity declarations are refused before anything is expanded; comments and
//! processing instructions are passed over; white space around texts is not part of them.

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event as XmlEvent},
};

use super::{CertificationData, DeliveryFailure, Event, RefusalCause, Stamp};
use crate::pec::{
    facts::{ReceiptType, Recipient, RecipientKind, TransmissionFacts},
    identifier::PecIdentifier,
};

/// Octets a `daticert.xml` may have: enough for some ten thousand recipients.
pub const DATICERT_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// How deep elements nest in the grammar.
const DEPTH_MAX: usize = 4;

/// Why octets are not certification data.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DaticertFault {
    /// More than [`DATICERT_OCTETS_MAX`] octets.
    #[error("certification data have more than {DATICERT_OCTETS_MAX} octets")]
    TooLong,
    /// Not UTF-8, which the rules ask for.
    #[error("certification data are not UTF-8")]
    NotUtf8,
    /// Not well-formed XML.
    #[error("certification data are not well-formed XML: {0}")]
    Xml(String),
    /// A document type or an entity that is not one of XML's own.
    #[error("certification data declare or use entities")]
    Entities,
    /// An element is missing, repeated, unknown or out of order.
    #[error("certification data do not follow the grammar at element `{0}`")]
    Grammar(String),
    /// An attribute or a text has a value outside the grammar.
    #[error("`{value}` is no value of `{place}`")]
    Value {
        /// Element or attribute.
        place: &'static str,
        /// What stood there.
        value: String,
    },
}

impl CertificationData {
    /// Reads the octets of a `daticert.xml`.
    pub fn from_xml(octets: &[u8]) -> Result<Self, DaticertFault> {
        let root = tree(octets)?;
        if root.name != "postacert" {
            return Err(DaticertFault::Grammar(root.name));
        }
        let mut children = Children::of(&root);
        let heading = children.one("intestazione")?;
        let data = children.one("dati")?;
        children.end()?;
        read_data(&root, heading, data)
    }
}

struct Node {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
    text: String,
}

impl Node {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.trim())
    }

    /// The text of an element without children.
    fn text(&self) -> Result<String, DaticertFault> {
        match self.children.first() {
            None => Ok(self.text.trim().to_owned()),
            Some(child) => Err(DaticertFault::Grammar(child.name.clone())),
        }
    }
}

/// `Char` of XML 1.0 §2.2: what is read can be written.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn tree(octets: &[u8]) -> Result<Node, DaticertFault> {
    if octets.len() > DATICERT_OCTETS_MAX {
        return Err(DaticertFault::TooLong);
    }
    let text = str::from_utf8(octets).map_err(|_| DaticertFault::NotUtf8)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let malformed = |error: &dyn std::fmt::Display| DaticertFault::Xml(error.to_string());
    let mut open: Vec<Node> = Vec::new();
    let mut root = None;
    loop {
        let event = reader.read_event().map_err(|error| malformed(&error))?;
        let (piece, closed) = match event {
            XmlEvent::Start(start) => {
                if open.len() >= DEPTH_MAX {
                    return Err(DaticertFault::Grammar(start.name().as_ref().to_owned()));
                }
                open.push(node(&start)?);
                continue;
            }
            XmlEvent::Empty(start) => (String::new(), Some(node(&start)?)),
            XmlEvent::End(_) => (String::new(), open.pop()),
            XmlEvent::Text(text) => (text.xml10_content().into_owned(), None),
            XmlEvent::CData(text) => (text.xml10_content().into_owned(), None),
            XmlEvent::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| malformed(&error))?;
                (
                    character
                        .or_else(|| own_entity(&reference))
                        .ok_or(DaticertFault::Entities)?
                        .into(),
                    None,
                )
            }
            XmlEvent::DocType(_) => return Err(DaticertFault::Entities),
            XmlEvent::Comment(_) | XmlEvent::PI(_) | XmlEvent::Decl(_) => continue,
            XmlEvent::Eof => break,
        };
        if !piece.chars().all(is_allowed) {
            return Err(DaticertFault::Xml("a character that XML does not have".to_owned()));
        }
        match (closed, open.last_mut()) {
            (Some(node), Some(parent)) => parent.children.push(node),
            (Some(node), None) if root.is_none() => root = Some(node),
            (Some(node), None) => return Err(DaticertFault::Grammar(node.name)),
            (None, Some(parent)) => parent.text.push_str(&piece),
            (None, None) if piece.trim().is_empty() => {}
            (None, None) => return Err(DaticertFault::Xml("text outside the root".to_owned())),
        }
    }
    match (root, open.last()) {
        (Some(root), None) => Ok(root),
        (_, Some(node)) => Err(DaticertFault::Grammar(node.name.clone())),
        (None, None) => Err(DaticertFault::Xml("no root element".to_owned())),
    }
}

fn own_entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

fn node(start: &BytesStart<'_>) -> Result<Node, DaticertFault> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| DaticertFault::Xml(error.to_string()))?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| DaticertFault::Xml(error.to_string()))?;
        attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    let name = start.name().as_ref().to_owned();
    Ok(Node { name, attributes, children: Vec::new(), text: String::new() })
}

/// The children of one element, taken in the order of the grammar.
struct Children<'a> {
    rest: std::iter::Peekable<std::slice::Iter<'a, Node>>,
    parent: &'a str,
}

impl<'a> Children<'a> {
    fn of(node: &'a Node) -> Self {
        Self { rest: node.children.iter().peekable(), parent: &node.name }
    }

    fn optional(&mut self, name: &str) -> Option<&'a Node> {
        self.rest.next_if(|node| node.name == name)
    }

    fn one(&mut self, name: &str) -> Result<&'a Node, DaticertFault> {
        self.optional(name).ok_or_else(|| match self.rest.peek() {
            Some(node) => DaticertFault::Grammar(node.name.clone()),
            None => DaticertFault::Grammar(self.parent.to_owned()),
        })
    }

    fn end(&mut self) -> Result<(), DaticertFault> {
        self.rest.next().map_or(Ok(()), |node| Err(DaticertFault::Grammar(node.name.clone())))
    }
}

fn read_recipient(node: &Node) -> Result<Recipient, DaticertFault> {
    let kind = match node.attribute("tipo") {
        None | Some("certificato") => RecipientKind::Certified,
        Some("esterno") => RecipientKind::External,
        Some(value) => {
            return Err(DaticertFault::Value {
                place: "destinatari/@tipo",
                value: value.to_owned(),
            });
        }
    };
    Ok(Recipient { address: node.text()?, kind })
}

fn read_data(root: &Node, heading: &Node, data: &Node) -> Result<CertificationData, DaticertFault> {
    let mut children = Children::of(heading);
    let sender = children.one("mittente")?.text()?;
    let mut recipients = vec![read_recipient(children.one("destinatari")?)?];
    while let Some(node) = children.optional("destinatari") {
        recipients.push(read_recipient(node)?);
    }
    let reply_to = children.one("risposte")?.text()?;
    let subject = children.optional("oggetto").map(Node::text).transpose()?;
    children.end()?;

    let mut children = Children::of(data);
    let issuer = children.one("gestore-emittente")?.text()?;
    let stamp = read_stamp(children.one("data")?)?;
    let identifier = children.one("identificativo")?.text()?;
    let identifier = PecIdentifier::from_text(&identifier)
        .ok_or(DaticertFault::Value { place: "identificativo", value: identifier })?;
    let message_id = children.optional("msgid").map(Node::text).transpose()?;
    let event = read_event(root, &mut children)?;
    children.end()?;
    let facts = TransmissionFacts { identifier, sender, recipients, reply_to, subject, message_id };
    Ok(CertificationData { facts, issuer, stamp, event })
}

fn read_stamp(node: &Node) -> Result<Stamp, DaticertFault> {
    let mut children = Children::of(node);
    let day = children.one("giorno")?.text()?;
    let time = children.one("ora")?.text()?;
    children.end()?;
    let zone = node.attribute("zona").unwrap_or_default().to_owned();
    for (place, value, shape) in
        [("giorno", &day, "00/00/0000"), ("ora", &time, "00:00:00"), ("data/@zona", &zone, "+0000")]
    {
        if !has_shape(value, shape) {
            return Err(DaticertFault::Value { place, value: value.clone() });
        }
    }
    Ok(Stamp { day, time, zone })
}

/// Whether `value` is written as `shape`, where `0` is any digit and `+` either sign.
fn has_shape(value: &str, shape: &str) -> bool {
    value.len() == shape.len()
        && value.bytes().zip(shape.bytes()).all(|(octet, model)| match model {
            b'0' => octet.is_ascii_digit(),
            b'+' => matches!(octet, b'+' | b'-'),
            _ => octet == model,
        })
}

fn read_event(root: &Node, children: &mut Children<'_>) -> Result<Event, DaticertFault> {
    let receipt = match children.optional("ricevuta") {
        None => None,
        Some(node) => {
            let value = node.attribute("tipo").unwrap_or_default();
            Some(ReceiptType::from_text(value).ok_or_else(|| DaticertFault::Value {
                place: "ricevuta/@tipo",
                value: value.to_owned(),
            })?)
        }
    };
    let recipient = children.optional("consegna").map(Node::text).transpose()?;
    let mut taken = Vec::new();
    while let Some(node) = children.optional("ricezione") {
        taken.push(node.text()?);
    }
    let detail = children.optional("errore-esteso").map(Node::text).transpose()?;
    let error = root.attribute("errore").unwrap_or("nessuno");
    if !["nessuno", "no-dest", "no-dominio", "virus", "altro"].contains(&error) {
        return Err(DaticertFault::Value { place: "postacert/@errore", value: error.to_owned() });
    }
    let named = |recipient: Option<String>| {
        recipient.ok_or_else(|| DaticertFault::Grammar("dati".to_owned()))
    };
    let kind = root.attribute("tipo").unwrap_or_default();
    Ok(match kind {
        "accettazione" => Event::Acceptance,
        "non-accettazione" if error == "virus" => {
            Event::NonAcceptance { cause: RefusalCause::Virus, detail }
        }
        "non-accettazione" => Event::NonAcceptance { cause: RefusalCause::Formal, detail },
        "posta-certificata" => Event::TransportEnvelope { receipt: receipt.unwrap_or_default() },
        "presa-in-carico" if taken.is_empty() => {
            return Err(DaticertFault::Grammar("dati".to_owned()));
        }
        "presa-in-carico" => Event::TakeCharge { recipients: taken },
        "avvenuta-consegna" => {
            Event::Delivery { receipt: receipt.unwrap_or_default(), recipient: named(recipient)? }
        }
        "errore-consegna" => {
            let cause = match error {
                "no-dest" => DeliveryFailure::NoRecipient,
                "no-dominio" => DeliveryFailure::NoDomain,
                "virus" => DeliveryFailure::Virus,
                _ => DeliveryFailure::Other,
            };
            Event::DeliveryError { cause, recipient: named(recipient)?, detail }
        }
        "preavviso-errore-consegna" => Event::TimeLimit { recipient, detail },
        "rilevazione-virus" => Event::VirusDetection { recipient, detail },
        value => {
            return Err(DaticertFault::Value { place: "postacert/@tipo", value: value.to_owned() });
        }
    })
}
