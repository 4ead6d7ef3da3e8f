//! Certificates against TLSA records, by the rules of RFC 7671 and RFC 7672.

#![allow(missing_docs)]

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    sha::{sha256, sha512},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use protocols::net::dane::{DaneCheck, DaneError, TlsaRecord};
use trust::clock::UnixMillis;

/// 27 November 2026.
const TODAY: i64 = 1_795_780_800;
const DAY: i64 = 86_400;

struct Party {
    certificate: X509,
    key: PKey<Private>,
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// Makes a certificate for `name`, valid for `days` around today, by `issuer` or by itself.
fn party(name: &str, issuer: Option<&Party>, authority: bool, days: std::ops::Range<i64>) -> Party {
    let key = key();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(u32::from(authority) + 7).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    builder.set_subject_name(&subject).unwrap();
    let issuer_name = issuer.map_or(subject.as_ref(), |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let at = |days: i64| Asn1Time::from_unix(TODAY + days * DAY).unwrap();
    builder.set_not_before(&at(days.start)).unwrap();
    builder.set_not_after(&at(days.end)).unwrap();
    if authority {
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
    } else {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns(name).build(&context).unwrap();
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Party { certificate: builder.build(), key }
}

fn record(usage: u8, selector: u8, matching: u8, certificate: &X509) -> TlsaRecord {
    let selected = match selector {
        0 => certificate.to_der().unwrap(),
        _ => certificate.public_key().unwrap().public_key_to_der().unwrap(),
    };
    let data = match matching {
        0 => selected,
        1 => sha256(&selected).to_vec(),
        _ => sha512(&selected).to_vec(),
    };
    TlsaRecord { usage, selector, matching, data }
}

fn check(records: Vec<TlsaRecord>) -> Option<DaneCheck> {
    let names = vec!["mx.one.example".to_owned(), "one.example".to_owned()];
    DaneCheck::new(records, names, UnixMillis(TODAY * 1_000))
}

fn verify(records: Vec<TlsaRecord>, chain: &[&Party]) -> Result<(), DaneError> {
    let chain: Vec<X509> = chain.iter().map(|party| party.certificate.clone()).collect();
    check(records).expect("usable records").verify(&chain)
}

/// An authority, one below it, and a server's certificate for `name`.
fn chain(name: &str, days: std::ops::Range<i64>) -> [Party; 3] {
    let root = party("Root", None, true, -10..10);
    let issuing = party("Issuing", Some(&root), true, -10..10);
    let own = party(name, Some(&issuing), false, days);
    [own, issuing, root]
}

#[test]
fn every_selector_and_matching_type_finds_the_server_and_its_anchor() {
    let [own, issuing, root] = chain("mx.one.example", -1..1);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let of = |usage, party: &Party| record(usage, selector, matching, &party.certificate);
            let presented = [&own, &issuing, &root];
            verify(vec![of(3, &own)], &presented).unwrap();
            verify(vec![of(2, &issuing)], &presented).unwrap();
            verify(vec![of(2, &root)], &presented).unwrap();
            // A certificate that is not the server's own, and one that is not an anchor.
            assert!(verify(vec![of(3, &issuing)], &presented).is_err());
            let other = party("Other", None, true, -1..1);
            assert!(verify(vec![of(3, &other), of(2, &other)], &presented).is_err());
            // One record that is right is enough.
            verify(vec![of(2, &other), of(3, &own)], &presented).unwrap();
        }
    }
}

/// RFC 7671 §5.1: the binding of DANE-EE is complete, whatever the certificate says of itself.
#[test]
fn a_server_bound_by_its_key_may_have_any_name_and_any_date() {
    let expired = party("elsewhere.example", None, false, -9..-2);
    verify(vec![record(3, 1, 1, &expired.certificate)], &[&expired]).unwrap();
}

/// RFC 7671 §5.2, RFC 7672 §3.2.2.
#[test]
fn a_server_under_an_anchor_needs_its_name_its_dates_and_a_signed_chain() {
    let anchored = |own: &Party, issuing: &Party, root: &Party, presented: &[&Party]| {
        let _ = own;
        [
            verify(vec![record(2, 0, 1, &root.certificate)], presented),
            verify(vec![record(2, 1, 2, &issuing.certificate)], presented),
        ]
    };
    for (name, days, right) in [
        ("mx.one.example", -1..1, true),
        ("one.example", -1..1, true),
        ("mx.two.example", -1..1, false),
        ("mx.one.example", -3..-1, false),
        ("mx.one.example", 1..3, false),
    ] {
        let [own, issuing, root] = chain(name, days.clone());
        let results = anchored(&own, &issuing, &root, &[&own, &issuing, &root]);
        assert!(
            results.iter().all(|result| result.is_ok() == right),
            "{name} {days:?}: {results:?}"
        );
        if !right {
            assert!(matches!(results[0], Err(DaneError::NotValid(_))), "{results:?}");
        }
    }
    // The anchor is presented, but has not signed: anybody can present a certificate.
    let [own, ..] = chain("mx.one.example", -1..1);
    let [_, issuing, root] = chain("mx.one.example", -1..1);
    let results = anchored(&own, &issuing, &root, &[&own, &issuing, &root]);
    assert!(results.iter().all(Result::is_err), "{results:?}");
    // A digest names what must be presented; whole data need not be.
    let [own, issuing, root] = chain("mx.one.example", -1..1);
    assert!(matches!(
        verify(vec![record(2, 0, 1, &root.certificate)], &[&own, &issuing]),
        Err(DaneError::NoMatch)
    ));
    for selector in [0, 1] {
        verify(vec![record(2, selector, 0, &root.certificate)], &[&own, &issuing]).unwrap();
        verify(vec![record(2, selector, 0, &issuing.certificate)], &[&own]).unwrap();
        assert!(verify(vec![record(2, selector, 0, &root.certificate)], &[&own]).is_err());
    }
}

/// RFC 7672 §3.1.3 and RFC 6698 §2.1.
#[test]
fn records_that_cannot_be_used_are_as_if_absent() {
    let own = party("mx.one.example", None, false, -1..1);
    let good = record(3, 1, 1, &own.certificate);
    let unusable = [
        TlsaRecord { usage: 0, ..good.clone() },
        TlsaRecord { usage: 1, ..good.clone() },
        TlsaRecord { usage: 255, ..good.clone() },
        TlsaRecord { selector: 2, ..good.clone() },
        TlsaRecord { matching: 3, ..good.clone() },
        TlsaRecord { data: good.data[..31].to_vec(), ..good.clone() },
        TlsaRecord { matching: 2, ..good.clone() },
        TlsaRecord { matching: 0, ..good.clone() },
        TlsaRecord { matching: 0, selector: 0, ..good.clone() },
        TlsaRecord { data: Vec::new(), ..good.clone() },
    ];
    assert!(check(unusable.to_vec()).is_none());
    assert!(check(Vec::new()).is_none());
    let mut with_good = unusable.to_vec();
    with_good.push(good);
    verify(with_good, &[&own]).unwrap();
    assert!(matches!(
        check(vec![record(3, 1, 1, &own.certificate)]).unwrap().verify(&[]),
        Err(DaneError::NoCertificate)
    ));
}

/// RFC 7671 §9.
#[test]
fn the_strongest_digest_alone_counts() {
    let own = party("mx.one.example", None, false, -1..1);
    let other = party("mx.one.example", None, false, -1..1);
    let weaker = record(3, 1, 1, &own.certificate);
    let stronger_of_other = record(3, 1, 2, &other.certificate);
    assert!(verify(vec![weaker.clone(), stronger_of_other.clone()], &[&own]).is_err());
    verify(vec![weaker.clone(), stronger_of_other], &[&other]).unwrap();
    // Another selector is another thing.
    verify(vec![weaker, record(3, 0, 2, &other.certificate)], &[&own]).unwrap();
}
