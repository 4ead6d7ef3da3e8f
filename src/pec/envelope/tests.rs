//! Both envelopes: inherited fields, marks, content.

use super::*;
use crate::pec::{
    fixture::{facts, issuer, noon, opened},
    original::original_header,
};

const SUBMITTED: &str = "Received: from client\r\n\tby smtp.alfa.example\r\nReturn-Path: <anna@alfa.example>\r\n\
    MIME-Version: 1.0\r\nFrom: \"Anna\" <anna@alfa.example>\r\nTo: Bruno\r\n <bruno@beta.example>\r\n\
    CC: carla@gamma.example\r\nSubject: =?utf-8?Q?Citt=C3=A0?=\r\n e paesi\r\nMessage-ID: <1@alfa.example>\r\n\
    X-Mailer: m\r\n\r\nciao\r\n";

#[test]
fn the_transport_envelope_inherits_by_the_list_and_holds_the_original() {
    let (submitted, body) = Header::parse(SUBMITTED.as_bytes()).unwrap();
    let facts = facts();
    let original = original_header(&submitted, &facts.identifier, facts.message_id.as_deref());
    let body = &SUBMITTED.as_bytes()[body..];
    let pieces = [original.as_slice(), body];
    let envelope = issuer().transport_envelope(&facts, &noon(), &submitted, None, &pieces);
    let opened = opened(&envelope);
    assert_eq!(
        opened.header,
        "Return-Path: <anna@alfa.example>\r\nReceived: from client\r\n\tby smtp.alfa.example\r\n\
         X-Trasporto: posta-certificata\r\nDate: Sat, 21 Nov 2026 12:00:00 +0100\r\n\
         From: \"Per conto di: anna@alfa.example\"\r\n <posta-certificata@pec.alfa.example>\r\n\
         Reply-To: \"Anna\" <anna@alfa.example>\r\nTo: Bruno\r\n <bruno@beta.example>\r\n\
         CC: carla@gamma.example\r\nSubject: POSTA CERTIFICATA: =?utf-8?Q?Citt=C3=A0?= e paesi\r\n\
         Message-ID: <ceralacca1.20261121120000.ab@pec.alfa.example>\r\n\
         X-Riferimento-Message-ID: <1@alfa.example>\r\n"
    );
    assert_eq!(opened.included, Some(pieces.concat()));
    assert_eq!(opened.types, ["multipart/alternative", "application/xml", "message/rfc822"]);
    let event = Event::TransportEnvelope { receipt: ReceiptType::Complete };
    assert_eq!(opened.data.map(|data| data.event), Some(event));
    assert!(opened.text.starts_with("Messaggio di posta certificata\r\n"));
}

#[test]
fn reply_to_and_the_receipt_asked_for_are_copied() {
    let submitted = b"From: a@x.example\r\nReply-To: b@x.example\r\nTo: c@y.example\r\n";
    let (submitted, _) = Header::parse(submitted).unwrap();
    let requested = Some(ReceiptType::Brief);
    let envelope =
        issuer().transport_envelope(&facts(), &noon(), &submitted, requested, &[b"\r\n"]);
    let header = opened(&envelope).header;
    assert!(header.contains("\r\nReply-To: b@x.example\r\n"), "{header}");
    assert!(header.ends_with("\r\nX-TipoRicevuta: breve\r\n"), "{header}");
    let event = Event::TransportEnvelope { receipt: ReceiptType::Brief };
    assert_eq!(envelope.data.map(|data| data.event), Some(event));
}

#[test]
fn the_anomaly_envelope_certifies_nothing_and_keeps_the_identifier() {
    let received = b"From: x@web.example\r\nTo: bruno@beta.example\r\nSubject: Perch\xe9?\r\n\
        Message-ID: <9@web.example>\r\nX-Riferimento-Message-ID: <8@x>\r\n\r\nciao";
    let (header, _) = Header::parse(received).unwrap();
    let forward = ["bruno@beta.example".to_owned()];
    let reason = AnomalyReason::OrdinaryMail;
    let envelope =
        issuer().anomaly_envelope(&noon(), &header, "x@web.example", &forward, reason, &[received]);
    let opened = opened(&envelope);
    assert_eq!(
        opened.header,
        "X-Trasporto: errore\r\nDate: Sat, 21 Nov 2026 12:00:00 +0100\r\n\
         From: \"Per conto di: x@web.example\"\r\n <posta-certificata@pec.alfa.example>\r\n\
         Reply-To: x@web.example\r\nTo: bruno@beta.example\r\n\
         Subject: =?utf-8?B?QU5PTUFMSUEgTUVTU0FHR0lPOiBQZXJjaMOpPw==?=\r\n\
         Message-ID: <9@web.example>\r\n"
    );
    assert_eq!(opened.types, ["multipart/alternative", "message/rfc822"]);
    assert_eq!(opened.included.as_deref(), Some(&received[..]));
    assert!(opened.text.contains("per il seguente errore:"));
    assert!(!opened.text.contains("Identificativo"));
    assert!(envelope.data.is_none());
}

#[test]
fn a_hostile_header_cannot_break_the_envelope() {
    let received = b"From: \"a\rb\"\n <x@y.example>\r\nTo: a\nCc: b\r\n\r\n";
    let (header, _) = Header::parse(received).unwrap();
    let reason = AnomalyReason::OrdinaryMail;
    let envelope = issuer().anomaly_envelope(&noon(), &header, "", &[], reason, &[received]);
    let text = String::from_utf8(envelope.header).unwrap();
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
    }
    let (read, _) = Header::parse(text.as_bytes()).unwrap();
    assert_eq!(read.text("To").as_deref(), Some("a"));
}
