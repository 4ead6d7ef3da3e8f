//! Headers that envelopes inherit and rewrite (RFC 6109 §2.1.1.2, §3.1.5, §3.2.2).

use ceralacca::pec::{envelope::AnomalyReason, facts::ReceiptType, header::Header};

use super::{MESSAGE_ID, Opened, SENDER, SERVICE, SUBJECT};
use crate::world::{Forms, SUBMITTED};

fn transport() -> Opened {
    Opened::new(&Forms::new().envelope())
}

fn anomaly() -> Opened {
    Opened::new(&Forms::new().anomaly())
}

/// The field as it stands, name and folding included.
fn as_it_stands(header: &Header, name: &str) -> Vec<Vec<u8>> {
    header.all(name).map(|field| field.octets().to_vec()).collect()
}

/// The field was copied from the submission, octet by octet.
fn copied(opened: &Opened, name: &str) {
    let (submitted, _) = Header::parse(SUBMITTED).expect("a header");
    let theirs = as_it_stands(&submitted, name);
    assert!(!theirs.is_empty(), "the submission has {name}");
    assert_eq!(as_it_stands(&opened.header, name), theirs);
}

/// Both envelopes of a message with these fields in front.
fn both(fields: &str) -> [Opened; 2] {
    let forms = Forms::new();
    let message = [fields.as_bytes(), SUBMITTED].concat();
    let (header, _) = Header::parse(&message).expect("a header");
    let (reason, to) = (AnomalyReason::OrdinaryMail, [super::RECIPIENT.to_owned()]);
    let anomaly =
        forms.issuer.anomaly_envelope(&forms.at, &header, SENDER, &to, reason, &[&message]);
    let transport =
        forms.issuer.transport_envelope(&forms.facts, &forms.at, &header, None, &[&message]);
    [Opened::new(&transport), Opened::new(&anomaly)]
}

#[test]
fn transport_envelope_received_is_copied() {
    copied(&transport(), "Received");
}

#[test]
fn anomaly_envelope_received_is_copied() {
    copied(&anomaly(), "Received");
}

#[test]
fn transport_envelope_to_and_cc_are_copied() {
    copied(&transport(), "To");
    copied(&transport(), "Cc");
}

#[test]
fn anomaly_envelope_to_and_cc_are_copied() {
    copied(&anomaly(), "To");
    copied(&anomaly(), "Cc");
}

#[test]
fn transport_envelope_return_path_is_copied() {
    let [transport, _] = both("Return-Path: <anna@alfa.example>\r\n");
    assert_eq!(transport.value("Return-Path").as_deref(), Some("<anna@alfa.example>"));
}

#[test]
fn anomaly_envelope_return_path_is_copied() {
    let [_, anomaly] = both("Return-Path: <anna@alfa.example>\r\n");
    assert_eq!(anomaly.value("Return-Path").as_deref(), Some("<anna@alfa.example>"));
}

#[test]
fn transport_envelope_reply_to_is_copied_or_else_the_author() {
    assert_eq!(transport().value("Reply-To").as_deref(), Some("Anna Bianchi <anna@alfa.example>"));
    let [transport, _] = both("Reply-To: ufficio@alfa.example\r\n");
    assert_eq!(transport.value("Reply-To").as_deref(), Some("ufficio@alfa.example"));
}

#[test]
fn anomaly_envelope_reply_to_is_copied_or_else_the_author() {
    assert_eq!(anomaly().value("Reply-To").as_deref(), Some("Anna Bianchi <anna@alfa.example>"));
    let [_, anomaly] = both("Reply-To: ufficio@alfa.example\r\n");
    assert_eq!(anomaly.value("Reply-To").as_deref(), Some("ufficio@alfa.example"));
}

#[test]
fn transport_envelope_message_id_is_the_pec_identifier() {
    let identifier = Forms::new().facts.identifier.bracketed();
    assert_eq!(transport().value("Message-ID"), Some(identifier));
}

#[test]
fn anomaly_envelope_message_id_is_unchanged() {
    assert_eq!(anomaly().value("Message-ID").as_deref(), Some(MESSAGE_ID));
}

#[test]
fn transport_envelope_date_is_the_instant_of_acceptance() {
    assert_eq!(transport().value("Date").as_deref(), Some("Sat, 21 Nov 2026 12:00:00 +0100"));
}

#[test]
fn anomaly_envelope_date_is_the_instant_of_arrival() {
    assert_eq!(anomaly().value("Date").as_deref(), Some("Sat, 21 Nov 2026 12:00:00 +0100"));
}

#[test]
fn transport_envelope_subject_is_prefix_and_subject() {
    assert_eq!(transport().value("Subject"), Some(format!("POSTA CERTIFICATA: {SUBJECT}")));
}

#[test]
fn anomaly_envelope_subject_is_prefix_and_subject() {
    assert_eq!(anomaly().value("Subject"), Some(format!("ANOMALIA MESSAGGIO: {SUBJECT}")));
}

#[test]
fn transport_envelope_from_is_the_provider_on_behalf_of_the_sender() {
    let from = format!("\"Per conto di: {SENDER}\" <{SERVICE}>");
    assert_eq!(transport().value("From"), Some(from));
}

#[test]
fn anomaly_envelope_from_is_the_provider_on_behalf_of_the_sender() {
    let from = format!("\"Per conto di: {SENDER}\" <{SERVICE}>");
    assert_eq!(anomaly().value("From"), Some(from));
}

/// It must equal From where it stands; it need not (RFC 6109 §2.1).
#[test]
fn both_envelopes_have_no_sender_of_the_original() {
    for opened in both("Sender: segreteria@alfa.example\r\n") {
        assert_eq!(opened.header.count("Sender"), 0);
    }
}

#[test]
fn transport_envelope_x_riferimento_message_id_is_the_identifier_of_the_sender() {
    assert_eq!(transport().value("X-Riferimento-Message-ID").as_deref(), Some(MESSAGE_ID));
}

#[test]
fn anomaly_envelope_has_no_x_riferimento_message_id() {
    let [_, anomaly] = both("X-Riferimento-Message-ID: <altro@alfa.example>\r\n");
    assert_eq!(anomaly.header.count("X-Riferimento-Message-ID"), 0);
}

#[test]
fn transport_envelope_x_tiporicevuta_is_that_of_the_original_or_absent() {
    let asked = Opened::new(&Forms::new().envelope_asking(Some(ReceiptType::Brief)));
    assert_eq!(asked.value("X-TipoRicevuta").as_deref(), Some("breve"));
    assert_eq!(transport().header.count("X-TipoRicevuta"), 0);
    assert!(transport().xml().contains("<ricevuta tipo=\"completa\""));
}

#[test]
fn anomaly_envelope_has_no_x_tiporicevuta() {
    let [_, anomaly] = both("X-TipoRicevuta: breve\r\n");
    assert_eq!(anomaly.header.count("X-TipoRicevuta"), 0);
}

/// What the list does not name is not inherited (RFC 6109 §2.1.1.2).
#[test]
fn both_envelopes_inherit_nothing_else() {
    for opened in both("X-Mailer: m\r\nBcc:\r\nDisposition-Notification-To: a@x.example\r\n") {
        for name in ["X-Mailer", "Bcc", "Disposition-Notification-To"] {
            assert_eq!(opened.header.count(name), 0, "{name}");
        }
    }
}
