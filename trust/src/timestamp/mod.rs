//! Time stamps (RFC 3161): proof that a digest was known at an instant.
//!
//! [`TimestampSource`] is the seam: a service reached over HTTP ([`client`]) or the development
//! authority in this process ([`authority`]). The client verifies what it received before it
//! returns it; [`verify`] judges tokens that come from elsewhere or from long ago.
//!
//! Invariants:
//!
//! * A token is kept as the octets it came as; nothing encodes it anew.
//! * Only SHA-256 digests are stamped here.
//!
//! Not here: when to stamp, renewal of stamps before their certificates age (`conservation`).

pub mod authority;
pub mod client;
pub mod verify;

use std::fmt;

use der::{Any, Decode as _, Encode as _, Sequence};

use crate::{
    certificate::{CertificateError, chain::ChainError},
    digest::Sha256Digest,
    key::KeyError,
};

/// Octets that a token, or the answer that carries it, may have. Real ones have some 6,000.
pub const TOKEN_OCTETS_MAX: usize = 64 * 1024;

/// A time stamp: the ContentInfo of RFC 3161 §2.4.2, as it came.
#[derive(Clone, Eq, PartialEq)]
pub struct TimestampToken(Vec<u8>);

impl TimestampToken {
    /// Takes the octets of a token. They are not judged before [`verify::verify`].
    ///
    /// # Errors
    ///
    /// [`TimestampError::Malformed`] when they are more than [`TOKEN_OCTETS_MAX`].
    pub fn from_der(octets: &[u8]) -> Result<Self, TimestampError> {
        if octets.len() > TOKEN_OCTETS_MAX {
            return Err(TimestampError::Malformed("the token is too large".to_owned()));
        }
        Ok(Self(octets.to_vec()))
    }

    /// The token as it came.
    pub fn as_der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TimestampToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TimestampToken({} octets)", self.0.len())
    }
}

/// Why there is no time stamp, or why one is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The service cannot be reached or does not answer properly. Temporary: retry later.
    #[error("the time-stamping service {url} cannot be reached: retry later")]
    Unreachable {
        /// The service.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The service answered, but not with a time stamp. Retry; ask its operator if it stays so.
    #[error(
        "the time-stamping service {url} answered {answer}: retry later, then ask its operator"
    )]
    Refused {
        /// The service.
        url: String,
        /// The HTTP status, or the PKIStatus with its text.
        answer: String,
    },
    /// Octets that are no request, answer or token of RFC 3161.
    #[error("not a time stamp: {0}")]
    Malformed(String),
    /// The stamp is for other octets.
    #[error("the time stamp is not for the digest {0}")]
    WrongDigest(Sha256Digest),
    /// The answer belongs to another request (RFC 3161 §2.2). Retry.
    #[error("the time stamp does not answer this request: its nonce differs")]
    WrongNonce,
    /// The token's signature does not verify.
    #[error("the signature of the time stamp is wrong: {0}")]
    SignatureWrong(String),
    /// The signer is not trusted for time stamps, or was not at the stated instant.
    #[error("the signer of the time stamp is not to be trusted")]
    Untrusted(#[source] ChainError),
    /// The development authority cannot stamp.
    #[error("the development time-stamping authority cannot sign")]
    Key(#[from] KeyError),
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl TimestampError {
    /// Says whether the same call can succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Refused { .. } | Self::WrongNonce)
    }
}

impl From<der::Error> for TimestampError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Somebody who stamps.
#[async_trait::async_trait]
pub trait TimestampSource: Send + Sync + fmt::Debug + 'static {
    /// Returns a time stamp for `digest`. May be called again after an error, and by
    /// many tasks at once; every call makes a new stamp.
    async fn stamp(&self, digest: Sha256Digest) -> Result<TimestampToken, TimestampError>;
}

/// PKIStatusInfo (RFC 3161 §2.4.2).
#[derive(Clone, Debug, Sequence)]
struct StatusInfo {
    status: u8,
    #[asn1(optional = "true")]
    text: Option<Vec<String>>,
    #[asn1(optional = "true")]
    failure: Option<der::asn1::BitString>,
}

/// TimeStampResp (RFC 3161 §2.4.2), the token left as it came.
#[derive(Clone, Debug, Sequence)]
struct Response {
    status: StatusInfo,
    #[asn1(optional = "true")]
    token: Option<Any>,
}

/// Status "granted"; 1 is "granted with modifications", which is a stamp too.
const GRANTED_WITH_MODIFICATIONS: u8 = 1;

/// Takes the token out of a TimeStampResp, or says what the answer was.
fn token_of_response(octets: &[u8]) -> Result<Result<TimestampToken, String>, TimestampError> {
    let response = Response::from_der(octets)?;
    match response.token {
        Some(token) if response.status.status <= GRANTED_WITH_MODIFICATIONS => {
            Ok(Ok(TimestampToken::from_der(&token.to_der()?)?))
        }
        _ => {
            let text = response.status.text.unwrap_or_default().join(" ");
            Ok(Err(format!("status {} {text}", response.status.status)))
        }
    }
}

#[cfg(test)]
mod tests;
