//! Certification paths (RFC 5280 §6): from a certificate to a trusted authority.
//!
//! Built and checked by OpenSSL at an instant that the caller hands in, so that a message is
//! judged at the time it came in and a time stamp at the time it states. Keys and digests of old
//! certificates (RSA-1024, SHA-1) are accepted: whom to trust is decided by the list of
//! authorities, not by the age of an algorithm.
//!
//! Not here: revocation (`revocation`); it is asked for the chain that this module returns.

use openssl::{
    error::ErrorStack,
    stack::Stack,
    x509::{
        X509PurposeId, X509StoreContext, X509VerifyResult,
        store::{X509Store, X509StoreBuilder},
        verify::X509VerifyParam,
    },
};

use super::{
    Certificate, CertificateError,
    revocation::{RevocationList, RevocationState, state_of},
};
use crate::clock::UnixMillis;

// X509_V_ERR_*: the Rust binding names only the whole type.
const NOT_YET_VALID: i32 = 9;
const HAS_EXPIRED: i32 = 10;

/// The longest path that is followed, the trusted authority not counted.
const PATH_LENGTH_MAX: i32 = 8;

/// The authorities that signatures may lead to.
#[derive(Clone, Debug, Default)]
pub struct TrustedAuthorities(Vec<Certificate>);

/// What the certificate is used for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Signing messages. No extended key usage is demanded: RFC 6109 §5.5 names none, and real
    /// provider certificates differ in it.
    Messages,
    /// Time stamps (RFC 3161 §2.3).
    TimeStamps,
}

/// What to do when no current revocation list of an issuer is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RevocationPolicy {
    /// Lists that are known count, overdue ones too; where there is none the check is left out.
    #[default]
    WhenKnown,
    /// Every issuer on the path needs a list that is not overdue.
    Required,
}

/// Why a certificate is not to be trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No path to a trusted authority, or a certificate on it may not be used that way.
    #[error(
        "{subject} does not lead to a trusted authority ({reason}): add its authority, or distrust the sender"
    )]
    Untrusted {
        /// The certificate.
        subject: String,
        /// What OpenSSL found.
        reason: &'static str,
    },
    /// A certificate on the path is used outside its validity.
    #[error("{subject} or one of its issuers is outside its validity ({reason})")]
    OutsideValidity {
        /// The certificate.
        subject: String,
        /// What OpenSSL found.
        reason: &'static str,
    },
    /// A certificate on the path was taken back.
    #[error("{subject} was revoked (at {} s after 1970)", since.seconds())]
    Revoked {
        /// The revoked certificate.
        subject: String,
        /// The revocation date.
        since: UnixMillis,
    },
    /// Revocation cannot be judged and the policy demands it.
    #[error(
        "no current revocation list for the issuer of {subject} is known: fetch it, then retry"
    )]
    RevocationUnknown {
        /// The certificate.
        subject: String,
    },
    /// OpenSSL failed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl TrustedAuthorities {
    /// Trusts `authorities`, which must be self-signed.
    pub fn new(authorities: Vec<Certificate>) -> Self {
        Self(authorities)
    }

    /// Returns the same with `authority` added.
    #[must_use]
    pub fn with(mut self, authority: Certificate) -> Self {
        self.0.push(authority);
        self
    }

    /// The authorities.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// Finds the path from `certificate` over `intermediates` to a trusted authority, valid at
    /// `instant`. Returns it, `certificate` first.
    pub(crate) fn path(
        &self,
        certificate: &Certificate,
        intermediates: &[Certificate],
        instant: UnixMillis,
        purpose: Purpose,
    ) -> Result<Vec<Certificate>, ChainError> {
        let outcome = self
            .store(instant, purpose)
            .and_then(|store| run(&store, certificate, intermediates))
            .map_err(|source| openssl("check a certification path", source))?;
        match outcome {
            Ok(path) => path.into_iter().map(|x509| Ok(Certificate::from_openssl(x509)?)).collect(),
            Err(result) => {
                let subject = format!("{certificate:?}");
                let reason = result.error_string();
                Err(match result.as_raw() {
                    NOT_YET_VALID | HAS_EXPIRED => ChainError::OutsideValidity { subject, reason },
                    _ => ChainError::Untrusted { subject, reason },
                })
            }
        }
    }

    fn store(&self, instant: UnixMillis, purpose: Purpose) -> Result<X509Store, ErrorStack> {
        let mut builder = X509StoreBuilder::new()?;
        for authority in &self.0 {
            builder.add_cert(authority.as_openssl().clone())?;
        }
        let mut parameters = X509VerifyParam::new()?;
        parameters.set_time(instant.seconds());
        parameters.set_depth(PATH_LENGTH_MAX);
        parameters.set_auth_level(0);
        if purpose == Purpose::TimeStamps {
            parameters.set_purpose(X509PurposeId::TIMESTAMP_SIGN)?;
        }
        builder.set_param(&parameters)?;
        Ok(builder.build())
    }
}

/// Runs OpenSSL's check: the path, or what is wrong with it.
fn run(
    store: &X509Store,
    certificate: &Certificate,
    intermediates: &[Certificate],
) -> Result<Result<Vec<openssl::x509::X509>, X509VerifyResult>, ErrorStack> {
    let mut untrusted = Stack::new()?;
    for intermediate in intermediates {
        untrusted.push(intermediate.as_openssl().clone())?;
    }
    X509StoreContext::new()?.init(store, certificate.as_openssl(), &untrusted, |context| {
        if context.verify_cert()? {
            let path = context.chain().into_iter().flatten().map(ToOwned::to_owned).collect();
            Ok(Ok(path))
        } else {
            Ok(Err(context.error()))
        }
    })
}

/// Asks the revocation lists about every certificate of `path` that has an issuer there.
pub(crate) fn check_revocation(
    path: &[Certificate],
    lists: &[RevocationList],
    policy: RevocationPolicy,
    instant: UnixMillis,
) -> Result<(), ChainError> {
    for pair in path.windows(2) {
        let [certificate, issuer] = pair else { continue };
        match state_of(lists, certificate, issuer, instant)? {
            RevocationState::Revoked(since) => {
                return Err(ChainError::Revoked { subject: format!("{certificate:?}"), since });
            }
            RevocationState::Good => {}
            RevocationState::Overdue | RevocationState::Unknown => {
                if policy == RevocationPolicy::Required {
                    return Err(ChainError::RevocationUnknown {
                        subject: format!("{certificate:?}"),
                    });
                }
            }
        }
    }
    Ok(())
}

fn openssl(operation: &'static str, source: ErrorStack) -> ChainError {
    CertificateError::OpenSsl { operation, source }.into()
}
