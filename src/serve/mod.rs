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
mod operations;
pub mod pressure;
pub mod readiness;
mod restoring;
mod running;
pub mod service_manager;
pub mod snapshots;
pub mod store;
pub mod tokens;
pub mod trusted;

use std::sync::Arc;

use ::snapshots::run::Runs;
use anyhow::Context as _;
use protocols::net::tls::TlsContext;
use storage::store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trust::{
    clock::{Clock, SystemClock},
    random::{RandomSource, SystemRandom},
};

use self::{
    claims::NodeClaim,
    credentials::Credentials,
    directory::Beside,
    doors::{Doors, Rooms},
    operations::open_operations,
    running::{ARRIVING, start_engine},
};
use crate::{
    backup::service::BackupService,
    config::Config,
    control::{self, ControlSocket, Site},
    directory::keeper::DirectoryKeeper,
    mail_access::StoreMailAccess,
    names::Names,
    ordinary_mail::OrdinaryMailChecks,
    pec::{
        access_point::AccessPoint, content::SpamFilter, engine::PecEngine,
        incoming_point::IncomingPoint,
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
    let passwords = authenticator(&config, &registry, &random).await?;
    let (authenticator, issuer_keys) = tokens::taken(&config, passwords, &names, &clock)?;
    let (directory, engine) =
        start_engine(&config, &credentials, &registry, &store, &names, (clock, random)).await?;

    let tls = TlsContext::from_pem(&credentials.tls.chain_pem()?, &credentials.tls.key.to_pem()?)
        .context("taking the TLS certificate into use")?;
    let runs = crate::snapshots::open(&store, config.snapshots.limits);
    let mail = doors::mail_access(&config, &registry, &runs)?;
    let filter = content::filter(&config);
    let incoming = incoming_point(&config, &engine.engine, &names, filter.clone());
    let rooms = rooms(mail, &engine.engine, authenticator, incoming);
    let mut doors = Doors::open(&config, &tls, rooms, &stopping).await?;
    directory::open_door(&config, &credentials, &directory, &mut doors).await?;
    let parts = Beside { config: &config, credentials: &credentials, directory: &directory };
    let mut beside = start_beside(&parts, &registry, &engine.engine, &stopping);
    beside.spawn(leftovers);
    journal::start(&config, &engine.engine, objects, &mut beside, &stopping)?;
    snapshots::start(&config, (&engine.engine, &runs), &mut beside, &stopping)?;
    beside.spawn(tokens::keep(issuer_keys, stopping.clone()));
    beside.spawn(Arc::clone(&claim).watch(backup.clone(), stopping.clone()));
    if let Some(backup) = &backup {
        beside.spawn(Arc::clone(backup).run(stopping.clone()));
    }
    let operations = open_operations(&config, &registry, &store, &directory, &credentials).await?;
    beside.spawn(operations.watch_levels(&engine.engine, &stopping));
    let (antivirus, stop) = (engine.engine.antivirus().cloned(), stopping.clone());
    beside.spawn(content::look_after(Arc::clone(&config), antivirus, filter, stop));
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
