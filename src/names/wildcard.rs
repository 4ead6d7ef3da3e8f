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

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::{
        dnssec::{Algorithm, rdata::SigInput},
        op::OpCode,
        rr::{
            RecordType, SerialNumber,
            rdata::{MX, TXT},
        },
    };

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(format!("{text}.")).expect("a name")
    }

    fn record(owner: &str, data: RData, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(owner), 300, data);
        record.proof = proof;
        record
    }

    fn signature(labels: u8, signer: &str) -> RData {
        let input = SigInput {
            type_covered: RecordType::MX,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: labels,
            original_ttl: 300,
            sig_expiration: SerialNumber::new(2),
            sig_inception: SerialNumber::new(1),
            key_tag: 1,
            signer_name: name(signer),
        };
        RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, vec![0; 64])))
    }

    fn gap(next: &str, kinds: &[RecordType]) -> RData {
        let kinds = kinds.iter().copied().chain([RecordType::NSEC, RecordType::RRSIG]);
        RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(name(next), kinds)))
    }

    /// An answer for `asked` from `*.w.test`, with one gap from `owner` to `next`.
    fn answer(asked: &str, owner: &str, next: &str) -> Message {
        let mut message = Message::response(0, OpCode::Query);
        let mx = RData::MX(MX::new(10, name("mx.test")));
        message.add_answers([
            record(asked, mx, Proof::Secure),
            record(asked, signature(2, "test"), Proof::Secure),
        ]);
        message.add_authorities([record(owner, gap(next, &[RecordType::MX]), Proof::Secure)]);
        message
    }

    #[test]
    fn a_gap_right_below_the_parent_of_the_wildcard_proves_it() {
        for (asked, owner, next) in [
            ("a.w.test", "*.w.test", "x.test"),
            ("a.w.test", "*.w.test", "b.w.test"),
            ("b.a.w.test", "*.w.test", "c.w.test"),
            ("z.w.test", "y.w.test", "test"),
        ] {
            assert!(is_proven(&answer(asked, owner, next)), "{asked} in {owner} to {next}");
        }
    }

    #[test]
    fn a_gap_elsewhere_proves_nothing() {
        for (asked, owner, next, what) in [
            ("a.w.test", "b.w.test", "c.w.test", "before the gap"),
            ("z.w.test", "b.w.test", "c.w.test", "behind it"),
            ("b.w.test", "b.w.test", "c.w.test", "at its begin: the name exists"),
            ("b.a.w.test", "a.w.test", "c.w.test", "below a name that exists and is closer"),
            ("b.a.w.test", "*.w.test", "c.a.w.test", "beside one below the closer name"),
            ("a.w.test", "a.other", "z.other", "of another zone"),
            ("a.w.test", "mx.test", "z.test", "that leaves the parent out"),
        ] {
            assert!(!is_proven(&answer(asked, owner, next)), "{what}");
        }
    }

    #[test]
    fn every_record_must_be_secure_and_every_expansion_proven() {
        let proven = || answer("a.w.test", "*.w.test", "x.test");
        let with = |change: &dyn Fn(&mut Message)| {
            let mut message = proven();
            change(&mut message);
            is_proven(&message)
        };
        assert!(with(&|_| {}));
        assert!(!with(&|message| message.answers[0].proof = Proof::Insecure));
        assert!(!with(&|message| message.answers[1].proof = Proof::Bogus), "no expansion is known");
        assert!(!with(&|message| message.authorities[0].proof = Proof::Bogus));
        assert!(!with(&|message| message.authorities.clear()));
        assert!(!with(&|message| message.answers.clear()));
        let text = RData::TXT(TXT::new(vec!["x".to_owned()]));
        assert!(!with(&|message| {
            message.add_answer(record("a.w.test", text.clone(), Proof::Indeterminate));
        }));
        assert!(!with(&|message| {
            message.add_answer(record("b.c.v.test", signature(2, "test"), Proof::Secure));
        }));
        let delegation = gap("x.test", &[RecordType::NS]);
        assert!(!with(&|message| {
            message.authorities = vec![record("*.w.test", delegation.clone(), Proof::Secure)];
        }));
    }
}
