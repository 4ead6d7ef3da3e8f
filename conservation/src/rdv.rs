//! Validation of a PdV, and the RdV (*rapporto di versamento*, submission report) that follows.
//!
//! The Guidelines want a PdV verified against the agreement, refused when anomalies are found, and
//! a report for each that is uniquely identified and carries a UTC time reference and a digest over
//! the whole content. A refused package may be handed over again, corrected, as often as the
//! agreement says; every refusal is counted.
//!
//! Invariants:
//!
//! * Every check that was made stands in the report, also those that passed.
//! * A report with a negative outcome is a refusal; one without is an acceptance. Warnings decide
//!   nothing.
//!
//! Not here: the report's XML form and its signature.

use std::collections::{BTreeMap, BTreeSet};

use trust::{clock::UnixMillis, digest::Sha256Digest};

use crate::{
    name::{PackageId, PayloadPath},
    pdv::{PackagedMessage, Pdv},
};

/// What was looked at.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CheckKind {
    /// The package declares at least one message.
    NotEmpty,
    /// The package keeps to the sizes of the agreement.
    WithinAgreement,
    /// No name is declared or received twice, compared without regard to case, and none is the
    /// folder of another: the package can be unpacked on any system.
    UniqueNames,
    /// Every declared message was received.
    Received,
    /// Every received message was declared.
    Declared,
    /// The received octets are as many as declared.
    Size,
    /// The received octets have the declared digest.
    Digest,
}

/// The result of a check (*esito*).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// POSITIVO
    Positive,
    /// WARNING: worth knowing, decides nothing.
    Warning,
    /// NEGATIVO: the package is refused.
    Negative,
}

/// One check and its result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// What was looked at.
    pub kind: CheckKind,
    /// The message it is about; `None` for the package.
    pub message: Option<PayloadPath>,
    /// The result.
    pub outcome: Outcome,
}

/// What the agreement says about packages (*disciplinare*, manual).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PackageRules {
    /// Messages that a package may have.
    pub messages_max: usize,
    /// Octets that a package may have.
    pub octets_max: u64,
    /// Refusals after which the same package need not be looked at again.
    pub refusals_max: u32,
}

impl Default for PackageRules {
    fn default() -> Self {
        Self { messages_max: 10_000, octets_max: 1 << 30, refusals_max: 3 }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// *Presa in carico*: the package is conserved from here on.
    Accepted,
    /// *Rifiuto*.
    Refused {
        /// Refusals of this package, this one counted in.
        refusals: u32,
        /// The agreement allows no further attempt.
        is_last: bool,
    },
}

/// A submission report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rdv {
    /// Its identifier, unique in the system.
    pub id: PackageId,
    /// The package it is about.
    pub pdv: PackageId,
    /// Time reference, UTC.
    pub instant: UnixMillis,
    /// Digest over the whole content of the package ([`Pdv::content_digest`]).
    pub content_digest: Sha256Digest,
    /// What was checked.
    pub checks: Vec<Check>,
    /// What was decided.
    pub decision: Decision,
}

/// A package that was taken in charge, with its report. Only [`conclude`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceptedPdv {
    pdv: Pdv,
    rdv: Rdv,
}

impl AcceptedPdv {
    /// The package.
    pub fn pdv(&self) -> &Pdv {
        &self.pdv
    }

    /// Its report.
    pub fn rdv(&self) -> &Rdv {
        &self.rdv
    }
}

/// Compares what `pdv` declares with what was `received`, under `rules`.
pub fn validate(pdv: &Pdv, received: &[PackagedMessage], rules: &PackageRules) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |kind, message: Option<&PayloadPath>, good: bool| {
        let outcome = if good { Outcome::Positive } else { Outcome::Negative };
        checks.push(Check { kind, message: message.cloned(), outcome });
    };
    check(CheckKind::NotEmpty, None, !pdv.messages.is_empty());
    let within = pdv.messages.len() <= rules.messages_max && pdv.octets() <= rules.octets_max;
    check(CheckKind::WithinAgreement, None, within);
    let names: BTreeSet<_> = pdv.messages.iter().map(|message| &message.name).collect();
    let found: BTreeMap<_, _> = received.iter().map(|message| (&message.name, message)).collect();
    let unique = found.len() == received.len() && can_stand_together(&pdv.messages);
    check(CheckKind::UniqueNames, None, unique);
    for declared in &pdv.messages {
        let name = Some(&declared.name);
        let received = found.get(&declared.name);
        check(CheckKind::Received, name, received.is_some());
        if let Some(received) = received {
            check(CheckKind::Size, name, received.size == declared.size);
            check(CheckKind::Digest, name, received.digest == declared.digest);
        }
    }
    for name in found.keys().filter(|name| !names.contains(*name)) {
        check(CheckKind::Declared, Some(name), false);
    }
    checks
}

/// Says whether the names can be files of one folder on any system.
fn can_stand_together(messages: &[PackagedMessage]) -> bool {
    let mut files = BTreeSet::new();
    let lower = |message: &PackagedMessage| message.name.as_str().to_ascii_lowercase();
    if !messages.iter().all(|message| files.insert(lower(message))) {
        return false;
    }
    let folders = files
        .iter()
        .flat_map(|file| file.match_indices('/').map(|(at, _)| file.get(..at).unwrap_or_default()));
    !folders.into_iter().any(|folder| files.contains(folder))
}

/// Makes the report `id` on `pdv` from the checks, at `instant`, after `earlier_refusals` of the
/// same package.
///
/// # Errors
///
/// The report of the refusal, when a check is negative.
pub fn conclude(
    id: PackageId,
    pdv: Pdv,
    checks: Vec<Check>,
    rules: &PackageRules,
    earlier_refusals: u32,
    instant: UnixMillis,
) -> Result<AcceptedPdv, Box<Rdv>> {
    let refused = checks.iter().any(|check| check.outcome == Outcome::Negative);
    let refusals = earlier_refusals.saturating_add(1);
    let decision = if refused {
        Decision::Refused { refusals, is_last: refusals >= rules.refusals_max }
    } else {
        Decision::Accepted
    };
    let content_digest = pdv.content_digest();
    let rdv = Rdv { id, pdv: pdv.id.clone(), instant, content_digest, checks, decision };
    if refused { Err(Box::new(rdv)) } else { Ok(AcceptedPdv { pdv, rdv }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdv::MessageKind;

    fn message(name: &str, octets: &[u8]) -> PackagedMessage {
        PackagedMessage {
            name: PayloadPath::new(name).expect("a path"),
            kind: MessageKind::Message,
            size: octets.len() as u64,
            digest: Sha256Digest::of(octets),
        }
    }

    fn id(text: &str) -> PackageId {
        PackageId::new(text).expect("an identifier")
    }

    fn pdv(messages: Vec<PackagedMessage>) -> Pdv {
        Pdv {
            id: id("pdv-1"),
            producer: "Ordine degli esempi".to_owned(),
            agreement: "A-1".to_owned(),
            closed: UnixMillis(0),
            messages,
        }
    }

    fn judge(declared: &[PackagedMessage], received: &[PackagedMessage]) -> Vec<CheckKind> {
        let rules = PackageRules { messages_max: 3, octets_max: 100, refusals_max: 3 };
        let checks = validate(&pdv(declared.to_vec()), received, &rules);
        let negative = |check: &&Check| check.outcome == Outcome::Negative;
        checks.iter().filter(negative).map(|check| check.kind).collect()
    }

    #[test]
    fn each_anomaly_has_its_check() {
        let (a, b) = (message("a.eml", b"1"), message("b.eml", b"22"));
        let both = [a.clone(), b.clone()];
        assert_eq!(judge(&both, &both), []);
        assert_eq!(judge(&both, &[b.clone(), a.clone()]), [], "order does not matter");
        assert_eq!(judge(&[], &[]), [CheckKind::NotEmpty]);
        assert_eq!(judge(&both, std::slice::from_ref(&a)), [CheckKind::Received]);
        assert_eq!(judge(std::slice::from_ref(&a), &both), [CheckKind::Declared]);
        let twice = [a.clone(), a.clone()];
        assert_eq!(judge(&twice, std::slice::from_ref(&a)), [CheckKind::UniqueNames]);
        assert_eq!(judge(std::slice::from_ref(&a), &twice), [CheckKind::UniqueNames]);
        for clashing in [["a.eml", "A.EML"], ["a", "a/b.eml"], ["x/Y", "X/y/z"]] {
            let both = clashing.map(|name| message(name, b"1"));
            assert_eq!(judge(&both, &both), [CheckKind::UniqueNames], "{clashing:?}");
        }
        let other = message("a.eml", b"2");
        assert_eq!(judge(std::slice::from_ref(&a), &[other]), [CheckKind::Digest]);
        let longer = message("a.eml", b"12");
        let found = judge(std::slice::from_ref(&a), &[longer]);
        assert_eq!(found, [CheckKind::Size, CheckKind::Digest]);
        let large = [message("a.eml", &[0; 101])];
        assert_eq!(judge(&large, &large), [CheckKind::WithinAgreement]);
    }

    #[test]
    fn a_report_counts_refusals_and_names_the_content() {
        let a = message("a.eml", b"1");
        let rules = PackageRules::default();
        let package = pdv(vec![a.clone()]);
        let bad = validate(&package, &[], &rules);
        for (earlier, is_last) in [(0, false), (1, false), (2, true), (u32::MAX, true)] {
            let (package, bad) = (package.clone(), bad.clone());
            let refused = conclude(id("rdv-1"), package, bad, &rules, earlier, UnixMillis(5));
            let rdv = refused.expect_err("a refusal");
            let refusals = earlier.saturating_add(1);
            assert_eq!(rdv.decision, Decision::Refused { refusals, is_last });
        }
        let good = validate(&package, &[a], &rules);
        let digest = package.content_digest();
        let accepted = conclude(id("rdv-2"), package, good, &rules, 2, UnixMillis(5));
        let accepted = accepted.expect("taken in charge");
        assert_eq!(accepted.rdv().decision, Decision::Accepted);
        assert_eq!(accepted.rdv().content_digest, digest);
    }

    #[test]
    fn the_content_digest_is_what_sha256sum_prints_in_any_order() {
        let (a, b) = (message("a.eml", b"1"), message("b.eml", b"22"));
        let lines = format!("{}  a.eml\n{}  b.eml\n", a.digest, b.digest);
        let expected = Sha256Digest::of(lines.as_bytes());
        assert_eq!(pdv(vec![a.clone(), b.clone()]).content_digest(), expected);
        assert_eq!(pdv(vec![b, a]).content_digest(), expected);
    }
}
