//! Whom this provider believes: authorities and their revocation lists.
//!
//! Invariant: without an authority in the configuration only the development authority of this
//! very installation is believed, never the system's own list: PEC certificates come from the
//! agency's authority, and nobody else may speak for a provider.
//!
//! Not here: what a signature proves (`trust::smime::verify`), which providers there are
//! (`pec::directory`).

use anyhow::Context as _;
use trust::{
    certificate::{
        Certificate,
        chain::{RevocationPolicy, TrustedAuthorities},
        revocation::RevocationList,
    },
    smime::verify::Verifier,
};

use super::credentials::Credentials;
use crate::config::{Config, TrustSettings};

/// Makes the verifier of other providers' signatures.
///
/// # Errors
///
/// When a file of `[trust]` cannot be read.
pub fn verifier(settings: &TrustSettings, credentials: &Credentials) -> anyhow::Result<Verifier> {
    let mut authorities = authorities(settings)?;
    if let Some(authority) = &credentials.authority {
        authorities.push(authority.certificate().clone());
    }
    let verifier = Verifier::new(TrustedAuthorities::new(authorities), RevocationPolicy::WhenKnown);
    verifier.replace_revocation_lists(revocation_lists(settings, credentials)?);
    Ok(verifier)
}

fn authorities(settings: &TrustSettings) -> anyhow::Result<Vec<Certificate>> {
    let mut authorities = Vec::new();
    for file in &settings.authority_files {
        let read = Certificate::read_all(file);
        authorities.extend(
            read.with_context(|| format!("reading the authorities in {}", file.display()))?,
        );
    }
    Ok(authorities)
}

/// The same for a command, which makes no development authority: one that is there is believed.
///
/// # Errors
///
/// When a file of `[trust]` cannot be read.
pub fn verifier_of_files(config: &Config) -> anyhow::Result<Verifier> {
    let mut authorities = authorities(&config.trust)?;
    let development = config.data.authority_folder().join("authority.pem");
    if (config.signing.is_none() || config.tls.is_none()) && development.exists() {
        authorities.extend(Certificate::read_all(&development)?);
    }
    let verifier = Verifier::new(TrustedAuthorities::new(authorities), RevocationPolicy::WhenKnown);
    verifier.replace_revocation_lists(lists(&config.trust)?);
    Ok(verifier)
}

/// Reads the revocation lists anew.
///
/// # Errors
///
/// When a file of `[trust]` cannot be read.
pub fn revocation_lists(
    settings: &TrustSettings,
    credentials: &Credentials,
) -> anyhow::Result<Vec<RevocationList>> {
    let mut lists = lists(settings)?;
    lists.extend(credentials.authority.as_ref().map(|authority| authority.revocation_list()));
    Ok(lists)
}

fn lists(settings: &TrustSettings) -> anyhow::Result<Vec<RevocationList>> {
    let mut lists = Vec::new();
    for file in &settings.revocation_files {
        let read = RevocationList::read(file);
        lists
            .push(read.with_context(|| format!("reading the revocation list {}", file.display()))?);
    }
    Ok(lists)
}
