//! The operations port: health, readiness, metrics.
//!
//! Not here: what it answers (`http`), what it asks for readiness ([`super::readiness`]).

use std::sync::Arc;

use storage::store::Store;
use tokio_util::sync::CancellationToken;
use trust::clock::SystemClock;

use super::{
    caches,
    credentials::Credentials,
    directory,
    doors::{self, Doors},
    readiness, service_manager,
};
use crate::{
    config::Config,
    directory::keeper::DirectoryKeeper,
    http::{self, Readiness},
    pec::engine::PecEngine,
    registry::Registry,
    service_levels,
};

/// The operations port while it is open.
pub(super) struct Operations {
    readiness: Arc<Readiness>,
    stop: CancellationToken,
    server: Option<tokio::task::JoinHandle<()>>,
}

pub(super) async fn open_operations(
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

impl Operations {
    /// Watches the service levels, by what `/readyz` says.
    pub(super) fn watch_levels(
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
    pub(super) async fn serve_beside(&self, doors: Doors, stopping: &CancellationToken) {
        tokio::join!(doors.serve(), async {
            stopping.cancelled().await;
            service_manager::stopping();
            self.readiness.drain();
        });
    }

    pub(super) async fn close(self) {
        self.stop.cancel();
        if let Some(server) = self.server
            && let Err(error) = server.await
        {
            tracing::warn!(%error, "the operations port ended badly");
        }
    }
}
