//! Answers that come from a wildcard, where the library's validation stops.
//!
//! A signature made for `*.mail.example` also fits `a.mail.example`, so such an answer counts only
//! with the proof that nothing closer to the name exists: an NSEC record that covers the name and
//! whose gap lies right below the parent of the wildcard (RFC 4035 §5.3.4). The library (hickory
//! 0.26.3) asks for one more record, which says that the wildcard itself does not exist; where the
//! wildcard stands one label above the name no server can give that, and every such answer would be
//! bogus, TLSA records of `*._tcp.mail.example` among them.
//!
//! Not here: signatures. What is looked at has been found secure, record by record.

use hickory_resolver::proto::{
    dnssec::{
        Proof,
        rdata::{DNSSECRData, NSEC, RRSIG},
    },
    op::Message,
    rr::{Name, RData, Record},
};

/// Whether `message`, which the library calls bogus, is a complete proof for an answer from a
/// wildcard: every record secure, every expansion the closest.
pub(super) fn is_proven(message: &Message) -> bool {
    let (signatures, records): (Vec<&Record>, Vec<&Record>) =
        message.answers.iter().partition(|record| signature(record).is_some());
    let expansions: Vec<(&Name, &RRSIG)> = signatures
        .into_iter()
        .filter(|record| record.proof == Proof::Secure)
        .filter_map(|record| Some((&record.name, signature(record)?)))
        .filter(|(name, signature)| signature.input().num_labels < name.num_labels())
        .collect();
    let denials: Vec<(&Name, &NSEC)> = message
        .authorities
        .iter()
        .filter(|record| record.proof == Proof::Secure)
        .filter_map(|record| Some((&record.name, denial(record)?)))
        .collect();
    let secure = !records.is_empty() && records.iter().all(|record| record.proof == Proof::Secure);
    let closest = |(name, signature): &(&Name, &RRSIG)| {
        denials.iter().any(|(owner, denial)| leaves_nothing_closer(name, signature, owner, denial))
    };
    secure && !expansions.is_empty() && expansions.iter().all(closest)
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}

fn denial(record: &Record) -> Option<&NSEC> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC(denial)) => Some(denial),
        _ => None,
    }
}

/// Whether the gap from `owner` on holds `name`, and lies right below the parent of the wildcard
/// that `signature` was made for.
fn leaves_nothing_closer(name: &Name, signature: &RRSIG, owner: &Name, denial: &NSEC) -> bool {
    let (zone, next) = (&signature.input().signer_name, denial.next_domain_name());
    if !zone.zone_of(owner) || !zone.zone_of(name) || denial.is_ancestor_delegation() {
        return false;
    }
    // The last gap of a zone ends at its apex.
    let covers = owner < name && (name < next || next == zone);
    // The parent is known by its labels: the closest name above `name` that exists.
    let closest = labels_in_common(name, owner).max(labels_in_common(name, next));
    covers && closest == usize::from(signature.input().num_labels)
}

fn labels_in_common(one: &Name, other: &Name) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs.take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count()
}
