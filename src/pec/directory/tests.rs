use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trust::{
    authority::DevelopmentAuthority,
    certificate::Certificate,
    clock::{ManualClock, UnixMillis},
    random::SystemRandom,
};

use super::*;

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn record(name: &str, domains: &[&str], certificates: &[&[u8]]) -> ProviderRecord {
    ProviderRecord::new(
        name,
        "ricevute@pec.alfa.example".parse().unwrap(),
        domains.iter().map(|text| domain(text)).collect(),
        certificates.iter().map(|der| der.to_vec()).collect(),
    )
}

#[test]
fn a_written_directory_reads_back_and_answers_the_same() {
    let mut main =
        record("Alfa, S.p.A. – è", &["pec.alfa.example", "alfa.example"], &[b"one", b"two"]);
    main.ldif_location = Some("https://alfa.example/igpec.p7m".to_owned());
    main.description = Some(" inizia con spazio".to_owned());
    let mut secondary = record("alfa, s.p.a. – È", &["prova.alfa.example"], &[b"three"]);
    secondary.unit = Some("Prova".to_owned());
    let records = vec![main, secondary, record("Beta", &["beta.example"], &[b"four"])];
    let written = Directory::new(records.clone()).unwrap().published_at("https://x.example/d.p7m");
    let read = Directory::from_ldif(&written.to_ldif()).unwrap();
    assert_eq!(read.records(), records);
    assert_eq!(read.location(), Some("https://x.example/d.p7m"));
    assert_eq!(
        read.records()[0].distinguished_name(),
        "providerName=Alfa\\, S.p.A. – è,o=postacert"
    );
    assert_eq!(
        read.records()[1].distinguished_name(),
        "providerUnit=Prova,providerName=alfa\\, s.p.a. – È,o=postacert"
    );
    let name = |record: Option<&ProviderRecord>| record.map(|record| record.name.clone());
    assert_eq!(name(read.provider_of_certificate(b"two")).as_deref(), Some("Alfa, S.p.A. – è"));
    assert_eq!(name(read.provider_of_domain(&domain("BETA.example"))).as_deref(), Some("Beta"));
    assert_eq!(name(read.provider_of_certificate(b"five")), None);
    assert!(read.is_certified(&domain("Prova.Alfa.Example")));
    assert!(!read.is_certified(&domain("gamma.example")));
}

/// The layout of RFC 6109 §4.5.10: hashes in either case, no empty lines between records.
#[test]
fn hashes_in_either_case_find_their_certificates() {
    // FIPS 180-4: SHA-1 of "abc", and of the empty message.
    let file = "dn: o=postacert\nobjectClass: top\nobjectClass: organization\no: postacert\n\
        LDIFLocationURL: https://igpec.example/igpec.ldif.p7m\n\
        dn: providerName=Alfa,o=postacert\nobjectClass: top\nobjectClass: Provider\nproviderName: Alfa\n\
        mailReceipt: ricevute@ALFA.example\nmanagedDomains: Alfa.EXAMPLE\n\
        providerCertificateHash: A9993E364706816ABA3E25717850C26C9CD0D89D\n\
        providerCertificate;binary:: YWJj\n\
        dn: providerName=Beta,o=postacert\nobjectClass: provider\nproviderName: Beta\n\
        mailReceipt: ricevute@beta.example\nmanagedDomains: beta.example\nmanagedDomains: pec.beta.example\n\
        providerCertificateHash: 32d10c7b8cf96570ca04ce37f2a19d84240d3a89\n\
        providerCertificate;binary:: YWJjZGVmZ2hpamtsbW5vcHFy\n c3R1dnd4eXo=\n";
    let directory = Directory::from_ldif(file.as_bytes()).unwrap();
    assert_eq!(directory.location(), Some("https://igpec.example/igpec.ldif.p7m"));
    let provider = |der: &[u8]| directory.provider_of_certificate(der).map(|r| r.name.as_str());
    assert_eq!(provider(b"abc"), Some("Alfa"));
    assert_eq!(provider(b"abcdefghijklmnopqrstuvwxyz"), Some("Beta"));
    assert_eq!(
        directory.provider_of_domain(&domain("pec.beta.example")).map(|r| r.name.as_str()),
        Some("Beta")
    );
}

/// As RFC 6109 §4.5.10 prints it: a whole certificate, folded as it comes, its hash in capitals, records
/// that follow each other; the provider rolls over and lists two.
#[test]
fn whole_certificates_in_the_layout_of_the_standard_are_found_by_their_octets() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(UnixMillis(1_795_258_800_000)));
    let authority =
        DevelopmentAuthority::open(folder.path(), clock, Arc::new(SystemRandom)).unwrap();
    let issue = |name| {
        let issued = authority.issue_provider(name, "ricevute@pec.alfa.example").unwrap();
        issued.certificate
    };
    let [first, second, of_beta, stranger] = ["Alfa", "Alfa", "Beta", "Alfa"].map(issue);
    let printed = |certificate: &Certificate| {
        let text = STANDARD.encode(certificate.to_der());
        let lines = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
        format!("providerCertificate;binary::\n {}\n", lines.collect::<Vec<_>>().join("\n "))
    };
    let hash = |certificate: &Certificate| {
        format!("providerCertificateHash: {}\n", certificate.sha1_hex().to_uppercase())
    };
    let of = |name: &str, certificates: &[&Certificate]| {
        let domain = name.to_lowercase();
        let mut record = format!(
            "dn: providerName={name}, o=postacert\nobjectclass: top\nobjectclass: provider\n\
             objectclass: LDIFLocationURLObject\nproviderName: {name}\n"
        );
        for certificate in certificates {
            record += &hash(certificate);
        }
        for certificate in certificates {
            record += &printed(certificate);
        }
        record
            + &format!(
                "mailReceipt: ricevute@pec.{domain}.example\n\
                 LDIFLocationURL: https://www.{domain}.example/rubrica.ldif.p7m\n\
                 managedDomains: mail.{domain}.example\nmanagedDomains: pec.{domain}.example\n\
                 description: Servizi di posta certificata\n"
            )
    };
    let base = "version: 1\ndn: o=postacert\nobjectclass: top\nobjectclass: organization\n\
        objectclass: LDIFLocationURLObject\no: postacert\n\
        LDIFLocationURL: https://igpec.example/rubrica.ldif.p7m\n";
    let file = format!("{base}{}{}", of("Alfa", &[&first, &second]), of("Beta", &[&of_beta]));
    for file in [file.clone(), file.replace('\n', "\r\n")] {
        let directory = Directory::from_ldif(file.as_bytes()).unwrap();
        let name = |certificate: &Certificate| {
            let found = directory.provider_of_certificate(certificate.to_der());
            found.map(|record| record.name.clone())
        };
        assert_eq!(name(&first).as_deref(), Some("Alfa"));
        assert_eq!(name(&second).as_deref(), Some("Alfa"));
        assert_eq!(name(&of_beta).as_deref(), Some("Beta"));
        assert_eq!(name(&stranger), None, "the same name and issuer are not enough");
        let [alfa, beta] = directory.records() else { panic!("{directory:?}") };
        assert_eq!(alfa.certificates, [first.to_der(), second.to_der()]);
        assert_eq!(beta.service_mailbox.as_str(), "ricevute@pec.beta.example");
        assert!(directory.is_certified(&domain("mail.alfa.example")));
    }
}

#[test]
fn attributes_by_their_oid_and_environments_are_read() {
    let file = "dn: providerName=Alfa,o=postacert\nobjectClass: provider\n1.3.6.1.4.1.16572.2.2.3: Alfa\n\
        OID.1.3.6.1.4.1.16572.2.2.4: ricevute@alfa.example\n1.3.6.1.4.1.16572.2.2.5: alfa.example\n\
        1.3.6.1.4.1.16572.2.2.1: a9993e364706816aba3e25717850c26c9cd0d89d\n\
        1.3.6.1.4.1.16572.2.2.2;binary:: YWJj\nLDIFLocationURL: https://alfa.example/l.p7m\n\n\
        dn: providerUnit=Due,providerName=Alfa,o=postacert\nobjectClass: provider\nproviderName: ALFA\n\
        providerUnit: Due\nmailReceipt: r@due.alfa.example\nmanagedDomains: due.alfa.example\n\
        LDIFLocationURL: https://alfa.example/due.p7m\n\
        providerCertificateHash: 32D10C7B8CF96570CA04CE37F2A19D84240D3A89\n\
        providerCertificate;binary:: YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=\n";
    let directory = Directory::from_ldif(file.as_bytes()).unwrap();
    let [main, due] = directory.records() else { panic!("{directory:?}") };
    assert_eq!(main.ldif_location.as_deref(), Some("https://alfa.example/l.p7m"));
    assert_eq!((due.unit.as_deref(), due.ldif_location.as_deref()), (Some("Due"), None));
    assert_eq!((directory.provider_count(), directory.domain_count()), (1, 2));
    let found: Vec<_> =
        directory.records_of_hash("A9993E364706816ABA3E25717850C26C9CD0D89D").collect();
    assert_eq!(found, [main]);
}

#[test]
fn a_listed_hash_without_the_whole_certificate_is_not_enough() {
    let mut forged = record("Alfa", &["alfa.example"], &[b"other"]);
    forged.certificate_hashes = vec![sha1_hex(b"wanted")];
    let directory = Directory::new(vec![forged]).unwrap();
    assert!(directory.provider_of_certificate(b"wanted").is_none());
    assert!(directory.provider_of_certificate(b"other").is_none());
}

#[test]
fn a_record_without_its_mandatory_attributes_and_a_contested_domain_are_refused() {
    let file = "dn: providerName=Alfa,o=postacert\nproviderName: Alfa\nmanagedDomains: a.example\n";
    assert!(matches!(
        Directory::from_ldif(file.as_bytes()).err(),
        Some(DirectoryFault::Missing { attribute: "mailReceipt", .. })
    ));
    let good = String::from_utf8(
        Directory::new(vec![record("Alfa", &["a.example"], &[b"1"])]).unwrap().to_ldif(),
    )
    .unwrap();
    for (one, other) in [
        ("dn: providerName=Alfa", "dn: providerName=Beta"),
        ("dn: providerName=Alfa", "dn: providerUnit=Due,providerName=Alfa"),
        ("dn: providerName=Alfa", "dn: cn=Alfa"),
        ("providerName: Alfa", "providerName: Alfa\nproviderUnit: Due"),
    ] {
        let other = good.replace(one, other);
        let refused = Directory::from_ldif(other.as_bytes()).err();
        assert!(matches!(refused, Some(DirectoryFault::OtherName(_))), "{other}: {refused:?}");
    }
    for again in ["providerName: Beta", "mailReceipt: ricevute@beta.example"] {
        let twice = format!("{}{again}\n", good.trim_end_matches('\n').to_owned() + "\n");
        let refused = Directory::from_ldif(twice.as_bytes()).err();
        assert!(matches!(refused, Some(DirectoryFault::Repeated { .. })), "{refused:?}");
    }
    let both =
        vec![record("Alfa", &["a.example"], &[b"1"]), record("Beta", &["A.example"], &[b"2"])];
    assert!(matches!(Directory::new(both).err(), Some(DirectoryFault::DomainClaimedTwice { .. })));
}
