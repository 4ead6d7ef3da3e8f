//! Shows at `/metrics` what the caches of chunks do.
//!
//! Not here: the counting (`storage::figures`).

use std::sync::Arc;

use storage::{pack::cache::CacheFigures, store::Store};

use crate::{
    http::ReadOff,
    metrics_names::{CACHE_ENTRIES, CACHE_HITS, CACHE_MISSES, CACHE_OCTETS},
};

/// Reads the figures of `store`'s caches off.
pub fn read_off(store: &Arc<Store>) -> ReadOff {
    let store = Arc::clone(store);
    Arc::new(move || {
        let caches = store.caches();
        set("memory", &caches.memory);
        if let Some(disk) = &caches.disk {
            set("disk", disk);
        }
    })
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; octets stay below 2^53")]
fn set(cache: &'static str, figures: &CacheFigures) {
    metrics::counter!(CACHE_HITS, "cache" => cache).absolute(figures.hits);
    metrics::counter!(CACHE_MISSES, "cache" => cache).absolute(figures.misses);
    metrics::gauge!(CACHE_OCTETS, "cache" => cache).set(figures.octets as f64);
    metrics::gauge!(CACHE_ENTRIES, "cache" => cache).set(figures.entries as f64);
}
