//! Signing.
//!
//! [`MessageSigner`] is the seam: [`FileSigner`] holds its key in memory, a token is another
//! implementation. What a signer needs of an entity is its SHA-256, so a large message is signed
//! while it streams: [`Frame::octets_before`], the entity, [`Frame::octets_after`].
//!
//! Invariants:
//!
//! * The octets between the two boundaries are exactly the octets that were digested.
//! * The same key, chain, entity and instant give the same signature, octet for octet (RSA
//!   PKCS #1 v1.5 takes no randomness).
//! * Nothing is signed outside the validity of the certificate: no peer would believe it.

use std::{fmt, sync::Arc};

use base64::Engine as _;

use crate::{
    certificate::{Certificate, CertificateError},
    clock::{Clock, UnixMillis},
    digest::Sha256Digest,
    key::{KeyError, PrivateKey},
    random::RandomSource,
    signed_data::{Draft, ID_DATA},
};

/// Why something cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is not the one of the certificate. Permanent: correct the configuration.
    #[error(
        "the private key does not belong to {0}: configure the key that the certificate was issued for"
    )]
    KeyMismatch(String),
    /// Only RSA keys sign here (RFC 6109 §5.5). Permanent: correct the configuration.
    #[error("the key of {0} is not an RSA key: use an RSA key of 2048 bits")]
    NotRsa(String),
    /// The key cannot be used now. A token may answer later; a key in memory will not.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Nobody would believe a signature made now. Permanent until the clock or the certificate
    /// changes.
    #[error("{0} is outside its validity: sign with a renewed certificate")]
    OutsideValidity(String),
    /// The signature cannot be encoded.
    #[error("the signature cannot be encoded in DER")]
    Encoding(#[source] der::Error),
    /// The header or the boundary given to the frame would break the message.
    #[error("the message cannot be framed: {0}")]
    Frame(&'static str),
}

/// Signs message entities in the name of one certificate.
///
/// Calls may block for milliseconds of computation (or for a token): call from a blocking thread.
/// Implementations may be called by many threads at once and may be called again after an error.
pub trait MessageSigner: Send + Sync + fmt::Debug + 'static {
    /// The signer's certificate.
    fn certificate(&self) -> &Certificate;

    /// Signs an entity of which only the SHA-256 is given; returns the detached CMS SignedData
    /// in DER.
    fn sign_digest(&self, digest: Sha256Digest) -> Result<Vec<u8>, SignError>;

    /// Signs `content`; returns the CMS SignedData in DER with the content inside (RFC 5652 §5.2).
    fn sign_content(&self, content: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Signs `entity`, the octets as they will stand in the message with CRLF line ends; returns
    /// the detached CMS SignedData in DER.
    fn sign_entity(&self, entity: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign_digest(Sha256Digest::of(entity))
    }
}

/// A signer whose key is in memory, read from a file.
#[derive(Debug)]
pub struct FileSigner {
    certificate: Certificate,
    /// The signer's certificate, then its issuers': what is sent along.
    certificates: Vec<Certificate>,
    key: PrivateKey,
    clock: Arc<dyn Clock>,
    /// First and last instant of the certificate's validity.
    validity: (UnixMillis, UnixMillis),
}

impl FileSigner {
    /// Takes the certificate, the certificates of its issuers to send along, and the key.
    ///
    /// # Errors
    ///
    /// [`SignError::KeyMismatch`], [`SignError::NotRsa`].
    pub fn new(
        certificate: Certificate,
        chain: Vec<Certificate>,
        key: PrivateKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SignError> {
        if !key.is_rsa() {
            return Err(SignError::NotRsa(format!("{certificate:?}")));
        }
        if !certificate.public_key()?.public_eq(key.as_openssl()) {
            return Err(SignError::KeyMismatch(format!("{certificate:?}")));
        }
        let validity = (certificate.not_before()?, certificate.not_after()?);
        let certificates = std::iter::once(certificate.clone()).chain(chain).collect();
        Ok(Self { certificate, certificates, key, clock, validity })
    }

    fn sign(&self, digest: Sha256Digest, content: Option<&[u8]>) -> Result<Vec<u8>, SignError> {
        let signing_time = self.clock.now();
        let (first, last) = self.validity;
        if signing_time < first || signing_time > last {
            return Err(SignError::OutsideValidity(format!("{:?}", self.certificate)));
        }
        let draft = Draft {
            content_type: ID_DATA,
            content,
            digest,
            signing_time,
            certificate: &self.certificate,
            certificates: &self.certificates,
        };
        let attributes = draft.signed_attributes().map_err(SignError::Encoding)?;
        let signature = self.key.sign_sha256(&attributes)?;
        draft.finish(&signature).map_err(SignError::Encoding)
    }
}

impl MessageSigner for FileSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn sign_digest(&self, digest: Sha256Digest) -> Result<Vec<u8>, SignError> {
        self.sign(digest, None)
    }

    fn sign_content(&self, content: &[u8]) -> Result<Vec<u8>, SignError> {
        self.sign(Sha256Digest::of(content), Some(content))
    }
}

/// What stands around a signed entity.
#[derive(Clone, Debug)]
pub struct Frame {
    headers: Vec<u8>,
    boundary: String,
    transfer_encoding: TransferEncoding,
}

/// The domain of a message's octets, named on every multipart around them (RFC 2045 §6.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TransferEncoding {
    /// ASCII in lines of at most 998 octets; needs no field.
    #[default]
    SevenBit,
    /// Lines as above with octets above 127.
    EightBit,
    /// Anything else.
    Binary,
}

/// Octets of a line without its CRLF (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;

impl TransferEncoding {
    /// The narrowest domain that `octets` are in.
    pub fn of(octets: &[u8]) -> Self {
        let long = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() > LINE_OCTETS_MAX;
        if octets.contains(&0) || octets.split(|octet| *octet == b'\n').any(long) {
            Self::Binary
        } else if octets.is_ascii() {
            Self::SevenBit
        } else {
            Self::EightBit
        }
    }

    /// The header field, with its CRLF; empty for 7bit.
    fn field(self) -> &'static str {
        match self {
            Self::SevenBit => "",
            Self::EightBit => "Content-Transfer-Encoding: 8bit\r\n",
            Self::Binary => "Content-Transfer-Encoding: binary\r\n",
        }
    }
}

/// What a reader without S/MIME sees first (RFC 2046 §5.1.1).
const PREAMBLE: &str = "This is an S/MIME signed message";

/// Characters a signature line has (RFC 2045 §6.8).
const BASE64_LINE: usize = 76;

impl Frame {
    /// Takes the message's own header fields: whole lines ended by CRLF, without the empty line,
    /// without MIME-Version and Content-*, which are added here. `boundary` must not occur in
    /// the entity: take it from [`random_boundary`].
    ///
    /// # Errors
    ///
    /// [`SignError::Frame`] when the octets are not such lines, or `boundary` does not consist of
    /// 1 to 70 of the characters of RFC 2046 §5.1.1 (blanks, which that rule allows inside, are
    /// refused).
    pub fn new(headers: &[u8], boundary: &str) -> Result<Self, SignError> {
        let boundary_character =
            |octet: u8| octet.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&octet);
        if boundary.is_empty() || boundary.len() > 70 || !boundary.bytes().all(boundary_character) {
            return Err(SignError::Frame("the boundary is not 1 to 70 of the allowed characters"));
        }
        let mut rest = headers;
        while !rest.is_empty() {
            let line_end = rest.windows(2).position(|pair| pair == b"\r\n");
            let Some(line_end) = line_end else {
                return Err(SignError::Frame("the last header line does not end in CRLF"));
            };
            let line = &rest[..line_end];
            if line.is_empty() {
                return Err(SignError::Frame("an empty line stands among the header lines"));
            }
            if line.contains(&b'\n') || line.contains(&b'\r') {
                return Err(SignError::Frame("a header line contains a bare CR or LF"));
            }
            if begins_with(line, b"content-") || begins_with(line, b"mime-version:") {
                return Err(SignError::Frame("the MIME header fields are added here"));
            }
            rest = &rest[line_end + 2..];
        }
        let transfer_encoding = TransferEncoding::default();
        Ok(Self { headers: headers.to_vec(), boundary: boundary.to_owned(), transfer_encoding })
    }

    /// Says what kind of octets the entity has.
    #[must_use]
    pub fn with_transfer_encoding(mut self, transfer_encoding: TransferEncoding) -> Self {
        self.transfer_encoding = transfer_encoding;
        self
    }

    /// Returns the octets before the entity.
    pub fn octets_before(&self) -> Vec<u8> {
        let mut octets = self.headers.clone();
        let Self { boundary, .. } = self;
        let encoding = self.transfer_encoding.field();
        octets.extend_from_slice(
            format!(
                "MIME-Version: 1.0\r\n\
                 Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\";\r\n \
                 micalg=sha-256; boundary=\"{boundary}\"\r\n\
                 {encoding}\
                 \r\n\
                 {PREAMBLE}\r\n\
                 \r\n\
                 --{boundary}\r\n"
            )
            .as_bytes(),
        );
        octets
    }

    /// Returns the octets after the entity, with `signature` (DER) in them. The CRLF they begin
    /// with belongs to the boundary, not to the entity (RFC 2046 §5.1.1).
    pub fn octets_after(&self, signature: &[u8]) -> Vec<u8> {
        let Self { boundary, .. } = self;
        let mut text = format!(
            "\r\n--{boundary}\r\n\
             Content-Type: application/pkcs7-signature; name=\"smime.p7s\"\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"smime.p7s\"\r\n\
             \r\n"
        );
        // base64 is ASCII, so any index is a character boundary.
        let encoded = base64::engine::general_purpose::STANDARD.encode(signature);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(BASE64_LINE));
            text.push_str(line);
            text.push_str("\r\n");
            rest = after;
        }
        text.extend(["\r\n--", boundary, "--\r\n"]);
        text.into_bytes()
    }
}

/// Builds a whole signed message: `headers` as for [`Frame::new`], `entity` exactly as digested.
///
/// # Errors
///
/// As [`Frame::new`] and [`MessageSigner::sign_entity`]; [`SignError::Frame`] when the boundary
/// occurs in the entity.
pub fn multipart_signed(
    signer: &dyn MessageSigner,
    headers: &[u8],
    entity: &[u8],
    boundary: &str,
) -> Result<Vec<u8>, SignError> {
    let frame = Frame::new(headers, boundary)?.with_transfer_encoding(TransferEncoding::of(entity));
    let delimiter = format!("--{boundary}");
    if memchr::memmem::find(entity, delimiter.as_bytes()).is_some() {
        return Err(SignError::Frame("the boundary occurs in the signed entity"));
    }
    let signature = signer.sign_entity(entity)?;
    let mut message = frame.octets_before();
    message.extend_from_slice(entity);
    message.extend_from_slice(&frame.octets_after(&signature));
    Ok(message)
}

/// Draws a boundary of 128 random bits.
///
/// It contains `=_`, which neither base64 nor quoted-printable text can hold (RFC 2045 §6.7).
pub fn random_boundary(random: &dyn RandomSource) -> String {
    let mut octets = [0; 16];
    random.fill(&mut octets);
    format!("=_{}", hex::encode(octets))
}

fn begins_with(line: &[u8], prefix: &[u8]) -> bool {
    line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
