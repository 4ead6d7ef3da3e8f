//! What a new copy of the directory changes, and when that is too much.
//!
//! A changed domain or certificate in the copy breaks the trust in everything (RFC 6109 §7), and the
//! signature of the whole file is one key. So a copy that is well signed is still looked at: when
//! many providers are gone at once, when many domains have changed hands, or when it was signed
//! before the one in use, it waits for an operator. A few domains that pass from one provider to
//! another are daily life, and are told in the log.
//!
//! Not here: what is done about it ([`super::keeper`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::signed::SignedDirectory;
use crate::{
    config::FetchSettings,
    pec::directory::{Directory, ProviderRecord},
};

/// A domain with another provider than before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moved {
    /// The domain.
    pub domain: String,
    /// Whose it was.
    pub from: String,
    /// Whose it is.
    pub to: String,
}

/// What one copy has that another had not.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Changes {
    /// Providers that there were.
    pub providers_before: usize,
    /// Providers that are gone.
    pub lost: Vec<String>,
    /// Providers that are new.
    pub gained: Vec<String>,
    /// Domains that have another provider.
    pub moved: Vec<Moved>,
    /// Domains that are new, and that are gone.
    pub domains_gained: usize,
    /// Domains that are in no entry any more.
    pub domains_lost: usize,
    /// Providers of whose certificates none is listed any more: a roll-over lists both.
    pub replaced: Vec<String>,
    /// It was signed before the one in use.
    pub older: bool,
}

/// A provider: its name for people, and what all of its records list.
#[derive(Default)]
struct Listed<'a> {
    name: &'a str,
    hashes: BTreeSet<&'a str>,
}

fn providers(directory: &Directory) -> BTreeMap<String, Listed<'_>> {
    let mut providers: BTreeMap<String, Listed<'_>> = BTreeMap::new();
    for record in directory.records() {
        let listed = providers.entry(key(record)).or_default();
        listed.name = &record.name;
        listed.hashes.extend(record.certificate_hashes.iter().map(String::as_str));
    }
    providers
}

fn key(record: &ProviderRecord) -> String {
    record.name.trim().to_lowercase()
}

impl Changes {
    /// What `new` changes of `old`.
    #[must_use]
    pub fn between(old: &SignedDirectory, new: &SignedDirectory) -> Self {
        let older = matches!((old.signed, new.signed), (Some(old), Some(new)) if new < old);
        Self { older, ..Self::of(&old.directory, &new.directory) }
    }

    fn of(old: &Directory, new: &Directory) -> Self {
        let (before, after) = (providers(old), providers(new));
        let missing = |from: &BTreeMap<String, Listed<'_>>, there: &BTreeMap<_, Listed<'_>>| {
            let missing = from.iter().filter(|(key, _)| !there.contains_key(*key));
            missing.map(|(_, listed)| listed.name.to_owned()).collect::<Vec<_>>()
        };
        let replaced = after.iter().filter(|(key, listed)| {
            before.get(*key).is_some_and(|before| before.hashes.is_disjoint(&listed.hashes))
        });
        let mut changes = Self {
            providers_before: before.len(),
            lost: missing(&before, &after),
            gained: missing(&after, &before),
            replaced: replaced.map(|(_, listed)| listed.name.to_owned()).collect(),
            ..Self::default()
        };
        let mut domains = BTreeSet::new();
        for record in new.records() {
            for domain in &record.managed_domains {
                if !domains.insert(domain) {
                    continue;
                }
                match old.provider_of_domain(domain) {
                    None => changes.domains_gained += 1,
                    Some(before) if key(before) == key(record) => {}
                    Some(before) => changes.moved.push(Moved {
                        domain: domain.to_string(),
                        from: before.name.clone(),
                        to: record.name.clone(),
                    }),
                }
            }
        }
        let still = |domain: &&_| new.provider_of_domain(domain).is_some();
        let domains: BTreeSet<_> =
            old.records().iter().flat_map(|record| &record.managed_domains).collect();
        changes.domains_lost = domains.iter().filter(|domain| !still(domain)).count();
        changes
    }

    /// Why the new copy is not believed without an operator; `None` when it is.
    #[must_use]
    pub fn doubt(&self, settings: &FetchSettings) -> Option<String> {
        let (lost, before) = (self.lost.len(), self.providers_before);
        let mut doubts = Vec::new();
        if self.older {
            doubts.push("it was signed before the copy in use".to_owned());
        }
        if lost * 100 > before * settings.lost_providers_percent_max as usize {
            doubts.push(format!("{lost} of {before} providers are missing"));
        }
        let moved = self.moved.len();
        if moved > settings.moved_domains_max {
            doubts.push(format!("{moved} domains have another provider"));
        }
        (!doubts.is_empty()).then(|| doubts.join("; "))
    }

    /// Says in the log what a copy that is taken into use changes.
    pub(super) fn tell(&self) {
        for moved in &self.moved {
            let (domain, from, to) = (&moved.domain, &moved.from, &moved.to);
            tracing::warn!(
                domain,
                from,
                to,
                "the domain has another provider in the new directory"
            );
        }
        for provider in &self.lost {
            tracing::warn!(provider, "the provider is not in the new directory any more");
        }
        for provider in &self.replaced {
            tracing::warn!(provider, "none of the provider's certificates is listed any more");
        }
        let (gained, new, gone) = (&self.gained, self.domains_gained, self.domains_lost);
        tracing::info!(
            ?gained,
            domains_new = new,
            domains_gone = gone,
            "a new copy of the directory is taken into use"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn directory(entries: &[(&str, &[&str], &[u8])]) -> Directory {
        let record = |(name, domains, certificate): &(&str, &[&str], &[u8])| {
            let domains = domains.iter().map(|domain| domain.parse().expect("a domain")).collect();
            let service = "ricevute@pec.example".parse().expect("an address");
            ProviderRecord::new(*name, service, domains, vec![certificate.to_vec()])
        };
        Directory::new(entries.iter().map(record).collect()).expect("a directory")
    }

    #[test]
    fn what_a_copy_changes_is_told_by_provider_and_domain() {
        let old = directory(&[
            ("Alfa", &["a.example", "b.example"], b"1"),
            ("Beta", &["c.example"], b"2"),
            ("Gamma", &["d.example"], b"3"),
        ]);
        let new = directory(&[
            ("ALFA ", &["a.example"], b"4"),
            ("Beta", &["b.example", "c.example", "e.example"], b"2"),
            ("Delta", &["f.example"], b"5"),
        ]);
        let changes = Changes::of(&old, &new);
        let moved =
            vec![Moved { domain: "b.example".into(), from: "Alfa".into(), to: "Beta".into() }];
        let expected = Changes {
            providers_before: 3,
            lost: vec!["Gamma".to_owned()],
            gained: vec!["Delta".to_owned()],
            moved,
            domains_gained: 2,
            domains_lost: 1,
            replaced: vec!["ALFA ".to_owned()],
            older: false,
        };
        assert_eq!(changes, expected);
        assert_eq!(Changes::of(&old, &old), Changes { providers_before: 3, ..Changes::default() });
    }

    #[test]
    fn many_lost_providers_many_moved_domains_and_an_older_copy_are_doubted() {
        let settings = FetchSettings { moved_domains_max: 1, ..Config::default().directory.fetch };
        let lost = |count: usize| Changes {
            providers_before: 10,
            lost: vec![String::new(); count],
            ..Changes::default()
        };
        assert_eq!(lost(2).doubt(&settings), None);
        assert_eq!(lost(3).doubt(&settings).as_deref(), Some("3 of 10 providers are missing"));
        let moved = Moved { domain: String::new(), from: String::new(), to: String::new() };
        let many = |count| Changes { moved: vec![moved.clone(); count], ..Changes::default() };
        assert_eq!(many(1).doubt(&settings), None);
        assert!(many(2).doubt(&settings).is_some());
        assert!(Changes { older: true, ..Changes::default() }.doubt(&settings).is_some());
    }
}
