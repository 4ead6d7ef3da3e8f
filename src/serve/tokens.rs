//! `[oauth]` in the running server: the issuer's keys, and who believes them.
//!
//! Not here: what a token must say (`crate::oauth`).

use std::sync::Arc;

use anyhow::Context as _;
use protocols::net::tls::TlsClient;
use tokio_util::sync::CancellationToken;
use trust::clock::Clock;

use crate::{
    config::Config,
    directory::fetch::Fetcher,
    names::Names,
    oauth::{
        TokenVerifier,
        keeper::{KeyKeeper, KeySource},
    },
    pec::lookups::Lookups,
    registry::authenticator::RegistryAuthenticator,
};

/// Has `authenticator` take tokens, where an issuer is configured. Returns the keeper of its keys,
/// which is to run beside the sessions.
///
/// # Errors
///
/// When a configured file cannot be used.
pub fn taken(
    config: &Config,
    authenticator: RegistryAuthenticator,
    names: &Names,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(RegistryAuthenticator, Option<Arc<KeyKeeper>>)> {
    let Some(settings) = &config.oauth else { return Ok((authenticator, None)) };
    let keys = KeyKeeper::open(&settings.keys, source(config, names)?)
        .context("taking the keys of oauth into use")?;
    let verifier = TokenVerifier::new(settings, Arc::clone(&keys), Arc::clone(clock));
    Ok((authenticator.with_tokens(verifier), Some(keys)))
}

/// Reads the issuer's keys again and again until the stop, where there is an issuer.
pub async fn keep(keys: Option<Arc<KeyKeeper>>, stopping: CancellationToken) {
    if let Some(keys) = keys {
        keys.keep(stopping).await;
    }
}

fn source(config: &Config, names: &Names) -> anyhow::Result<KeySource> {
    let settings = config.oauth.as_ref().context("[oauth] is not configured")?;
    let keys = &settings.keys;
    let Some(url) = keys.url.clone() else {
        let file = keys.file.clone().context("oauth.keys_file is missing")?;
        return Ok(KeySource::File(file));
    };
    let tls = match &keys.tls_authority_file {
        None => TlsClient::verified_publicly(&[])?,
        Some(file) => {
            let authorities = std::fs::read(file)
                .with_context(|| format!("reading the authorities in {}", file.display()))?;
            TlsClient::verified_by(&authorities)?
        }
    };
    let lookups: Arc<dyn Lookups> = Arc::new(names.clone());
    let copy = config.data.issuer_keys_file(&settings.issuer, &url.to_string());
    let fetcher = Fetcher {
        url,
        lookups: lookups.for_one_destination(),
        tls,
        time_max: keys.timeout.duration(),
        octets_max: keys.octets_max.0,
        accept: "application/jwk-set+json, application/json, */*;q=0.1",
    };
    Ok(KeySource::Server { fetcher, copy })
}
