//! The rows of the rules, each a test with the row in its name; `docs/pec_rules.md` is the list.
//!
//! Not here: rows that need an engine, mailboxes or a peer (`tests/engine`, `tests/foreign_peer`).

mod catalogue;
mod data;
mod envelopes;
mod receipts;
mod structure;
mod submission;

use ceralacca::pec::{
    encoded_word::decode,
    header::Header,
    issuer::Unsealed,
    mime::{Entity, Structured},
};

/// The subject of the submission, as it is read.
const SUBJECT: &str = "Offerta per la città";
const SENDER: &str = "anna@alfa.example";
const RECIPIENT: &str = "bruno@beta.example";
const COPY: &str = "carla@gamma.example";
const SERVICE: &str = "posta-certificata@pec.alfa.example";
const MESSAGE_ID: &str = "<1.2@client.alfa.example>";

/// A generated message, taken apart.
struct Opened {
    header: Header,
    /// The text, its HTML form, the certification data, the included message: as far as they are there.
    parts: Vec<Part>,
}

/// A part without others in it.
struct Part {
    kind: String,
    content_type: Structured,
    disposition: Structured,
    encoding: String,
    /// As it stands.
    raw: Vec<u8>,
    /// Without its transfer encoding.
    content: Vec<u8>,
}

impl Opened {
    fn new(unsealed: &Unsealed) -> Self {
        let (header, _) = Header::parse(&unsealed.header).expect("a header");
        let mut parts = Vec::new();
        leaves(&unsealed.entity, 0..unsealed.entity.len(), &mut parts);
        Self { header, parts }
    }

    /// The names of the header, in order.
    fn names(&self) -> Vec<&str> {
        self.header.fields().iter().map(ceralacca::pec::header::Field::name).collect()
    }

    fn value(&self, name: &str) -> Option<String> {
        self.header.value(name).map(|value| decode(&value))
    }

    fn part(&self, kind: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind)
    }

    fn xml(&self) -> String {
        let part = self.part("application/xml").expect("certification data");
        String::from_utf8(part.content.clone()).expect("UTF-8")
    }

    fn included(&self) -> Option<&[u8]> {
        self.part("message/rfc822").map(|part| part.raw.as_slice())
    }

    /// The text for people; ISO-8859-1.
    fn text(&self, kind: &str) -> String {
        let part = self.part(kind).expect("a text");
        part.content.iter().map(|octet| char::from(*octet)).collect()
    }
}

fn leaves(octets: &[u8], range: std::ops::Range<usize>, found: &mut Vec<Part>) {
    let entity = Entity::parse(octets, range).expect("an entity");
    if let Some(parts) = entity.parts(octets) {
        for part in parts {
            leaves(octets, part, found);
        }
        return;
    }
    found.push(Part {
        kind: entity.content_type().value,
        content_type: entity.content_type(),
        disposition: entity.disposition(),
        encoding: entity.transfer_encoding(),
        raw: octets[entity.body.clone()].to_vec(),
        content: entity.decoded_body(octets).unwrap_or_default(),
    });
}

/// What stands between the tags of an element, for each time that it is there.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find(&open) {
        rest = &rest[at + open.len()..];
        let Some((attributes, after)) = rest.split_once('>') else { break };
        // Not the beginning of a longer name.
        if !attributes.is_empty() && !attributes.starts_with([' ', '/']) {
            continue;
        }
        if attributes.ends_with('/') {
            found.push("");
        } else {
            found.push(after.split_once(&close).expect("an end").0);
        }
    }
    found
}
