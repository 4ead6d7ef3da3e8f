//! `ceralacca serve`: one process that is a whole provider.
//!
//! The order of the start: credentials, registry, store, the node's claim, changes of accounts, engine, doors. A
//! failure before the doors are open ends the program with what to do; nothing is half served.
//! The order of the stop is the reverse: doors close and sessions finish, then the workers finish
//! what they hold, then the stores are closed. What is left undone stands in the catalog.
//!
//! Not here: what any of the parts does.

pub mod background;
pub mod caches;
pub mod claims;
pub mod collecting;
pub mod content;
pub mod credentials;
pub mod directory;
pub mod doors;
pub mod journal;
pub mod objects;
pub mod pressure;
pub mod readiness;
mod restoring;
pub mod service_manager;
pub mod snapshots;
pub mod store;
pub mod tokens;
pub mod trusted;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::snapshots::run::Runs;
use anyhow::Context as _;
use protocols::{
    net::tls::TlsContext,
    smtp::{client::ClientSettings, grammar::ClientName},
};
use storage::store::Store;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use trust::{
    clock::{Clock, SystemClock},
    random::{RandomSource, SystemRandom},
    smime::verify::Verifier,
};

use self::{
    claims::NodeClaim,
    credentials::Credentials,
    directory::Beside,
    doors::{Doors, Rooms},
};
use crate::{
    backup::service::BackupService,
    config::{Config, units::Millis},
    control::{self, ControlSocket, Site},
    directory::keeper::DirectoryKeeper,
    http::{self, Readiness},
    mail_access::StoreMailAccess,
    names::Names,
    ordinary_mail::OrdinaryMailChecks,
    pec::{
        access_point::AccessPoint,
        address::{Address, Domain},
        content::SpamFilter,
        destination::{Destinations, Target},
        engine::{EngineParts, EngineSettings, PecEngine},
        identifier::IdentifierSource,
        incoming_point::IncomingPoint,
        issuer::Issuer,
        lookups::Lookups,
        queue::{self, IdleConnections, QueueHandle},
        relay::Relay,
        tls_policy::{HttpsFetch, MtaSts, TlsPolicies},
        work::{self, WorkQueue},
    },
    registry::{Registry, address::AccountAddress, authenticator::RegistryAuthenticator, outbox},
    service_levels,
};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// When the provider cannot start; the text says what to do.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let signals = tokio::spawn(stop_on_signal(stopping.clone()));
    let served = serve(Arc::new(config), stopping.clone()).await;
    stopping.cancel();
    signals.await.context("waiting for the signal handler")?;
    served
}

async fn stop_on_signal(stopping: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        tracing::warn!("signals cannot be caught: stopping will not be graceful");
        return stopping.cancelled().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = stopping.cancelled() => {}
    }
    stopping.cancel();
}

/// Serves `config` until `stopping` is cancelled.
///
/// # Errors
///
/// As [`run`].
pub async fn serve(config: Arc<Config>, stopping: CancellationToken) -> anyhow::Result<()> {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn RandomSource>) =
        (Arc::new(SystemClock), Arc::new(SystemRandom));
    let credentials = Arc::new(Credentials::open(&config, &clock, &random)?);
    crate::backup::restore::refuse_unfinished(&config.data.folder)?;
    crate::backup::restore::refuse_rehearsal(&config.data.folder)?;
    let registry = open_registry(&config, Arc::clone(&clock)).await?;
    let objects = objects::open(&config, Arc::clone(&random))?;
    objects::prove(&config, &*objects).await?;
    let store =
        store::open_on(&config, Arc::clone(&objects), Arc::clone(&clock), Arc::clone(&random))
            .await?;
    let backup = backup(&config, &registry, &store);
    let claim = NodeClaim::confirm(&config, &store).await?;
    outbox::apply_pending(&registry, &*store).await.context("applying changes of accounts")?;
    let leftovers =
        objects::take_leftovers_away(Arc::clone(&config), Arc::clone(&clock), stopping.clone());
    let names = Names::open(&config.dns).context("preparing questions to DNS")?;
    let authenticator = authenticator(&config, &registry, &random).await?;
    let (authenticator, issuer_keys) = tokens::taken(&config, authenticator, &names, &clock)?;
    let (directory, engine) =
        start_engine(&config, &credentials, &registry, &store, &names, (clock, random)).await?;

    let tls = TlsContext::from_pem(&credentials.tls.chain_pem()?, &credentials.tls.key.to_pem()?)
        .context("taking the TLS certificate into use")?;
    let mail = doors::mail_access(&config, &registry, &store)?;
    let filter = content::filter(&config);
    let incoming = incoming_point(&config, &engine.engine, &names, filter.clone());
    let rooms = rooms(mail, &engine.engine, authenticator, incoming);
    let mut doors = Doors::open(&config, &tls, rooms, &stopping).await?;
    directory::open_door(&config, &credentials, &directory, &mut doors).await?;
    let parts = Beside { config: &config, credentials: &credentials, directory: &directory };
    let mut beside = start_beside(&parts, &registry, &engine.engine, &stopping);
    beside.spawn(leftovers);
    journal::start(&config, &engine.engine, objects, &mut beside, &stopping)?;
    let runs = snapshots::start(&config, &engine.engine, &mut beside, &stopping)?;
    beside.spawn(tokens::keep(issuer_keys, stopping.clone()));
    beside.spawn(Arc::clone(&claim).watch(backup.clone(), stopping.clone()));
    if let Some(backup) = &backup {
        beside.spawn(Arc::clone(backup).run(stopping.clone()));
    }
    let operations = open_operations(&config, &registry, &store, &directory, &credentials).await?;
    beside.spawn(operations.watch_levels(&engine.engine, &stopping));
    let antivirus = engine.engine.antivirus().cloned();
    let checking = content::look_after(Arc::clone(&config), antivirus, filter, stopping.clone());
    beside.spawn(checking);
    let control =
        open_control(&config, &registry, &engine.engine, (backup.clone(), directory, runs))?;
    let heart = tokio::spawn(service_manager::beat(Arc::clone(&store)));
    service_manager::ready();
    tracing::info!(provider = config.provider.name, "ready");

    operations.serve_beside(doors, &stopping).await;
    if let Some(control) = control {
        control.close().await;
    }
    let delays = Arc::clone(engine.engine.delays());
    engine.stop(config.limits.shutdown_timeout.duration()).await;
    ended(beside).await;
    service_levels::write_last(&delays, &store).await;
    if let Some(backup) = backup {
        backup.finish(config.limits.shutdown_timeout.duration()).await;
    }
    registry.close().await;
    heart.abort();
    store.close().await.context("closing the store")?;
    operations.close().await;
    tracing::info!("stopped");
    Ok(claim.verdict()?)
}

/// What stands behind the doors.
fn rooms(
    mail: StoreMailAccess,
    engine: &Arc<PecEngine>,
    authenticator: RegistryAuthenticator,
    incoming_point: IncomingPoint,
) -> Rooms {
    Rooms {
        authenticator: Arc::new(authenticator),
        mail: Arc::new(mail),
        access_point: Arc::new(AccessPoint::new(Arc::clone(engine))),
        incoming_point: Arc::new(incoming_point),
    }
}

async fn authenticator(
    config: &Config,
    registry: &Arc<Registry>,
    random: &Arc<dyn RandomSource>,
) -> anyhow::Result<RegistryAuthenticator> {
    let (registry, random) = (Arc::clone(registry), Arc::clone(random));
    Ok(RegistryAuthenticator::new(registry, config.login.clone(), random).await?)
}

/// Opens directory and signing pairs, and sets the engine in motion with them.
async fn start_engine(
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

/// Waits until every loop beside the sessions has ended.
async fn ended(mut loops: JoinSet<()>) {
    while let Some(outcome) = loops.join_next().await {
        if let Err(error) = outcome {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a loop beside the sessions failed"
            );
        }
    }
}

async fn open_registry(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<Registry>> {
    std::fs::create_dir_all(&config.data.folder)
        .with_context(|| format!("making the data folder {}", config.data.folder.display()))?;
    let arriving = config.data.folder.join(ARRIVING);
    std::fs::create_dir_all(&arriving)
        .with_context(|| format!("making the folder {}", arriving.display()))?;
    let registry =
        Registry::open(&config.data.registry_file(), &config.registry, config.plans.clone(), clock)
            .await?;
    let mut domains = config.provider.pec_domains.clone();
    domains.push(config.provider.mail_domain.clone());
    registry.ensure_domains(&domains).await?;
    let service: AccountAddress = config
        .provider
        .service_address
        .parse()
        .context("provider.service_address is no address")?;
    registry.ensure_service_account(&service).await?;
    registry.refresh_limits().await?;
    Ok(registry)
}

/// The engine in motion.
struct Running {
    engine: Arc<PecEngine>,
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
    async fn stop(self, time_max: Duration) {
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
const ARRIVING: &str = "arriving";

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

fn incoming_point(
    config: &Config,
    engine: &Arc<PecEngine>,
    names: &Names,
    filter: Option<SpamFilter>,
) -> IncomingPoint {
    let mut point = IncomingPoint::new(Arc::clone(engine));
    if let Some(filter) = filter {
        point = point.with_filter(filter);
    }
    let (settings, host_name) = (&config.ordinary_mail, config.provider.host_name.as_str());
    if settings.check {
        point.with_checks(OrdinaryMailChecks::new(settings, names, host_name))
    } else {
        point
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

fn start_beside(
    parts: &Beside<'_>,
    registry: &Arc<Registry>,
    engine: &Arc<PecEngine>,
    stopping: &CancellationToken,
) -> JoinSet<()> {
    let (config, store) = (parts.config, Arc::clone(engine.store()));
    let mut tasks = JoinSet::new();
    tasks.spawn(background::pack(
        Arc::clone(&store),
        config.store.pack_interval.duration(),
        stopping.clone(),
    ));
    tasks.spawn(background::build_blocks(
        Arc::clone(&store),
        config.store.block_interval.duration(),
        config.store.block_rows_per_second_max,
        stopping.clone(),
    ));
    let (beside, settings) = (Arc::clone(&store), Arc::clone(config));
    tasks.spawn(collecting::collect(beside, settings, stopping.clone()));
    let (beside, settings) = (Arc::clone(engine), Arc::clone(config));
    tasks.spawn(collecting::dispose(beside, settings, stopping.clone()));
    let (beside, settings) = (Arc::clone(&store), Arc::clone(config));
    tasks.spawn(collecting::archive(beside, settings, stopping.clone()));
    tasks.spawn(restoring::restore(Arc::clone(&store), Arc::clone(config), stopping.clone()));
    tasks.spawn(background::scrub(
        Arc::clone(&store),
        config.store.scrub_period.duration(),
        stopping.clone(),
    ));
    let interval = config.registry.outbox_interval.duration();
    let (own, stop) = (Arc::clone(registry), stopping.clone());
    tasks.spawn(async move { outbox::keep_applied(&own, &*store, interval, stop).await });
    tasks.spawn(background::follow_domains(
        Arc::clone(registry),
        Arc::clone(config),
        Arc::clone(parts.directory),
        Arc::clone(engine),
        stopping.clone(),
    ));
    tasks.spawn(pressure::Watch::new(Arc::clone(engine), config).run(stopping.clone()));
    directory::start(&mut tasks, parts, engine, stopping);
    tasks
}

/// The back-up, when there is one.
fn backup(
    config: &Arc<Config>,
    registry: &Arc<Registry>,
    store: &Arc<Store>,
) -> Option<Arc<BackupService>> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    BackupService::new(config, store, registry, clock, random)
}

/// The operations port while it is open.
struct Operations {
    readiness: Arc<Readiness>,
    stop: CancellationToken,
    server: Option<tokio::task::JoinHandle<()>>,
}

async fn open_operations(
    config: &Config,
    registry: &Arc<Registry>,
    store: &Arc<Store>,
    directory: &Arc<DirectoryKeeper>,
    credentials: &Credentials,
) -> anyhow::Result<Operations> {
    let readiness = Readiness::new(vec![
        Arc::clone(registry) as Arc<dyn http::ReadinessCheck>,
        Arc::new(readiness::CatalogReady(Arc::clone(store))),
        Arc::new(readiness::SignerReady(Arc::clone(directory.ring()))),
    ]);
    let stop = CancellationToken::new();
    let server = match doors::bind("listen.operations", &config.listen.operations).await? {
        None => None,
        Some(listener) => {
            let metrics = http::install_metrics().map_err(|error| anyhow::anyhow!(error))?;
            let (readiness, stop, limits) =
                (Arc::clone(&readiness), stop.clone(), config.limits.clone());
            let (caches, keys) = (
                caches::read_off(store),
                directory::read_off(directory, &credentials.tls.certificate),
            );
            let read_off: http::ReadOff = Arc::new(move || {
                caches();
                keys();
            });
            let metrics = (metrics, read_off);
            Some(tokio::spawn(async move {
                http::serve_operations(listener, readiness, metrics, &limits, stop).await;
            }))
        }
    };
    Ok(Operations { readiness, stop, server })
}

/// Opens the socket on which commands ask for operations on the store.
fn open_control(
    config: &Arc<Config>,
    registry: &Arc<Registry>,
    engine: &Arc<PecEngine>,
    (backup, directory, runs): (Option<Arc<BackupService>>, Arc<DirectoryKeeper>, Arc<Runs>),
) -> anyhow::Result<Option<ControlSocket>> {
    let site = Site {
        config: Arc::clone(config),
        store: Arc::clone(engine.store()),
        registry: Arc::clone(registry),
        engine: Some(Arc::clone(engine)),
        backup,
        runs,
        directory: Some(directory),
    };
    let path = config.data.control_socket();
    ControlSocket::open(path.clone(), site, control::operations::served(), &config.limits)
        .with_context(|| format!("opening the control socket {}", path.display()))
}

impl Operations {
    /// Watches the service levels, by what `/readyz` says.
    fn watch_levels(
        &self,
        engine: &Arc<PecEngine>,
        stopping: &CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (engine, readiness) = (Arc::clone(engine), Arc::clone(&self.readiness));
        let watch = service_levels::Watch { engine, readiness, clock: Arc::new(SystemClock) };
        let stopping = stopping.clone();
        async move { watch.run(stopping).await }
    }

    /// Serves `doors` until the stop. Balancers look elsewhere while the sessions here come to their
    /// end.
    async fn serve_beside(&self, doors: Doors, stopping: &CancellationToken) {
        tokio::join!(doors.serve(), async {
            stopping.cancelled().await;
            service_manager::stopping();
            self.readiness.drain();
        });
    }

    async fn close(self) {
        self.stop.cancel();
        if let Some(server) = self.server
            && let Err(error) = server.await
        {
            tracing::warn!(%error, "the operations port ended badly");
        }
    }
}
