//! What was found, as the Authentication-Results field says it (RFC 8601).

use mail_auth::{
    ArcOutput, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, DmarcResult, SpfOutput,
    SpfResult, common::crypto::HashAlgorithm, dkim::Canonicalization, dmarc::Policy,
};

use super::{Sender, sealed_results::passed_dmarc};
use crate::{config::DomainName, metrics_names::ORDINARY_RESULTS};

/// Digests of a body by canonical form and algorithm.
pub(super) type BodyHashes = Vec<(Canonicalization, HashAlgorithm, u64, Vec<u8>)>;

/// What the signatures of a message say.
#[derive(Debug)]
pub(super) struct Signatures<'a> {
    pub(super) dkim: &'a [DkimOutput<'a>],
    pub(super) arc: &'a ArcOutput<'a>,
    /// The domain of the last seal, whatever it is worth.
    pub(super) sealer: Option<String>,
    /// What became of the octets that they are for.
    pub(super) body: Body,
    /// What was not looked at.
    pub(super) left_out: LeftOut,
}

/// Signatures that were not looked at, although the body may have been.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LeftOut {
    /// For the size of the header, or of the signature's own field: what they would have said is not known.
    pub(super) header: bool,
    /// Any, for whatever reason. Where it is their number, these are farther from the author than all that
    /// were looked at, and where it is a name that no domain has, they speak for nobody.
    pub(super) further: bool,
    /// The ARC chain: what it would have said is not known.
    pub(super) chain: bool,
}

/// What became of the body of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body {
    /// Its digests are known.
    Hashed,
    /// It is larger than what is hashed.
    TooLarge,
    /// It was not hashed in time.
    NotHashed,
}

/// What a domain of From asks for, and whether something speaks for the message in its name.
#[derive(Debug)]
pub(super) struct Author {
    /// Empty when From names none.
    pub(super) domain: String,
    /// `None`: it is not known.
    pub(super) policy: Option<Policy>,
    pub(super) output: DmarcOutput,
}

/// Everything that was found out about a message.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) spf: SpfOutput,
    /// One at least.
    pub(super) authors: Vec<Author>,
    pub(super) signatures: Signatures<'a>,
}

impl Signatures<'_> {
    /// Whether one of `trusted` sealed an unbroken chain, and says in its own name that the message had
    /// passed DMARC when it came there (RFC 8617 §7.2.1).
    pub(super) fn vouched_for(&self, trusted: &[DomainName]) -> bool {
        self.arc.result() == &DkimResult::Pass
            && self.arc.sets().last().is_some_and(|set| {
                let seal = set.seal.header;
                trusted.iter().any(|domain| seal.d.eq_ignore_ascii_case(domain.as_str()))
                    && passed_dmarc(set.results.value, seal.i, &seal.d)
            })
    }
}

impl Signatures<'_> {
    /// Whether it is not known if one of `trusted` vouches for the message.
    pub(super) fn may_be_vouched_for(&self, trusted: &[DomainName]) -> bool {
        let is_trusted = |sealer: &String| {
            trusted.iter().any(|domain| sealer.eq_ignore_ascii_case(domain.as_str()))
        };
        (self.left_out.chain || matches!(self.arc.result(), DkimResult::TempError(_)))
            && self.sealer.as_ref().is_some_and(is_trusted)
    }

    /// The result of DKIM for all that has none of its own.
    fn not_told(&self) -> Option<&'static str> {
        match self.body {
            Body::NotHashed => Some("temperror"),
            Body::TooLarge if self.left_out.further => {
                Some("policy (message too large to be checked)")
            }
            _ if self.left_out.header => Some("policy (header too large to be checked)"),
            _ if self.left_out.further => Some("policy (further signatures not checked)"),
            _ if self.dkim.is_empty() => Some("none"),
            _ => None,
        }
    }
}

impl Found<'_> {
    /// The value of the field: one method a line.
    pub(super) fn field(&self, host_name: &str, sender: &Sender) -> String {
        let from = sender.reverse_path.as_str();
        let results = AuthenticationResults::new(host_name);
        let results = if from.is_empty() {
            results.with_spf_ehlo_result(&self.spf, sender.address, &sender.helo)
        } else {
            results.with_spf_mailfrom_result(&self.spf, sender.address, from, &sender.helo)
        };
        let signatures = &self.signatures;
        let from = self.authors.first().map(|author| author.output.domain()).unwrap_or_default();
        let results = results.with_dkim_results(signatures.dkim, from);
        let results = self
            .authors
            .iter()
            .fold(results, |results, author| results.with_dmarc_result(&author.output));
        let mut text = results.to_string();
        if let Some(result) = signatures.not_told() {
            text.push_str(";\r\n\tdkim=");
            text.push_str(result);
        }
        if signatures.left_out.chain {
            text.push_str(";\r\n\tarc=policy (chain not checked)");
        }
        if !signatures.arc.sets().is_empty() {
            text.push_str(";\r\n\tarc=");
            text.push_str(word(signatures.arc.result()));
        }
        printable(&text)
    }

    pub(super) fn count(&self) {
        let count = |method: &'static str, result: &'static str| {
            metrics::counter!(ORDINARY_RESULTS, "method" => method, "result" => result)
                .increment(1);
        };
        count("spf", spf_word(self.spf.result()));
        for author in &self.authors {
            count("dmarc", dmarc_word(&author.output.result()));
        }
        for signature in self.signatures.dkim {
            count("dkim", word(signature.result()));
        }
        if !self.signatures.arc.sets().is_empty() {
            count("arc", word(self.signatures.arc.result()));
        }
    }
}

/// The field of a message about which nothing is known.
pub(super) fn unknown(host_name: &str, sender: &Sender) -> String {
    let identity = if sender.reverse_path.is_empty() { "helo" } else { "mailfrom" };
    printable(&format!(
        "{host_name};\r\n\tspf=temperror smtp.{identity};\r\n\tdkim=temperror;\r\n\tdmarc=temperror"
    ))
}

fn word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

fn dmarc_word(result: &DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

/// `text` in ASCII: names in it are the peer's.
fn printable(text: &str) -> String {
    let stands = |character: char| matches!(character, ' '..='~' | '\r' | '\n' | '\t');
    text.chars().map(|character| if stands(character) { character } else { '?' }).collect()
}
