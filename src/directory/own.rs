//! What this provider says of itself, and what others may not say of it.
//!
//! Not here: signing and publishing it ([`super::publish`]).

use std::{collections::BTreeSet, path::Path};

use anyhow::Context as _;

use crate::{
    config::Config,
    keys::ring::SigningRing,
    pec::{
        address::{Address, Domain},
        directory::{Directory, ProviderRecord},
    },
};

/// The octets of a file of `[directory]`.
pub(super) fn read_octets(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// The records of a file that nobody has signed.
pub(super) fn read_file(file: &Path) -> anyhow::Result<Directory> {
    let octets = read_octets(file)?;
    Directory::from_ldif(&octets)
        .with_context(|| format!("reading the directory {}", file.display()))
}

/// This provider's entry (RFC 6109 §4.5): the main record with all of its `domains`, then those of
/// its secondary environments.
pub(super) fn own_records(
    config: &Config,
    ring: &SigningRing,
    domains: &BTreeSet<String>,
) -> anyhow::Result<Vec<ProviderRecord>> {
    let provider = &config.provider;
    let service = Address::parse(&provider.service_address).context("provider.service_address")?;
    let mut managed =
        vec![Domain::parse(provider.mail_domain.as_str()).context("provider.mail_domain")?];
    for domain in domains {
        let domain = Domain::parse(domain).with_context(|| format!("the domain {domain}"))?;
        if !managed.contains(&domain) {
            managed.push(domain);
        }
    }
    let listed = ring.listed().iter().map(|one| one.to_der().to_vec()).collect();
    let mut main = ProviderRecord::new(provider.name.clone(), service, managed, listed);
    main.ldif_location = config.directory.publish.url.as_ref().map(ToString::to_string);
    let mut records = vec![main];
    if let Some(file) = &config.directory.publish.secondary_ldif_file {
        for record in read_file(file)?.records() {
            anyhow::ensure!(
                record.is_of(&provider.name) && record.unit.is_some(),
                "{}: the record {} is no secondary environment (providerUnit) of {}",
                file.display(),
                record.distinguished_name(),
                provider.name,
            );
            records.push(record.clone());
        }
    }
    Ok(records)
}

/// The first `own` of `records` are this provider's: what others say of its domains does not count.
/// `told` has those of which the log has spoken.
pub(super) fn keep_own_domains(
    told: &mut BTreeSet<String>,
    records: &mut [ProviderRecord],
    own: usize,
) {
    let (ours, others) = records.split_at_mut(own.min(records.len()));
    let ours: BTreeSet<Domain> =
        ours.iter().flat_map(|record| record.managed_domains.iter().cloned()).collect();
    let mut contested = BTreeSet::new();
    for record in others {
        let provider = &record.name;
        record.managed_domains.retain(|domain| {
            let own = ours.contains(domain);
            if own && contested.insert(domain.to_string()) && !told.contains(domain.as_str()) {
                tracing::warn!(%domain, provider, "another provider's entry has a domain of this one: that is ignored");
            }
            !own
        });
    }
    *told = contested;
}
