//! One round through signing, finding and verifying, against OpenSSL's command.

use std::{path::Path, process::Command, sync::Arc};

use proptest::prelude::*;

use super::{
    sign::{FileSigner, Frame, MessageSigner as _, SignError, multipart_signed, random_boundary},
    structure::find_signed,
    verify::{Verifier, VerifyError},
};
use crate::{
    authority::{DevelopmentAuthority, Issued},
    certificate::{
        Certificate,
        chain::{RevocationPolicy, TrustedAuthorities},
    },
    clock::{Clock as _, ManualClock, SystemClock, UnixMillis},
    random::{SeededRandom, SystemRandom},
};

const HEADERS: &[u8] = b"From: posta-certificata@uno.example\r\nSubject: POSTA\r\n CERTIFICATA\r\n";
const ENTITY: &[u8] = b"Content-Type: text/plain\r\n\r\nPerch\xc3\xa9 no\r\n";

struct World {
    folder: tempfile::TempDir,
    authority: DevelopmentAuthority,
    issued: Issued,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = DevelopmentAuthority::open(
            &folder.path().join("authority"),
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
        .expect("an authority");
        let issued = authority
            .issue_provider("Gestore Uno", "posta-certificata@uno.example")
            .expect("a certificate");
        Self { folder, authority, issued }
    }

    fn signer(&self) -> FileSigner {
        let chain = vec![self.authority.certificate().clone()];
        let Issued { certificate, key } = self.issued.clone();
        FileSigner::new(certificate, chain, key, Arc::new(SystemClock)).expect("a signer")
    }

    fn verifier(&self) -> Verifier {
        let authorities = TrustedAuthorities::new(vec![self.authority.certificate().clone()]);
        Verifier::new(authorities, RevocationPolicy::WhenKnown)
    }

    fn message(&self) -> Vec<u8> {
        multipart_signed(&self.signer(), HEADERS, ENTITY, "=_limite").expect("signed")
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text)
}

/// Makes a self-made provider with OpenSSL's command: `bits` of RSA, certificate digest and
/// message digest `digest`. Returns the authority and a signed message.
fn by_command(folder: &Path, bits: &str, digest: &str, options: &[&str]) -> (Certificate, Vec<u8>) {
    let request =
        ["req", "-x509", "-newkey", bits, "-nodes", "-keyout", "ca.key", "-out", "ca.pem"];
    let authority = [&request[..], &["-subj", "/CN=Vecchia CA", digest]].concat();
    assert!(openssl(folder, &authority).0);
    let request = ["req", "-newkey", bits, "-nodes", "-keyout", "s.key", "-out", "s.csr"];
    assert!(openssl(folder, &[&request[..], &["-subj", "/O=Vecchio Gestore"]].concat()).0);
    std::fs::write(folder.join("extensions"), "subjectKeyIdentifier=hash").expect("written");
    let issue = ["x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-out"];
    let issue = [&issue[..], &["s.pem", "-set_serial", "200", "-extfile", "extensions", digest]];
    assert!(openssl(folder, &issue.concat()).0);
    std::fs::write(folder.join("entity"), ENTITY).expect("written");
    let sign = ["cms", "-sign", "-binary", "-in", "entity", "-signer", "s.pem", "-inkey", "s.key"];
    let sign = [&sign[..], &["-md", digest.trim_start_matches('-'), "-out", "signed"], options];
    assert!(openssl(folder, &sign.concat()).0);
    let authority = std::fs::read(folder.join("ca.pem")).expect("the authority");
    let message = std::fs::read(folder.join("signed")).expect("the message");
    (Certificate::from_pem(&authority).expect("a certificate"), message)
}

#[test]
fn openssl_verifies_what_we_sign_and_finds_the_same_octets() {
    let world = World::new();
    let folder = world.folder.path();
    std::fs::write(folder.join("message.eml"), world.message()).expect("written");
    let pem = world.authority.certificate().to_pem().expect("PEM");
    std::fs::write(folder.join("ca.pem"), pem).expect("written");
    let verify = ["cms", "-verify", "-in", "message.eml", "-CAfile", "ca.pem", "-out", "entity"];
    for more in [&[][..], &["-cades"], &["-purpose", "smimesign"]] {
        let (good, text) = openssl(folder, &[&verify[..], more].concat());
        assert!(good, "{text}");
        assert_eq!(std::fs::read(folder.join("entity")).expect("read"), ENTITY);
    }
}

/// RFC 2045 §6.4: a multipart names the widest domain of what is in it.
#[test]
fn eight_bit_and_binary_content_is_named_on_the_signed_message() {
    let cases: [(&[u8], &str); 4] = [
        (b"Content-Type: text/plain\r\n\r\nciao\r\n", ""),
        ("Content-Type: text/plain\r\n\r\nperch\u{e9}\r\n".as_bytes(), "8bit"),
        (&[b'x'; 999], "binary"),
        (b"Content-Type: text/plain\r\n\r\n\0\r\n", "binary"),
    ];
    let world = World::new();
    for (entity, encoding) in cases {
        let message = multipart_signed(&world.signer(), b"From: a@b.example\r\n", entity, "=_b")
            .expect("signed");
        let (header, _) =
            message.split_at(memchr::memmem::find(&message, b"\r\n\r\n").expect("a header"));
        let header = String::from_utf8_lossy(header);
        let named =
            header.lines().find_map(|line| line.strip_prefix("Content-Transfer-Encoding: "));
        assert_eq!(named.unwrap_or_default(), encoding, "{header}");
    }
}

#[test]
fn what_we_sign_is_found_and_verified_by_us() {
    let world = World::new();
    let message = world.message();
    let now = SystemClock.now();
    let (signed, verified) = world.verifier().verify_message(&message, now).expect("good");
    assert_eq!(&message[signed.entity], ENTITY);
    assert_eq!(&message[signed.header.start..HEADERS.len()], HEADERS);
    assert_eq!(verified.signer, world.issued.certificate);
    let signing_time = verified.signing_time.expect("stated");
    assert!((signing_time.0 - now.0).abs() < 60_000);
    assert_eq!(verified.entity_digest, crate::digest::Sha256Digest::of(ENTITY));
}

#[test]
fn one_instant_gives_one_signature() {
    let world = World::new();
    let clock = Arc::new(ManualClock::new(UnixMillis(1_800_000_000_000)));
    let Issued { certificate, key } = world.issued.clone();
    let signer = FileSigner::new(certificate, Vec::new(), key, clock.clone()).expect("a signer");
    let first = signer.sign_entity(ENTITY).expect("signed");
    assert_eq!(signer.sign_entity(ENTITY).expect("signed"), first);
    clock.advance(1000);
    assert_ne!(signer.sign_entity(ENTITY).expect("signed"), first);
}

#[test]
fn every_single_changed_octet_of_the_entity_is_refused() {
    let world = World::new();
    let signature = world.signer().sign_entity(ENTITY).expect("signed");
    let verifier = world.verifier();
    for at in 0..ENTITY.len() {
        let mut tampered = ENTITY.to_vec();
        tampered[at] ^= 1;
        let outcome = verifier.verify(&tampered, &signature, SystemClock.now());
        assert!(matches!(outcome, Err(VerifyError::SignatureWrong(_))), "octet {at}: {outcome:?}");
    }
    let longer = [ENTITY, b"\r\n"].concat();
    assert!(verifier.verify(&longer, &signature, SystemClock.now()).is_err());
    assert!(verifier.verify(&ENTITY[..ENTITY.len() - 2], &signature, SystemClock.now()).is_err());
}

/// Every changed octet is refused, or changes nothing that was signed: the algorithm's optional
/// NULL, the versions.
#[test]
fn no_changed_octet_of_the_signature_moves_the_signer_or_the_time() {
    let world = World::new();
    let Issued { certificate, key } = world.issued.clone();
    let signer = FileSigner::new(certificate, Vec::new(), key, Arc::new(SystemClock));
    let signature = signer.expect("a signer").sign_entity(ENTITY).expect("signed");
    let verifier = world.verifier();
    let good = verifier.verify(ENTITY, &signature, SystemClock.now()).expect("good");
    let mut refused = 0;
    for at in 0..signature.len() {
        let mut tampered = signature.clone();
        tampered[at] ^= 1;
        match verifier.verify(ENTITY, &tampered, SystemClock.now()) {
            Err(_) => refused += 1,
            Ok(found) => {
                assert_eq!(found.signer, good.signer, "octet {at}");
                assert_eq!(found.signing_time, good.signing_time, "octet {at}");
            }
        }
    }
    assert!(refused + 40 > signature.len(), "{refused} of {}", signature.len());
}

#[test]
fn each_test_of_the_incoming_point_has_its_own_error() {
    let world = World::new();
    let verifier = world.verifier();
    let now = SystemClock.now();
    let signature = world.signer().sign_entity(ENTITY).expect("signed");
    let verify = |instant| verifier.verify(ENTITY, &signature, instant);

    let plain = verifier.verify_message(b"Subject: x\r\n\r\nbody\r\n", now);
    assert!(matches!(plain, Err(VerifyError::NotSigned)));
    let garbage = verifier.verify(ENTITY, b"garbage", now);
    assert!(matches!(garbage, Err(VerifyError::NotASignature(_))));

    let stranger = World::new();
    let foreign = stranger.signer().sign_entity(ENTITY).expect("signed");
    let untrusted = verifier.verify(ENTITY, &foreign, now);
    assert!(matches!(untrusted, Err(VerifyError::Untrusted(_))), "{untrusted:?}");

    let years = |count: i64| now.plus_millis(count * 365 * 86_400_000);
    assert!(matches!(verify(years(4)), Err(VerifyError::OutsideValidity(_))));
    assert!(matches!(verify(years(-1)), Err(VerifyError::OutsideValidity(_))));

    verifier.replace_revocation_lists(vec![stranger.authority.revocation_list()]);
    assert!(verify(now).is_ok(), "the list of a stranger says nothing");
    verifier.replace_revocation_lists(vec![world.authority.revocation_list()]);
    assert!(verify(now).is_ok());
    let list = world.authority.revoke(&world.issued.certificate).expect("revoked");
    verifier.replace_revocation_lists(vec![list]);
    let revoked = verify(SystemClock.now());
    assert!(matches!(revoked, Err(VerifyError::Revoked(_))), "{revoked:?}");

    let authorities = TrustedAuthorities::new(vec![world.authority.certificate().clone()]);
    let strict = Verifier::new(authorities, RevocationPolicy::Required);
    let unknown = strict.verify(ENTITY, &signature, now);
    assert!(matches!(&unknown, Err(VerifyError::RevocationUnknown(_))), "{unknown:?}");
    assert!(unknown.is_err_and(|error| error.is_temporary()));
}

#[test]
fn old_providers_with_sha1_and_rsa_1024_are_verified() {
    for (bits, digest) in [("rsa:1024", "-sha1"), ("rsa:2048", "-sha1"), ("rsa:2048", "-sha256")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, message) = by_command(folder.path(), bits, digest, &["-crlfeol"]);
        let signed = find_signed(&message).expect("signed");
        let entity = &message[signed.entity.clone()];
        assert_eq!(entity, ENTITY);
        let verifier =
            Verifier::new(TrustedAuthorities::new(vec![authority]), RevocationPolicy::WhenKnown);
        let now = SystemClock.now();
        let good = verifier.verify(entity, &signed.signature, now).expect(bits);
        assert_eq!(good.signer.organization().as_deref(), Some("Vecchio Gestore"));
        let refused = verifier.verify(&entity[1..], &signed.signature, now);
        assert!(matches!(refused, Err(VerifyError::SignatureWrong(_))));
    }
}

#[test]
fn signatures_in_ber_by_key_identifier_or_without_certificate_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let verify = |options: &[&str]| {
        let options = [&["-crlfeol", "-outform", "DER"], options].concat();
        let (authority, signature) = by_command(folder, "rsa:2048", "-sha256", &options);
        let authorities = TrustedAuthorities::new(vec![authority]);
        let verifier = Verifier::new(authorities, RevocationPolicy::WhenKnown);
        (verifier.verify(ENTITY, &signature, SystemClock.now()), signature)
    };
    let (streamed, signature) = verify(&["-stream"]);
    assert_eq!(signature[..2], [0x30, 0x80], "indefinite length");
    assert!(streamed.is_ok(), "{streamed:?}");
    let (by_key_identifier, _) = verify(&["-keyid"]);
    assert!(by_key_identifier.is_ok(), "{by_key_identifier:?}");
    let (bare, _) = verify(&["-nocerts"]);
    assert!(matches!(bare, Err(VerifyError::SignerNotFound)), "{bare:?}");
    let (no_attributes, _) = verify(&["-noattr"]);
    assert_eq!(no_attributes.expect("good").signing_time, None);
}

#[test]
fn a_key_of_another_certificate_makes_no_signer() {
    let world = World::new();
    let other = world.authority.issue_provider("Gestore Due", "pec@due.example").expect("issued");
    let certificate = world.issued.certificate.clone();
    let refused = FileSigner::new(certificate, Vec::new(), other.key, Arc::new(SystemClock));
    assert!(matches!(refused, Err(SignError::KeyMismatch(_))));
}

#[test]
fn a_frame_that_would_break_the_message_is_refused() {
    let long = "x".repeat(71);
    let cases: [(&[u8], &str); 9] = [
        (b"Subject: x", "b"),
        (b"Subject: x\r\n\r\n", "b"),
        (b"Subject: x\nBcc: y\r\n", "b"),
        (b"Content-Type: text/plain\r\n", "b"),
        (b"mime-version: 1.0\r\n", "b"),
        (b"Subject: x\r\n", ""),
        (b"Subject: x\r\n", "a b"),
        (b"Subject: x\r\n", "a\"b"),
        (b"Subject: x\r\n", &long),
    ];
    for (headers, boundary) in cases {
        let refused = Frame::new(headers, boundary);
        assert!(matches!(refused, Err(SignError::Frame(_))), "{headers:?} {boundary:?}");
    }
    let world = World::new();
    let refused = multipart_signed(&world.signer(), b"", b"\r\n--b\r\n", "b");
    assert!(matches!(refused, Err(SignError::Frame(_))));
}

fn signed_with(content_type: &str, body: &str) -> Vec<u8> {
    format!("Subject: x\r\nContent-Type: {content_type}\r\n\r\n{body}").into_bytes()
}

const BODY: &str = "preamble\r\n--b\r\nA: 1\r\n\r\ntext\r\n--b\r\n\
    Content-Type: application/pkcs7-signature\r\nContent-Transfer-Encoding: base64\r\n\r\n\
    AQID\r\n--b--\r\nepilogue";

#[test]
fn real_spellings_of_the_header_are_understood() {
    for content_type in [
        "multipart/signed; protocol=\"application/pkcs7-signature\"; micalg=sha-256; boundary=b",
        "multipart/signed; protocol=\"application/x-pkcs7-signature\"; micalg=\"sha1\"; boundary=\"b\"",
        "Multipart/Signed;\r\n\tboundary=\"b\";\r\n\tmicalg=sha1;\r\n\tprotocol=application/x-pkcs7-signature;",
        "multipart/signed (a (nested) comment); BOUNDARY = \"b\" ; protocol=\"application/pkcs7-signature\"",
    ] {
        let message = signed_with(content_type, BODY);
        let signed = find_signed(&message).expect(content_type);
        assert_eq!(&message[signed.entity], b"A: 1\r\n\r\ntext");
        assert_eq!(signed.signature, [1, 2, 3]);
    }
}

#[test]
fn what_is_not_exactly_a_signed_message_is_not_found() {
    let good = "multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b";
    assert!(find_signed(&signed_with(good, BODY)).is_some());
    for content_type in [
        "multipart/mixed; protocol=\"application/pkcs7-signature\"; boundary=b",
        "multipart/signed; protocol=\"application/pgp-signature\"; boundary=b",
        "multipart/signed; boundary=b",
        "multipart/signed; protocol=\"application/pkcs7-signature\"",
        "multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b; boundary=c",
        "multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=\"b",
        "multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b\r\nContent-Type: text/plain",
    ] {
        assert_eq!(find_signed(&signed_with(content_type, BODY)), None, "{content_type}");
    }
    let many: Vec<String> = (0..40).map(|number| format!("; x{number}=y")).collect();
    let many = many.concat();
    assert_eq!(find_signed(&signed_with(&format!("{good}{many}"), BODY)), None);
    for (from, to) in [
        ("--b--\r\nepilogue", ""),
        ("--b--", "--b\r\n\r\nthird\r\n--b--"),
        ("application/pkcs7-signature", "text/plain"),
        ("AQID", "****"),
        ("base64", "quoted-printable"),
        ("\r\n--b\r\nContent", "\n--b\nContent"),
    ] {
        assert_eq!(find_signed(&signed_with(good, &BODY.replacen(from, to, 1))), None, "{to:?}");
    }
}

/// RFC 2046 §5.1.1: blanks may follow a boundary; a longer line is another text; the CRLF before
/// a boundary is not part of the entity.
#[test]
fn boundary_lines_follow_the_rule() {
    let good = "multipart/signed; protocol=\"application/pkcs7-signature\"; boundary=b";
    for (from, to, entity) in [
        ("--b\r\nA", "--b \t\r\nA", "A: 1\r\n\r\ntext"),
        ("text\r\n", "text\r\n--bb\r\n x--b\r\n", "A: 1\r\n\r\ntext\r\n--bb\r\n x--b"),
        ("text\r\n", "text\r\n\r\n", "A: 1\r\n\r\ntext\r\n"),
        ("A: 1\r\n\r\ntext\r\n", "", ""),
        ("preamble\r\n", "", "A: 1\r\n\r\ntext"),
        ("--b--\r\nepilogue", "--b--", "A: 1\r\n\r\ntext"),
    ] {
        let message = signed_with(good, &BODY.replacen(from, to, 1));
        let signed = find_signed(&message).expect(to);
        assert_eq!(String::from_utf8_lossy(&message[signed.entity]), entity);
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_is_found_unchanged(entity in proptest::collection::vec(any::<u8>(), 0..300), seed: u64) {
        let boundary = random_boundary(&SeededRandom::new(seed));
        let frame = Frame::new(HEADERS, &boundary).expect("a frame");
        let mut message = frame.octets_before();
        message.extend_from_slice(&entity);
        message.extend_from_slice(&frame.octets_after(b"signature"));
        let signed = find_signed(&message).expect("found");
        prop_assert_eq!(&message[signed.entity], &entity[..]);
        prop_assert_eq!(&signed.signature, b"signature");
    }

    #[test]
    fn hostile_octets_are_never_more_than_not_signed(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"\r\n".to_vec()), Just(b"--b".to_vec()), Just(b"--b--".to_vec()),
            Just(b"Content-Type: multipart/signed; boundary=b; protocol=application/pkcs7-signature".to_vec()),
            Just(b"Content-Type: application/pkcs7-signature".to_vec()),
            Just(b"(".to_vec()), Just(b"\"".to_vec()), Just(b"\\".to_vec()), Just("è".as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ], 0..24),
    ) {
        let message = pieces.concat();
        if let Some(signed) = find_signed(&message) {
            prop_assert!(signed.entity.start <= signed.entity.end && signed.entity.end <= message.len());
        }
    }

    #[test]
    fn hostile_signatures_are_refused_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let verifier = Verifier::new(TrustedAuthorities::default(), RevocationPolicy::WhenKnown);
        prop_assert!(verifier.verify(b"x", &octets, UnixMillis(0)).is_err());
    }
}

#[test]
fn a_signed_document_carries_its_content_and_openssl_reads_and_writes_the_same_form() {
    let world = World::new();
    let document = b"version: 1\n\ndn: o=postacert\n".repeat(3);
    let signed = world.signer().sign_content(&document).expect("signed");
    let opened = super::verify::open_signed_content(&signed).expect("opened");
    assert_eq!(
        (opened.content, opened.signer),
        (document.clone(), world.issued.certificate.clone())
    );
    let (file, out) = (world.folder.path().join("d.p7m"), world.folder.path().join("d.out"));
    std::fs::write(&file, &signed).expect("written");
    let authority = world.folder.path().join("authority/authority.pem");
    let status = Command::new("openssl")
        .args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-in"])
        .arg(&file)
        .arg("-CAfile")
        .arg(&authority)
        .arg("-out")
        .arg(&out)
        .status();
    assert!(status.expect("openssl runs").success());
    assert_eq!(std::fs::read(&out).expect("content"), document);
    let mut changed = signed;
    let at = changed.windows(9).position(|octets| octets == b"postacert").expect("the content");
    changed[at] = b'q';
    let refused = super::verify::open_signed_content(&changed);
    assert!(matches!(refused, Err(VerifyError::SignatureWrong(_))), "{refused:?}");
}

#[test]
fn nothing_is_signed_outside_the_validity_of_the_certificate() {
    let world = World::new();
    let Issued { certificate, key } = world.issued.clone();
    let (first, last) =
        (certificate.not_before().expect("first"), certificate.not_after().expect("last"));
    let clock = Arc::new(ManualClock::new(last));
    let signer = FileSigner::new(certificate, Vec::new(), key, clock.clone()).expect("a signer");
    assert!(signer.sign_entity(ENTITY).is_ok());
    for instant in [last.plus_millis(1), first.plus_millis(-1)] {
        clock.advance(instant.0 - clock.now().0);
        let refused = signer.sign_entity(ENTITY);
        assert!(matches!(refused, Err(SignError::OutsideValidity(_))), "{refused:?}");
        assert!(signer.sign_content(ENTITY).is_err());
    }
}
