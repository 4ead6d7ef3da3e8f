//! CMS SignedData (RFC 5652 §5): made here, looked into here, verified by OpenSSL.
//!
//! Made by hand from DER types, because OpenSSL's own maker takes the signing time from the
//! system's clock, cannot leave the signature to a token, and cannot wrap a time stamp's content.
//! What is made is DER with one signer: SHA-256, signed attributes contentType, signingTime,
//! messageDigest and signingCertificateV2 (RFC 5035 §3), then the signer's certificate and its
//! chain.
//!
//! Looking into a SignedData only finds the signer's certificate and the attributes; nothing is
//! believed before OpenSSL has verified the signature. Old providers send BER: OpenSSL reads it
//! and writes DER, which is then walked element by element, without judging what is not needed.

use cms::{
    cert::IssuerAndSerialNumber,
    content_info::CmsVersion,
    signed_data::{SignerIdentifier, SignerInfo},
};
use der::{
    Any, Decode, Encode, Reader as _, Sequence, SliceReader, Tag, Tagged as _,
    asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetString, SetOfVec, UtcTime},
};
use openssl::{
    asn1::Asn1OctetStringRef,
    bn::BigNum,
    cms::{CMSOptions, CmsContentInfo},
    error::ErrorStack,
    stack::Stack,
    x509::X509,
};
use spki::AlgorithmIdentifierOwned;
use x509_cert::{attr::Attribute, name::Name, serial_number::SerialNumber};

use crate::{certificate::Certificate, clock::UnixMillis, digest::Sha256Digest};

pub(crate) const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// id-ct-TSTInfo (RFC 3161 §2.4.2).
pub(crate) const ID_TST_INFO: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
pub(crate) const SIGNING_CERTIFICATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
pub(crate) const SIGNING_CERTIFICATE_V2: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
pub(crate) const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Certificates that are looked at in a SignedData. Real ones carry two or three.
const CERTIFICATES_MAX: usize = 64;

/// ESSCertIDv2 (RFC 5035 §4) with its default algorithm, SHA-256, left out as DER wants.
#[derive(Clone, Debug, Sequence)]
struct EssCertIdV2 {
    cert_hash: OctetString,
}

/// SigningCertificateV2 (RFC 5035 §3).
#[derive(Clone, Debug, Sequence)]
struct SigningCertificateV2 {
    certs: Vec<EssCertIdV2>,
}

#[derive(Clone, Debug, Sequence)]
struct EncapsulatedContent {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    content: Option<OctetString>,
}

/// SignedData with certificates kept as the octets they came as.
#[derive(Clone, Debug, Sequence)]
struct SignedData {
    version: CmsVersion,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: EncapsulatedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    certificates: Option<SetOfVec<Any>>,
    signer_infos: SetOfVec<SignerInfo>,
}

#[derive(Clone, Debug, Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData,
}

/// What is to be signed, and by whom.
pub(crate) struct Draft<'a> {
    /// eContentType.
    pub(crate) content_type: ObjectIdentifier,
    /// The content itself, when it stands inside; `None` for a detached signature.
    pub(crate) content: Option<&'a [u8]>,
    /// SHA-256 of the content.
    pub(crate) digest: Sha256Digest,
    /// Stated as signingTime.
    pub(crate) signing_time: UnixMillis,
    /// The signer.
    pub(crate) certificate: &'a Certificate,
    /// Certificates to put in, beginning with the signer's; none to leave them out.
    pub(crate) certificates: &'a [Certificate],
}

impl Draft<'_> {
    /// Returns the signed attributes in DER: exactly the octets to sign (RFC 5652 §5.4).
    pub(crate) fn signed_attributes(&self) -> der::Result<Vec<u8>> {
        self.attributes()?.to_der()
    }

    fn attributes(&self) -> der::Result<SetOfVec<Attribute>> {
        let certificate_hash = Sha256Digest::of(self.certificate.to_der());
        let signing_certificate = SigningCertificateV2 {
            certs: vec![EssCertIdV2 { cert_hash: OctetString::new(certificate_hash.0)? }],
        };
        SetOfVec::from_iter([
            attribute(CONTENT_TYPE, &self.content_type)?,
            attribute(MESSAGE_DIGEST, &OctetString::new(self.digest.0)?)?,
            attribute(SIGNING_TIME, &signing_time(self.signing_time)?)?,
            attribute(SIGNING_CERTIFICATE_V2, &signing_certificate)?,
        ])
    }

    /// Returns the whole ContentInfo in DER, with the RSA `signature` over
    /// [`Draft::signed_attributes`].
    pub(crate) fn finish(&self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let sha_256 = AlgorithmIdentifierOwned { oid: SHA_256, parameters: None };
        let x509 = self.certificate.as_openssl();
        let issuer = x509.issuer_name().to_der().map_err(|_| der::ErrorKind::Failed)?;
        let serial = x509.serial_number().to_bn().map_err(|_| der::ErrorKind::Failed)?;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: Name::from_der(&issuer)?,
                serial_number: SerialNumber::new(&serial.to_vec())?,
            }),
            digest_alg: sha_256.clone(),
            signed_attrs: Some(self.attributes()?),
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: RSA_ENCRYPTION,
                parameters: Some(Any::from(AnyRef::NULL)),
            },
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let mut certificates = SetOfVec::new();
        for certificate in self.certificates {
            let certificate = Any::from_der(certificate.to_der())?;
            if !certificates.as_slice().contains(&certificate) {
                certificates.insert(certificate)?;
            }
        }
        // Version 3 as soon as the content is not plain data (RFC 5652 §5.1).
        let version = if self.content_type == ID_DATA { CmsVersion::V1 } else { CmsVersion::V3 };
        let content = self.content.map(OctetString::new).transpose()?;
        ContentInfo {
            content_type: ID_SIGNED_DATA,
            content: SignedData {
                version,
                digest_algorithms: SetOfVec::from_iter([sha_256])?,
                content: EncapsulatedContent { content_type: self.content_type, content },
                certificates: Some(certificates).filter(|certificates| !certificates.is_empty()),
                signer_infos: SetOfVec::from_iter([signer])?,
            },
        }
        .to_der()
    }
}

fn attribute(oid: ObjectIdentifier, value: &impl Encode) -> der::Result<Attribute> {
    let value = Any::from_der(&value.to_der()?)?;
    Ok(Attribute { oid, values: SetOfVec::from_iter([value])? })
}

/// signingTime: UTCTime through 2049, GeneralizedTime afterwards (RFC 5652 §11.3).
fn signing_time(instant: UnixMillis) -> der::Result<Any> {
    let since_epoch = duration(instant);
    match UtcTime::from_unix_duration(since_epoch) {
        Ok(time) => Any::from_der(&time.to_der()?),
        Err(_) => Any::from_der(&GeneralizedTime::from_unix_duration(since_epoch)?.to_der()?),
    }
}

/// Whole seconds since 1970; an instant before that counts as 1970.
pub(crate) fn duration(instant: UnixMillis) -> std::time::Duration {
    std::time::Duration::from_secs(u64::try_from(instant.seconds()).unwrap_or(0))
}

/// A SignedData taken apart, nothing of it verified.
pub(crate) struct Opened {
    cms: CmsContentInfo,
    /// eContentType.
    pub(crate) content_type: ObjectIdentifier,
    /// Every certificate inside that can be read.
    pub(crate) certificates: Vec<Certificate>,
    signers: Vec<OpenedSigner>,
}

struct OpenedSigner {
    /// The SignerIdentifier, as it came.
    identifier: Any,
    /// Signed attributes: type and first value.
    attributes: Vec<(ObjectIdentifier, Any)>,
}

/// What the signature says, once it has been verified.
pub(crate) struct Verified {
    /// The signer's certificate (whose own trustworthiness is another question).
    pub(crate) signer: Certificate,
    /// signingTime, if stated.
    pub(crate) signing_time: Option<UnixMillis>,
    /// Signed attributes: type and first value.
    pub(crate) attributes: Vec<(ObjectIdentifier, Any)>,
    /// The signed content.
    pub(crate) content: Vec<u8>,
}

/// Why octets are no good signature.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No SignedData.
    NotSignedData(ErrorStack),
    /// A SignedData, but its parts do not fit together.
    Malformed(der::Error),
    /// Not exactly one signer.
    Signers(usize),
    /// The signer's certificate is not inside.
    NoCertificate,
    /// The signature does not verify over the content.
    Wrong(ErrorStack),
}

impl Opened {
    /// Takes `octets` (DER or BER) apart.
    pub(crate) fn new(octets: &[u8]) -> Result<Self, Fault> {
        let cms = CmsContentInfo::from_der(octets).map_err(Fault::NotSignedData)?;
        let der = cms.to_der().map_err(Fault::NotSignedData)?;
        let (content_type, certificates, signers) = walk(&der).map_err(Fault::Malformed)?;
        Ok(Self { cms, content_type, certificates, signers })
    }

    /// Verifies the one signature over `detached`, or over the content inside.
    pub(crate) fn verify(mut self, detached: Option<&[u8]>) -> Result<Verified, Fault> {
        let [signer] = self.signers.as_slice() else {
            return Err(Fault::Signers(self.signers.len()));
        };
        let certificate = self
            .certificates
            .iter()
            .find(|certificate| is_named_by(certificate, &signer.identifier))
            .ok_or(Fault::NoCertificate)?
            .clone();
        let mut content = Vec::new();
        // Only the certificate found above may verify; its trust is judged by the caller.
        let flags = CMSOptions::BINARY | CMSOptions::NOINTERN | CMSOptions::NO_SIGNER_CERT_VERIFY;
        let verify = |cms: &mut CmsContentInfo, content: &mut Vec<u8>| {
            let mut certificates: Stack<X509> = Stack::new()?;
            certificates.push(certificate.as_openssl().clone())?;
            cms.verify(Some(&certificates), None, detached, Some(content), flags)
        };
        verify(&mut self.cms, &mut content).map_err(Fault::Wrong)?;
        let signing_time = signer
            .attributes
            .iter()
            .find(|(oid, _)| *oid == SIGNING_TIME)
            .and_then(|(_, value)| read_signing_time(value));
        Ok(Verified {
            signer: certificate,
            signing_time,
            attributes: signer.attributes.clone(),
            content,
        })
    }
}

type Walked = (ObjectIdentifier, Vec<Certificate>, Vec<OpenedSigner>);

/// Walks ContentInfo → SignedData → SignerInfos.
fn walk(der: &[u8]) -> der::Result<Walked> {
    let malformed = || der::Error::from(der::ErrorKind::Failed);
    let content_info = AnyRef::from_der(der)?;
    let outer = elements(content_info.value())?;
    let [oid, content, ..] = outer.as_slice() else { return Err(malformed()) };
    if oid.decode_as::<ObjectIdentifier>()? != ID_SIGNED_DATA {
        return Err(malformed());
    }
    let signed_data = AnyRef::from_der(content.value())?;
    let parts = elements(signed_data.value())?;
    let [_version, _digests, encapsulated, rest @ .., signer_infos] = parts.as_slice() else {
        return Err(malformed());
    };
    let content_type = elements(encapsulated.value())?
        .first()
        .ok_or_else(malformed)?
        .decode_as::<ObjectIdentifier>()?;
    let mut certificates = Vec::new();
    for part in rest.iter().filter(|part| is_context_specific(part.tag(), 0)) {
        let found = elements(part.value())?;
        if found.len() > CERTIFICATES_MAX {
            return Err(malformed());
        }
        for certificate in found {
            certificates.extend(Certificate::from_der(&certificate.to_der()?).ok());
        }
    }
    let signers = elements(signer_infos.value())?
        .iter()
        .map(|info| walk_signer(*info))
        .collect::<Result<_, _>>()?;
    Ok((content_type, certificates, signers))
}

fn walk_signer(info: AnyRef<'_>) -> der::Result<OpenedSigner> {
    let parts = elements(info.value())?;
    let [_version, identifier, _digest, rest @ ..] = parts.as_slice() else {
        return Err(der::ErrorKind::Failed.into());
    };
    let mut attributes = Vec::new();
    if let Some(set) = rest.first().filter(|part| is_context_specific(part.tag(), 0)) {
        for attribute in elements(set.value())? {
            let parts = elements(attribute.value())?;
            let [oid, values] = parts.as_slice() else {
                return Err(der::ErrorKind::Failed.into());
            };
            if let Some(value) = elements(values.value())?.first() {
                attributes.push((oid.decode_as()?, Any::from(*value)));
            }
        }
    }
    Ok(OpenedSigner { identifier: Any::from(*identifier), attributes })
}

/// The elements that stand one after the other in `octets`.
pub(crate) fn elements(octets: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(octets)?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader)?);
    }
    Ok(elements)
}

fn is_context_specific(tag: Tag, number: u8) -> bool {
    matches!(tag, Tag::ContextSpecific { number: found, .. } if found.value() == number)
}

/// Says whether `identifier` (issuer and serial number, or a key identifier) means `certificate`.
fn is_named_by(certificate: &Certificate, identifier: &Any) -> bool {
    let x509 = certificate.as_openssl();
    if is_context_specific(identifier.tag(), 0) {
        let key_identifier = x509.subject_key_id().map(Asn1OctetStringRef::as_slice);
        return key_identifier == Some(identifier.value());
    }
    let Ok(parts) = elements(identifier.value()) else { return false };
    let [issuer, serial] = parts.as_slice() else { return false };
    let Ok(issuer) = issuer.to_der() else { return false };
    let same_issuer = openssl::x509::X509Name::from_der(&issuer)
        .and_then(|issuer| issuer.try_cmp(x509.issuer_name()))
        .is_ok_and(std::cmp::Ordering::is_eq);
    // Serial numbers are positive; a negative one of an old authority compares by magnitude, and
    // the signature decides in any case.
    let same_serial = BigNum::from_slice(serial.value())
        .and_then(|serial| Ok(serial == x509.serial_number().to_bn()?))
        .unwrap_or(false);
    same_issuer && same_serial
}

fn read_signing_time(value: &Any) -> Option<UnixMillis> {
    let since_epoch = value
        .decode_as::<UtcTime>()
        .map(|time| time.to_unix_duration())
        .or_else(|_| value.decode_as::<GeneralizedTime>().map(|time| time.to_unix_duration()))
        .ok()?;
    Some(UnixMillis(i64::try_from(since_epoch.as_millis()).ok()?))
}
