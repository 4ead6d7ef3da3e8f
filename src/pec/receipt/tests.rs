//! Every receipt and notice against the table of kinds.

use super::*;
use crate::pec::{
    brief::BriefHash,
    daticert::{DeliveryFailure, RefusalCause},
    facts::ReceiptType,
    fixture::{facts, issuer, noon, opened},
    formal::{FormalCheck, FormalFault},
};

const ORIGINAL: &[u8] =
    b"Subject: x\r\nContent-Type: a/b; name=c\r\nMessage-ID: <p@x>\r\n\r\nabc\xe0\r\n";

fn header(markers: &str, subject: &str, to: &str, message_id: &str) -> String {
    format!(
        "{markers}Date: Sat, 21 Nov 2026 12:00:00 +0100\r\nSubject: {subject}\r\n\
         From: posta-certificata@pec.alfa.example\r\nTo: {to}\r\nMessage-ID: {message_id}\r\n\
         X-Riferimento-Message-ID: <1@alfa.example>\r\n"
    )
}

fn plain_facts() -> TransmissionFacts {
    TransmissionFacts { subject: Some("Offerta".to_owned()), ..facts() }
}

#[test]
fn the_acceptance_receipt_names_every_recipient_with_its_kind() {
    let receipt = issuer().acceptance_receipt(&plain_facts(), &noon());
    let opened = opened(&receipt);
    assert_eq!(
        opened.header,
        header(
            "X-Ricevuta: accettazione\r\n",
            "ACCETTAZIONE: Offerta",
            "anna@alfa.example",
            &receipt.message_id
        )
    );
    assert_eq!(
        opened.text,
        "Ricevuta di accettazione\r\n\r\n\
         Il giorno 21/11/2026 alle ore 12:00:00 (+0100) il messaggio\r\n\
         \"Offerta\" proveniente da \"anna@alfa.example\"\r\n\
         ed indirizzato a:\r\n\
         bruno@beta.example (\"posta certificata\")\r\n\
         carla@gamma.example (\"posta ordinaria\")\r\n\r\n\
         Il messaggio è stato accettato dal sistema ed inoltrato.\r\n\r\n\
         Identificativo messaggio: ceralacca1.20261121120000.ab@pec.alfa.example\r\n"
    );
    assert_eq!(opened.types, ["multipart/alternative", "application/xml"]);
    assert_eq!(opened.data, receipt.data);
    assert_eq!(receipt.data.map(|data| data.event), Some(Event::Acceptance));
    assert_ne!(receipt.message_id, facts().identifier.bracketed());
}

#[test]
fn the_formal_notice_tells_the_reason_and_never_holds_the_message() {
    let fault = FormalFault {
        check: FormalCheck::Bcc,
        italian: "il messaggio contiene destinatari in copia nascosta (Bcc)".to_owned(),
        english: "blind".to_owned(),
    };
    let notice = issuer().formal_non_acceptance_notice(&plain_facts(), &noon(), &fault.italian);
    let opened = opened(&notice);
    assert!(opened.header.starts_with("X-Ricevuta: non-accettazione\r\nDate: "));
    assert!(opened.header.contains("\r\nSubject: AVVISO DI NON ACCETTAZIONE: Offerta\r\n"));
    assert!(opened.text.contains(&fault.italian));
    assert_eq!(opened.included, None);
    assert!(matches!(
        opened.data.map(|data| data.event),
        Some(Event::NonAcceptance { cause: RefusalCause::Formal, detail: Some(_) })
    ));
}

#[test]
fn the_take_charge_receipt_goes_to_the_other_provider_and_lists_what_was_taken() {
    let taken = ["bruno@beta.example".parse().unwrap(), "dino@beta.example".parse().unwrap()];
    let service = "ricevute@pec.gamma.example".parse().unwrap();
    let receipt = issuer().take_charge_receipt(&plain_facts(), &noon(), &taken, &service);
    let opened = opened(&receipt);
    assert_eq!(
        opened.header,
        header(
            "X-Ricevuta: presa-in-carico\r\n",
            "PRESA IN CARICO: Offerta",
            "ricevute@pec.gamma.example",
            &receipt.message_id
        )
    );
    let recipients = vec!["bruno@beta.example".to_owned(), "dino@beta.example".to_owned()];
    assert_eq!(opened.data.map(|data| data.event), Some(Event::TakeCharge { recipients }));
}

#[test]
fn delivery_receipts_differ_in_what_they_hold_and_name_what_was_asked() {
    let recipient = "bruno@beta.example".parse().unwrap();
    for (requested, due) in [
        (ReceiptType::Complete, ReceiptType::Complete),
        (ReceiptType::Brief, ReceiptType::Brief),
        (ReceiptType::Complete, ReceiptType::Concise),
    ] {
        let hash = BriefHash::Encoded;
        let delivered =
            Delivered { recipient: &recipient, requested, due, original: ORIGINAL, hash };
        let receipt = issuer().delivery_receipt(&plain_facts(), &noon(), &delivered);
        let opened = opened(&receipt);
        assert_eq!(
            opened.header,
            header(
                "X-Ricevuta: avvenuta-consegna\r\n",
                "CONSEGNA: Offerta",
                "anna@alfa.example",
                &receipt.message_id
            )
        );
        let event = Event::Delivery { receipt: requested, recipient: recipient.to_string() };
        assert_eq!(opened.data.map(|data| data.event), Some(event));
        match due {
            ReceiptType::Complete => assert_eq!(opened.included.as_deref(), Some(ORIGINAL)),
            ReceiptType::Brief => {
                let included = String::from_utf8(opened.included.unwrap()).unwrap();
                assert!(included.starts_with("Subject: x\r\nMessage-ID: <p@x>\r\n"), "{included}");
                assert!(included.contains("name=\"c.hash\""), "{included}");
            }
            ReceiptType::Concise => assert_eq!(opened.included, None),
        }
    }
}

#[test]
fn the_non_delivery_notice_gives_code_provider_and_reason() {
    let recipient = "bruno@beta.example".parse().unwrap();
    let fault = DeliveryFault::unknown_mailbox();
    let notice = issuer().non_delivery_notice(&plain_facts(), &noon(), &recipient, &fault);
    let opened = opened(&notice);
    assert!(opened.header.contains("\r\nSubject: AVVISO DI MANCATA CONSEGNA: Offerta\r\n"));
    assert!(opened.header.starts_with("X-Ricevuta: errore-consegna\r\n"));
    let event = Event::DeliveryError {
        cause: DeliveryFailure::NoRecipient,
        recipient: "bruno@beta.example".to_owned(),
        detail: Some("5.1.1 - Alfa PEC S.p.A. - indirizzo non valido".to_owned()),
    };
    assert_eq!(opened.data.map(|data| data.event), Some(event));
    assert_eq!(opened.included, None);
}

#[test]
fn subjects_outside_ascii_are_encoded_and_missing_ones_leave_the_prefix() {
    let receipt = issuer().acceptance_receipt(&facts(), &noon());
    let header = opened(&receipt).header;
    assert!(header.contains("\r\nSubject: =?utf-8?B?QUNDRVRUQVpJT05FOiBDaXR0"), "{header}");
    let without = TransmissionFacts { subject: None, message_id: None, ..facts() };
    let header = opened(&issuer().acceptance_receipt(&without, &noon())).header;
    assert!(header.contains("\r\nSubject: ACCETTAZIONE:\r\n"), "{header}");
    assert!(!header.contains("X-Riferimento-Message-ID"), "{header}");
}

#[test]
fn facts_of_a_hostile_message_cannot_add_fields() {
    let hostile = TransmissionFacts {
        subject: Some("a\r\nBcc: x@y.example".to_owned()),
        message_id: Some("<1>\r\nX-Trasporto: posta-certificata".to_owned()),
        ..facts()
    };
    let header = opened(&issuer().acceptance_receipt(&hostile, &noon())).header;
    assert!(!header.contains("\nBcc:") && !header.contains("\nX-Trasporto"), "{header}");
}
