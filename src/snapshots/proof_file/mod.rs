//! The proof file: everything that shows one fact about a mailbox, for people without the store.
//!
//! It is an uncompressed tar of parts with fixed names ([`Parts`]): a statement for people, the
//! proof, the run's record with the provider's signature and the time stamp, certificates. Its
//! octets follow from its parts: another header, another order, another space is another file, and
//! refused. The statement follows from the parts too, and names the digest of each.
//!
//! Not here: the proof's own octets (`snapshots::proof`), what the statement says ([`statement`]),
//! checking it all ([`check`]).

pub mod check;
mod statement;
mod tar;

#[cfg(test)]
mod tests;

use snapshots::{
    proof::{Proof, ProofError},
    run::record::RunRecord,
};

use crate::texts::Text;

/// The statement: JSON for people and programs.
pub const STATEMENT: &str = "proof.json";
/// The proof.
pub const PROOF: &str = "proof.bin";
/// The record of the run that it leads to.
pub const RUN_RECORD: &str = "run-record.bin";
/// The provider's detached signature of that record: CMS SignedData in DER (RFC 5652).
pub const SIGNATURE: &str = "run-record.p7s";
/// The time stamp of the signature: the token of RFC 3161 §2.4.2 in DER.
pub const STAMP: &str = "run-record.tsr";
/// Certificates of authorities, in PEM: to look at, not to believe.
pub const CERTIFICATES: &str = "certificates.pem";

/// What a proof file is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts {
    /// [`PROOF`].
    pub proof: Vec<u8>,
    /// [`RUN_RECORD`].
    pub run: Vec<u8>,
    /// [`SIGNATURE`].
    pub signature: Vec<u8>,
    /// [`STAMP`]; `None` when the run has none.
    pub stamp: Option<Vec<u8>>,
    /// [`CERTIFICATES`].
    pub certificates: Vec<u8>,
}

/// Why a proof file shows nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.get(crate::texts::Language::English))]
pub struct Refused(pub Text);

impl Refused {
    fn fixed(italian: &'static str, english: &'static str) -> Self {
        Self(Text::fixed(italian, english))
    }
}

impl From<ProofError> for Refused {
    fn from(error: ProofError) -> Self {
        let italian = match error {
            ProofError::Layout => "la prova non regge: non ha la forma di una prova",
            ProofError::Pages => "la prova non regge: le pagine non portano dall'una all'altra",
            ProofError::Mailbox => {
                "la prova non regge: le pagine non portano alla cartella dell'istantanea"
            }
            ProofError::Name => {
                "la prova non regge: il nome non è quello della cartella nell'istantanea"
            }
            ProofError::InvalidName => {
                "la prova non regge: nessuna cartella può avere quel nome, o non è scritto così"
            }
            ProofError::State => "la prova non regge: lo stato non è quello dell'istantanea",
            ProofError::Records => {
                "la prova non regge: le istantanee della casella non seguono l'una all'altra"
            }
            ProofError::Account => {
                "la prova non regge: l'istantanea della casella non è tra quelle del giro"
            }
            ProofError::OlderForm => {
                "la prova non mostra nulla: è di una forma precedente, in cui un'assenza non dichiara tutte le cartelle; farla rifare"
            }
            ProofError::NotAbsent => "la prova non regge: quel che dice assente è nel suo elenco",
            _ => "la prova non regge",
        };
        Self(Text::filled(italian.to_owned(), error.to_string()))
    }
}

/// What the parts say, checked against each other; nobody's signature is judged yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shown {
    /// The fact.
    pub proven: snapshots::proof::Proven,
    /// The run that it stands on.
    pub run: RunRecord,
    /// Whether the run is time-stamped.
    pub stamped: bool,
}

impl Parts {
    /// Checks the proof against the run's record.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn shown(&self) -> Result<Shown, Refused> {
        let proof = Proof::decode(&self.proof).ok_or(ProofError::Layout)?;
        let run = RunRecord::decode(&self.run).ok_or_else(|| {
            Refused::fixed(
                "la prova non regge: il verbale del giro non ha la sua forma",
                "the proof does not hold: the record of the run is none",
            )
        })?;
        Ok(Shown { proven: proof.verify(&run)?, run, stamped: self.stamp.is_some() })
    }

    fn named(&self) -> Vec<(&'static str, &[u8])> {
        let mut named: Vec<(&'static str, &[u8])> =
            vec![(PROOF, &self.proof), (RUN_RECORD, &self.run), (SIGNATURE, &self.signature)];
        if let Some(stamp) = &self.stamp {
            named.push((STAMP, stamp));
        }
        named.push((CERTIFICATES, &self.certificates));
        named
    }

    /// Returns the octets of the file.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the parts do not fit together.
    pub fn write(&self) -> Result<Vec<u8>, Refused> {
        let shown = self.shown()?;
        let statement = statement::text(&shown, &self.named());
        let mut members = vec![(STATEMENT, statement.as_slice())];
        members.extend(self.named());
        tar::write(&members, shown.run.closed.seconds()).ok_or_else(|| {
            Refused::fixed(
                "la prova è troppo grande per un tar",
                "the proof is too large for a tar",
            )
        })
    }

    /// Reads a file and checks that every octet of it is what its parts make of it.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn read(octets: &[u8]) -> Result<(Self, Shown), Refused> {
        let none = || {
            Refused::fixed(
                "non è un file di prova: un tar con proof.json, proof.bin, run-record.bin, run-record.p7s, run-record.tsr, certificates.pem",
                "no proof file: a tar with proof.json, proof.bin, run-record.bin, run-record.p7s, run-record.tsr, certificates.pem",
            )
        };
        let mut members = tar::read(octets).ok_or_else(none)?.into_iter();
        let mut next = |wanted: &str| {
            let member = members.next();
            member.and_then(|(name, octets)| (name == wanted).then(|| octets.to_vec()))
        };
        next(STATEMENT).ok_or_else(none)?;
        let proof = next(PROOF).ok_or_else(none)?;
        let run = next(RUN_RECORD).ok_or_else(none)?;
        let signature = next(SIGNATURE).ok_or_else(none)?;
        let (stamp, certificates) = match members.next() {
            Some((STAMP, stamp)) => (Some(stamp.to_vec()), members.next()),
            other => (None, other),
        };
        let certificates = certificates.filter(|(name, _)| *name == CERTIFICATES);
        let certificates = certificates.ok_or_else(none)?.1.to_vec();
        let parts = Self { proof, run, signature, stamp, certificates };
        let shown = parts.shown()?;
        if parts.write()? != octets {
            return Err(Refused::fixed(
                "la prova non regge: proof.json o la forma del file non corrispondono al contenuto",
                "the proof does not hold: proof.json or the form of the file do not fit its content",
            ));
        }
        Ok((parts, shown))
    }
}
