//! The catalogue of messages (RFC 6109 §3.1.2 to §3.3.3) and the values of its headers (§8.1).

use ceralacca::pec::{facts::ReceiptType, issuer::Unsealed, receipt::TimeLimit};

use super::{MESSAGE_ID, Opened, RECIPIENT, SENDER, SERVICE, SUBJECT, elements};
use crate::world::Forms;

/// Fields of every receipt and notice, in the order in which they stand.
const NOTICE: [&str; 7] =
    ["X-Ricevuta", "Date", "Subject", "From", "To", "Message-ID", "X-Riferimento-Message-ID"];

/// A row about a receipt or notice.
struct Row {
    marker: &'static str,
    prefix: &'static str,
    to: &'static str,
    kind: &'static str,
    error: &'static str,
}

fn notice(unsealed: &Unsealed, row: &Row) -> Opened {
    let opened = Opened::new(unsealed);
    assert_eq!(opened.names(), NOTICE);
    assert_eq!(opened.value("X-Ricevuta").as_deref(), Some(row.marker));
    assert_eq!(opened.value("Subject"), Some(format!("{}{SUBJECT}", row.prefix)));
    assert_eq!(opened.value("From").as_deref(), Some(SERVICE));
    assert_eq!(opened.value("To").as_deref(), Some(row.to));
    assert_eq!(opened.value("Date").as_deref(), Some("Sat, 21 Nov 2026 12:00:00 +0100"));
    assert_eq!(opened.value("X-Riferimento-Message-ID").as_deref(), Some(MESSAGE_ID));
    let xml = opened.xml();
    let identifier = elements(&xml, "identificativo")[0];
    assert_ne!(opened.value("Message-ID"), Some(format!("<{identifier}>")), "its own");
    assert!(xml.contains(&format!("<postacert tipo=\"{}\" errore=\"{}\">", row.kind, row.error)));
    opened
}

fn delivery(due: ReceiptType) -> Opened {
    let row = Row {
        marker: "avvenuta-consegna",
        prefix: "CONSEGNA: ",
        to: SENDER,
        kind: "avvenuta-consegna",
        error: "nessuno",
    };
    notice(&Forms::new().delivery(due), &row)
}

fn time_limit(limit: TimeLimit) -> Opened {
    let row = Row {
        marker: "preavviso-errore-consegna",
        prefix: "AVVISO DI MANCATA CONSEGNA PER SUP. TEMPO MASSIMO: ",
        to: SENDER,
        kind: "preavviso-errore-consegna",
        error: "altro",
    };
    let opened = notice(&Forms::new().time_limit(limit), &row);
    assert_eq!(opened.included(), None);
    opened
}

#[test]
fn message_1_acceptance_receipt() {
    let row = Row {
        marker: "accettazione",
        prefix: "ACCETTAZIONE: ",
        to: SENDER,
        kind: "accettazione",
        error: "nessuno",
    };
    assert_eq!(notice(&Forms::new().acceptance(), &row).included(), None);
}

#[test]
fn message_2_notice_of_non_acceptance_for_a_formal_fault() {
    let row = Row {
        marker: "non-accettazione",
        prefix: "AVVISO DI NON ACCETTAZIONE: ",
        to: SENDER,
        kind: "non-accettazione",
        error: "altro",
    };
    assert_eq!(notice(&Forms::new().formal(), &row).included(), None, "it must not");
}

#[test]
fn message_4_transport_envelope() {
    let forms = Forms::new();
    let opened = Opened::new(&forms.envelope());
    assert_eq!(opened.value("X-Trasporto").as_deref(), Some("posta-certificata"));
    assert_eq!(opened.value("Subject"), Some(format!("POSTA CERTIFICATA: {SUBJECT}")));
    assert!(opened.xml().contains("<postacert tipo=\"posta-certificata\" errore=\"nessuno\">"));
    assert_eq!(opened.included(), Some(forms.original.as_slice()));
    assert_eq!(opened.header.count("X-Ricevuta"), 0);
}

#[test]
fn message_5_notice_that_12_hours_have_passed() {
    let text = time_limit(TimeLimit::First).text("text/plain");
    assert!(text.contains("nelle prime dodici ore") && text.contains("ancora possibile"), "{text}");
    assert!(text.contains("nelle prossime dodici ore"), "another notice is announced: {text}");
}

#[test]
fn message_6_notice_that_24_hours_have_passed() {
    let text = time_limit(TimeLimit::Last).text("text/plain");
    assert!(text.contains("nelle ventiquattro ore") && text.contains("esito negativo"), "{text}");
}

#[test]
fn message_7_take_charge_receipt() {
    let row = Row {
        marker: "presa-in-carico",
        prefix: "PRESA IN CARICO: ",
        to: "ricevute@pec.beta.example",
        kind: "presa-in-carico",
        error: "nessuno",
    };
    assert_eq!(notice(&Forms::new().take_charge(), &row).included(), None);
}

#[test]
fn message_8_anomaly_envelope() {
    let opened = Opened::new(&Forms::new().anomaly());
    assert_eq!(opened.value("X-Trasporto").as_deref(), Some("errore"));
    assert_eq!(opened.value("Subject"), Some(format!("ANOMALIA MESSAGGIO: {SUBJECT}")));
    assert!(opened.part("application/xml").is_none(), "nothing is certified");
    assert_eq!(opened.included(), Some(crate::world::SUBMITTED));
}

#[test]
fn message_11_complete_delivery_receipt() {
    let original = Forms::new().original;
    assert_eq!(delivery(ReceiptType::Complete).included(), Some(original.as_slice()));
}

#[test]
fn message_12_brief_delivery_receipt() {
    let opened = delivery(ReceiptType::Brief);
    let included = String::from_utf8_lossy(opened.included().expect("a message"));
    assert!(included.contains("offerta.pdf.hash") && included.contains("Ecco perch"), "{included}");
    assert!(!included.contains("JVBERi0x"), "the attachment is gone: {included}");
}

#[test]
fn message_13_concise_delivery_receipt() {
    assert_eq!(delivery(ReceiptType::Concise).included(), None);
}

#[test]
fn message_14_notice_of_non_delivery() {
    let row = Row {
        marker: "errore-consegna",
        prefix: "AVVISO DI MANCATA CONSEGNA: ",
        to: SENDER,
        kind: "errore-consegna",
        error: "no-dest",
    };
    assert_eq!(notice(&Forms::new().non_delivery(), &row).included(), None);
}

fn all(name: &str) -> Vec<String> {
    let mut values: Vec<String> = Forms::new()
        .all()
        .iter()
        .filter_map(|(_, unsealed)| Opened::new(unsealed).value(name))
        .collect();
    values.sort();
    values.dedup();
    values
}

#[test]
fn header_x_ricevuta_has_no_value_outside_the_list() {
    let list = [
        "accettazione",
        "avvenuta-consegna",
        "errore-consegna",
        "non-accettazione",
        "preavviso-errore-consegna",
        "presa-in-carico",
        "rilevazione-virus",
    ];
    let found = all("X-Ricevuta");
    assert!(found.iter().all(|value| list.contains(&value.as_str())), "{found:?}");
    assert!(found.len() >= 6, "{found:?}");
}

/// The kinds that have a field called `name`, with its value.
fn kinds_with(name: &str) -> Vec<(&'static str, String)> {
    let all = Forms::new().all();
    all.iter().filter_map(|(kind, form)| Some((*kind, Opened::new(form).value(name)?))).collect()
}

/// RFC 6109 §8.1.3: for the notices to a sender about a virus, and no others.
#[test]
fn header_x_verificasicurezza_is_errore_in_the_notices_of_a_virus_to_a_sender_alone() {
    let errore = |kind| (kind, "errore".to_owned());
    let expected = ["virus-non-acceptance", "virus-non-delivery"].map(errore);
    assert_eq!(kinds_with("X-VerificaSicurezza"), expected);
}

/// RFC 6109 §8.1.6: in the notice to the sender's provider alone.
#[test]
fn header_x_mittente_is_the_sender_in_the_notice_that_a_virus_was_found_alone() {
    let expected = [("virus-detection", "anna@alfa.example".to_owned())];
    assert_eq!(kinds_with("X-Mittente"), expected);
}

#[test]
fn header_x_trasporto_has_no_value_outside_the_list() {
    assert_eq!(all("X-Trasporto"), ["errore", "posta-certificata"]);
}

/// It lives in the original and in the envelope only (RFC 6109 §3.1.5).
#[test]
fn header_x_tiporicevuta_stands_in_the_envelope_alone_with_a_value_of_the_list() {
    assert_eq!(all("X-TipoRicevuta"), Vec::<String>::new(), "nothing was asked for");
    for wish in [ReceiptType::Complete, ReceiptType::Brief, ReceiptType::Concise] {
        let opened = Opened::new(&Forms::new().envelope_asking(Some(wish)));
        let value = opened.value("X-TipoRicevuta").expect("a wish");
        assert!(["completa", "breve", "sintetica"].contains(&value.as_str()), "{value}");
        assert_eq!(value, wish.as_str());
    }
}

#[test]
fn header_x_riferimento_message_id_is_the_identifier_of_the_sender_wherever_it_stands() {
    assert_eq!(all("X-Riferimento-Message-ID"), [MESSAGE_ID]);
}

/// X-Trasporto and X-Ricevuta exclude each other (RFC 6109 §2.1.1).
#[test]
fn header_markers_never_stand_together() {
    for (name, unsealed) in Forms::new().all() {
        let opened = Opened::new(&unsealed);
        let markers = opened.header.count("X-Trasporto") + opened.header.count("X-Ricevuta");
        assert_eq!(markers, 1, "{name}");
    }
}

/// One recipient alone in what speaks of one (RFC 6109 §3.3.2, §3.3.3, §3.1.6).
#[test]
fn texts_of_messages_about_one_recipient_name_him_alone() {
    let forms = Forms::new();
    let about_one = [
        forms.delivery(ReceiptType::Complete),
        forms.non_delivery(),
        forms.time_limit(TimeLimit::First),
        forms.time_limit(TimeLimit::Last),
    ];
    for unsealed in &about_one {
        let text = Opened::new(unsealed).text("text/plain");
        assert!(text.contains(RECIPIENT) && !text.contains(super::COPY), "{text}");
    }
}
