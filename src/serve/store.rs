//! Opens the store of a configuration: for the server, and for the commands that look into it.
//!
//! Not here: the store itself (`storage::store`).

use std::sync::Arc;

use anyhow::Context as _;
use storage::{
    catalog::engine::Family,
    catalog::rocksdb::RocksConfig,
    objects::ObjectStore,
    octets::OctetStoreConfig,
    store::{Store, StoreConfig, StoreLimits},
};
use trust::{
    clock::Clock,
    random::{RandomSource, SystemRandom},
};

use super::{objects, service_manager::NODE_STATE};
use crate::{
    archive,
    config::{Config, ObjectSettings},
    pec::records,
    service_levels,
};

/// The families of this floor in the catalog.
#[must_use]
pub fn families() -> Vec<Family> {
    [
        records::FAMILIES.as_slice(),
        &[NODE_STATE],
        &service_levels::FAMILIES,
        &archive::FAMILIES,
        &::snapshots::keep::keys::FAMILIES,
        &::snapshots::run::keys::FAMILIES,
        &[::snapshots::restore::job::SNAPSHOT_RESTORES],
    ]
    .concat()
}

/// The object store of the packs when it is not in the data folder; `None` when it is.
///
/// # Errors
///
/// When it cannot be opened.
pub fn remote_objects(config: &Config) -> anyhow::Result<Option<Arc<dyn ObjectStore>>> {
    match &config.objects {
        ObjectSettings::Folder(None) => Ok(None),
        ObjectSettings::Folder(Some(_)) | ObjectSettings::Bucket(_) => {
            objects::open(config, Arc::new(SystemRandom)).map(Some)
        }
    }
}

/// Opens the store, making it when the data folder is empty.
///
/// # Errors
///
/// When another process has it open, when a newer program wrote it, or when the folder cannot be
/// read or written.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
) -> anyhow::Result<Arc<Store>> {
    let objects = objects::open(config, Arc::clone(&random))?;
    open_on(config, objects, clock, random).await
}

/// As [`open`], on an object store that is open already.
///
/// # Errors
///
/// As [`open`].
pub async fn open_on(
    config: &Config,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn RandomSource>,
) -> anyhow::Result<Arc<Store>> {
    let octets =
        |octets: crate::config::units::Octets| usize::try_from(octets.0).unwrap_or(usize::MAX);
    let settings = &config.store;
    crate::backup::restore::refuse_unfinished(&config.data.folder)?;
    let store = StoreConfig {
        catalog_folder: config.data.catalog_folder(),
        families: families(),
        references: Vec::new(),
        catalog: RocksConfig {
            cache_octets_max: octets(settings.catalog_cache_octets_max),
            ..RocksConfig::default()
        },
        octets: OctetStoreConfig {
            cache_octets_max: octets(settings.chunk_cache_octets_max),
            pack_octets_max: octets(settings.pack_octets_max),
            small_chunk_octets_max: octets(settings.small_chunk_octets_max),
            header_octets_max: octets(config.limits.header_octets_max),
            disk_cache: objects::disk_cache(config),
            pack_compression_level: config.collector.pack_compression_level.into(),
            cold_compression_level: config.collector.cold_compression_level.into(),
            ..OctetStoreConfig::default()
        },
        limits: StoreLimits {
            annotations_per_account_max: config.imap.annotations_per_account_max.into(),
            annotation_octets_per_account_max: config.imap.annotation_octets_per_account_max.0,
            annotation_octets_max: config.imap.annotation_octets_max.0,
            ..StoreLimits::default()
        },
    };
    Store::open(store, objects, clock, random)
        .await
        .with_context(|| format!("opening the store in {}", config.data.folder.display()))
}
