//! A message as its reader opens it, and messages as senders write them.

use ceralacca::pec::{
    classify::{PecMessage, classify},
    daticert::CertificationData,
    encoded_word::decode,
    header::Header,
    mime::Entity,
};
use trust::{
    certificate::Certificate,
    clock::UnixMillis,
    smime::{structure::find_signed, verify::Verifier},
};

/// A signed message of some provider, opened.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) octets: Vec<u8>,
    pub(crate) header: Header,
    pub(crate) entity: Vec<u8>,
    /// Whose signature it has.
    pub(crate) signer: Certificate,
    message: PecMessage,
}

impl Letter {
    /// Opens a message whose signature must be valid: nothing leaves unsigned (RFC 6109 §2.1).
    pub(crate) fn open(octets: Vec<u8>, verifier: &Verifier, now: UnixMillis) -> Self {
        let signed = find_signed(&octets).expect("a signed message");
        let entity = octets[signed.entity].to_vec();
        let found = verifier.verify(&entity, &signed.signature, now).expect("a valid signature");
        let (header, _) = Header::parse(&octets).expect("a header");
        let message = classify(&header, &entity);
        Self { octets, header, entity, signer: found.signer, message }
    }

    /// The marker of RFC 6109 §2.1.1: what X-Trasporto or X-Ricevuta says; `report` for a delivery
    /// status notification, which has none.
    pub(crate) fn kind(&self) -> String {
        if self.status_fields().is_some() {
            return "report".to_owned();
        }
        let marker = self.header.text("X-Trasporto").or_else(|| self.header.text("X-Ricevuta"));
        marker.expect("a marker")
    }

    pub(crate) fn subject(&self) -> String {
        decode(&self.header.value("Subject").expect("a subject"))
    }

    pub(crate) fn data(&self) -> &CertificationData {
        match &self.message {
            PecMessage::TransportEnvelope(envelope) => &envelope.data,
            PecMessage::Receipt(notice) => &notice.data,
            PecMessage::Malformed(reason) => panic!("no certification data: {reason}"),
        }
    }

    /// The included message.
    pub(crate) fn included(&self) -> Option<&[u8]> {
        self.part("message/rfc822")
    }

    /// The part of this type.
    pub(crate) fn part(&self, kind: &str) -> Option<&[u8]> {
        let octets = self.entity.as_slice();
        let entity = Entity::parse(octets, 0..octets.len()).expect("an entity");
        entity.parts(octets)?.into_iter().find_map(|part| {
            let part = Entity::parse(octets, part).expect("a part");
            (part.content_type().value == kind).then(|| &octets[part.body])
        })
    }

    /// The fields of a delivery status notification (RFC 3464 §2.1.1).
    pub(crate) fn status_fields(&self) -> Option<String> {
        let octets = self.part("message/delivery-status")?;
        Some(String::from_utf8(octets.to_vec()).expect("ASCII"))
    }
}

/// The kinds of `letters`, sorted.
pub(crate) fn kinds(letters: &[Letter]) -> Vec<String> {
    let mut kinds: Vec<String> = letters.iter().map(Letter::kind).collect();
    kinds.sort();
    kinds
}

/// A message of a sender; `fields` are whole lines.
pub(crate) fn written(from: &str, to: &str, fields: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "From: {from}\r\nTo: {to}\r\n{fields}Subject: Offerta\r\nMessage-ID: <1@client.example>\r\n\
         \r\n{body}\r\n"
    );
    text.into_bytes()
}

/// `message` with its Message-ID as `write` writes it; that one is handed in without brackets.
pub(crate) fn renamed(message: &[u8], write: impl Fn(&str) -> String) -> Vec<u8> {
    let text = format!("\n{}", std::str::from_utf8(message).expect("UTF-8"));
    let (before, rest) = text.split_once("\nMessage-ID: <").expect("a Message-ID");
    let (id, after) = rest.split_once('>').expect("its end");
    format!("{before}\nMessage-ID: {}{after}", write(id)).as_bytes()[1..].to_vec()
}
