//! Invented facts for tests, and what looks into generated messages.

use std::sync::Arc;

use trust::{clock::UnixMillis, random::SeededRandom};

use super::{
    daticert::CertificationData,
    facts::{Recipient, RecipientKind, TransmissionFacts},
    identifier::{IdentifierSource, PecIdentifier},
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    mime::Entity,
};

/// 21 November 2026, 12:00:00 in Rome.
pub(super) fn noon() -> CertifiedInstant {
    CertifiedInstant::new(UnixMillis(1_795_258_800_000))
}

pub(super) fn issuer() -> Issuer {
    let random = Arc::new(SeededRandom::new(1));
    Issuer {
        name: "Alfa PEC S.p.A.".to_owned(),
        service_address: "posta-certificata@pec.alfa.example".parse().unwrap(),
        identifiers: IdentifierSource::new(1, "pec.alfa.example".parse().unwrap(), random),
    }
}

pub(super) fn facts() -> TransmissionFacts {
    let recipient = |address: &str, kind| Recipient { address: address.to_owned(), kind };
    TransmissionFacts {
        identifier: PecIdentifier::from_text("ceralacca1.20261121120000.ab@pec.alfa.example")
            .unwrap(),
        sender: "anna@alfa.example".to_owned(),
        recipients: vec![
            recipient("bruno@beta.example", RecipientKind::Certified),
            recipient("carla@gamma.example", RecipientKind::External),
        ],
        reply_to: "anna@alfa.example".to_owned(),
        subject: Some("Città & <paesi>".to_owned()),
        message_id: Some("<1@alfa.example>".to_owned()),
    }
}

/// What stands in a generated message.
pub(super) struct Opened {
    pub(super) header: String,
    /// Types of the parts inside `multipart/mixed`, in order.
    pub(super) types: Vec<String>,
    pub(super) text: String,
    pub(super) data: Option<CertificationData>,
    pub(super) included: Option<Vec<u8>>,
}

/// Opens the entity of `unsealed` and checks what holds for every kind: CR LF only, 7-bit outside
/// the included message, text first, names and dispositions.
pub(super) fn opened(unsealed: &Unsealed) -> Opened {
    let octets = unsealed.entity.as_slice();
    let entity = Entity::parse(octets, 0..octets.len()).unwrap();
    assert_eq!(entity.content_type().value, "multipart/mixed");
    let parts: Vec<Entity> = entity
        .parts(octets)
        .unwrap()
        .into_iter()
        .map(|part| Entity::parse(octets, part).unwrap())
        .collect();
    let mut outside = unsealed.header.clone();
    let mut opened = Opened {
        header: String::from_utf8(unsealed.header.clone()).unwrap(),
        types: Vec::new(),
        text: String::new(),
        data: None,
        included: None,
    };
    for part in parts {
        let kind = part.content_type().value;
        if kind == "message/rfc822" {
            assert_eq!(part.file_name().as_deref(), Some("postacert.eml"));
            opened.included = Some(octets[part.body.clone()].to_vec());
        } else {
            outside.extend_from_slice(&octets[part.range.clone()]);
        }
        if kind == "application/xml" {
            assert_eq!(part.file_name().as_deref(), Some("daticert.xml"));
            let xml = part.decoded_body(octets).unwrap();
            opened.data = Some(CertificationData::from_xml(&xml).unwrap());
        }
        if kind == "multipart/alternative" {
            let texts: Vec<String> = part
                .parts(octets)
                .unwrap()
                .into_iter()
                .map(|part| Entity::parse(octets, part).unwrap())
                .map(|part| {
                    part.decoded_body(octets).unwrap().into_iter().map(char::from).collect()
                })
                .collect();
            assert_eq!(texts.len(), 2);
            opened.text.clone_from(&texts[0]);
        }
        opened.types.push(kind);
    }
    assert_eq!(opened.types.first().map(String::as_str), Some("multipart/alternative"));
    assert!(outside.is_ascii());
    let text = String::from_utf8(outside).unwrap().replace("\r\n", "");
    assert!(!text.contains(['\r', '\n']), "a line end that is not CR LF");
    opened
}
