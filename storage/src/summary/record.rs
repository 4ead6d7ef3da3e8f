//! The record of a summary.
//!
//! ```text
//! framed record (`record`) of version 1, fields:
//! 1 uint64 octets of the message      2 message envelope      3 message body part
//! 4 string preview            5 bool the message was erased       6 bytes references
//!
//! envelope:    1 bytes date  2 bytes subject  3..8 address*: from, sender, reply-to, to, cc, bcc
//!              9 bytes in-reply-to  10 bytes message-id
//! address:     1 bytes name  2 bytes route  3 bytes mailbox  4 bytes host
//! body part:   1 uint64 header offset  2 uint64 body offset  3 uint64 body octets
//!              4 uint64 body lines  5 bytes type  6 bytes subtype  7 parameter*
//!              8 bytes content-id  9 bytes description  10 bytes encoding  11 bytes md5
//!              12 message disposition  13 bytes* languages  14 bytes location
//!              15 body part* parts  16 message envelope of an embedded message
//! parameter:   1 bytes name  2 bytes value
//! disposition: 1 bytes kind  2 parameter*
//! ```
//!
//! A field that is absent in the message is absent here; an empty one is present and empty.

use prost::Message;

use super::{Address, BodyPart, Disposition, Envelope, Parameter, Summary};
use crate::{error::StoreError, record};

const VERSION: u8 = 1;

#[derive(Clone, PartialEq, Eq, Message)]
struct SummaryFields {
    #[prost(uint64, tag = "1")]
    size: u64,
    #[prost(message, optional, tag = "2")]
    envelope: Option<EnvelopeFields>,
    #[prost(message, optional, tag = "3")]
    body: Option<BodyPartFields>,
    #[prost(string, tag = "4")]
    preview: String,
    #[prost(bool, tag = "5")]
    erased: bool,
    #[prost(bytes = "vec", optional, tag = "6")]
    references: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct EnvelopeFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    date: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    subject: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    from: Vec<AddressFields>,
    #[prost(message, repeated, tag = "4")]
    sender: Vec<AddressFields>,
    #[prost(message, repeated, tag = "5")]
    reply_to: Vec<AddressFields>,
    #[prost(message, repeated, tag = "6")]
    to: Vec<AddressFields>,
    #[prost(message, repeated, tag = "7")]
    cc: Vec<AddressFields>,
    #[prost(message, repeated, tag = "8")]
    bcc: Vec<AddressFields>,
    #[prost(bytes = "vec", optional, tag = "9")]
    in_reply_to: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    message_id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct AddressFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    name: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    route: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    mailbox: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    host: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct BodyPartFields {
    #[prost(uint64, tag = "1")]
    header_offset: u64,
    #[prost(uint64, tag = "2")]
    body_offset: u64,
    #[prost(uint64, tag = "3")]
    body_octets: u64,
    #[prost(uint64, tag = "4")]
    body_lines: u64,
    #[prost(bytes = "vec", tag = "5")]
    media_type: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    media_subtype: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    parameters: Vec<ParameterFields>,
    #[prost(bytes = "vec", optional, tag = "8")]
    content_id: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    description: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    encoding: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "11")]
    md5: Option<Vec<u8>>,
    #[prost(message, optional, tag = "12")]
    disposition: Option<DispositionFields>,
    #[prost(bytes = "vec", repeated, tag = "13")]
    languages: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "14")]
    location: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "15")]
    parts: Vec<Self>,
    #[prost(message, optional, tag = "16")]
    embedded_envelope: Option<EnvelopeFields>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ParameterFields {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct DispositionFields {
    #[prost(bytes = "vec", tag = "1")]
    kind: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    parameters: Vec<ParameterFields>,
}

impl Summary {
    /// The record's octets.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fields = SummaryFields {
            size: self.size,
            envelope: Some((&self.envelope).into()),
            body: Some((&self.body).into()),
            preview: self.preview.clone(),
            erased: self.erased,
            references: self.references.clone(),
        };
        record::encode(VERSION, &fields)
    }

    /// Reads a record; `object` names it in errors ("message 7 of account 3").
    pub fn decode(octets: &[u8], object: impl Fn() -> String) -> Result<Self, StoreError> {
        let fields: SummaryFields =
            record::decode(octets, VERSION, || format!("the summary of {}", object()))?;
        Ok(Self {
            size: fields.size,
            envelope: fields.envelope.unwrap_or_default().into(),
            body: fields.body.unwrap_or_default().into(),
            preview: fields.preview,
            erased: fields.erased,
            references: fields.references,
        })
    }
}

fn all<'a, T, U: From<&'a T>>(from: &'a [T]) -> Vec<U> {
    from.iter().map(U::from).collect()
}

fn all_owned<T, U: From<T>>(from: Vec<T>) -> Vec<U> {
    from.into_iter().map(U::from).collect()
}

impl From<&Envelope> for EnvelopeFields {
    fn from(envelope: &Envelope) -> Self {
        Self {
            date: envelope.date.clone(),
            subject: envelope.subject.clone(),
            from: all(&envelope.from),
            sender: all(&envelope.sender),
            reply_to: all(&envelope.reply_to),
            to: all(&envelope.to),
            cc: all(&envelope.cc),
            bcc: all(&envelope.bcc),
            in_reply_to: envelope.in_reply_to.clone(),
            message_id: envelope.message_id.clone(),
        }
    }
}

impl From<EnvelopeFields> for Envelope {
    fn from(fields: EnvelopeFields) -> Self {
        Self {
            date: fields.date,
            subject: fields.subject,
            from: all_owned(fields.from),
            sender: all_owned(fields.sender),
            reply_to: all_owned(fields.reply_to),
            to: all_owned(fields.to),
            cc: all_owned(fields.cc),
            bcc: all_owned(fields.bcc),
            in_reply_to: fields.in_reply_to,
            message_id: fields.message_id,
        }
    }
}

impl From<&Address> for AddressFields {
    fn from(address: &Address) -> Self {
        Self {
            name: address.name.clone(),
            route: address.route.clone(),
            mailbox: address.mailbox.clone(),
            host: address.host.clone(),
        }
    }
}

impl From<AddressFields> for Address {
    fn from(fields: AddressFields) -> Self {
        Self { name: fields.name, route: fields.route, mailbox: fields.mailbox, host: fields.host }
    }
}

impl From<&BodyPart> for BodyPartFields {
    fn from(part: &BodyPart) -> Self {
        Self {
            header_offset: part.header_offset,
            body_offset: part.body_offset,
            body_octets: part.body_octets,
            body_lines: part.body_lines,
            media_type: part.media_type.clone(),
            media_subtype: part.media_subtype.clone(),
            parameters: all(&part.parameters),
            content_id: part.content_id.clone(),
            description: part.description.clone(),
            encoding: part.encoding.clone(),
            md5: part.md5.clone(),
            disposition: part.disposition.as_ref().map(Into::into),
            languages: part.languages.clone(),
            location: part.location.clone(),
            parts: all(&part.parts),
            embedded_envelope: part.embedded_envelope.as_deref().map(Into::into),
        }
    }
}

impl From<BodyPartFields> for BodyPart {
    fn from(fields: BodyPartFields) -> Self {
        Self {
            header_offset: fields.header_offset,
            body_offset: fields.body_offset,
            body_octets: fields.body_octets,
            body_lines: fields.body_lines,
            media_type: fields.media_type,
            media_subtype: fields.media_subtype,
            parameters: all_owned(fields.parameters),
            content_id: fields.content_id,
            description: fields.description,
            encoding: fields.encoding,
            md5: fields.md5,
            disposition: fields.disposition.map(Into::into),
            languages: fields.languages,
            location: fields.location,
            parts: all_owned(fields.parts),
            embedded_envelope: fields.embedded_envelope.map(|envelope| Box::new(envelope.into())),
        }
    }
}

impl From<&Parameter> for ParameterFields {
    fn from((name, value): &Parameter) -> Self {
        Self { name: name.clone(), value: value.clone() }
    }
}

impl From<ParameterFields> for Parameter {
    fn from(ParameterFields { name, value }: ParameterFields) -> Self {
        (name, value)
    }
}

impl From<&Disposition> for DispositionFields {
    fn from(disposition: &Disposition) -> Self {
        Self { kind: disposition.kind.clone(), parameters: all(&disposition.parameters) }
    }
}

impl From<DispositionFields> for Disposition {
    fn from(fields: DispositionFields) -> Self {
        Self { kind: fields.kind, parameters: all_owned(fields.parameters) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn envelope() -> Envelope {
        let address = |mailbox: &str| Address {
            name: Some(octets("Anna")),
            route: Some(octets("@relay.example")),
            mailbox: Some(octets(mailbox)),
            host: Some(octets("example.test")),
        };
        Envelope {
            date: Some(octets("Sat, 21 Nov 2026 10:00:00 +0100")),
            subject: Some(octets("")),
            from: vec![address("from")],
            sender: vec![address("sender")],
            reply_to: vec![address("reply")],
            to: vec![address("to"), Address::default()],
            cc: vec![address("cc")],
            bcc: vec![address("bcc")],
            in_reply_to: Some(octets("<1@example.test>")),
            message_id: Some(octets("<2@example.test>")),
        }
    }

    fn sample() -> Summary {
        let parameters = vec![(b"name".to_vec(), b"\xe0.pdf".to_vec())];
        let part = BodyPart {
            header_offset: 10,
            body_offset: 20,
            body_octets: 30,
            body_lines: 4,
            media_type: b"message".to_vec(),
            media_subtype: b"rfc822".to_vec(),
            parameters: parameters.clone(),
            content_id: Some(octets("<3@example.test>")),
            description: Some(octets("original")),
            encoding: Some(octets("8bit")),
            md5: Some(octets("Q2hlY2sgSW50ZWdyaXR5IQ==")),
            disposition: Some(Disposition { kind: b"attachment".to_vec(), parameters }),
            languages: vec![b"it".to_vec(), b"en".to_vec()],
            location: Some(octets("http://example.test/")),
            parts: Vec::new(),
            embedded_envelope: Some(Box::new(envelope())),
        };
        let body = BodyPart { parts: vec![part.clone(), part], ..BodyPart::default() };
        Summary {
            size: 1 << 40,
            envelope: envelope(),
            body,
            references: Some(octets("<1@example.test> <0@example.test>")),
            preview: "È arrivata".into(),
            erased: true,
        }
    }

    #[test]
    fn every_field_of_a_summary_survives_the_record() {
        let summary = sample();
        assert_eq!(Summary::decode(&summary.encode(), || "it".into()).unwrap(), summary);
        let empty = Summary::default();
        assert_eq!(Summary::decode(&empty.encode(), || "it".into()).unwrap(), empty);
    }

    #[test]
    fn a_changed_summary_is_damage() {
        let mut octets = sample().encode();
        let last = octets.len() - 1;
        octets[last] ^= 1;
        assert!(matches!(
            Summary::decode(&octets, || "it".into()),
            Err(StoreError::Damaged { .. })
        ));
    }
}
