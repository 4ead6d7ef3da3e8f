//! The four kinds of certificate that the development authority issues.
//!
//! | kind | subject | key usage (critical) | extended key usage | subjectAltName | other |
//! |---|---|---|---|---|---|
//! | authority | O, CN | keyCertSign, cRLSign | – | – | Basic Constraints CA, path length 0, critical |
//! | provider (RFC 6109 §5.5) | O and CN = provider name | digitalSignature | emailProtection, clientAuth (RFC 6109 §5.6) | rfc822Name | **no** Basic Constraints |
//! | TLS server | CN = first name | digitalSignature, keyEncipherment | serverAuth | DNS names, addresses | Basic Constraints, not CA |
//! | time stamping (RFC 3161 §2.3) | CN | digitalSignature | timeStamping, critical, alone | – | Basic Constraints, not CA |
//!
//! All of them carry Subject Key Identifier and Authority Key Identifier (keyid), non-critical,
//! and are signed with RSA and SHA-256.

use std::net::IpAddr;

use openssl::{
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    x509::{
        X509, X509Builder, X509Name,
        extension::{
            AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage,
            SubjectAlternativeName, SubjectKeyIdentifier,
        },
    },
};

use super::{Issued, serial_number};
use crate::{certificate::asn1_time, clock::UnixMillis, key::PrivateKey};

/// X.509 version 3, as it is encoded.
const VERSION_3: i32 = 2;

/// What is certified.
pub(super) enum Profile<'a> {
    Authority,
    Provider { provider_name: &'a str, email: &'a str },
    Tls { dns_names: &'a [&'a str], addresses: &'a [IpAddr] },
    TimeStamping { name: &'a str },
}

/// What every certificate has.
pub(super) struct Draft<'a> {
    pub(super) serial: [u8; 16],
    pub(super) not_before: UnixMillis,
    pub(super) not_after: UnixMillis,
    pub(super) key: &'a PrivateKey,
}

/// Makes the certificate. Without `issuer` it signs itself.
pub(super) fn issue(
    profile: &Profile<'_>,
    draft: &Draft<'_>,
    issuer: Option<&Issued>,
) -> Result<X509, ErrorStack> {
    let subject = subject(profile, &draft.serial)?;
    let mut builder = X509::builder()?;
    builder.set_version(VERSION_3)?;
    builder.set_serial_number(&*serial_number(&draft.serial)?)?;
    builder.set_not_before(&*asn1_time(draft.not_before)?)?;
    builder.set_not_after(&*asn1_time(draft.not_after)?)?;
    builder.set_subject_name(&subject)?;
    builder.set_pubkey(draft.key.as_openssl())?;
    let issuer_x509 = issuer.map(|issuer| issuer.certificate.as_openssl());
    builder.set_issuer_name(issuer_x509.map_or(&*subject, |x509| x509.subject_name()))?;
    append_profile(&mut builder, profile)?;
    let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(identifier)?;
    let context = builder.x509v3_context(issuer_x509.map(|x509| &**x509), None);
    let identifier = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
    builder.append_extension(identifier)?;
    let signing_key = issuer.map_or(draft.key, |issuer| &issuer.key);
    builder.sign(signing_key.as_openssl(), MessageDigest::sha256())?;
    Ok(builder.build())
}

fn subject(profile: &Profile<'_>, serial: &[u8]) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    match profile {
        Profile::Authority => {
            // Two authorities must not share a name: chains are looked up by it.
            let tag = hex::encode(&serial[..4]);
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Ceralacca")?;
            name.append_entry_by_nid(Nid::COMMONNAME, &format!("Development authority {tag}"))?;
        }
        Profile::Provider { provider_name, .. } => {
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, provider_name)?;
            name.append_entry_by_nid(Nid::COMMONNAME, provider_name)?;
        }
        Profile::Tls { dns_names, addresses } => {
            let first_address = addresses.first().map(ToString::to_string);
            let first = dns_names.first().copied().or(first_address.as_deref());
            // A name too long for CN stands in subjectAltName only, which is what counts.
            if let Some(first) = first.filter(|first| first.len() <= 64) {
                name.append_entry_by_nid(Nid::COMMONNAME, first)?;
            }
        }
        Profile::TimeStamping { name: common_name } => {
            name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
        }
    }
    Ok(name.build())
}

fn append_profile(builder: &mut X509Builder, profile: &Profile<'_>) -> Result<(), ErrorStack> {
    let mut usage = KeyUsage::new();
    usage.critical();
    match profile {
        Profile::Authority => {
            let constraints = BasicConstraints::new().critical().ca().pathlen(0).build()?;
            builder.append_extension(constraints)?;
            builder.append_extension(usage.key_cert_sign().crl_sign().build()?)
        }
        Profile::Provider { email, .. } => {
            builder.append_extension(usage.digital_signature().build()?)?;
            // The certificate opens the directory's server too.
            let mut extended = ExtendedKeyUsage::new();
            let extended = extended.email_protection().client_auth().build()?;
            builder.append_extension(extended)?;
            let mut names = SubjectAlternativeName::new();
            names.email(email);
            let names = names.build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names)
        }
        Profile::Tls { dns_names, addresses } => {
            builder.append_extension(BasicConstraints::new().build()?)?;
            let usage = usage.digital_signature().key_encipherment().build()?;
            builder.append_extension(usage)?;
            builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
            let mut names = SubjectAlternativeName::new();
            for dns_name in *dns_names {
                names.dns(dns_name);
            }
            for address in *addresses {
                names.ip(&address.to_string());
            }
            let names = names.build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names)
        }
        Profile::TimeStamping { .. } => {
            builder.append_extension(BasicConstraints::new().build()?)?;
            builder.append_extension(usage.digital_signature().build()?)?;
            builder.append_extension(ExtendedKeyUsage::new().critical().time_stamping().build()?)
        }
    }
}
