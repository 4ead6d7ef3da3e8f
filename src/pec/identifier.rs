//! Identifiers that a provider gives: the PEC identifier and the Message-ID of its own messages.
//!
//! RFC 6109 §2.2.1: the PEC identifier is unique over time and has the form
//! `alphanumeric@provider-domain`. Ours is `ceralacca<epoch>.<yyyymmddhhmmss>.<random>@domain`;
//! a Message-ID of a receipt or notice has `.n` before the `@` and is never a PEC identifier.
//! The epoch is raised when a store is restored, so that no identifier of the lost time returns;
//! the random part has 80 bits.
//!
//! Not here: the Message-ID that the sender's program chose, which is text that we only quote.

use std::{fmt, sync::Arc};

use trust::{random::RandomSource, smime::sign::random_boundary};

use super::{address::Domain, instant::CertifiedInstant};

/// Octets of randomness in an identifier.
const RANDOM_OCTETS: usize = 10;

/// The identificativo of a transmission, without angle brackets (RFC 6109 §2.2.1).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PecIdentifier(String);

impl PecIdentifier {
    /// Takes an identifier out of a record or a message; surrounding brackets are removed.
    /// Returns `None` when it is empty, longer than 255 octets, or holds anything but visible
    /// ASCII without brackets.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let inside = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
        let valid = (1..=255).contains(&inside.len())
            && inside.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>".contains(&octet));
        valid.then(|| Self(inside.to_owned()))
    }

    /// The identifier without brackets, as in certification data.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier in brackets, as in a Message-ID field.
    pub fn bracketed(&self) -> String {
        format!("<{}>", self.0)
    }
}

impl fmt::Display for PecIdentifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Makes identifiers for one provider.
#[derive(Clone, Debug)]
pub struct IdentifierSource {
    epoch: u32,
    domain: Domain,
    random: Arc<dyn RandomSource>,
}

impl IdentifierSource {
    /// Makes identifiers under `domain`, the provider's own mail domain.
    pub fn new(epoch: u32, domain: Domain, random: Arc<dyn RandomSource>) -> Self {
        Self { epoch, domain, random }
    }

    /// A new PEC identifier for a transmission taken at `at`.
    pub fn pec_identifier(&self, at: &CertifiedInstant) -> PecIdentifier {
        PecIdentifier(format!("{}@{}", self.stem(at), self.domain))
    }

    /// A new Message-ID, in brackets, for a receipt, notice or anomaly made at `at`.
    pub fn message_id(&self, at: &CertifiedInstant) -> String {
        format!("<{}.n@{}>", self.stem(at), self.domain)
    }

    /// A MIME boundary that no content can foresee (RFC 2046 §5.1.1).
    pub fn boundary(&self) -> String {
        random_boundary(self.random.as_ref())
    }

    fn stem(&self, at: &CertifiedInstant) -> String {
        format!("ceralacca{}.{}.{}", self.epoch, at.compact(), self.random_hex())
    }

    fn random_hex(&self) -> String {
        let mut octets = [0; RANDOM_OCTETS];
        self.random.fill(&mut octets);
        hex::encode(octets)
    }
}

#[cfg(test)]
mod tests {
    use trust::{clock::UnixMillis, random::SeededRandom};

    use super::*;

    fn source() -> IdentifierSource {
        let domain = Domain::parse("pec.alfa.example").unwrap();
        IdentifierSource::new(3, domain, Arc::new(SeededRandom::new(7)))
    }

    #[test]
    fn identifiers_carry_epoch_time_and_domain_and_do_not_repeat() {
        let at = CertifiedInstant::new(UnixMillis(1_542_122_966_000));
        let source = source();
        let first = source.pec_identifier(&at);
        assert!(first.as_str().starts_with("ceralacca3.20181113162926."), "{first}");
        assert!(first.as_str().ends_with("@pec.alfa.example"), "{first}");
        assert_ne!(first, source.pec_identifier(&at));
        assert_eq!(PecIdentifier::from_text(&first.bracketed()), Some(first));
        assert!(source.message_id(&at).ends_with(".n@pec.alfa.example>"));
    }

    #[test]
    fn an_identifier_from_outside_cannot_carry_line_ends_or_brackets() {
        for bad in ["", "<>", "a b@c", "a\r\nb@c", "a<b@c", "è@c"] {
            assert_eq!(PecIdentifier::from_text(bad), None, "{bad:?}");
        }
    }
}
