//! DNSSEC: validated here, or by a resolver whose word is taken.

use std::net::SocketAddr;

use ceralacca::{
    config::{DnsSettings, Dnssec},
    names::{Names, NamesError, TlsaRecord},
};

use crate::{
    name_server::{NameServer, ValidatingResolver},
    server, settings,
};

/// Names that ask `address` and validate from the key of the root of `server`.
fn validating(server: &NameServer, address: SocketAddr) -> Names {
    Names::open(&DnsSettings {
        dnssec: Dnssec::Validate,
        trust_anchor_file: Some(server.anchor.clone()),
        ..settings(&[address])
    })
    .expect("names")
}

fn digest() -> Vec<u8> {
    hex::decode("0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3").expect("hex")
}

/// What every way of asking must say about the zones.
async fn signed_is_secure_unsigned_is_not_and_bogus_is_no_answer(names: &Names) {
    let answer = names.mx("signed.test").await.expect("MX records");
    assert!(answer.secure);
    let answer = names.addresses("mx.signed.test").await.expect("addresses");
    assert!(answer.secure);
    let answer = names.tlsa("mx.signed.test", 25).await.expect("TLSA records");
    assert!(answer.secure);
    let usage = |usage, selector, matching, data| TlsaRecord { usage, selector, matching, data };
    assert_eq!(answer.value, [usage(2, 0, 0, vec![0x30, 0x82]), usage(3, 1, 1, digest())]);

    let answer = names.mx("unsigned.test").await.expect("MX records");
    assert!(!answer.secure);
    let answer = names.addresses("out.signed.test").await.expect("an alias into an unsigned zone");
    assert!(!answer.secure);
    let answer = names.mx("mail.unsigned.test").await.expect("an alias into a signed zone");
    assert!(!answer.secure);

    let error = names.tlsa("signed.test", 25).await.expect_err("none");
    assert!(matches!(error, NamesError::NoSuchName { .. }), "{error}");
    let error = names.txt("mx.signed.test").await.expect_err("none");
    assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
    let error = names.txt("mx1.unsigned.test").await.expect_err("none");
    assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
    let error = names.mx("absent.unsigned.test").await.expect_err("none");
    assert!(matches!(error, NamesError::NoSuchName { .. }), "{error}");

    for name in ["mx.expired.test", "mx.damaged.test"] {
        let error = names.addresses(name).await.expect_err("signatures that do not hold");
        assert!(error.is_temporary(), "{name}: {error}");
    }
    // In the damaged zone only the address was changed.
    names.mx("damaged.test").await.expect("MX records");
    names.mx("expired.test").await.expect_err("every signature has expired");
}

#[tokio::test]
async fn signatures_are_validated_from_the_trust_anchor_of_the_configuration() {
    let server = server();
    let names = validating(&server, server.address);
    signed_is_secure_unsigned_is_not_and_bogus_is_no_answer(&names).await;
    let error = names.mx("expired.test").await.expect_err("expired");
    assert!(error.to_string().contains("DNSSEC"), "the log says why: {error}");
}

/// A wildcard answers for what has nothing closer, and for nothing else.
async fn wildcards_are_proven(names: &Names, zone: &str) {
    for name in ["any.wild", "far.away.below.wild", "close.close.wild"] {
        let answer = names.mx(&format!("{name}.{zone}")).await;
        let expected = name != "close.close.wild";
        match answer {
            Ok(answer) if expected => assert!(answer.secure, "{name}"),
            Err(error) if !expected => assert!(!error.is_temporary(), "{name}: {error}"),
            other => panic!("{name}.{zone}: {other:?}"),
        }
    }
    let answer = names.txt(&format!("a.b.deep.wild.{zone}")).await.expect("the deeper one");
    assert_eq!((answer.value, answer.secure), (vec!["deep".to_owned()], true));
    let answer = names.tlsa(&format!("star.{zone}"), 25).await.expect("for every port");
    assert!(answer.secure);
    let error = names.mx(&format!("close.wild.{zone}")).await.expect_err("it exists, without MX");
    assert!(matches!(error, NamesError::NoRecords { .. }), "{error}");
}

#[tokio::test]
async fn answers_of_wildcards_are_secure_when_nothing_closer_exists() {
    let server = server();
    let resolver = ValidatingResolver::start(&server);
    for zone in ["signed.test", "hashed.test"] {
        wildcards_are_proven(&validating(&server, server.address), zone).await;
        wildcards_are_proven(&validating(&server, resolver.address), zone).await;
    }
}

#[tokio::test]
async fn the_word_of_a_validating_resolver_is_taken() {
    let server = server();
    let resolver = ValidatingResolver::start(&server);
    let settings = settings(&[resolver.address]);
    assert_eq!(settings.dnssec, Dnssec::Trust, "this is the default");
    let names = Names::open(&settings).expect("names");
    signed_is_secure_unsigned_is_not_and_bogus_is_no_answer(&names).await;
}

#[tokio::test]
async fn signatures_are_validated_behind_a_resolver_too() {
    let server = server();
    let resolver = ValidatingResolver::start(&server);
    let names = validating(&server, resolver.address);
    signed_is_secure_unsigned_is_not_and_bogus_is_no_answer(&names).await;
}

#[tokio::test]
async fn without_dnssec_no_answer_is_secure() {
    let server = server();
    let resolver = ValidatingResolver::start(&server);
    let off = DnsSettings { dnssec: Dnssec::Off, ..settings(&[resolver.address]) };
    let answer = Names::open(&off).expect("names").mx("signed.test").await;
    assert!(!answer.expect("MX records").secure);
    // An authoritative server vouches for nothing (RFC 4035 §3.1.6).
    let names = Names::open(&settings(&[server.address])).expect("names");
    assert!(!names.mx("signed.test").await.expect("MX records").secure);
}

#[tokio::test]
async fn another_trust_anchor_makes_everything_bogus() {
    let server = server();
    let names = Names::open(&DnsSettings {
        dnssec: Dnssec::Validate,
        trust_anchor_file: None,
        ..settings(&[server.address])
    });
    // The root of the test is not the root of the world.
    let error = names.expect("names").mx("signed.test").await.expect_err("no chain of trust");
    assert!(error.is_temporary(), "{error}");
}

#[test]
fn a_trust_anchor_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("root.key");
    std::fs::write(&file, ". IN DS 20326 8 2 00\n").expect("written");
    let error = Names::open(&DnsSettings {
        dnssec: Dnssec::Validate,
        trust_anchor_file: Some(file.clone()),
        ..settings(&["127.0.0.1:53".parse().expect("an address")])
    })
    .expect_err("DS records are not taken")
    .to_string();
    assert!(error.contains(&file.display().to_string()) && error.contains("DNSKEY"), "{error}");
}
