//! The development time-stamping authority: real tokens (RFC 3161), in this process.
//!
//! Invariants: genTime comes from the [`Clock`] and is stated with one second of accuracy; serial
//! numbers are 127 random bits, so that no two stamps share one without any state being kept.
//!
//! Not here: a legal quality. Nobody but its own users trusts it.

use std::{fmt::Debug, sync::Arc};

use der::{
    Any, Decode as _, Encode as _,
    asn1::{BitString, GeneralizedTime, Int, ObjectIdentifier, OctetString},
};
use spki::AlgorithmIdentifierOwned;
use x509_tsp::{Accuracy, MessageImprint, TimeStampReq, TspVersion, TstInfo};

use super::{Response, StatusInfo, TimestampError, TimestampSource, TimestampToken};
use crate::{
    authority::{Issued, random_serial},
    certificate::Certificate,
    clock::Clock,
    digest::Sha256Digest,
    random::RandomSource,
    signed_data::{Draft, ID_TST_INFO, SHA_256, duration},
};

/// The policy stated in every stamp: under the enterprise number that RFC 5612 §2 keeps for
/// examples, so that nobody takes it for a real one.
const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1");

const STATUS_GRANTED: u8 = 0;
const STATUS_REJECTION: u8 = 2;

/// PKIFailureInfo: the bit that says why (RFC 3161 §2.4.2).
#[derive(Clone, Copy)]
enum Failure {
    BadAlgorithm = 0,
    BadDataFormat = 5,
    UnacceptedPolicy = 15,
    UnacceptedExtension = 16,
    System = 25,
}

/// A time-stamping authority for development.
#[derive(Debug)]
pub struct TimestampAuthority {
    issued: Issued,
    /// The signer's certificate, then its issuers'.
    certificates: Vec<Certificate>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
}

impl TimestampAuthority {
    /// Takes a certificate from
    /// [`issue_time_stamping`](crate::authority::DevelopmentAuthority::issue_time_stamping) with
    /// its key, and the certificates of its issuers.
    pub fn new(
        issued: Issued,
        chain: Vec<Certificate>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> Self {
        let certificates = std::iter::once(issued.certificate.clone()).chain(chain).collect();
        Self { issued, certificates, clock, random }
    }

    /// The certificate that signs the stamps.
    pub fn certificate(&self) -> &Certificate {
        &self.issued.certificate
    }

    /// Answers a TimeStampReq in DER with a TimeStampResp in DER. Whatever cannot be answered with
    /// a stamp is answered with a rejection (RFC 3161 §2.4.2).
    ///
    /// # Errors
    ///
    /// When not even a rejection can be encoded.
    pub fn respond(&self, request: &[u8]) -> Result<Vec<u8>, TimestampError> {
        let response = match self.try_respond(request) {
            Ok(token) => Response {
                status: StatusInfo { status: STATUS_GRANTED, text: None, failure: None },
                token: Some(Any::from_der(&token)?),
            },
            Err((failure, text)) => rejection(failure, text)?,
        };
        Ok(response.to_der()?)
    }

    fn try_respond(&self, request: &[u8]) -> Result<Vec<u8>, (Failure, &'static str)> {
        let request = TimeStampReq::from_der(request)
            .map_err(|_| (Failure::BadDataFormat, "the request is no TimeStampReq"))?;
        let imprint = &request.message_imprint;
        if imprint.hash_algorithm.oid != SHA_256 {
            return Err((Failure::BadAlgorithm, "only SHA-256 is stamped here"));
        }
        let digest: [u8; 32] = imprint
            .hashed_message
            .as_bytes()
            .try_into()
            .map_err(|_| (Failure::BadDataFormat, "a SHA-256 has 32 octets"))?;
        if request.req_policy.is_some_and(|policy| policy != POLICY) {
            return Err((Failure::UnacceptedPolicy, "stamps are made under one policy only"));
        }
        if request.extensions.is_some() {
            return Err((Failure::UnacceptedExtension, "no extension is known here"));
        }
        // Certificates go in only when asked for (RFC 3161 §2.4.1).
        let certificates = if request.cert_req { self.certificates.as_slice() } else { &[] };
        self.token(imprint.clone(), Sha256Digest(digest), request.nonce, certificates)
            .map_err(|_| (Failure::System, "the stamp cannot be signed"))
    }

    fn token(
        &self,
        imprint: MessageImprint,
        digest: Sha256Digest,
        nonce: Option<Int>,
        certificates: &[Certificate],
    ) -> Result<Vec<u8>, TimestampError> {
        debug_assert_eq!(imprint.hashed_message.as_bytes(), digest.0);
        let now = self.clock.now();
        let content = TstInfo {
            version: TspVersion::V1,
            policy: POLICY,
            message_imprint: imprint,
            serial_number: Int::new(&random_serial(self.random.as_ref()))?,
            gen_time: GeneralizedTime::from_unix_duration(duration(now))?,
            accuracy: Some(Accuracy { seconds: Some(1), millis: None, micros: None }),
            ordering: false,
            nonce,
            tsa: None,
            extensions: None,
        }
        .to_der()?;
        let draft = Draft {
            content_type: ID_TST_INFO,
            content: Some(&content),
            digest: Sha256Digest::of(&content),
            signing_time: now,
            certificate: &self.issued.certificate,
            certificates,
        };
        let signature = self.issued.key.sign_sha256(&draft.signed_attributes()?)?;
        Ok(draft.finish(&signature)?)
    }
}

#[async_trait::async_trait]
impl TimestampSource for TimestampAuthority {
    async fn stamp(&self, digest: Sha256Digest) -> Result<TimestampToken, TimestampError> {
        let token = self.token(imprint_of(digest)?, digest, None, &self.certificates)?;
        TimestampToken::from_der(&token)
    }
}

/// MessageImprint of a SHA-256 (RFC 3161 §2.4.1).
pub(super) fn imprint_of(digest: Sha256Digest) -> der::Result<MessageImprint> {
    Ok(MessageImprint {
        hash_algorithm: AlgorithmIdentifierOwned { oid: SHA_256, parameters: None },
        hashed_message: OctetString::new(digest.0)?,
    })
}

fn rejection(failure: Failure, text: &str) -> der::Result<Response> {
    // A named bit list: bit n counted from the first octet's highest bit, no zeros after it.
    let bit = failure as u8;
    let mut octets = vec![0_u8; usize::from(bit / 8) + 1];
    if let Some(last) = octets.last_mut() {
        *last = 0x80 >> (bit % 8);
    }
    Ok(Response {
        status: StatusInfo {
            status: STATUS_REJECTION,
            text: Some(vec![text.to_owned()]),
            failure: Some(BitString::new(7 - bit % 8, octets)?),
        },
        token: None,
    })
}
