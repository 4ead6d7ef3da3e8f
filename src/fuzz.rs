//! What a fuzzer hands in: each target takes any octets and panics when a promise is broken.
//!
//! The seeds (`tests/fuzz/seeds`), and mutations of them, run in every test too.
//!
//! Compiled for tests and by `cargo fuzz` only (`cfg(fuzzing)`).

use trust::smime::{structure::find_signed, verify::open_signed_content};

use crate::pec::{
    classify::classify,
    daticert::CertificationData,
    directory::Directory,
    header::Header,
    ldif::{read_ldif, write_attribute},
};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 3] = [("ldif", ldif), ("daticert", daticert), ("signed", signed)];

/// A file of any octets is refused, or is a directory that writes as one that reads the same.
///
/// # Panics
///
/// When that is not so.
pub fn ldif(file: &[u8]) {
    if let Ok(records) = read_ldif(file) {
        for record in &records {
            for value in record.values("description") {
                let mut line = b"dn: x\n".to_vec();
                write_attribute(&mut line, "description", value, false);
                let again = read_ldif(&line).expect("what is written reads");
                assert_eq!(again[0].values("description").next(), Some(value));
            }
        }
    }
    let Ok(directory) = Directory::from_ldif(file) else { return };
    let again = Directory::from_ldif(&directory.to_ldif()).expect("what is written reads");
    assert_eq!(again.records(), directory.records());
    assert_eq!(again.location(), directory.location());
    for record in directory.records() {
        for domain in &record.managed_domains {
            assert!(
                directory.provider_of_domain(domain).is_some_and(|one| one.is_of(&record.name))
            );
        }
    }
}

/// Certification data of any octets are refused, or write as data that read the same.
///
/// # Panics
///
/// When that is not so.
pub fn daticert(file: &[u8]) {
    let Ok(data) = CertificationData::from_xml(file) else { return };
    let again = CertificationData::from_xml(&data.to_xml()).expect("what is written reads");
    assert_eq!(again, data);
}

/// The signature of any octets lies within them, and what it signs is classified; a SignedData is
/// opened or refused.
///
/// # Panics
///
/// When that is not so.
pub fn signed(message: &[u8]) {
    // A file that is no message may be a SignedData.
    let _ = open_signed_content(message);
    let Some(found) = find_signed(message) else { return };
    assert!(found.header.end <= found.entity.start && found.entity.end <= message.len());
    let entity = message.get(found.entity.clone()).expect("a range of the message");
    let _ = open_signed_content(&found.signature);
    if let Ok((header, _)) = Header::parse(message) {
        let _ = classify(&header, entity);
    }
}

#[cfg(test)]
mod tests;
