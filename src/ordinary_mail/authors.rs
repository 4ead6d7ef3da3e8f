//! Whose mail a message says that it is: the domains of its From field.
//!
//! Invariants:
//!
//! * Every domain counts: who adds an address of his own to a forged one gains nothing. So does one
//!   that DNS cannot be asked about: no policy is found for it, and programs show it all the same.
//! * What is kept is bounded, whatever the field holds. Only domains are kept, and only they are
//!   bounded: what stands before them hides none.
//!
//! Not here: the policies of these domains (`super`).

use mail_auth::{
    AuthenticatedMessage,
    common::{headers::Header, to_a_label},
    dkim,
};

use super::DOMAIN_OCTETS_MAX;
use crate::names::wire_name;

/// Domains of one From field that are looked at. Several authors are rare, of several domains rarer.
const DOMAINS_MAX: usize = 4;

/// The domains that a message says it is from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Authors {
    /// As A-labels in lower case, each once, in the order of the message.
    pub(super) domains: Vec<String>,
    /// There is more than one From field, where programs show one and checks may read another (RFC 5322
    /// §3.6), more domains than are looked at, or one that is no DNS name or too long to be asked for.
    pub(super) unclear: bool,
}

impl Authors {
    pub(super) fn of(message: &AuthenticatedMessage<'_>) -> Self {
        let is_from = |name: &[u8]| name.trim_ascii().eq_ignore_ascii_case(b"From");
        let fields = message.headers.iter().filter(|(name, _)| is_from(name)).count();
        let mut authors = Self { unclear: fields > 1, ..Self::default() };
        let domains = message.from.iter().filter_map(|address| address.rsplit_once('@'));
        for (_, domain) in domains.filter(|(_, domain)| !domain.trim_end_matches('.').is_empty()) {
            match asked_for(domain) {
                Some(domain) if authors.domains.contains(&domain) => {}
                Some(domain) if authors.domains.len() < DOMAINS_MAX => authors.domains.push(domain),
                _ => authors.unclear = true,
            }
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
        let domain = a_labels(domain);
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

/// `domain` as it is asked for; `None` when it is no DNS name, or none behind `_dmarc.` (RFC 9989 §4.10).
fn asked_for(domain: &str) -> Option<String> {
    // As an A-label no character is shorter than one octet, and in UTF-8 none is longer than four.
    let domain = (domain.len() <= 4 * DOMAIN_OCTETS_MAX).then(|| a_labels(domain))?;
    wire_name(&format!("_dmarc.{domain}")).filter(|_| domain.is_ascii())?;
    Some(domain)
}

fn a_labels(domain: &str) -> String {
    to_a_label(domain).trim_end_matches('.').to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_signatures_come_first_and_equals_keep_their_order() {
        let authors = Authors { domains: vec!["posta.a.example".to_owned()], unclear: false };
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

    fn of(from: &[&str]) -> Authors {
        let from = from.iter().map(|text| (*text).to_owned()).collect();
        Authors::of(&AuthenticatedMessage { from, ..Default::default() })
    }

    #[test]
    fn every_domain_counts_once_within_a_bound() {
        let authors = of(&["a@x.test", "b@X.test.", "\"q@r\"@y.test", "none", "c@", "d@è.test"]);
        assert_eq!(authors.domains, ["x.test", "y.test", "xn--8ca.test"]);
        assert!(!authors.unclear);
        let many: Vec<String> = (0..9).map(|number| format!("a@d{number}.test")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(!of(&many[..DOMAINS_MAX]).unclear);
        let authors = of(&many);
        assert!(authors.unclear && authors.domains.len() == DOMAINS_MAX);
    }

    #[test]
    fn only_the_domain_of_an_address_is_bounded_and_one_that_cannot_be_asked_for_is_told() {
        let long = format!("{}@x.test", "a".repeat(100_000));
        let authors = of(&[&long]);
        assert_eq!((authors.domains, authors.unclear), (vec!["x.test".to_owned()], false));
        // 247 octets: with `_dmarc.` as many as a name may have.
        let longest = format!("a@{}.x.test", ["b"; 120].join("."));
        assert!(!of(&[&longest]).unclear);
        for domain in [
            format!("{}.x.test", "l".repeat(64)),
            format!("{}.x.test", "è".repeat(60)),
            format!("b{}", longest.trim_start_matches("a@")),
            "è".repeat(100_000),
            "a..x.test".to_owned(),
            ".x.test".to_owned(),
            "a b.test".to_owned(),
            "a\\.x.test".to_owned(),
            "[192.0.2.1]".to_owned(),
        ] {
            let address = format!("a@{domain}");
            let authors = of(&["a@y.test", &address, "a@z.test"]);
            assert!(authors.unclear, "{domain}");
            assert_eq!(authors.domains, ["y.test", "z.test"], "{domain}");
        }
    }
}
