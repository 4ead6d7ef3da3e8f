//! The index of the journal: records by address and by identifier.
//!
//! It is written by the sealer, behind the records, so that a record costs nothing more on its way;
//! who searches reads what is not sealed yet from the journal itself. A term is the first half of
//! SHA-256 over its kind and its text: whoever finds a record by it looks into the record all the
//! same, so that two texts with one term are told apart.
//!
//! Not here: searching ([`super::search`]).

use std::collections::BTreeSet;

use bytes::Bytes;
use trust::digest::Sha256Hasher;

use crate::pec::records::JournalRecord;

/// Octets of a term.
pub const TERM_OCTETS: usize = 16;

/// What records are found by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TermKind {
    /// The address of a sender or recipient, in any case.
    Address = 1,
    /// A PEC identifier or a Message-ID, with or without its brackets.
    Identifier = 2,
}

/// The text by which two terms are compared.
#[must_use]
pub fn folded(kind: TermKind, text: &str) -> String {
    let text = text.trim();
    match kind {
        TermKind::Address => text.to_lowercase(),
        TermKind::Identifier => {
            let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
            inner.unwrap_or(text).to_owned()
        }
    }
}

/// The term of `text`.
#[must_use]
pub fn term(kind: TermKind, text: &str) -> [u8; TERM_OCTETS] {
    let mut hasher = Sha256Hasher::default();
    hasher.update(&[kind as u8]);
    hasher.update(folded(kind, text).as_bytes());
    let digest = hasher.finish().0;
    let mut term = [0; TERM_OCTETS];
    term.copy_from_slice(&digest[..TERM_OCTETS]);
    term
}

/// The texts of `record` that it is found by.
fn texts(record: &JournalRecord) -> impl Iterator<Item = (TermKind, &str)> {
    let addresses = std::iter::once(&record.sender).chain(&record.recipients);
    let identifiers = [&record.identifier, &record.message_id].into_iter().chain(&record.related);
    let addresses = addresses.map(|text| (TermKind::Address, text.as_str()));
    addresses
        .chain(identifiers.map(|text| (TermKind::Identifier, text.as_str())))
        .filter(|(_, text)| !text.trim().is_empty())
}

/// Whether `record` names `text`.
#[must_use]
pub fn names(record: &JournalRecord, kind: TermKind, text: &str) -> bool {
    let wanted = folded(kind, text);
    texts(record).any(|(found, text)| found == kind && folded(kind, text) == wanted)
}

/// The key of one entry.
#[must_use]
pub fn key(node: u64, term: &[u8; TERM_OCTETS], sequence: u64) -> Bytes {
    [&node.to_be_bytes()[..], term, &sequence.to_be_bytes()].concat().into()
}

/// The keys of all entries of a record, each once.
#[must_use]
pub fn keys_of(node: u64, sequence: u64, record: &JournalRecord) -> BTreeSet<Bytes> {
    texts(record).map(|(kind, text)| key(node, &term(kind, text), sequence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_by_its_addresses_in_any_case_and_by_names_with_or_without_brackets() {
        let record = JournalRecord {
            sender: "Maria@pec.example".to_owned(),
            recipients: vec!["anna@pec.example".to_owned(), "maria@PEC.example".to_owned()],
            identifier: "opec1.x@pec.example".to_owned(),
            message_id: "<1@client.example>".to_owned(),
            ..JournalRecord::default()
        };
        assert!(names(&record, TermKind::Address, "maria@pec.example"));
        assert!(names(&record, TermKind::Identifier, "<opec1.x@pec.example>"));
        assert!(names(&record, TermKind::Identifier, "1@client.example"));
        assert!(!names(&record, TermKind::Address, "1@client.example"));
        assert!(!names(&record, TermKind::Address, ""));
        assert_eq!(keys_of(1, 7, &record).len(), 4, "one address in two cases is one");
    }
}
