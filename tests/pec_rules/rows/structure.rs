//! The MIME structure of everything that is generated (RFC 6109 §4.2, §4.3).

use ceralacca::pec::mime::Entity;

use super::{Opened, SUBJECT, elements};
use crate::world::{Forms, signer};

fn each(check: impl Fn(&str, &Opened)) {
    for (name, unsealed) in Forms::new().all() {
        check(name, &Opened::new(&unsealed));
    }
}

/// RFC 6109 §2.1.
#[test]
fn structure_of_everything_is_multipart_signed_with_an_attached_signature() {
    let folder = tempfile::tempdir().expect("a folder");
    let signer = signer(folder.path());
    let forms = Forms::new();
    for (name, unsealed) in forms.all() {
        let message = unsealed.seal(&signer, &forms.issuer).expect("sealed");
        let whole = Entity::parse(&message, 0..message.len()).expect("an entity");
        let kind = whole.content_type();
        assert_eq!(kind.value, "multipart/signed", "{name}");
        let protocol = kind.parameter("protocol");
        assert_eq!(protocol.as_deref(), Some("application/pkcs7-signature"), "{name}");
        assert_eq!(kind.parameter("micalg").as_deref(), Some("sha-256"), "{name}");
        let parts = whole.parts(&message).expect("parts");
        let [entity, signature] = &parts[..] else { panic!("{name}: two parts") };
        assert_eq!(message[entity.clone()], unsealed.entity, "{name}");
        let signature = Entity::parse(&message, signature.clone()).expect("a signature");
        assert_eq!(signature.content_type().value, "application/pkcs7-signature", "{name}");
        assert_eq!(signature.disposition().value, "attachment", "{name}");
        assert_eq!(signature.file_name().as_deref(), Some("smime.p7s"), "{name}");
        assert_eq!(signature.transfer_encoding(), "base64", "{name}");
    }
}

#[test]
fn structure_part_1_is_the_text_and_its_html_in_iso_8859_1() {
    each(|name, opened| {
        for (part, kind) in opened.parts.iter().zip(["text/plain", "text/html"]) {
            assert_eq!(part.kind, kind, "{name}");
            let charset = part.content_type.parameter("charset").expect("a charset");
            assert!(charset.eq_ignore_ascii_case("iso-8859-1"), "{name}: {charset}");
        }
    });
}

#[test]
fn structure_certification_data_are_daticert_xml_in_utf_8() {
    each(|name, opened| {
        let Some(part) = opened.part("application/xml") else {
            assert_eq!(name, "anomaly");
            return;
        };
        assert_eq!(part.content_type.parameter("name").as_deref(), Some("daticert.xml"), "{name}");
        assert_eq!(
            part.disposition.parameter("filename").as_deref(),
            Some("daticert.xml"),
            "{name}"
        );
        assert!(part.content.starts_with(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{name}");
        assert!(std::str::from_utf8(&part.content).is_ok(), "{name}");
    });
}

#[test]
fn structure_included_messages_are_postacert_eml_and_not_encoded() {
    each(|name, opened| {
        let included = matches!(name, "envelope" | "anomaly" | "complete" | "brief");
        assert_eq!(opened.included().is_some(), included, "{name}");
        let Some(part) = opened.part("message/rfc822") else { return };
        assert_eq!(part.content_type.parameter("name").as_deref(), Some("postacert.eml"), "{name}");
        let file = part.disposition.parameter("filename");
        assert_eq!(file.as_deref(), Some("postacert.eml"), "{name}");
        assert!(matches!(part.encoding.as_str(), "7bit" | "8bit" | "binary"), "{name}");
    });
}

#[test]
fn structure_anomaly_envelopes_hold_the_text_and_the_message_alone() {
    let opened = Opened::new(&Forms::new().anomaly());
    let kinds: Vec<&str> = opened.parts.iter().map(|part| part.kind.as_str()).collect();
    assert_eq!(kinds, ["text/plain", "text/html", "message/rfc822"]);
}

#[test]
fn structure_nothing_that_the_provider_writes_has_eight_bits() {
    for (name, unsealed) in Forms::new().all() {
        assert!(unsealed.header.is_ascii(), "{name}");
        for part in Opened::new(&unsealed).parts {
            assert!(part.kind == "message/rfc822" || part.raw.is_ascii(), "{name}: {}", part.kind);
        }
    }
}

#[test]
fn structure_html_refers_to_nothing_and_does_nothing() {
    const TAGS: [&str; 8] = ["html", "head", "title", "body", "h3", "hr", "p", "br"];
    each(|name, opened| {
        let html = opened.text("text/html");
        for tag in html.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("the end of a tag");
            let tag = tag.trim_start_matches('/');
            let (tag, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            assert!(TAGS.contains(&tag), "{name}: <{tag}>");
            assert!(matches!(attributes, "" | "lang=\"it\""), "{name}: {attributes}");
        }
    });
}

/// Every line of the text stands in the page too (RFC 6109 §4.3.1).
#[test]
fn structure_html_says_what_the_text_says() {
    each(|name, opened| {
        let html = opened.text("text/html");
        let page = html.replace("&quot;", "\"").replace("&agrave;", "à").replace("&#224;", "à");
        for line in opened.text("text/plain").lines().filter(|line| !line.is_empty()) {
            let marked = line.replace('\'', "&#39;");
            assert!(
                page.contains(line) || page.contains(&marked),
                "{name}: {line:?} not in {page}"
            );
        }
    });
}

/// Day, hour and zone of Italy, the same in header, text and data (RFC 6109 §4.1, §4.2).
#[test]
fn structure_one_instant_stands_in_header_text_and_data() {
    each(|name, opened| {
        let date = opened.value("Date");
        assert_eq!(date.as_deref(), Some("Sat, 21 Nov 2026 12:00:00 +0100"), "{name}");
        for kind in ["text/plain", "text/html"] {
            let text = opened.text(kind);
            assert!(text.contains("21/11/2026 alle ore 12:00:00 (+0100)"), "{name}: {text}");
        }
        if name != "anomaly" {
            let xml = opened.xml();
            assert!(xml.contains("<data zona=\"+0100\">"), "{name}: {xml}");
            assert_eq!(elements(&xml, "giorno"), ["21/11/2026"], "{name}");
            assert_eq!(elements(&xml, "ora"), ["12:00:00"], "{name}");
        }
    });
}

/// The subject is for people there: decoded (RFC 6109 §4.3.1).
#[test]
fn structure_texts_have_the_subject_decoded() {
    each(|name, opened| {
        let text = opened.text("text/plain");
        assert!(text.contains(SUBJECT), "{name}: {text}");
    });
}
