//! The engine in motion: directory, signing pairs, workers and queue, made from the configuration.
//!
//! Not here: what stands behind the doors, and what runs beside the engine ([`super::background`],
//! [`super::collecting`]).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use protocols::smtp::{client::ClientSettings, grammar::ClientName};
use storage::store::Store;
use tokio::{sync::watch, task::JoinSet};
use trust::{clock::Clock, random::RandomSource, smime::verify::Verifier};

use super::{background, content, credentials::Credentials, directory, trusted};
use crate::{
    config::{Config, units::Millis},
    directory::keeper::DirectoryKeeper,
    names::Names,
    pec::{
        address::{Address, Domain},
        destination::{Destinations, Target},
        engine::{EngineParts, EngineSettings, PecEngine},
        identifier::IdentifierSource,
        issuer::Issuer,
        lookups::Lookups,
        queue::{self, IdleConnections, QueueHandle},
        relay::Relay,
        tls_policy::{HttpsFetch, MtaSts, TlsPolicies},
        work::{self, WorkQueue},
    },
    registry::Registry,
};

/// Opens directory and signing pairs, and sets the engine in motion with them.
pub(super) async fn start_engine(
    config: &Arc<Config>,
    credentials: &Credentials,
    registry: &Registry,
    store: &Arc<Store>,
    names: &Names,
    (clock, random): (Arc<dyn Clock>, Arc<dyn RandomSource>),
) -> anyhow::Result<(Arc<DirectoryKeeper>, Running)> {
    let verifier = Arc::new(trusted::verifier(&config.trust, credentials)?);
    let domains = background::own_domains(registry).await?;
    let lookups = Arc::new(names.clone());
    let (believed, now) = (Arc::clone(&verifier), Arc::clone(&clock));
    let directory = directory::open((config, credentials), believed, lookups, now, domains).await?;
    let trusted = (Arc::clone(&directory), verifier);
    let engine = Running::start(config, trusted, store, names, clock, random).await?;
    directory.attach(Arc::clone(&engine.engine));
    Ok((directory, engine))
}

/// The engine in motion.
pub(super) struct Running {
    pub(super) engine: Arc<PecEngine>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    async fn start(
        config: &Config,
        (directory, verifier): (Arc<DirectoryKeeper>, Arc<Verifier>),
        store: &Arc<Store>,
        names: &Names,
        clock: Arc<dyn Clock>,
        random: Arc<dyn RandomSource>,
    ) -> anyhow::Result<Self> {
        let epoch = store.epoch().await.context("reading the store's epoch")?;
        let settings = EngineSettings { epoch, ..engine_settings(config) };
        let work = WorkQueue::new(&settings);
        let queue = QueueHandle::new(&settings);
        let mail_domain =
            Domain::parse(config.provider.mail_domain.as_str()).context("provider.mail_domain")?;
        let issuer = Issuer {
            name: config.provider.name.clone(),
            service_address: Address::parse(&config.provider.service_address)
                .context("provider.service_address")?,
            identifiers: IdentifierSource::new(settings.epoch, mail_domain, Arc::clone(&random)),
        };
        let relay = Arc::new(relay(config, names, &random)?);
        let quarantine_key = content::ensure_quarantine_key(config, store, &*random).await?;
        let engine = PecEngine::new(EngineParts {
            store: Arc::clone(store),
            signer: directory.ring().signer().context("there is no signing pair")?,
            clock,
            random,
            issuer,
            host_name: config.provider.host_name.to_string(),
            domains: directory.own_domains().await,
            verifier,
            antivirus: content::antivirus(config),
            quarantine_key,
            directory: directory.in_use().await,
            settings,
            work,
            queue,
        });
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(work::run(Arc::clone(&engine), stopped.clone()));
        tasks.spawn(queue::run(Arc::clone(&engine), relay, stopped));
        Ok(Self { engine, stop, tasks })
    }

    /// Lets the workers and connections finish what they hold, for `time_max` at most.
    pub(super) async fn stop(self, time_max: Duration) {
        // Without receivers there is nobody left to tell.
        let _ = self.stop.send(true);
        let mut tasks = self.tasks;
        let ended = tokio::time::timeout(time_max, async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a part of the engine failed"
                    );
                }
            }
        });
        if ended.await.is_err() {
            // Every step is whole or not at all: what is cut off is taken up at the next start.
            tracing::warn!("the engine's last steps are cut off");
            tasks.shutdown().await;
        }
    }
}

/// The folder, in the data folder, for messages on their way in. Its files have no names, so nothing
/// stands in it after a crash.
pub(super) const ARRIVING: &str = "arriving";

fn engine_settings(config: &Config) -> EngineSettings {
    let (limits, outgoing) = (&config.limits, &config.outgoing);
    let millis = |time: Millis| i64::try_from(time.0).unwrap_or(i64::MAX);
    EngineSettings {
        workers_max: limits.transmissions_max,
        signatures_max: match limits.signatures_max {
            0 => crate::pec::engine::processors(),
            fixed => fixed,
        },
        message_octets_max: limits.message_octets_max.0,
        relay_octets_max: limits.relay_message_octets_max.0,
        recipients_max: limits.recipients_max as usize,
        header_octets_max: usize::try_from(limits.header_octets_max.0).unwrap_or(usize::MAX),
        memory_octets_max: usize::try_from(limits.message_memory_octets_max.0)
            .unwrap_or(usize::MAX),
        memory_time_max: limits.message_memory_timeout.duration(),
        arriving_folder: config.data.folder.join(ARRIVING),
        work_entries_max: limits.work_entries_max,
        deliveries_max: limits.deliveries_max,
        queue_lifetime_millis: millis(limits.queue_lifetime),
        destination_connections_max: limits.outgoing_per_destination_max,
        connections_max: limits.outgoing_connections_max,
        messages_per_connection_max: outgoing.messages_per_connection_max,
        delay_notice_millis: millis(outgoing.delay_notice),
        retry_first_millis: millis(outgoing.retries.first),
        retry_longest_millis: millis(outgoing.retries.longest),
        retry_factor_percent: outgoing.retries.factor_percent,
        retry_jitter_percent: outgoing.retries.jitter_percent,
        free_octets_min: limits.free_octets_min.0,
        ordinary_mail: config.ordinary_mail.accept,
        brief_hash: config.receipts.brief_hash,
        from_must_be_managed: config.directory.from_must_be_managed,
        ..EngineSettings::default()
    }
}

fn relay(config: &Config, names: &Names, random: &Arc<dyn RandomSource>) -> anyhow::Result<Relay> {
    let route = |(domain, to): (&crate::config::DomainName, &crate::config::HostPort)| {
        (domain.as_str().to_owned(), Target { host: to.host.clone(), port: to.port })
    };
    let routes: BTreeMap<String, Target> = config.routes.iter().map(route).collect();
    let client_name = ClientName::parse(config.provider.host_name.as_str()).with_context(|| {
        format!("provider.host_name {} cannot stand in EHLO", config.provider.host_name)
    })?;
    let lookups: Arc<dyn Lookups> = Arc::new(names.clone());
    let tls = tls_policies(config)?;
    let host_name = config.provider.host_name.as_str();
    let outgoing = &config.outgoing;
    Ok(Relay {
        destinations: Destinations::new(routes, lookups, host_name, Arc::clone(random)),
        client: Arc::new(ClientSettings {
            transaction_time_max: outgoing.transaction_time_max.duration(),
            octets_per_second_min: outgoing.octets_per_second_min.0,
            ..ClientSettings::new(client_name)
        }),
        tls,
        idle: IdleConnections::new(
            outgoing.idle_connections_max,
            outgoing.idle_connection_time.duration(),
        ),
    })
}

/// What TLS is asked for towards other servers.
fn tls_policies(config: &Config) -> anyhow::Result<TlsPolicies> {
    let outgoing = &config.outgoing;
    let authorities = match &outgoing.security.authority_file {
        None => Vec::new(),
        Some(file) => std::fs::read(file)
            .with_context(|| format!("reading outgoing.authority_file {}", file.display()))?,
    };
    let domains = config.tls_policy.iter();
    let domains = domains.map(|(domain, word)| (domain.as_str().to_owned(), word.0)).collect();
    let policies = TlsPolicies::new(domains, outgoing.security.tls.0, &authorities)
        .context("preparing TLS towards other servers")?;
    let mut policies = policies.secure_between_providers();
    if outgoing.security.dane {
        policies = policies.with_dane();
    }
    if outgoing.security.mta_sts {
        let (verified, time_max) = (policies.verified().clone(), outgoing.security.mta_sts_timeout);
        let fetch = HttpsFetch::new(verified, time_max.duration());
        policies = policies
            .with_mta_sts(MtaSts::new(Arc::new(fetch), outgoing.security.mta_sts_policies_max));
    }
    Ok(policies)
}
