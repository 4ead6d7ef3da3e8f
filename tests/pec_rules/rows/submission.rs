//! The formal checks of the access point (RFC 6109 §3.1.1, DM 2 November 2005 art. 12), and what the
//! RFC prints wrongly.

use ceralacca::pec::{
    address::Address,
    formal::{FormalCheck, FormalLimits, OriginalFacts, check},
    header::Header,
    receipt::TimeLimit,
};

use super::{Opened, SENDER};
use crate::world::Forms;

const LIMITS: FormalLimits =
    FormalLimits { message_octets_max: 1000, product_octets_max: 1500, recipients_max: 3 };

/// Checks a message with these fields, from the sender to `forward`.
fn judged(fields: &str, forward: &[&str], size: u64) -> Result<OriginalFacts, FormalCheck> {
    let address = |text: &str| Address::parse(text).expect("an address");
    let forward: Vec<Address> = forward.iter().map(|text| address(text)).collect();
    let (header, _) = Header::parse(fields.as_bytes()).map_err(|_| FormalCheck::Header)?;
    check(&header, &address(SENDER), &forward, size, &LIMITS).map_err(|fault| fault.check)
}

fn fault(fields: &str, forward: &[&str], size: u64) -> FormalCheck {
    judged(fields, forward, size).expect_err("a fault")
}

const B: &str = "b@beta.example";
const C: &str = "c@beta.example";
const BOTH: &str = "From: anna@alfa.example\r\nTo: b@beta.example\r\nCc: c@beta.example\r\n";

#[test]
fn access_check_0_a_sound_message_passes() {
    assert!(judged(BOTH, &[B, C], 700).is_ok());
}

#[test]
fn access_check_1_header_against_rfc_5322() {
    assert_eq!(fault("questa riga non ha nome\r\n", &[B], 10), FormalCheck::Header);
    assert_eq!(
        fault(&format!("{BOTH}Subject: a\r\nSubject: b\r\n"), &[B, C], 10),
        FormalCheck::Header
    );
}

#[test]
fn access_check_1_from_is_not_one_valid_address() {
    for from in ["", "From: \r\n", "From: anna\r\n", "From: a@x.example, b@x.example\r\n"] {
        assert_eq!(fault(&format!("{from}To: b@beta.example\r\n"), &[B], 10), FormalCheck::From);
    }
}

#[test]
fn access_check_2_to_has_no_valid_address() {
    for to in ["Cc: b@beta.example\r\n", "To: \r\n", "To: elenco:;\r\n", "To: b@\r\n"] {
        let fields = format!("From: anna@alfa.example\r\n{to}");
        assert_eq!(fault(&fields, &[B], 10), FormalCheck::To, "{to}");
    }
}

#[test]
fn access_check_3_reverse_path_is_not_from() {
    let fields = BOTH.replace("anna@", "altra@");
    assert_eq!(fault(&fields, &[B, C], 10), FormalCheck::ReversePath);
    // The domain has no case.
    assert!(judged(&BOTH.replace("alfa.example", "ALFA.example"), &[B, C], 10).is_ok());
}

#[test]
fn access_check_4_recipients_differ_from_to_and_cc() {
    assert_eq!(fault(BOTH, &[B], 10), FormalCheck::ForwardPaths, "one is missing");
    let hidden = [B, C, "d@beta.example"];
    assert_eq!(fault(BOTH, &hidden, 10), FormalCheck::ForwardPaths, "one is hidden");
    // A set: neither order nor case of the domain counts.
    assert!(judged(BOTH, &["c@BETA.example", B], 10).is_ok());
}

#[test]
fn access_check_5_bcc_has_a_value() {
    assert_eq!(fault(&format!("{BOTH}Bcc: d@beta.example\r\n"), &[B, C], 10), FormalCheck::Bcc);
    assert!(judged(&format!("{BOTH}Bcc: \r\n"), &[B, C], 10).is_ok(), "it may be empty");
}

/// The rules set no limit; what is quoted in every receipt needs one.
#[test]
fn access_check_5_subject_is_too_long_to_be_quoted() {
    let long = format!("{BOTH}Subject: inizio{}\r\n", "\r\n parola".repeat(150));
    assert_eq!(fault(&long, &[B, C], 9_999), FormalCheck::Subject);
}

#[test]
fn access_check_6_size_and_size_by_recipients() {
    let one = "From: anna@alfa.example\r\nTo: b@beta.example\r\n";
    assert!(judged(one, &[B], 1000).is_ok());
    assert_eq!(fault(one, &[B], 1001), FormalCheck::Size);
    assert!(judged(BOTH, &[B, C], 750).is_ok());
    assert_eq!(fault(BOTH, &[B, C], 751), FormalCheck::Size);
}

#[test]
fn access_check_7_number_of_recipients() {
    let to = ["b@x.example", "c@x.example", "d@x.example", "e@x.example"];
    let fields =
        |count: usize| format!("From: anna@alfa.example\r\nTo: {}\r\n", to[..count].join(","));
    assert!(judged(&fields(3), &to[..3], 10).is_ok());
    assert_eq!(fault(&fields(4), &to, 10), FormalCheck::RecipientCount);
}

/// The first failure is the one that is told.
#[test]
fn access_checks_are_made_in_order() {
    let all_wrong = "From: altra@alfa.example\r\nTo: b@beta.example\r\nBcc: d@beta.example\r\n";
    assert_eq!(fault(all_wrong, &[C], 2000), FormalCheck::ReversePath);
    let less = all_wrong.replace("altra@", "anna@");
    assert_eq!(fault(&less, &[C], 2000), FormalCheck::ForwardPaths);
    assert_eq!(fault(&less, &[B], 2000), FormalCheck::Bcc);
    assert_eq!(fault(&less.replace("d@beta.example", ""), &[B], 2000), FormalCheck::Size);
}

/// All octets of everything that is generated.
fn everything() -> String {
    let all = Forms::new().all();
    let octets = all.iter().flat_map(|(_, unsealed)| [&unsealed.header[..], &unsealed.entity]);
    octets.map(String::from_utf8_lossy).collect()
}

#[test]
fn misprint_of_2_1_and_3_1_5_certified_mail_on_behalf_of() {
    let everything = everything();
    assert!(!everything.contains("certified-mail@") && !everything.contains("On behalf of"));
    assert!(everything.contains("posta-certificata@") && everything.contains("Per conto di: "));
}

#[test]
fn misprint_of_3_2_2_x_trasplorto() {
    assert!(!everything().contains("X-Trasplorto"));
}

#[test]
fn misprint_of_4_3_3_certdata() {
    assert!(!everything().contains("certdata.xml"));
}

#[test]
fn misprint_of_3_1_6_the_addressee_is_the_sender() {
    for limit in [TimeLimit::First, TimeLimit::Last] {
        let opened = Opened::new(&Forms::new().time_limit(limit));
        assert_eq!(opened.value("To").as_deref(), Some(SENDER));
    }
}

#[test]
fn misprint_of_3_1_6_one_space_after_sup() {
    let opened = Opened::new(&Forms::new().time_limit(TimeLimit::First));
    assert!(opened.value("Subject").expect("a subject").contains("PER SUP. TEMPO MASSIMO: "));
}

#[test]
fn misprint_of_4_2_the_zone_has_no_colon() {
    let everything = everything();
    assert!(!everything.contains("+01:00") && everything.contains("(+0100)"));
}

/// Text in ISO-8859-1, data in UTF-8: two charsets in one message.
#[test]
fn misprint_of_4_3_1_the_data_keep_utf_8() {
    let mut forms = Forms::new();
    forms.facts.subject = Some("Αθήνα è".to_owned());
    let opened = Opened::new(&forms.acceptance());
    assert!(opened.xml().contains("<oggetto>Αθήνα è</oggetto>"));
    assert!(opened.text("text/plain").contains("????? è"));
    assert!(opened.text("text/html").contains("&#913;"), "{}", opened.text("text/html"));
}
