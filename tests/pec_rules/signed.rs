//! Every kind, signed and opened again by `openssl cms`, the certification data by `xmllint`.

use std::{fs, process::Command};

use ceralacca::pec::{
    classify::{PecMessage, classify},
    daticert::DATICERT_DTD,
    header::Header,
    mime::{Entity, decode_base64},
};
use trust::smime::structure::find_signed;

use crate::world::{Forms, SUBMITTED, run, signer};

const VERIFY: [&str; 8] =
    ["cms", "-verify", "-in", "m.eml", "-CAfile", "authority.pem", "-out", "entity"];

#[test]
fn openssl_verifies_every_kind_and_gives_back_the_entity() {
    let folder = tempfile::tempdir().expect("a folder");
    let signer = signer(folder.path());
    let forms = Forms::new();
    for (name, unsealed) in forms.every_kind() {
        let message = unsealed.seal(&signer, &forms.issuer).expect("sealed");
        fs::write(folder.path().join("m.eml"), &message).expect("written");
        let (good, said) = run(folder.path(), "openssl", &VERIFY);
        assert!(good, "{name}: {said}");
        let entity = fs::read(folder.path().join("entity")).expect("the entity");
        assert_eq!(entity, unsealed.entity, "{name}");
    }
}

#[test]
fn openssl_refuses_an_envelope_with_one_octet_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let signer = signer(folder.path());
    let forms = Forms::new();
    let mut message = forms.envelope().seal(&signer, &forms.issuer).expect("sealed");
    let at = message.windows(5).position(|octets| octets == b"perch").expect("the body");
    message[at] = b'P';
    fs::write(folder.path().join("m.eml"), &message).expect("written");
    assert!(!run(folder.path(), "openssl", &VERIFY).0);
}

#[test]
fn xmllint_finds_the_certification_data_of_every_kind_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("daticert.dtd"), DATICERT_DTD).expect("written");
    for (name, unsealed) in Forms::new().every_kind() {
        let octets = unsealed.entity.as_slice();
        let entity = Entity::parse(octets, 0..octets.len()).expect("an entity");
        let xml = entity.parts(octets).expect("parts").into_iter().find_map(|part| {
            let part = Entity::parse(octets, part).expect("a part");
            let is_xml = part.content_type().value == "application/xml";
            is_xml.then(|| decode_base64(&octets[part.body]).expect("base64"))
        });
        assert_eq!(xml.is_none(), name == "anomaly");
        let Some(xml) = xml else { continue };
        fs::write(folder.path().join("daticert.xml"), xml).expect("written");
        let arguments = ["--noout", "--nonet", "--dtdvalid", "daticert.dtd", "daticert.xml"];
        let (good, said) = run(folder.path(), "xmllint", &arguments);
        assert!(good, "{name}: {said}");
    }
}

#[test]
fn pythons_email_finds_no_defect_in_any_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let signer = signer(folder.path());
    let forms = Forms::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/defects.py");
    let mut command = Command::new("python3");
    command.arg(script).current_dir(folder.path());
    for (name, unsealed) in forms.all() {
        let message = unsealed.seal(&signer, &forms.issuer).expect("sealed");
        fs::write(folder.path().join(name), message).expect("written");
        command.arg(name);
    }
    let found = command.output().expect("python3 runs");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// The way of a message from one provider to the next: signed, found, judged, and the original
/// compared with what was submitted.
#[test]
fn the_original_survives_the_envelope_and_the_complete_receipt() {
    let folder = tempfile::tempdir().expect("a folder");
    let signer = signer(folder.path());
    let forms = Forms::new();
    for (name, unsealed) in forms.every_kind() {
        let message = unsealed.seal(&signer, &forms.issuer).expect("sealed");
        let found = find_signed(&message).expect("a signed message");
        let (header, _) = Header::parse(&message[found.header]).expect("a header");
        let entity = &message[found.entity];
        match (name, classify(&header, entity)) {
            ("anomaly", PecMessage::Malformed(_)) => {}
            ("envelope", PecMessage::TransportEnvelope(envelope)) => {
                let original = &entity[envelope.original];
                assert_eq!(original, forms.original);
                let body = SUBMITTED.windows(4).position(|octets| octets == b"\r\n\r\n");
                assert!(original.ends_with(&SUBMITTED[body.expect("a body")..]));
            }
            (_, PecMessage::Receipt(notice)) => {
                let included = notice.included.map(|range| entity[range].to_vec());
                assert_eq!(included.is_some(), matches!(name, "complete" | "brief"), "{name}");
                assert_eq!(included.as_ref() == Some(&forms.original), name == "complete");
                assert_eq!(notice.data.facts, forms.facts);
            }
            (name, other) => panic!("{name}: {other:?}"),
        }
    }
}
