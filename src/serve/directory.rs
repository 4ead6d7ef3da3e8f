//! The directory of providers as this node uses it: the LDIF file of `[directory]` and this
//! provider's own entry.
//!
//! Invariant: this provider is always in it, with the certificate it signs with and the domains
//! it serves, whatever the file says of it.
//!
//! Not here: the file's format and look-ups (`pec::directory`).

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::credentials::Credentials;
use crate::{
    config::Config,
    pec::{
        address::{Address, Domain},
        directory::{Directory, ProviderRecord},
    },
};

/// Reads the directory.
///
/// # Errors
///
/// When the file cannot be read or is no directory in LDIF: the one in use then stays.
pub fn load(
    config: &Config,
    credentials: &Credentials,
    domains: &BTreeSet<String>,
) -> anyhow::Result<Directory> {
    let own = own_record(config, credentials, domains)?;
    let mut records = vec![own];
    if let Some(file) = &config.directory.ldif_file {
        let octets = std::fs::read(file)
            .with_context(|| format!("reading the directory {}", file.display()))?;
        let read = Directory::from_ldif(&octets)
            .with_context(|| format!("reading the directory {}", file.display()))?;
        let others = read.records().iter().filter(|record| record.name != config.provider.name);
        records.extend(others.cloned());
    }
    Ok(Directory::new(records)?)
}

/// This provider's own entry (RFC 6109 §4.5), with all of its `domains`.
///
/// # Errors
///
/// When an address or domain of the configuration is none.
pub fn own_record(
    config: &Config,
    credentials: &Credentials,
    domains: &BTreeSet<String>,
) -> anyhow::Result<ProviderRecord> {
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
    let certificate = credentials.signing.certificate.to_der().to_vec();
    Ok(ProviderRecord::new(provider.name.clone(), service, managed, vec![certificate]))
}
