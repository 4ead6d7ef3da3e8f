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
use crate::config::TrustSettings;

/// Makes the verifier of other providers' signatures.
///
/// # Errors
///
/// When a file of `[trust]` cannot be read.
pub fn verifier(settings: &TrustSettings, credentials: &Credentials) -> anyhow::Result<Verifier> {
    let mut authorities = Vec::new();
    for file in &settings.authority_files {
        let read = Certificate::read_all(file);
        authorities.extend(
            read.with_context(|| format!("reading the authorities in {}", file.display()))?,
        );
    }
    if let Some(authority) = &credentials.authority {
        authorities.push(authority.certificate().clone());
    }
    let verifier = Verifier::new(TrustedAuthorities::new(authorities), RevocationPolicy::WhenKnown);
    verifier.replace_revocation_lists(revocation_lists(settings, credentials)?);
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
    let mut lists = Vec::new();
    for file in &settings.revocation_files {
        let read = RevocationList::read(file);
        lists
            .push(read.with_context(|| format!("reading the revocation list {}", file.display()))?);
    }
    lists.extend(
        credentials.authority.as_ref().map(trust::authority::DevelopmentAuthority::revocation_list),
    );
    Ok(lists)
}
