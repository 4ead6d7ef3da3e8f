//! DANE: whether a server's certificates are those that its TLSA records name (RFC 6698, RFC 7671,
//! as RFC 7672 narrows them for SMTP).
//!
//! A pure function over records and the chain that the server presented. Invariants:
//!
//! * Usages 2 (DANE-TA) and 3 (DANE-EE) alone count; records of usage 0 and 1, of unknown selectors
//!   or matching types, or with data that cannot be right, are unusable (RFC 7672 §3.1.3).
//! * DANE-EE binds the key alone: neither names nor dates are looked at (RFC 7671 §5.1).
//! * DANE-TA wants the usual validation under the anchor that the record names: signatures, dates,
//!   and the server's name (RFC 7671 §5.2, RFC 7672 §3.2.2).
//!
//! Not here: whether the records may be believed at all (DNSSEC), and what follows from a failure.

use openssl::{
    error::ErrorStack,
    pkey::PKey,
    sha::{sha256, sha512},
    stack::Stack,
    x509::{
        X509, X509PurposeId, X509Ref, X509StoreContext,
        store::X509StoreBuilder,
        verify::{X509CheckFlags, X509VerifyFlags, X509VerifyParam},
    },
};
use trust::clock::UnixMillis;

/// One TLSA record (RFC 6698 §2.1).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TlsaRecord {
    /// Certificate usage.
    pub usage: u8,
    /// Selector: 0 the certificate, 1 its key.
    pub selector: u8,
    /// Matching type: 0 the octets themselves, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

const USAGE_ANCHOR: u8 = 2;
const USAGE_SERVER: u8 = 3;
const WHOLE: u8 = 0;

/// Why the certificates are not those of the records.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaneError {
    /// The server presented nothing.
    #[error("the server presents no certificate")]
    NoCertificate,
    /// Nothing that it presented is named by a record.
    #[error("no TLSA record names a certificate that the server presents")]
    NoMatch,
    /// A record names an anchor, and the server's certificate is not valid under it.
    #[error("the certificate is not valid under the anchor of its TLSA record: {0}")]
    NotValid(String),
    /// A fault of the library or of memory.
    #[error("the certificate could not be looked at")]
    Library(#[from] ErrorStack),
}

/// The records of one server, and what a certificate under an anchor must satisfy.
#[derive(Clone, Debug)]
pub struct DaneCheck {
    records: Vec<TlsaRecord>,
    names: Vec<String>,
    at: UnixMillis,
}

impl DaneCheck {
    /// Takes the records that can be used; `None` when there are none, and TLS is then asked for
    /// without knowing whom (RFC 7672 §2.2). `names` are those by which the server may go, `at` the
    /// instant at which dates are looked at.
    #[must_use]
    pub fn new(records: Vec<TlsaRecord>, names: Vec<String>, at: UnixMillis) -> Option<Self> {
        let usable: Vec<TlsaRecord> = records.into_iter().filter(is_usable).collect();
        // The strongest digest counts where several are published for the same thing, so that a
        // weaker one cannot be forged (RFC 7671 §9). Whole data stands beside.
        let strongest = |record: &TlsaRecord| {
            record.matching == WHOLE
                || !usable.iter().any(|other| {
                    (other.usage, other.selector) == (record.usage, record.selector)
                        && other.matching > record.matching
                })
        };
        let records: Vec<TlsaRecord> =
            usable.iter().filter(|record| strongest(record)).cloned().collect();
        (!records.is_empty()).then_some(Self { records, names, at })
    }

    /// Looks at the chain that a server presented, its own certificate first.
    ///
    /// # Errors
    ///
    /// [`DaneError`].
    pub fn verify(&self, chain: &[X509]) -> Result<(), DaneError> {
        let Some((own, issuers)) = chain.split_first() else {
            return Err(DaneError::NoCertificate);
        };
        for record in self.records.iter().filter(|record| record.usage == USAGE_SERVER) {
            if matches(record, own)? {
                return Ok(());
            }
        }
        let mut failed = DaneError::NoMatch;
        for record in self.records.iter().filter(|record| record.usage == USAGE_ANCHOR) {
            for anchor in anchors(record, chain)? {
                match self.validate(own, issuers, &anchor)? {
                    Ok(()) => return Ok(()),
                    Err(reason) => failed = DaneError::NotValid(reason),
                }
            }
        }
        Err(failed)
    }

    /// Validates `own` under `anchor` alone; the inner error says why not.
    fn validate(
        &self,
        own: &X509,
        issuers: &[X509],
        anchor: &X509,
    ) -> Result<Result<(), String>, ErrorStack> {
        let mut reason = "it goes by no name".to_owned();
        for name in &self.names {
            let mut store = X509StoreBuilder::new()?;
            store.add_cert(anchor.clone())?;
            let mut parameters = X509VerifyParam::new()?;
            // The anchor need not be a root (RFC 7671 §5.2).
            parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            parameters.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            parameters.set_host(name)?;
            parameters.set_purpose(X509PurposeId::SSL_SERVER)?;
            parameters.set_time(self.at.0.div_euclid(1_000));
            store.set_param(&parameters)?;
            let store = store.build();
            let mut chain = Stack::new()?;
            for issuer in issuers {
                chain.push(issuer.clone())?;
            }
            let mut context = X509StoreContext::new()?;
            let (valid, error) = context.init(&store, own, &chain, |context| {
                Ok((context.verify_cert()?, context.error()))
            })?;
            if valid {
                return Ok(Ok(()));
            }
            error.error_string().clone_into(&mut reason);
        }
        Ok(Err(reason))
    }
}

fn is_usable(record: &TlsaRecord) -> bool {
    let data_fits = match (record.matching, record.selector) {
        (WHOLE, WHOLE) => X509::from_der(&record.data).is_ok(),
        (WHOLE, _) => PKey::public_key_from_der(&record.data).is_ok(),
        (1, _) => record.data.len() == 32,
        (2, _) => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, USAGE_ANCHOR | USAGE_SERVER) && record.selector <= 1 && data_fits
}

/// Whether `record` names `certificate` (RFC 6698 §2.1.2, §2.1.3).
fn matches(record: &TlsaRecord, certificate: &X509Ref) -> Result<bool, ErrorStack> {
    let selected = match record.selector {
        WHOLE => certificate.to_der()?,
        _ => certificate.public_key()?.public_key_to_der()?,
    };
    Ok(match record.matching {
        WHOLE => selected == record.data,
        1 => sha256(&selected).as_slice() == record.data,
        _ => sha512(&selected).as_slice() == record.data,
    })
}

/// The certificates under which a record of an anchor wants the server's to be valid: those of its
/// issuers that the record names, and what the record itself holds.
fn anchors(record: &TlsaRecord, chain: &[X509]) -> Result<Vec<X509>, ErrorStack> {
    let mut anchors = Vec::new();
    for issuer in chain.iter().skip(1) {
        if matches(record, issuer)? {
            anchors.push(issuer.clone());
        }
    }
    // Whole data needs no certificate of the server's (RFC 7671 §5.2.2).
    match (record.matching, record.selector) {
        (WHOLE, WHOLE) => anchors.push(X509::from_der(&record.data)?),
        (WHOLE, _) => {
            let key = PKey::public_key_from_der(&record.data)?;
            for certificate in chain {
                if certificate.verify(&key).unwrap_or(false) {
                    anchors.push(certificate.clone());
                }
            }
        }
        _ => {}
    }
    Ok(anchors)
}
