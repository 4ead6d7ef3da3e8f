//! Checking a proof file: what it shows, who signed it, when it was stamped.
//!
//! * The signature is judged at the instant of the time stamp; without one at the instant that the
//!   run says it was closed at, for which then the signer alone vouches.
//! * The certificates in the file are what the provider says of itself. Only authorities that come
//!   from elsewhere make a [`Checked::trusted`] proof.

use trust::{
    certificate::{
        Certificate,
        chain::{RevocationPolicy, TrustedAuthorities},
    },
    clock::UnixMillis,
    digest::Sha256Digest,
    smime::verify::Verifier,
    timestamp::{TimestampToken, verify::verify as verify_stamp},
};

use super::{Parts, Refused, Shown, statement};
use crate::texts::Text;

/// How far a clock of the provider may be from the time stamp: a run is signed and stamped behind
/// its closing, never before.
const CLOCK_DIFFERENCE_MAX: i64 = 600_000;

/// A proof file that holds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it shows.
    pub shown: Shown,
    /// Who signed the run's record.
    pub signer: String,
    /// When the signature was stamped; `None` when it was not.
    pub stamped: Option<UnixMillis>,
    /// Whether the authorities came from elsewhere than the file.
    pub trusted: bool,
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
    let stamped = match &parts.stamp {
        None => None,
        Some(stamp) => Some(stamp_instant(stamp, &parts.signature, &shown, &authorities)?),
    };
    let verifier = Verifier::new(authorities, RevocationPolicy::WhenKnown);
    let at = stamped.unwrap_or(shown.run.closed);
    let signature = verifier.verify(&parts.run, &parts.signature, at).map_err(|error| {
        filled("la firma del giro non vale", "the signature of the run does not hold", &error)
    })?;
    let signer = &signature.signer;
    let name = signer.organization().or_else(|| signer.common_name());
    let signer = name.unwrap_or_else(|| signer.email_addresses().join(", "));
    Ok(Checked { shown, signer, stamped, trusted })
}

fn stamp_instant(
    stamp: &[u8],
    signature: &[u8],
    shown: &Shown,
    authorities: &TrustedAuthorities,
) -> Result<UnixMillis, Refused> {
    let digest = Sha256Digest::of(signature);
    let verified = TimestampToken::from_der(stamp)
        .and_then(|token| verify_stamp(&token, digest, authorities))
        .map_err(|error| {
            filled("la marca temporale non vale", "the time stamp does not hold", &error)
        })?;
    if verified.instant.0.saturating_add(CLOCK_DIFFERENCE_MAX) < shown.run.closed.0 {
        return Err(Refused::fixed(
            "la marca temporale è anteriore alla chiusura del giro: un orologio era sbagliato",
            "the time stamp is from before the run was closed: a clock was wrong",
        ));
    }
    Ok(verified.instant)
}

fn filled(italian: &str, english: &str, error: &dyn std::error::Error) -> Refused {
    Refused(Text::filled(format!("{italian}: {error}"), format!("{english}: {error}")))
}

impl Checked {
    /// What it shows, and on whose word, in one sentence each.
    #[must_use]
    pub fn words(&self) -> Vec<Text> {
        let run = &self.shown.run;
        let (number, closed) = (run.number, statement::instant(run.closed));
        let (signer, accounts) = (&self.signer, run.accounts);
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
            match self.stamped.map(statement::instant) {
                Some(at) => Text::filled(
                    format!("Marca temporale (RFC 3161): {at}."),
                    format!("Time stamp (RFC 3161): {at}."),
                ),
                None => Text::fixed(
                    "Senza marca temporale: per gli istanti c'è solo la parola di chi ha firmato.",
                    "Without a time stamp: for the instants there is only the signer's word.",
                ),
            },
        ];
        if !self.trusted {
            words.push(Text::fixed(
                "Firma e marca portano ad autorità che stanno nel file stesso: con --ca si dice di quali fidarsi.",
                "Signature and time stamp lead to authorities in the file itself: --ca says which to trust.",
            ));
        }
        words
    }
}
