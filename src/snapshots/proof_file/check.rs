//! Checking a proof file: what it shows, who signed it, when it was stamped.
//!
//! * The signature is judged at the instant of the time stamp; without one at the instant that the
//!   run says it was closed at, for which then the signer alone vouches.
//! * The certificates in the file are what the provider says of itself. Only authorities that come
//!   from elsewhere make a [`Checked::trusted`] proof.

use ::snapshots::run::ClosedRun;
use trust::{
    certificate::{
        Certificate,
        chain::{ChainError, RevocationPolicy, TrustedAuthorities},
    },
    clock::UnixMillis,
    digest::Sha256Digest,
    smime::verify::{Verifier, VerifyError},
    timestamp::{TimestampError, TimestampToken, verify::verify as verify_stamp},
};

use super::{
    Parts, Refused, Shown,
    statement::{self, quoted},
};
use crate::texts::Text;

/// How many seconds a clock of the provider may be from the time stamp: a run is signed and stamped
/// behind its closing, never before.
const CLOCK_DIFFERENCE_MAX: i64 = 600;

/// A stamp that is later than the closing by more seconds is told.
const STAMP_DELAY_USUAL: i64 = 86_400;

/// A proof file that holds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it shows.
    pub shown: Shown,
    /// Who signed the run's record.
    pub signer: Signer,
    /// The stamp of that signature; `None` when it has none.
    pub stamp: Option<Stamp>,
    /// Whether the authorities came from elsewhere than the file.
    pub trusted: bool,
}

/// Whose certificate it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// The organisation, else the common name, else the addresses.
    pub name: String,
    /// SHA-256 of the certificate's DER.
    pub fingerprint: Sha256Digest,
}

/// A time stamp that holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp {
    /// When the signature was there at the latest.
    pub instant: UnixMillis,
    /// Who stamped it.
    pub signer: Signer,
}

/// Why signature or stamp do not pass.
enum Fault {
    /// They are wrong.
    Wrong(Refused),
    /// They are right, and lead to none of the authorities.
    Unknown(Refused),
}

/// Checks the octets of a proof file. Signature and time stamp must lead to `authorities`, or
/// without them to those in the file.
///
/// # Errors
///
/// [`Refused`], which says what does not hold.
pub fn check(octets: &[u8], authorities: Option<Vec<Certificate>>) -> Result<Checked, Refused> {
    let (parts, shown) = Parts::read(octets)?;
    let trusted = authorities.is_some();
    let authorities = match authorities {
        Some(authorities) => authorities,
        None => Certificate::all_from_pem(&parts.certificates).map_err(|error| {
            filled(
                "i certificati del file non si leggono",
                "the certificates in the file cannot be read",
                &error,
            )
        })?,
    };
    let authorities = TrustedAuthorities::new(authorities);
    let closed = shown.run.closed;
    let stamp = stamp_of(&parts, closed, &authorities).map_err(Fault::refused)?;
    let at = stamp.as_ref().map_or(closed, |stamp| stamp.instant);
    let signer = signer_of(&parts, authorities, at).map_err(Fault::refused)?;
    Ok(Checked { shown, signer, stamp, trusted })
}

/// Checks what the provider is about to hand out, against the `authorities` it trusts today, and
/// returns what it shows. A signature or a stamp that is right but leads to none of them, because
/// the provider has changed authorities since, is no reason to refuse: the words say so.
///
/// # Errors
///
/// [`Refused`] when something is wrong.
pub fn check_own(octets: &[u8], authorities: Vec<Certificate>) -> Result<Vec<Text>, Refused> {
    let (parts, shown) = Parts::read(octets)?;
    let authorities = TrustedAuthorities::new(authorities);
    let mut unknown = Vec::new();
    let closed = shown.run.closed;
    let stamp = known(stamp_of(&parts, closed, &authorities), &mut unknown)?.flatten();
    let at = stamp.as_ref().map_or(closed, |stamp| stamp.instant);
    let signer = known(signer_of(&parts, authorities, at), &mut unknown)?;
    let mut words = match signer {
        Some(signer) if unknown.is_empty() => {
            return Ok(Checked { shown, signer, stamp, trusted: false }.words());
        }
        _ => vec![statement::words(&shown)],
    };
    words.extend(unknown);
    words.push(Text::fixed(
        "L'autorità di allora non è tra quelle note oggi: chi verifica la indichi con --ca.",
        "The authority of that time is not among those known today: who verifies names it with --ca.",
    ));
    Ok(words)
}

/// Checks that signature and time stamp of a run are of its record, whoever made them.
///
/// # Errors
///
/// [`Refused`] when one of them is wrong.
pub fn check_seals(run: &ClosedRun) -> Result<(), Refused> {
    let Some(signature) = run.signature.clone() else { return Ok(()) };
    let (record, stamp) = (run.record.encode().to_vec(), run.stamp.clone());
    let (proof, certificates) = (Vec::new(), Vec::new());
    let parts = Parts { proof, run: record, signature, stamp, certificates };
    let nobody = TrustedAuthorities::new(Vec::new());
    let (closed, mut unknown) = (run.record.closed, Vec::new());
    let stamp = known(stamp_of(&parts, closed, &nobody), &mut unknown)?.flatten();
    let at = stamp.map_or(closed, |stamp| stamp.instant);
    known(signer_of(&parts, nobody, at), &mut unknown).map(drop)
}

/// `None` when the authority is unknown, which is noted.
fn known<T>(found: Result<T, Fault>, unknown: &mut Vec<Text>) -> Result<Option<T>, Refused> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Fault::Wrong(refused)) => Err(refused),
        Err(Fault::Unknown(refused)) => {
            unknown.push(refused.0);
            Ok(None)
        }
    }
}

/// Who signed the run's record. The signature is judged at `at`.
fn signer_of(
    parts: &Parts,
    authorities: TrustedAuthorities,
    at: UnixMillis,
) -> Result<Signer, Fault> {
    let verifier = Verifier::new(authorities, RevocationPolicy::WhenKnown);
    let signature =
        verifier.verify(&parts.run, &parts.signature, at).map_err(|error| match error {
            // Trust is judged last: the signature itself is right.
            VerifyError::Untrusted(_) => Fault::Unknown(Refused(Text::fixed(
                "la firma del giro non porta a un'autorità nota: --ca deve avere quella di chi ha firmato, se è da credere",
                "the signature of the run leads to no known authority: --ca must have that of who signed, if it is to be trusted",
            ))),
            _ => Fault::Wrong(filled(
                "la firma del giro non vale",
                "the signature of the run does not hold",
                &error,
            )),
        })?;
    Ok(Signer::of(&signature.signer))
}

fn stamp_of(
    parts: &Parts,
    closed: UnixMillis,
    authorities: &TrustedAuthorities,
) -> Result<Option<Stamp>, Fault> {
    let Some(stamp) = &parts.stamp else { return Ok(None) };
    let digest = Sha256Digest::of(&parts.signature);
    let verified = TimestampToken::from_der(stamp)
        .and_then(|token| verify_stamp(&token, digest, authorities))
        .map_err(|error| match error {
            TimestampError::Untrusted(ChainError::Untrusted { .. }) => Fault::Unknown(Refused(Text::fixed(
                "la marca temporale non porta a un'autorità nota: --ca deve avere anche quella di chi ha marcato, se è da credere",
                "the time stamp leads to no known authority: --ca must have that of who stamped, too, if it is to be trusted",
            ))),
            _ => Fault::Wrong(filled(
                "la marca temporale non vale",
                "the time stamp does not hold",
                &error,
            )),
        })?;
    let limit = closed.seconds().saturating_sub(CLOCK_DIFFERENCE_MAX);
    if verified.instant.seconds() < limit {
        return Err(Fault::Wrong(Refused::fixed(
            "la marca temporale è anteriore alla chiusura del giro: un orologio era sbagliato",
            "the time stamp is from before the run was closed: a clock was wrong",
        )));
    }
    Ok(Some(Stamp { instant: verified.instant, signer: Signer::of(&verified.signer) }))
}

impl Fault {
    fn refused(self) -> Refused {
        match self {
            Self::Wrong(refused) | Self::Unknown(refused) => refused,
        }
    }
}

impl Signer {
    fn of(certificate: &Certificate) -> Self {
        let name = certificate.organization().or_else(|| certificate.common_name());
        let name = name.unwrap_or_else(|| certificate.email_addresses().join(", "));
        Self { name, fingerprint: Sha256Digest::of(certificate.to_der()) }
    }

    /// Name and fingerprint, for sentences.
    fn words(&self) -> String {
        format!("{} (SHA-256 {})", quoted(&self.name), self.fingerprint)
    }
}

fn filled(italian: &str, english: &str, error: &dyn std::error::Error) -> Refused {
    Refused(Text::filled(format!("{italian}: {error}"), format!("{english}: {error}")))
}

impl Checked {
    /// Says whether the proof is what its reader demands: signed with the certificate that has the
    /// fingerprint `signer`, and with `stamp` time-stamped.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn demand(&self, signer: Option<Sha256Digest>, stamp: bool) -> Result<(), Refused> {
        if stamp && self.stamp.is_none() {
            return Err(Refused::fixed(
                "la prova non ha marca temporale (--require-stamp)",
                "the proof has no time stamp (--require-stamp)",
            ));
        }
        if signer.is_some_and(|signer| signer != self.signer.fingerprint) {
            let signer = self.signer.words();
            return Err(Refused(Text::filled(
                format!("un altro ha firmato (--signer): {signer}"),
                format!("another has signed (--signer): {signer}"),
            )));
        }
        Ok(())
    }

    /// What it shows, and on whose word, in one sentence each.
    #[must_use]
    pub fn words(&self) -> Vec<Text> {
        let run = &self.shown.run;
        let (number, closed) = (run.number, statement::instant(run.closed));
        let (signer, accounts) = (self.signer.words(), run.accounts);
        let mut words = vec![
            statement::words(&self.shown),
            Text::filled(
                format!(
                    "Lo attesta il giro {number} su {accounts} caselle, chiuso il {closed} e firmato da {signer}."
                ),
                format!(
                    "This is attested by run {number} over {accounts} accounts, closed on {closed} and signed by {signer}."
                ),
            ),
        ];
        match &self.stamp {
            Some(stamp) => words.extend(self.of_the_stamp(stamp)),
            None => words.push(Text::fixed(
                "Senza marca temporale: per gli istanti c'è solo la parola di chi ha firmato.",
                "Without a time stamp: for the instants there is only the signer's word.",
            )),
        }
        if !self.trusted {
            words.push(Text::fixed(
                "Firma e marca portano ad autorità che stanno nel file stesso: con --ca si dice di quali fidarsi.",
                "Signature and time stamp lead to authorities in the file itself: --ca says which to trust.",
            ));
        }
        words
    }

    fn of_the_stamp(&self, stamp: &Stamp) -> Vec<Text> {
        let (at, by) = (statement::instant(stamp.instant), stamp.signer.words());
        let mut words = vec![Text::filled(
            format!(
                "Marca temporale (RFC 3161) di {by}: attestato non dopo il {at}; l'istante anteriore è parola di chi ha firmato."
            ),
            format!(
                "Time stamp (RFC 3161) by {by}: attested not later than {at}; the earlier instant is the signer's word."
            ),
        )];
        let delay = stamp.instant.seconds().saturating_sub(self.shown.run.closed.seconds());
        if delay > STAMP_DELAY_USUAL {
            words.push(Text::filled(
                format!(
                    "Attenzione: la marca è di {delay} secondi, più di un giorno, dopo la chiusura del giro."
                ),
                format!(
                    "Mind: the time stamp is {delay} seconds, more than a day, after the run was closed."
                ),
            ));
        }
        words
    }
}
