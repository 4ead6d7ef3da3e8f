//! The certification data: each element, and what each kind has (RFC 6109 §4.4).

use ceralacca::pec::{facts::ReceiptType, receipt::TimeLimit};

use super::{COPY, MESSAGE_ID, Opened, RECIPIENT, SENDER, SUBJECT, elements};
use crate::world::Forms;

fn of_envelope() -> String {
    Opened::new(&Forms::new().envelope()).xml()
}

/// The element stands in what every message certifies, with this content.
fn element(name: &str, expected: &[&str]) {
    for (kind, unsealed) in Forms::new().all() {
        if kind != "anomaly" {
            let xml = Opened::new(&unsealed).xml();
            assert_eq!(elements(&xml, name), expected, "{kind}: {xml}");
        }
    }
}

/// The names of the elements inside `name`, in order, without what is in them.
fn children(xml: &str, name: &str) -> Vec<String> {
    let inside = elements(xml, name)[0];
    let (mut found, mut depth) = (Vec::new(), 0);
    for tag in inside.split('<').skip(1) {
        let tag = tag.split('>').next().expect("a tag");
        if tag.starts_with('/') {
            depth -= 1;
            continue;
        }
        if depth == 0 {
            let end = tag.find([' ', '/']).unwrap_or(tag.len());
            found.push(tag[..end].to_owned());
        }
        depth += i32::from(!tag.ends_with('/'));
    }
    found
}

#[test]
fn element_postacert_has_intestazione_then_dati() {
    let xml = of_envelope();
    assert_eq!(children(&xml, "postacert"), ["intestazione", "dati"]);
    assert!(!xml.contains("DOCTYPE") && !xml.contains("xmlns"), "{xml}");
}

#[test]
fn element_intestazione_has_its_parts_in_order() {
    let expected = ["mittente", "destinatari", "destinatari", "risposte", "oggetto"];
    assert_eq!(children(&of_envelope(), "intestazione"), expected);
}

#[test]
fn element_mittente_is_the_author() {
    element("mittente", &[SENDER]);
}

#[test]
fn element_destinatari_is_each_recipient_with_its_kind() {
    element("destinatari", &[RECIPIENT, COPY]);
    let xml = of_envelope();
    assert!(xml.contains(&format!("<destinatari tipo=\"certificato\">{RECIPIENT}<")), "{xml}");
    assert!(xml.contains(&format!("<destinatari tipo=\"esterno\">{COPY}<")), "{xml}");
}

#[test]
fn element_risposte_is_the_author_when_there_is_no_reply_to() {
    element("risposte", &[SENDER]);
}

#[test]
fn element_oggetto_is_the_subject_decoded() {
    element("oggetto", &[SUBJECT]);
}

#[test]
fn element_dati_has_its_parts_in_order() {
    let expected = ["gestore-emittente", "data", "identificativo", "msgid", "ricevuta"];
    assert_eq!(children(&of_envelope(), "dati"), expected);
}

#[test]
fn element_gestore_emittente_is_the_name_of_the_issuer() {
    element("gestore-emittente", &["Alfa PEC S.p.A."]);
}

#[test]
fn element_data_has_day_then_hour_and_the_zone() {
    let xml = of_envelope();
    assert_eq!(children(&xml, "data"), ["giorno", "ora"]);
    assert!(xml.contains("<data zona=\"+0100\">"), "{xml}");
}

#[test]
fn element_giorno_is_day_month_year() {
    element("giorno", &["21/11/2026"]);
}

#[test]
fn element_ora_is_legal_time() {
    element("ora", &["12:00:00"]);
}

#[test]
fn element_identificativo_has_no_brackets() {
    let identifier = Forms::new().facts.identifier.as_str().to_owned();
    assert!(!identifier.contains(['<', '>']));
    element("identificativo", &[&identifier]);
}

#[test]
fn element_msgid_keeps_its_brackets() {
    let escaped = MESSAGE_ID.replace('<', "&lt;").replace('>', "&gt;");
    element("msgid", &[&escaped]);
}

#[test]
fn element_msgid_is_absent_when_the_sender_set_none() {
    let mut forms = Forms::new();
    forms.facts.message_id = None;
    for (kind, unsealed) in forms.all() {
        let opened = Opened::new(&unsealed);
        assert_eq!(opened.header.count("X-Riferimento-Message-ID"), 0, "{kind}");
        assert!(kind == "anomaly" || elements(&opened.xml(), "msgid").is_empty(), "{kind}");
    }
}

#[test]
fn element_ricevuta_is_empty_and_has_the_type() {
    let xml = of_envelope();
    assert_eq!(elements(&xml, "ricevuta"), [""]);
    assert!(xml.contains("<ricevuta tipo=\"completa\""), "{xml}");
}

#[test]
fn element_consegna_is_the_one_recipient() {
    let forms = Forms::new();
    for unsealed in [forms.delivery(ReceiptType::Complete), forms.non_delivery()] {
        assert_eq!(elements(&Opened::new(&unsealed).xml(), "consegna"), [RECIPIENT]);
    }
}

#[test]
fn element_ricezione_is_each_recipient_that_was_taken() {
    assert_eq!(elements(&Opened::new(&Forms::new().take_charge()).xml(), "ricezione"), [RECIPIENT]);
}

#[test]
fn element_errore_esteso_is_code_provider_and_reason() {
    let xml = Opened::new(&Forms::new().non_delivery()).xml();
    let expected = "5.1.1 - Alfa PEC S.p.A. - indirizzo non valido";
    assert_eq!(elements(&xml, "errore-esteso"), [expected]);
}

/// What `dati` of a kind has after the elements that all have.
fn dati(unsealed: &ceralacca::pec::issuer::Unsealed, expected: &[&str]) {
    let found = children(&Opened::new(unsealed).xml(), "dati");
    assert_eq!(found[..4], ["gestore-emittente", "data", "identificativo", "msgid"]);
    assert_eq!(found[4..], *expected);
}

#[test]
fn dati_of_accettazione() {
    dati(&Forms::new().acceptance(), &[]);
}

#[test]
fn dati_of_non_accettazione() {
    dati(&Forms::new().formal(), &["errore-esteso"]);
}

#[test]
fn dati_of_posta_certificata() {
    dati(&Forms::new().envelope(), &["ricevuta"]);
}

#[test]
fn dati_of_presa_in_carico() {
    dati(&Forms::new().take_charge(), &["ricezione"]);
}

#[test]
fn dati_of_avvenuta_consegna() {
    for due in [ReceiptType::Complete, ReceiptType::Brief, ReceiptType::Concise] {
        dati(&Forms::new().delivery(due), &["ricevuta", "consegna"]);
    }
}

#[test]
fn dati_of_errore_consegna() {
    dati(&Forms::new().non_delivery(), &["consegna", "errore-esteso"]);
}

#[test]
fn dati_of_errore_consegna_for_a_virus() {
    let notice = Forms::new().virus_non_delivery();
    assert!(Opened::new(&notice).xml().contains("errore=\"virus\""));
    dati(&notice, &["consegna", "errore-esteso"]);
}

#[test]
fn dati_of_rilevazione_virus() {
    dati(&Forms::new().virus_detection(), &["consegna", "errore-esteso"]);
}

#[test]
fn dati_of_preavviso_errore_consegna() {
    for limit in [TimeLimit::First, TimeLimit::Last] {
        dati(&Forms::new().time_limit(limit), &["consegna", "errore-esteso"]);
    }
}
