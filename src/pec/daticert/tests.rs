//! Certification data: written, validated with a public tool, read back.

use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::pec::{
    facts::{Recipient, RecipientKind},
    identifier::PecIdentifier,
};

fn facts() -> TransmissionFacts {
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
        subject: Some("Città & <paesi> \"€\" 日本".to_owned()),
        message_id: Some("<1@alfa.example>".to_owned()),
    }
}

fn data(event: Event) -> CertificationData {
    let stamp = Stamp {
        day: "21/11/2026".to_owned(),
        time: "12:00:00".to_owned(),
        zone: "+0100".to_owned(),
    };
    CertificationData { facts: facts(), issuer: "Alfa PEC S.p.A.".to_owned(), stamp, event }
}

fn every_event() -> Vec<Event> {
    let recipient = || "bruno@beta.example".to_owned();
    let detail = || Some("5.1.1 - Beta PEC - indirizzo non valido".to_owned());
    let mut events = vec![
        Event::Acceptance,
        Event::NonAcceptance { cause: RefusalCause::Formal, detail: detail() },
        Event::NonAcceptance { cause: RefusalCause::Virus, detail: None },
        Event::TransportEnvelope { receipt: ReceiptType::Complete },
        Event::TakeCharge { recipients: vec![recipient(), "dino@beta.example".to_owned()] },
        Event::TimeLimit { recipient: Some(recipient()), detail: detail() },
        Event::TimeLimit { recipient: None, detail: None },
        Event::VirusDetection { recipient: Some(recipient()), detail: detail() },
    ];
    for receipt in [ReceiptType::Complete, ReceiptType::Brief, ReceiptType::Concise] {
        events.push(Event::Delivery { receipt, recipient: recipient() });
    }
    for cause in [
        DeliveryFailure::NoRecipient,
        DeliveryFailure::NoDomain,
        DeliveryFailure::Virus,
        DeliveryFailure::Other,
    ] {
        events.push(Event::DeliveryError { cause, recipient: recipient(), detail: detail() });
    }
    events
}

/// Asks the real validator; `xmllint` is in Debian's libxml2-utils.
fn xmllint(files: &[Vec<u8>]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let dtd = folder.path().join("daticert.dtd");
    std::fs::write(&dtd, DATICERT_DTD).unwrap();
    let mut command = Command::new("xmllint");
    command.arg("--noout").arg("--nonet").arg("--dtdvalid").arg(&dtd);
    for (index, octets) in files.iter().enumerate() {
        let path = folder.path().join(format!("{index}.xml"));
        std::fs::write(&path, octets).unwrap();
        command.arg(path);
    }
    command.output().unwrap()
}

#[test]
fn every_kind_is_valid_against_the_grammar() {
    let mut files: Vec<Vec<u8>> =
        every_event().into_iter().map(|event| data(event).to_xml()).collect();
    let mut bare = data(Event::Acceptance);
    bare.facts.subject = None;
    bare.facts.message_id = None;
    files.push(bare.to_xml());
    let output = xmllint(&files);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_grammar_refuses_what_is_out_of_order() {
    let xml = String::from_utf8(data(Event::Acceptance).to_xml()).unwrap();
    let broken = xml.replace("mittente>", "oggetto>");
    assert!(!xmllint(&[broken.clone().into_bytes()]).status.success());
    assert!(CertificationData::from_xml(broken.as_bytes()).is_err());
}

#[test]
fn every_kind_reads_back_as_written() {
    for event in every_event() {
        let written = data(event);
        assert_eq!(CertificationData::from_xml(&written.to_xml()), Ok(written));
    }
}

/// The file as another provider lays it out: declaration, indentation, default attributes left
/// out, brackets escaped.
#[test]
fn data_of_other_providers_are_read() {
    let xml = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
        <postacert tipo='avvenuta-consegna'>\n\t<intestazione>\n\t\t<mittente>a@x.example</mittente>\n\
        <destinatari>b@y.example</destinatari>\n<risposte>a@x.example</risposte>\n\
        <oggetto><![CDATA[A & B]]> &#232;</oggetto></intestazione><!-- c -->\n<dati>\
        <gestore-emittente> X S.p.A. </gestore-emittente><data zona=\"+0200\"><giorno>13/07/2018</giorno>\
        <ora>16:39:26</ora></data><identificativo>opec288.20180713163926.01838.310.1.63@pec.x.example\
        </identificativo><msgid>&lt;1@x&gt;</msgid><ricevuta tipo=\"completa\" />\
        <consegna>b@y.example</consegna></dati></postacert>\n";
    let read = CertificationData::from_xml(xml.as_bytes()).unwrap();
    assert_eq!(read.facts.subject.as_deref(), Some("A & B è"));
    assert_eq!(read.facts.message_id.as_deref(), Some("<1@x>"));
    assert_eq!(read.issuer, "X S.p.A.");
    assert_eq!(read.facts.recipients[0].kind, RecipientKind::Certified);
    assert_eq!(read.event.kind(), "avvenuta-consegna");
}

#[test]
fn hostile_files_are_refused() {
    let good = String::from_utf8(data(Event::Acceptance).to_xml()).unwrap();
    let with_type = good.replacen(
        "<postacert",
        "<!DOCTYPE postacert [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><postacert",
        1,
    );
    assert_eq!(CertificationData::from_xml(with_type.as_bytes()), Err(DaticertFault::Entities));
    let entity = good.replace("anna@alfa.example", "&a;");
    assert_eq!(CertificationData::from_xml(entity.as_bytes()), Err(DaticertFault::Entities));
    let long = vec![b' '; DATICERT_OCTETS_MAX + 1];
    assert_eq!(CertificationData::from_xml(&long), Err(DaticertFault::TooLong));
    assert_eq!(CertificationData::from_xml(b"\xff"), Err(DaticertFault::NotUtf8));
    for (from, to) in [
        ("accettazione", "mancata-consegna"),
        ("nessuno", "eccezione-formale"),
        ("21/11/2026", "2026-11-21"),
        ("+0100", "+01:00"),
        ("esterno", "altro"),
        ("</dati>", "<ricevuta/></dati>"),
        ("</postacert>", "</postacert><postacert/>"),
        ("</postacert>", "</postacert>x"),
        ("</postacert>", ""),
    ] {
        let broken = good.replace(from, to);
        assert_ne!(broken, good);
        assert!(CertificationData::from_xml(broken.as_bytes()).is_err(), "{from} -> {to}");
    }
    let deep = format!("{}{}", "<postacert>".repeat(100_000), "</postacert>".repeat(100_000));
    assert!(CertificationData::from_xml(deep.as_bytes()).is_err());
}

#[test]
fn characters_that_xml_cannot_hold_are_replaced() {
    let mut written = data(Event::Acceptance);
    written.facts.subject = Some("a\u{0}b\u{b}c\u{fffe}d".to_owned());
    let read = CertificationData::from_xml(&written.to_xml()).unwrap();
    assert_eq!(read.facts.subject.as_deref(), Some("a\u{fffd}b\u{fffd}c\u{fffd}d"));
}

proptest! {
    #[test]
    fn any_text_reads_back_as_written(subject in "[\\t\\n -~À-ÿ€日]{0,60}", sender in "[!-~]{1,30}") {
        let mut written = data(Event::Acceptance);
        written.facts.subject = Some(subject.trim().to_owned());
        written.facts.sender = sender;
        prop_assert_eq!(CertificationData::from_xml(&written.to_xml()), Ok(written));
    }

    #[test]
    fn no_octets_make_reading_fail_hard(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = CertificationData::from_xml(&octets);
    }
}
