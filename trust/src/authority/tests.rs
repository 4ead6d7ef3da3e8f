//! The authority as its users meet it, against the text that OpenSSL prints of its certificates.

use std::process::Command;

use super::*;
use crate::{
    certificate::chain::{
        ChainError, Purpose, RevocationPolicy, TrustedAuthorities, check_revocation,
    },
    clock::{ManualClock, SystemClock},
    random::SystemRandom,
};

fn open(folder: &Path) -> DevelopmentAuthority {
    DevelopmentAuthority::open(folder, Arc::new(SystemClock), Arc::new(SystemRandom))
        .expect("an authority")
}

fn text_of(certificate: &Certificate) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("certificate.pem");
    std::fs::write(&path, certificate.to_pem().expect("PEM")).expect("written");
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-nameopt", "RFC2253", "-in"])
        .arg(&path)
        .output()
        .expect("openssl runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_provider_certificate_has_the_profile_of_the_rules() {
    let folder = tempfile::tempdir().expect("a folder");
    let issued = open(folder.path())
        .issue_provider("Gestore Uno", "posta-certificata@uno.example")
        .expect("issued");
    let text = text_of(&issued.certificate);
    for present in [
        "Subject: CN=Gestore Uno,O=Gestore Uno\n",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                E-mail Protection, TLS Web Client Authentication\n",
        "X509v3 Subject Alternative Name: \n                email:posta-certificata@uno.example\n",
        "X509v3 Subject Key Identifier: \n",
        "X509v3 Authority Key Identifier: \n",
        "Public-Key: (2048 bit)",
        "sha256WithRSAEncryption",
    ] {
        assert!(text.contains(present), "{present:?} not in\n{text}");
    }
    assert!(!text.contains("Basic Constraints"), "RFC 6109 §5.5 forbids it\n{text}");
    assert_eq!(issued.certificate.email_addresses(), ["posta-certificata@uno.example"]);
    assert_eq!(issued.certificate.organization().as_deref(), Some("Gestore Uno"));
    assert_eq!(issued.certificate.common_name().as_deref(), Some("Gestore Uno"));
    assert!(issued.certificate.public_key().expect("key").public_eq(issued.key.as_openssl()));
}

#[test]
fn tls_and_time_stamping_certificates_have_their_usages() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = open(folder.path());
    let tls = authority
        .issue_tls(&["mail.uno.example"], &["127.0.0.1".parse().expect("address")])
        .expect("issued");
    let text = text_of(&tls.certificate);
    assert!(text.contains("TLS Web Server Authentication"), "{text}");
    assert!(text.contains("DNS:mail.uno.example, IP Address:127.0.0.1"), "{text}");
    let stamping = authority.issue_time_stamping("Marche di prova").expect("issued");
    let text = text_of(&stamping.certificate);
    assert!(
        text.contains("Extended Key Usage: critical\n                Time Stamping\n"),
        "{text}"
    );
}

#[test]
fn an_authority_opened_again_is_the_same_one_and_remembers_what_it_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = open(folder.path());
    let issued = first.issue_provider("Gestore Uno", "pec@uno.example").expect("issued");
    first.revoke(&issued.certificate).expect("revoked");
    let again = open(folder.path());
    assert_eq!(again.certificate(), first.certificate());
    let serial = issued.certificate.as_openssl().serial_number();
    let list = again.revocation_list();
    assert!(matches!(list.as_openssl().get_by_serial(serial), CrlStatus::Revoked(_)));
    let renewed = again.renew_revocation_list().expect("renewed");
    assert!(matches!(renewed.as_openssl().get_by_serial(serial), CrlStatus::Revoked(_)));
}

#[test]
fn a_lost_certificate_is_made_anew_from_the_key_and_a_foreign_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    std::fs::remove_file(folder.path().join("authority.pem")).expect("removed");
    drop(open(folder.path()));
    let other = tempfile::tempdir().expect("a folder");
    drop(open(other.path()));
    let name = "authority.pem";
    std::fs::copy(other.path().join(name), folder.path().join(name)).expect("copied");
    let refused =
        DevelopmentAuthority::open(folder.path(), Arc::new(SystemClock), Arc::new(SystemRandom));
    assert!(matches!(refused, Err(AuthorityError::Mismatch(_))));
}

#[test]
fn names_that_no_certificate_can_carry_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = open(folder.path());
    assert!(authority.issue_provider(&"x".repeat(65), "pec@uno.example").is_err());
    assert!(authority.issue_provider("", "pec@uno.example").is_err());
}

#[test]
fn a_revoked_certificate_was_good_before_its_revocation_and_not_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(UnixMillis(1_800_000_000_000)));
    let authority =
        DevelopmentAuthority::open(folder.path(), clock.clone(), Arc::new(SystemRandom))
            .expect("an authority");
    let issued = authority.issue_provider("Gestore Uno", "pec@uno.example").expect("issued");
    let trusted = TrustedAuthorities::new(vec![authority.certificate().clone()]);
    let before = clock.now();
    clock.advance(10 * DAY_MS);
    let lists = [authority.revoke(&issued.certificate).expect("revoked")];
    let judge = |instant, policy| {
        let path = trusted.path(&issued.certificate, &[], instant, Purpose::Messages)?;
        check_revocation(&path, &lists, policy, instant)
    };
    assert!(judge(before, RevocationPolicy::WhenKnown).is_ok());
    let after = clock.now().plus_millis(1000);
    assert!(matches!(judge(after, RevocationPolicy::WhenKnown), Err(ChainError::Revoked { .. })));
    let expired = clock.now().plus_millis(4 * 365 * DAY_MS);
    assert!(matches!(
        judge(expired, RevocationPolicy::WhenKnown),
        Err(ChainError::OutsideValidity { .. })
    ));
}

#[test]
fn an_overdue_list_is_enough_only_where_lists_are_not_required() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(UnixMillis(1_800_000_000_000)));
    let authority =
        DevelopmentAuthority::open(folder.path(), clock.clone(), Arc::new(SystemRandom))
            .expect("an authority");
    let issued = authority.issue_provider("Gestore Uno", "pec@uno.example").expect("issued");
    let trusted = TrustedAuthorities::new(vec![authority.certificate().clone()]);
    let lists = [authority.revocation_list()];
    let judge = |lists: &[RevocationList], days, policy| {
        let instant = clock.now().plus_millis(days * DAY_MS);
        let path = trusted.path(&issued.certificate, &[], instant, Purpose::Messages)?;
        check_revocation(&path, lists, policy, instant)
    };
    assert!(judge(&lists, 1, RevocationPolicy::Required).is_ok());
    assert!(judge(&lists, 40, RevocationPolicy::WhenKnown).is_ok());
    for unknown in
        [judge(&lists, 40, RevocationPolicy::Required), judge(&[], 1, RevocationPolicy::Required)]
    {
        assert!(matches!(unknown, Err(ChainError::RevocationUnknown { .. })));
    }
}
