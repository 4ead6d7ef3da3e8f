//! The profile of a provider's signing certificate (RFC 6109 §5.5).
//!
//! Real certificates deviate from it, so on reception nobody is judged by it; a provider is told
//! of the deviations of its own, because another one may be stricter.
//!
//! Not here: validity and trust ([`super::chain`]).

use der::{Decode as _, asn1::ObjectIdentifier};
use x509_cert::{
    Certificate as X509Certificate,
    ext::{
        Extension,
        pkix::{AuthorityKeyIdentifier, KeyUsage},
    },
};

use super::Certificate;

const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
/// emailAddress, which should not stand in the subject (PKCS #9).
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// One way in which a certificate is not what RFC 6109 §5.5 wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Deviation {
    /// It cannot be read closely enough to be judged.
    #[error("its extensions cannot be read")]
    Unreadable,
    /// RFC 6109 §5.5.1.
    #[error("neither O nor CN of the subject is the provider's name")]
    Name,
    /// RFC 6109 §5.5.1: it belongs into the alternative name.
    #[error("an e-mail address stands in the subject")]
    EmailInSubject,
    /// Clients compare it with From (RFC 6109 §2.1).
    #[error("the service address is not among the rfc822Names of the alternative name")]
    ServiceAddress,
    /// The extension is not there.
    #[error("Subject Alternative Name is missing or critical")]
    AlternativeName,
    /// Other bits are allowed.
    #[error("Key Usage is missing, not critical or without digitalSignature")]
    KeyUsage,
    /// With keyIdentifier.
    #[error("Authority Key Identifier is missing, critical or without keyIdentifier")]
    AuthorityKeyIdentifier,
    /// Not critical.
    #[error("Subject Key Identifier is missing or critical")]
    SubjectKeyIdentifier,
    /// It must not be present.
    #[error("Basic Constraints is present")]
    BasicConstraints,
    /// Others are allowed when they are not critical.
    #[error("an extension that the profile does not name is critical")]
    OtherCritical,
}

/// How `certificate` deviates from the profile, as the certificate of the provider called `name`
/// that writes from `service_address`. Empty when it does not.
pub fn deviations(certificate: &Certificate, name: &str, service_address: &str) -> Vec<Deviation> {
    let Ok(read) = X509Certificate::from_der(certificate.to_der()) else {
        return vec![Deviation::Unreadable];
    };
    let certified = read.tbs_certificate;
    let subject = certified.subject.0.iter().flat_map(|part| part.0.iter());
    let extensions = certified.extensions.unwrap_or_default();
    let present = |id: ObjectIdentifier| extensions.iter().find(|one| one.extn_id == id);
    let is_plain = |id| present(id).is_some_and(|one| !one.critical);
    let named = [certificate.organization(), certificate.common_name()];
    let addresses = certificate.email_addresses();
    let known = [
        SUBJECT_KEY_IDENTIFIER,
        KEY_USAGE,
        SUBJECT_ALTERNATIVE_NAME,
        BASIC_CONSTRAINTS,
        AUTHORITY_KEY_IDENTIFIER,
    ];
    let faults = [
        (!named.iter().flatten().any(|one| one == name), Deviation::Name),
        (subject.into_iter().any(|one| one.oid == EMAIL_ADDRESS), Deviation::EmailInSubject),
        (!is_plain(SUBJECT_ALTERNATIVE_NAME), Deviation::AlternativeName),
        (
            !addresses.iter().any(|one| one.eq_ignore_ascii_case(service_address)),
            Deviation::ServiceAddress,
        ),
        (!present(KEY_USAGE).is_some_and(signs), Deviation::KeyUsage),
        (
            !present(AUTHORITY_KEY_IDENTIFIER).is_some_and(names_key),
            Deviation::AuthorityKeyIdentifier,
        ),
        (!is_plain(SUBJECT_KEY_IDENTIFIER), Deviation::SubjectKeyIdentifier),
        (present(BASIC_CONSTRAINTS).is_some(), Deviation::BasicConstraints),
        (
            extensions.iter().any(|one| one.critical && !known.contains(&one.extn_id)),
            Deviation::OtherCritical,
        ),
    ];
    faults.into_iter().filter_map(|(is, deviation)| is.then_some(deviation)).collect()
}

fn signs(extension: &Extension) -> bool {
    let usage = KeyUsage::from_der(extension.extn_value.as_bytes());
    extension.critical && usage.is_ok_and(|usage| usage.digital_signature())
}

fn names_key(extension: &Extension) -> bool {
    let identifier = AuthorityKeyIdentifier::from_der(extension.extn_value.as_bytes());
    !extension.critical && identifier.is_ok_and(|one| one.key_identifier.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{authority::DevelopmentAuthority, clock::SystemClock, random::SystemRandom};

    #[test]
    fn a_provider_certificate_of_the_development_authority_has_the_profile_and_others_are_told_apart()
     {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = DevelopmentAuthority::open(
            folder.path(),
            Arc::new(SystemClock),
            Arc::new(SystemRandom),
        )
        .expect("an authority");
        let address = "posta-certificata@alfa.example";
        let provider = authority.issue_provider("Alfa PEC", address).expect("issued").certificate;
        assert_eq!(deviations(&provider, "Alfa PEC", address), []);
        assert_eq!(deviations(&provider, "Beta PEC", address), [Deviation::Name]);
        let other = deviations(&provider, "Alfa PEC", "altro@alfa.example");
        assert_eq!(other, [Deviation::ServiceAddress]);
        let tls = authority.issue_tls(&["mail.alfa.example"], &[]).expect("issued").certificate;
        let found = deviations(&tls, "Alfa PEC", address);
        assert_eq!(
            found,
            [Deviation::Name, Deviation::ServiceAddress, Deviation::BasicConstraints]
        );
    }
}
