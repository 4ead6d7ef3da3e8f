//! Whose mail a message says that it is: the domains of its From field.
//!
//! Invariants:
//!
//! * Every domain counts: who adds an address of his own to a forged one gains nothing.
//! * What is kept is bounded, whatever the field holds.
//!
//! Not here: the policies of these domains (`super`).

use mail_auth::{AuthenticatedMessage, common::headers::Header, dkim};

use super::ADDRESS_OCTETS_MAX;

/// Domains of one From field that are looked at. Several authors are rare, of several domains rarer.
const DOMAINS_MAX: usize = 4;

/// The domains that a message says it is from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Authors {
    /// In lower case, each once, in the order of the message.
    pub(super) domains: Vec<String>,
    /// There is more than one From field, where programs show one and checks may read another (RFC 5322
    /// §3.6), or more domains than are looked at.
    pub(super) too_many: bool,
}

impl Authors {
    pub(super) fn of(message: &AuthenticatedMessage<'_>) -> Self {
        let is_from = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"From");
        let fields = message.headers.iter().filter(|(name, _)| is_from(name)).count();
        let mut authors = Self { too_many: fields > 1, ..Self::default() };
        for address in message.from.iter().filter(|address| address.len() <= ADDRESS_OCTETS_MAX) {
            let Some((_, domain)) = address.rsplit_once('@') else { continue };
            let domain = domain.trim_end_matches('.').to_lowercase();
            if domain.is_empty() || authors.domains.contains(&domain) {
                continue;
            }
            if authors.domains.len() == DOMAINS_MAX {
                authors.too_many = true;
                break;
            }
            authors.domains.push(domain);
        }
        authors
    }

    /// Puts signatures first whose domain is nearest to one of these: what cannot speak for the message
    /// does not push aside what can.
    pub(super) fn nearest_first(&self, signatures: &mut [Header<'_, dkim::Signature>]) {
        signatures.sort_by_cached_key(|field| std::cmp::Reverse(self.nearness(&field.header.d)));
    }

    /// How many labels, from the last on, `domain` has in common with the nearest of these; the domain
    /// itself is nearer than any other.
    fn nearness(&self, domain: &str) -> usize {
        let domain = domain.trim_end_matches('.').to_lowercase();
        let common = |author: &String| {
            if *author == domain {
                return usize::MAX;
            }
            let pairs = author.rsplit('.').zip(domain.rsplit('.'));
            pairs.take_while(|(one, other)| one == other).count()
        };
        self.domains.iter().map(common).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_signatures_come_first_and_equals_keep_their_order() {
        let authors = Authors { domains: vec!["posta.a.example".to_owned()], too_many: false };
        let names =
            ["b.test", "x.example", "a.example", "POSTA.a.example.", "c.test", "z.posta.a.example"];
        let field = |d: &&str| {
            let signature = dkim::Signature { d: (*d).to_owned(), ..Default::default() };
            Header::new(&b"DKIM-Signature"[..], &b""[..], signature)
        };
        let mut fields: Vec<_> = names.iter().map(field).collect();
        authors.nearest_first(&mut fields);
        let order: Vec<&str> = fields.iter().map(|field| field.header.d.as_str()).collect();
        let expected =
            ["POSTA.a.example.", "z.posta.a.example", "a.example", "x.example", "b.test", "c.test"];
        assert_eq!(order, expected);
    }

    #[test]
    fn every_domain_counts_once_within_a_bound() {
        let of = |from: &[&str]| {
            let from = from.iter().map(|text| (*text).to_owned()).collect();
            Authors::of(&AuthenticatedMessage { from, ..Default::default() }).domains
        };
        assert_eq!(
            of(&["a@x.test", "b@X.test.", "\"q@r\"@y.test", "none", "c@"]),
            ["x.test", "y.test"]
        );
        let many: Vec<String> = (0..9).map(|number| format!("a@d{number}.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(of(&many).len(), DOMAINS_MAX);
        let long = format!("a@{}", "x".repeat(400));
        assert!(of(&[&long]).is_empty());
    }
}
