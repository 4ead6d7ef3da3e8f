//! What the socket tests of this crate share: certificates made on the spot, a post office, and servers
//! that break the rules.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::missing_panics_doc)]

pub mod post;
pub mod servers;
pub mod wire;

use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

/// An authority and a certificate for `localhost` and 127.0.0.1, all in PEM.
pub struct Certificates {
    pub authority: Vec<u8>,
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
}

pub fn certificates() -> Certificates {
    let authority_key = new_key();
    let authority = {
        let mut builder = new_certificate("Test authority", &authority_key);
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
        let name = builder_name("Test authority");
        builder.set_issuer_name(&name).unwrap();
        builder.sign(&authority_key, MessageDigest::sha256()).unwrap();
        builder.build()
    };
    let key = new_key();
    let own = {
        let mut builder = new_certificate("localhost", &key);
        builder.set_issuer_name(authority.subject_name()).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .build(&builder.x509v3_context(Some(&authority), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&authority_key, MessageDigest::sha256()).unwrap();
        builder.build()
    };
    Certificates {
        authority: authority.to_pem().unwrap(),
        chain: own.to_pem().unwrap(),
        key: key.private_key_to_pem_pkcs8().unwrap(),
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn builder_name(common_name: &str) -> openssl::x509::X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    name.build()
}

fn new_certificate(common_name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(127, MsbOption::MAYBE_ZERO, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&builder_name(common_name)).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder
}
