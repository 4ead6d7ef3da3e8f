//! What a new copy of the directory changes, and when that is too much.
//!
//! A changed domain or certificate in the copy breaks the trust in everything (RFC 6109 §7), and the
//! signature of the whole file is one key. So a copy that is well signed is still looked at: when
//! many providers or domains are gone at once, when many domains have changed hands, when many providers
//! have other certificates or service mailboxes, or when it was signed before the last one that was taken,
//! it waits for an operator. A few domains that pass from one provider to
//! another are daily life, and are told in the log.
//!
//! Not here: what is done about it ([`super::keeper`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{copies::Notes, past::PastDay, signed::SignedDirectory};
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
    /// How many are gone; more than `lost` names when the copy before is not there any more.
    pub providers_lost: usize,
    /// Domains that there were.
    pub domains_before: usize,
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
    /// Providers that list a further certificate: what a roll-over looks like, and a rogue one.
    pub certified_more: Vec<String>,
    /// Providers with another service mailbox.
    pub mailboxes_changed: Vec<String>,
    /// It was signed before the last one that was taken.
    pub older: bool,
    /// It does not say when it was signed, and the last one that was taken does.
    pub undated: bool,
}

/// Providers whose certificates or service mailboxes may change at once, however few there are.
const FEW: usize = 3;

/// Lines of each kind that one copy adds to the log.
const TOLD_MAX: usize = 100;

/// A provider: its name for people, and what all of its records list.
#[derive(Default)]
struct Listed<'a> {
    name: &'a str,
    hashes: BTreeSet<&'a str>,
    mailboxes: BTreeSet<&'a str>,
}

fn providers(directory: &Directory) -> BTreeMap<String, Listed<'_>> {
    let mut providers: BTreeMap<String, Listed<'_>> = BTreeMap::new();
    for record in directory.records() {
        let listed = providers.entry(key(record)).or_default();
        listed.name = &record.name;
        listed.hashes.extend(record.certificate_hashes.iter().map(String::as_str));
        listed.mailboxes.insert(record.service_mailbox.as_str());
    }
    providers
}

fn key(record: &ProviderRecord) -> String {
    record.name.trim().to_lowercase()
}

impl Changes {
    /// What `new` changes of the last copy that was taken: of `old` when it is still there, else of
    /// what the notes say of it. `None` when there was none.
    #[must_use]
    pub fn between(
        notes: &Notes,
        old: Option<&SignedDirectory>,
        new: &SignedDirectory,
    ) -> Option<Self> {
        let changes = match old {
            Some(old) => Self::of(&old.directory, &new.directory),
            None => Self {
                providers_before: notes.providers,
                providers_lost: notes.providers.saturating_sub(new.directory.provider_count()),
                ..notes.current.as_ref().map(|_| Self::default())?
            },
        };
        let before = notes.signed_millis.or(old.and_then(|old| Some(old.signed?.0)));
        let (older, undated) = match (before, new.signed) {
            (Some(before), Some(signed)) => (signed.0 < before, false),
            (before, None) => (false, before.is_some()),
            (None, Some(_)) => (false, false),
        };
        Some(Self { older, undated, ..changes })
    }

    /// What `new` changes of the directory of a day before, and why that is too much: many small changes in
    /// several copies are as much as one large one. `None` when it is not.
    #[must_use]
    pub fn since(
        past: &PastDay,
        new: &SignedDirectory,
        settings: &FetchSettings,
    ) -> Option<(Self, String)> {
        let changes = Self::of(&past.directory, &new.directory);
        let doubt = changes.doubt(settings)?;
        let why = format!("together with the copies of the last {} days: {doubt}", past.ago);
        Some((changes, why))
    }

    fn of(old: &Directory, new: &Directory) -> Self {
        let (before, after) = (providers(old), providers(new));
        let missing = |from: &BTreeMap<String, Listed<'_>>, there: &BTreeMap<_, Listed<'_>>| {
            let missing = from.iter().filter(|(key, _)| !there.contains_key(*key));
            missing.map(|(_, listed)| listed.name.to_owned()).collect::<Vec<_>>()
        };
        let which = |differs: fn(&Listed<'_>, &Listed<'_>) -> bool| {
            let differs = |(key, listed): &(&String, &Listed<'_>)| {
                before.get(*key).is_some_and(|before| differs(before, listed))
            };
            let found = after.iter().filter(differs);
            found.map(|(_, listed)| listed.name.to_owned()).collect::<Vec<_>>()
        };
        let lost = missing(&before, &after);
        let mut changes = Self {
            providers_before: before.len(),
            providers_lost: lost.len(),
            domains_before: old.domain_count(),
            lost,
            gained: missing(&after, &before),
            replaced: which(|before, after| before.hashes.is_disjoint(&after.hashes)),
            certified_more: which(|before, after| {
                !before.hashes.is_disjoint(&after.hashes) && !after.hashes.is_subset(&before.hashes)
            }),
            mailboxes_changed: which(|before, after| !after.mailboxes.is_subset(&before.mailboxes)),
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
        let (lost, before) = (self.providers_lost, self.providers_before);
        let many = |count: usize, of: usize| {
            count.saturating_mul(100)
                > of.saturating_mul(settings.lost_providers_percent_max as usize)
        };
        let mut doubts = Vec::new();
        if self.older {
            doubts.push("it was signed before the last copy that was taken".to_owned());
        }
        if self.undated {
            doubts.push("it does not say when it was signed".to_owned());
        }
        if many(lost, before) {
            doubts.push(format!("{lost} of {before} providers are missing"));
        }
        let (lost, domains) = (self.domains_lost, self.domains_before);
        if many(lost, domains) {
            doubts.push(format!("{lost} of {domains} domains are missing"));
        }
        for (count, few, what) in [
            (self.replaced.len(), 0, "have none of their certificates any more"),
            (self.certified_more.len(), FEW, "have further certificates"),
            (self.mailboxes_changed.len(), FEW, "have another service mailbox"),
        ] {
            if count > few && many(count, before) {
                doubts.push(format!("{count} of {before} providers {what}"));
            }
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
        for provider in self.certified_more.iter().take(TOLD_MAX) {
            tracing::info!(provider, "the provider lists a further certificate");
        }
        for provider in self.mailboxes_changed.iter().take(TOLD_MAX) {
            tracing::warn!(provider, "the provider has another service mailbox");
        }
        let (certified_more, mailboxes_changed) =
            (self.certified_more.len(), self.mailboxes_changed.len());
        let (gained, new, gone) = (&self.gained, self.domains_gained, self.domains_lost);
        tracing::info!(
            ?gained,
            domains_new = new,
            domains_gone = gone,
            certified_more,
            mailboxes_changed,
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
            providers_lost: 1,
            domains_before: 4,
            lost: vec!["Gamma".to_owned()],
            gained: vec!["Delta".to_owned()],
            moved,
            domains_gained: 2,
            domains_lost: 1,
            replaced: vec!["ALFA ".to_owned()],
            ..Changes::default()
        };
        assert_eq!(changes, expected);
        let none = Changes { providers_before: 3, domains_before: 4, ..Changes::default() };
        assert_eq!(Changes::of(&old, &old), none);
    }

    #[test]
    fn many_lost_providers_many_moved_domains_and_an_older_copy_are_doubted() {
        let settings = FetchSettings { moved_domains_max: 1, ..Config::default().directory.fetch };
        let lost = |count: usize| Changes {
            providers_before: 10,
            providers_lost: count,
            ..Changes::default()
        };
        assert_eq!(lost(2).doubt(&settings), None);
        assert_eq!(lost(3).doubt(&settings).as_deref(), Some("3 of 10 providers are missing"));
        let moved = Moved { domain: String::new(), from: String::new(), to: String::new() };
        let many = |count| Changes { moved: vec![moved.clone(); count], ..Changes::default() };
        assert_eq!(many(1).doubt(&settings), None);
        assert!(many(2).doubt(&settings).is_some());
        assert!(Changes { older: true, ..Changes::default() }.doubt(&settings).is_some());
        assert!(Changes { undated: true, ..Changes::default() }.doubt(&settings).is_some());
    }

    #[test]
    fn many_lost_domains_other_certificates_and_other_mailboxes_are_doubted() {
        let settings = Config::default().directory.fetch;
        let names: Vec<String> = (0..10).map(|number| format!("Gestore {number}")).collect();
        let domains: Vec<[String; 2]> =
            (0..10).map(|number| ["a", "b"].map(|one| format!("{one}{number}.example"))).collect();
        let whole = |change: &dyn Fn(usize, &mut ProviderRecord)| {
            let record = |number: usize| {
                let domains = domains[number].iter().map(|one| one.parse().expect("a domain"));
                let service = format!("ricevute@a{number}.example").parse().expect("an address");
                let certificate = vec![names[number].clone().into_bytes()];
                let mut record = ProviderRecord::new(
                    names[number].clone(),
                    service,
                    domains.collect(),
                    certificate,
                );
                change(number, &mut record);
                record
            };
            Directory::new((0..10).map(record).collect()).expect("a directory")
        };
        let old = whole(&|_, _| {});
        let doubt = |change: &dyn Fn(&mut ProviderRecord), first: usize| {
            let new = whole(&|number, record| {
                if number < first {
                    change(record);
                }
            });
            Changes::of(&old, &new).doubt(&settings)
        };
        let fewer = |record: &mut ProviderRecord| record.managed_domains.truncate(1);
        let keyed = |record: &mut ProviderRecord| {
            record.certificate_hashes = vec![record.name.replace("Gestore", "hash")];
        };
        let more = |record: &mut ProviderRecord| {
            record.certificate_hashes.push(record.name.replace("Gestore", "hash"));
        };
        let moved = |record: &mut ProviderRecord| {
            record.service_mailbox = "ladro@ladro.example".parse().expect("an address");
        };
        assert_eq!(doubt(&fewer, 4), None);
        assert_eq!(doubt(&fewer, 5).as_deref(), Some("5 of 20 domains are missing"));
        assert_eq!(doubt(&keyed, 2), None);
        assert!(doubt(&keyed, 3).is_some_and(|why| why.contains("none of their certificates")));
        assert_eq!(doubt(&more, 3), None);
        assert!(doubt(&more, 4).is_some_and(|why| why.contains("further certificates")));
        assert_eq!(doubt(&moved, 3), None);
        assert!(doubt(&moved, 4).is_some_and(|why| why.contains("another service mailbox")));
    }
}
