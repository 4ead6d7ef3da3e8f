//! Directory and signing pairs in the running server: opened before the engine, then their door and
//! their rounds.
//!
//! Not here: what any of them does (`crate::directory`, `crate::keys`).

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use protocols::net::tls::TlsContext;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trust::{
    certificate::Certificate, clock::Clock, random::SystemRandom, smime::verify::Verifier,
};

use super::{background, credentials::Credentials, doors::Doors};
use crate::{
    config::Config,
    directory::{
        keeper::{DirectoryKeeper, KeeperParts},
        publish::PublishingDoor,
        watch,
    },
    http::ReadOff,
    keys,
    pec::{engine::PecEngine, lookups::Lookups},
};

/// Opens the signing pairs and the directory, which is fetched when there is no copy of it.
///
/// # Errors
///
/// As [`Credentials::ring`] and [`DirectoryKeeper::open`].
pub async fn open(
    (config, credentials): (&Arc<Config>, &Credentials),
    verifier: Arc<Verifier>,
    lookups: Arc<dyn Lookups>,
    clock: Arc<dyn Clock>,
    domains: BTreeSet<String>,
) -> anyhow::Result<Arc<DirectoryKeeper>> {
    let ring = Arc::new(credentials.ring(config, Arc::clone(&clock))?);
    let (config, authority) = (Arc::clone(config), credentials.authority.clone());
    let parts = KeeperParts { config, ring, authority, verifier, lookups, clock };
    DirectoryKeeper::open(parts, domains).await
}

/// Sets the metrics of directory and keys whenever they are read.
pub fn read_off(directory: &Arc<DirectoryKeeper>, tls: &Certificate) -> ReadOff {
    let (directory, tls) = (Arc::clone(directory), tls.clone());
    Arc::new(move || {
        directory.show();
        keys::watch::show(directory.ring(), &tls);
    })
}

/// Opens the door at which the provider's entry is published, when there is one.
///
/// # Errors
///
/// When a file cannot be read or the address cannot be bound.
pub async fn open_door(
    config: &Config,
    credentials: &Credentials,
    directory: &Arc<DirectoryKeeper>,
    doors: &mut Doors,
) -> anyhow::Result<()> {
    let settings = &config.directory.publish;
    let Some(url) = &settings.url else { return Ok(()) };
    let (chain, key) = (credentials.tls.chain_pem()?, credentials.tls.key.to_pem()?);
    let tls = match &settings.client_authority_file {
        None => TlsContext::from_pem(&chain, &key),
        Some(file) => {
            let authorities = std::fs::read(file)
                .with_context(|| format!("reading the authorities in {}", file.display()))?;
            TlsContext::for_certified_clients(&chain, &key, &authorities)
        }
    };
    let tls = tls.context("preparing TLS for directory.publish_listen")?;
    let door = PublishingDoor::new(Arc::clone(directory), &url.path, settings.timeout.duration());
    doors.add("directory.publish_listen", &settings.listen, Some(&tls), door).await
}

/// What the tasks beside the sessions look at.
#[derive(Debug)]
pub struct Beside<'a> {
    /// The configuration.
    pub config: &'a Arc<Config>,
    /// Certificates and the development authority.
    pub credentials: &'a Arc<Credentials>,
    /// The directory.
    pub directory: &'a Arc<DirectoryKeeper>,
}

/// The daily rounds of directory and keys.
pub fn start(
    tasks: &mut JoinSet<()>,
    parts: &Beside<'_>,
    engine: &Arc<PecEngine>,
    stopping: &CancellationToken,
) {
    let Beside { config, credentials, directory } = parts;
    tasks.spawn(background::refresh_files(
        Arc::clone(config),
        Arc::clone(credentials),
        Arc::clone(directory),
        Arc::clone(engine),
        stopping.clone(),
    ));
    tasks.spawn(watch::run(
        Arc::clone(directory),
        config.directory.clone(),
        Arc::new(SystemRandom),
        stopping.clone(),
    ));
    tasks.spawn(keys::watch::run(
        Arc::clone(directory),
        Arc::clone(engine),
        config.provider.clone(),
        credentials.tls.certificate.clone(),
        stopping.clone(),
    ));
}
