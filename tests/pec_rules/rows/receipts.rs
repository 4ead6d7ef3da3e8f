//! Which delivery receipt is due (RFC 6109 §3.3.2.1 to §3.3.2.3), the hashes of the brief one, and what a
//! notice says of a failure (§3.3.3).

use ceralacca::pec::{
    brief::{Attachments, BriefHash},
    facts::{ReceiptType, RecipientPlace, receipt_due},
    receipt::DeliveryFault,
};

use ReceiptType::{Brief, Complete, Concise};
use RecipientPlace::{CarbonCopy, Primary, Unclear};

use super::{Opened, elements};
use crate::world::Forms;

/// What X-TipoRicevuta asks for.
fn asked(value: Option<&str>) -> ReceiptType {
    value.and_then(ReceiptType::from_text).unwrap_or_default()
}

#[test]
fn receipt_for_absent_or_completa_in_to() {
    assert_eq!(receipt_due(asked(None), Primary), Complete);
    assert_eq!(receipt_due(asked(Some("completa")), Primary), Complete);
}

#[test]
fn receipt_for_absent_or_completa_in_cc() {
    assert_eq!(receipt_due(asked(None), CarbonCopy), Concise);
    assert_eq!(receipt_due(asked(Some("completa")), CarbonCopy), Concise);
}

#[test]
fn receipt_for_absent_or_completa_when_it_cannot_be_told() {
    assert_eq!(receipt_due(asked(None), Unclear), Complete);
    assert_eq!(receipt_due(asked(Some("Completa")), Unclear), Complete);
}

#[test]
fn receipt_for_breve_in_to() {
    assert_eq!(receipt_due(asked(Some("breve")), Primary), Brief);
}

#[test]
fn receipt_for_breve_in_cc() {
    assert_eq!(receipt_due(asked(Some("breve")), CarbonCopy), Concise);
}

#[test]
fn receipt_for_breve_when_it_cannot_be_told() {
    assert_eq!(receipt_due(asked(Some("BREVE")), Unclear), Brief);
}

#[test]
fn receipt_for_sintetica_in_to() {
    assert_eq!(receipt_due(asked(Some("sintetica")), Primary), Concise);
}

#[test]
fn receipt_for_sintetica_in_cc() {
    assert_eq!(receipt_due(asked(Some("sintetica")), CarbonCopy), Concise);
}

#[test]
fn receipt_for_sintetica_when_it_cannot_be_told() {
    assert_eq!(receipt_due(asked(Some("sintetica")), Unclear), Concise);
}

#[test]
fn receipt_for_any_other_value_in_to() {
    assert_eq!(receipt_due(asked(Some("brevissima")), Primary), Complete);
}

#[test]
fn receipt_for_any_other_value_in_cc() {
    assert_eq!(receipt_due(asked(Some("brevissima")), CarbonCopy), Concise);
}

#[test]
fn receipt_for_any_other_value_when_it_cannot_be_told() {
    assert_eq!(receipt_due(asked(Some("")), Unclear), Complete);
}

const TEXT: &str = "Content-Type: text/plain\r\n\r\nciao";
/// SHA-1 of `YWJj`, the octets of the part as they stand.
const HASH: &str = "d8bce9746547bb7743e5933fbf0fc4f2d2cbcad3";

fn brief(original: &str) -> String {
    let attachments = Attachments::find(original.as_bytes(), BriefHash::Encoded);
    String::from_utf8(attachments.replaced(original.as_bytes()).concat()).expect("ASCII")
}

fn mixed(part: &str) -> String {
    format!(
        "From: a@x.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nprima\r\n--b\r\n\
         {TEXT}\r\n--b\r\n{part}\r\n--b--\r\ndopo"
    )
}

#[test]
fn brief_rule_1_the_structure_stays() {
    let plain = mixed(TEXT);
    assert_eq!(brief(&plain), plain);
    let found = brief(&mixed("Content-Type: a/b; name=c\r\n\r\nYWJj"));
    let [before, after] = [
        "From: a@x.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nprima\r\n--b\r\n",
        "\r\n--b--\r\ndopo",
    ];
    assert!(found.starts_with(before) && found.ends_with(after), "{found}");
}

#[test]
fn brief_rule_2_a_name_in_either_field_is_replaced() {
    for field in [
        "Content-Type: a/b; name=c",
        "Content-Type: a/b\r\nContent-Disposition: attachment; filename=c",
    ] {
        let found = brief(&mixed(&format!("{field}\r\n\r\nYWJj")));
        assert!(found.contains(HASH) && !found.contains("YWJj"), "{found}");
    }
}

#[test]
fn brief_rule_3_the_replacement_is_text_with_the_name_and_40_digits() {
    let found = brief(&mixed("Content-Type: a/b; name=\"c d.pdf\"\r\n\r\nYWJj"));
    assert!(found.contains("filename=\"c d.pdf.hash\""), "{found}");
    assert!(found.contains("Content-Type: text/plain"), "{found}");
    assert!(found.contains(&format!("\r\n\r\n{HASH}\r\n--b--")), "one run: {found}");
}

#[test]
fn brief_rule_4_an_attached_message_is_one_hash() {
    let inner = "Subject: x\r\nContent-Type: a/b; name=dentro\r\n\r\nYWJj";
    let part = format!("Content-Type: message/rfc822; name=c.eml\r\n\r\n{inner}");
    let found = brief(&mixed(&part));
    assert!(found.contains("c.eml.hash") && !found.contains("dentro"), "{found}");
}

#[test]
fn brief_rule_5_of_a_signed_message_the_first_part_alone() {
    let signature = "Content-Type: application/pkcs7-signature; name=smime.p7s\r\n\r\nYWJj";
    let signed = format!(
        "Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n{}\r\n--s\r\n{signature}\r\n--s--\r\n",
        mixed("Content-Type: a/b; name=c\r\n\r\nYWJj")
    );
    let found = brief(&signed);
    assert!(found.contains("c.hash") && found.contains(HASH), "{found}");
    assert!(found.ends_with(&format!("\r\n--s\r\n{signature}\r\n--s--\r\n")), "{found}");
}

#[test]
fn brief_rule_6_an_enveloped_message_stays_whole() {
    for kind in ["application/pkcs7-mime", "application/x-pkcs7-mime"] {
        let original = format!("Content-Type: {kind}; name=smime.p7m\r\n\r\nYWJj");
        assert_eq!(brief(&original), original);
    }
}

#[test]
fn brief_rule_7_only_the_top_level_type_says_that_it_is_signed() {
    let inner = "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nYWJj";
    let found = brief(&mixed(inner));
    assert!(found.contains("smime.p7m.hash"), "an attachment like any other: {found}");
}

#[test]
fn brief_rule_8_the_hash_is_of_the_part_as_it_stands_unless_switched() {
    let original =
        mixed("Content-Type: a/b; name=c\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj");
    assert!(brief(&original).contains(HASH));
    let decoded = Attachments::find(original.as_bytes(), BriefHash::Decoded);
    let decoded = decoded.replaced(original.as_bytes()).concat();
    // FIPS 180-4, the example message "abc".
    let abc = "a9993e364706816aba3e25717850c26c9cd0d89d";
    assert!(String::from_utf8_lossy(&decoded).contains(abc));
}

/// What the notice of a failure says: its kind, and the beginning of its reason.
fn failure(fault: &DeliveryFault, error: &str, code: &str) {
    let forms = Forms::new();
    let notice = forms.issuer.non_delivery_notice(&forms.facts, &forms.at, &forms.recipient, fault);
    let xml = Opened::new(&notice).xml();
    assert!(xml.contains(&format!("tipo=\"errore-consegna\" errore=\"{error}\"")), "{xml}");
    let reason = elements(&xml, "errore-esteso")[0];
    assert!(reason.starts_with(&format!("{code} - Alfa PEC S.p.A. - ")), "{reason}");
}

#[test]
fn failure_unknown_mailbox_is_no_dest() {
    failure(&DeliveryFault::unknown_mailbox(), "no-dest", "5.1.1");
}

#[test]
fn failure_domain_not_served_is_no_dominio() {
    failure(&DeliveryFault::unknown_domain(), "no-dominio", "5.1.2");
}

#[test]
fn failure_full_mailbox_is_altro() {
    failure(&DeliveryFault::mailbox_full(), "altro", "5.2.2");
}
