//! Golden files: the octets of an envelope, a receipt and the notices of viruses, so that no change of form goes by
//! unseen. To accept a change, write the files anew with `CERALACCA_BLESS=1` and read the diff.

use std::{fs, path::Path};

use ceralacca::pec::issuer::Unsealed;

use crate::world::Forms;

fn compare(file: &str, unsealed: &Unsealed) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pec_rules").join(file);
    let octets = [unsealed.header.as_slice(), &unsealed.entity].concat();
    if std::env::var_os("CERALACCA_BLESS").is_some() {
        fs::write(&path, &octets).expect("written");
    }
    let golden = fs::read(&path).expect("the golden file");
    let (made, golden) = (String::from_utf8_lossy(&octets), String::from_utf8_lossy(&golden));
    for (number, (made, golden)) in made.split("\r\n").zip(golden.split("\r\n")).enumerate() {
        assert_eq!(made, golden, "{file}:{}", number + 1);
    }
    assert_eq!(made.len(), golden.len(), "{file}");
}

#[test]
fn the_transport_envelope_has_the_octets_of_the_golden_file() {
    compare("envelope.eml", &Forms::new().envelope());
}

#[test]
fn row_3_the_notice_of_non_acceptance_for_a_virus_has_the_octets_of_the_golden_file() {
    compare("virus_non_acceptance.eml", &Forms::new().virus_non_acceptance());
}

#[test]
fn row_9_the_notice_that_a_virus_was_found_has_the_octets_of_the_golden_file() {
    compare("virus_detection.eml", &Forms::new().virus_detection());
}

#[test]
fn row_10_the_notice_of_non_delivery_for_a_virus_has_the_octets_of_the_golden_file() {
    compare("virus_non_delivery.eml", &Forms::new().virus_non_delivery());
}

#[test]
fn the_acceptance_receipt_has_the_octets_of_the_golden_file() {
    compare("acceptance.eml", &Forms::new().acceptance());
}
