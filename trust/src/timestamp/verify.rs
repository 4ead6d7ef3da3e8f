//! Judging time stamps.
//!
//! A token is good for a digest when its imprint is that digest, its one signature verifies, the
//! signed attributes name the signer's certificate (RFC 3161 §2.4.2, RFC 5816 §2.2.1), and that
//! certificate is a time-stamping one (RFC 3161 §2.3) that led to a trusted authority **at the
//! stated instant**. What the token is worth after its certificates have expired is answered by
//! renewing it in time, not here. OpenSSL's `ts -verify` differs: it judges the certificate as of
//! today.
//!
//! Not here: revocation of time-stamping certificates.

use der::{
    Any, Decode as _, Encode as _, Tag, Tagged as _,
    asn1::{AnyRef, GeneralizedTime, Int, ObjectIdentifier, OctetStringRef},
};

use super::{TimestampError, TimestampToken};
use crate::{
    certificate::{
        Certificate,
        chain::{Purpose, TrustedAuthorities},
    },
    clock::UnixMillis,
    digest::{Sha256Digest, sha1_hex},
    signed_data::{
        Fault, ID_TST_INFO, Opened, SHA_256, SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2, elements,
    },
};

/// What a good time stamp says.
#[derive(Clone, Debug)]
pub struct VerifiedTimestamp {
    /// genTime: the digest was known then.
    pub instant: UnixMillis,
    /// The stamp's serial number, upper-case hexadecimal: unique for its authority.
    pub serial_hex: String,
    /// The policy it was made under.
    pub policy: String,
    /// The signer's certificate.
    pub signer: Certificate,
    /// The nonce of the request it answers.
    pub(super) nonce: Option<Vec<u8>>,
}

/// Verifies that `token` stamps `digest` in the name of one of the `trusted`.
pub fn verify(
    token: &TimestampToken,
    digest: Sha256Digest,
    trusted: &TrustedAuthorities,
) -> Result<VerifiedTimestamp, TimestampError> {
    let opened = Opened::new(token.as_der()).map_err(refused)?;
    if opened.content_type != ID_TST_INFO {
        return Err(TimestampError::Malformed(format!("it signs {}", opened.content_type)));
    }
    let intermediates = opened.certificates.clone();
    let verified = opened.verify(None).map_err(refused)?;
    if !names_signer(&verified.attributes, &verified.signer).unwrap_or(false) {
        return Err(TimestampError::SignatureWrong(
            "the signed attributes do not name the signer's certificate".to_owned(),
        ));
    }
    let info = TstInfo::read(&verified.content)?;
    if info.imprint != digest.0 {
        return Err(TimestampError::WrongDigest(digest));
    }
    trusted
        .path(&verified.signer, &intermediates, info.instant, Purpose::TimeStamps)
        .map_err(TimestampError::Untrusted)?;
    Ok(VerifiedTimestamp {
        instant: info.instant,
        serial_hex: hex::encode_upper(info.serial),
        policy: info.policy.to_string(),
        signer: verified.signer,
        nonce: info.nonce,
    })
}

fn refused(fault: Fault) -> TimestampError {
    match fault {
        Fault::NotSignedData(error) => TimestampError::Malformed(error.to_string()),
        Fault::Malformed(error) => TimestampError::Malformed(error.to_string()),
        Fault::Signers(count) => TimestampError::Malformed(format!("{count} signers")),
        Fault::NoCertificate => {
            TimestampError::Malformed("its signer's certificate is not inside".to_owned())
        }
        Fault::Wrong(error) => TimestampError::SignatureWrong(error.to_string()),
    }
}

/// TSTInfo (RFC 3161 §2.4.2), as far as anybody asks for it. Read element by element: genTime may
/// have fractions of a second, which the DER library's type refuses.
struct TstInfo {
    policy: ObjectIdentifier,
    imprint: Vec<u8>,
    serial: Vec<u8>,
    instant: UnixMillis,
    nonce: Option<Vec<u8>>,
}

impl TstInfo {
    fn read(content: &[u8]) -> Result<Self, TimestampError> {
        let malformed = |what: &str| TimestampError::Malformed(what.to_owned());
        let parts = elements(AnyRef::from_der(content)?.value())?;
        let [_version, policy, imprint, serial, gen_time, rest @ ..] = parts.as_slice() else {
            return Err(malformed("its content is no TSTInfo"));
        };
        let imprint = elements(imprint.value())?;
        let [algorithm, imprint] = imprint.as_slice() else {
            return Err(malformed("its content has no message imprint"));
        };
        let algorithm = elements(algorithm.value())?;
        let algorithm = algorithm.first().ok_or_else(|| malformed("its digest has no name"))?;
        if algorithm.decode_as::<ObjectIdentifier>()? != SHA_256 {
            return Err(malformed("its digest is not SHA-256"));
        }
        let nonce = rest.iter().find(|part| part.tag() == Tag::Integer);
        Ok(Self {
            policy: policy.decode_as()?,
            imprint: imprint.decode_as::<OctetStringRef<'_>>()?.as_bytes().to_vec(),
            serial: Int::from_der(&serial.to_der()?)?.as_bytes().to_vec(),
            instant: instant_of(*gen_time).ok_or_else(|| malformed("its time is no UTC time"))?,
            nonce: nonce.map(|nonce| nonce.value().to_vec()),
        })
    }
}

/// Reads GeneralizedTime with an optional fraction, in UTC (RFC 3161 §2.4.2).
fn instant_of(time: AnyRef<'_>) -> Option<UnixMillis> {
    if time.tag() != Tag::GeneralizedTime {
        return None;
    }
    let text = std::str::from_utf8(time.value()).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let whole = format!("{whole}Z");
    let whole = AnyRef::new(Tag::GeneralizedTime, whole.as_bytes()).ok()?;
    let seconds = whole.decode_as::<GeneralizedTime>().ok()?.to_unix_duration();
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(UnixMillis(i64::try_from(seconds.as_millis()).ok()?).plus_millis(millis))
}

/// Says whether signingCertificate (SHA-1) or signingCertificateV2 names `signer` first.
fn names_signer(attributes: &[(ObjectIdentifier, Any)], signer: &Certificate) -> der::Result<bool> {
    for (oid, value) in attributes {
        let version_2 = *oid == SIGNING_CERTIFICATE_V2;
        if !version_2 && *oid != SIGNING_CERTIFICATE {
            continue;
        }
        let lists = elements(value.value())?;
        let Some(identifiers) = lists.first() else { return Ok(false) };
        let identifiers = elements(identifiers.value())?;
        let Some(identifier) = identifiers.first() else { return Ok(false) };
        let parts = elements(identifier.value())?;
        let hash = parts.iter().find(|part| part.tag() == Tag::OctetString);
        let Some(hash) = hash.map(|hash| hash.value()) else { return Ok(false) };
        let algorithm = parts.first().filter(|part| part.tag() == Tag::Sequence);
        return match algorithm {
            _ if !version_2 => Ok(hex::encode(hash) == sha1_hex(signer.to_der())),
            None => Ok(hash == Sha256Digest::of(signer.to_der()).0),
            Some(algorithm) => other_digest(*algorithm, hash, signer),
        };
    }
    Ok(false)
}

/// The same for an ESSCertIDv2 that names its digest.
fn other_digest(algorithm: AnyRef<'_>, hash: &[u8], signer: &Certificate) -> der::Result<bool> {
    let parts = elements(algorithm.value())?;
    let Some(oid) = parts.first() else { return Ok(false) };
    let digest = match oid.decode_as::<ObjectIdentifier>()?.to_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => openssl::sha::sha256(signer.to_der()).to_vec(),
        "2.16.840.1.101.3.4.2.2" => openssl::sha::sha384(signer.to_der()).to_vec(),
        "2.16.840.1.101.3.4.2.3" => openssl::sha::sha512(signer.to_der()).to_vec(),
        _ => return Ok(false),
    };
    Ok(hash == digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_attribute(oid: ObjectIdentifier, octets: &[u8]) -> (ObjectIdentifier, Any) {
        (oid, Any::from_der(octets).expect("an element"))
    }

    /// Wraps `content` in a SEQUENCE (or, with tag 4, an OCTET STRING) of less than 128 octets.
    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).expect("short")], content].concat()
    }

    #[test]
    fn the_signed_attributes_must_name_the_signer_in_one_of_the_known_ways() {
        let certificate = |name: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            let authority = crate::authority::DevelopmentAuthority::open(
                folder.path(),
                std::sync::Arc::new(crate::clock::SystemClock),
                std::sync::Arc::new(crate::random::SystemRandom),
            );
            let issued = authority.expect("an authority").issue_time_stamping(name);
            issued.expect("a certificate").certificate
        };
        let (signer, other) = (certificate("Uno"), certificate("Due"));
        let sha_512 = wrap(0x30, &wrap(6, &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3]));
        let md5 = wrap(0x30, &wrap(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5]));
        let der = signer.to_der();
        let sha_512_hash = wrap(4, &openssl::sha::sha512(der));
        for (oid, identifier, good) in [
            (SIGNING_CERTIFICATE_V2, wrap(4, &openssl::sha::sha256(der)), true),
            (SIGNING_CERTIFICATE_V2, [sha_512, sha_512_hash.clone()].concat(), true),
            (SIGNING_CERTIFICATE_V2, [md5, sha_512_hash].concat(), false),
            (SIGNING_CERTIFICATE, wrap(4, &openssl::sha::sha1(der)), true),
            (SIGNING_CERTIFICATE, wrap(4, &openssl::sha::sha256(der)), false),
            (SHA_256, wrap(4, &openssl::sha::sha256(der)), false),
        ] {
            let value = wrap(0x30, &wrap(0x30, &wrap(0x30, &identifier)));
            let attributes = [hash_attribute(oid, &value)];
            assert_eq!(names_signer(&attributes, &signer), Ok(good), "{oid}");
            assert_eq!(names_signer(&attributes, &other), Ok(false), "{oid}");
        }
        let nothing = [hash_attribute(SIGNING_CERTIFICATE_V2, &[0x30, 0])];
        assert_eq!(names_signer(&nothing, &signer), Ok(false));
    }

    #[test]
    fn times_with_and_without_fractions_are_read() {
        let read = |text: &str| {
            instant_of(AnyRef::new(Tag::GeneralizedTime, text.as_bytes()).expect("an element"))
        };
        assert_eq!(read("20230607112626Z"), Some(UnixMillis(1_686_137_186_000)));
        assert_eq!(read("20230607112626.5Z"), Some(UnixMillis(1_686_137_186_500)));
        assert_eq!(read("20230607112626.123456Z"), Some(UnixMillis(1_686_137_186_123)));
        for wrong in [
            "20230607112626",
            "20230607112626+0100",
            "20230607112626.Z",
            "2023Z",
            "20230607112626.xZ",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
