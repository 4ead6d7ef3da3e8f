//! Object stores: where packs lie, in a local folder or on a server that speaks S3.
//!
//! A remote store is a stack of wrappers, each of which implements [`ObjectStore`] and
//! [`MultipartStore`] and does one thing. From the outside in:
//!
//! * [`parts`]: a large object goes up in parts, and is aborted when it fails.
//! * [`retry`]: tries again what can be tried again; knows its own write when the answer was lost.
//! * [`limit`]: bounds the requests on the wire. A pause between tries holds no place.
//! * [`metrics`]: counts each request that was made, those that failed too.
//! * [`timeout`]: bounds the time of each request.
//! * [`s3`]: signs and sends.
//!
//! Invariants:
//!
//! * An object is created and never replaced: of two creators of one name, at most one succeeds.
//!   [`probe`] says at start whether a store keeps this. In parts, an object that exists is not
//!   replaced either; but servers are in use on which two uploads in parts that complete at the
//!   same instant both succeed, so what goes up in parts has a random name (packs have).
//! * What `put` returned for survives a crash of this process or of the server.
//! * The octets of a request, its time, its tries and the requests at once are bounded.
//!
//! [`named`] has the few calls that floors above need for objects of their own.
//!
//! Not here: packs (`pack::store`), caches (`pack::cache`, `pack::disk_cache`).

use std::{sync::Arc, time::Duration};

pub use object_store::ObjectStore;
use object_store::{PutMultipartOptions, multipart::MultipartStore, prefix::PrefixStore};
use trust::random::RandomSource;

use self::{
    limit::Limited,
    metrics::{Metered, RequestObserver},
    parts::{InParts, PartSettings},
    retry::{RetrySettings, Retrying},
    s3::{S3Error, S3Objects, S3Settings},
    timeout::{TimeSettings, Timed},
};

pub mod limit;
pub mod local;
pub mod metrics;
pub mod named;
pub mod parts;
pub mod probe;
pub mod retry;
pub mod s3;
pub mod timeout;

#[cfg(test)]
mod tests;

/// A store in which all names begin with a prefix.
pub type PrefixedObjects = PrefixStore<Arc<dyn ObjectStore>>;

/// A store that also takes objects in parts. Uploads in parts create, they never replace.
pub trait RemoteObjects: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> RemoteObjects for T {}

/// The bounds of a remote store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteSettings {
    /// What is tried again, and how often.
    pub retry: RetrySettings,
    /// How long a request may take.
    pub time: TimeSettings,
    /// Requests at once.
    pub requests_max: usize,
    /// Which objects go up in parts.
    pub parts: PartSettings,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            retry: RetrySettings::default(),
            time: TimeSettings::default(),
            requests_max: 32,
            parts: PartSettings::default(),
        }
    }
}

/// Puts the wrappers around a remote store.
pub fn guarded<T: RemoteObjects>(
    store: T,
    settings: &RemoteSettings,
    random: Arc<dyn RandomSource>,
    observer: Arc<dyn RequestObserver>,
) -> Arc<dyn ObjectStore> {
    let timed = Timed::new(store, settings.time);
    let metered = Metered::new(timed, Arc::clone(&observer));
    let limited = Limited::new(metered, settings.requests_max);
    let retrying = Retrying::new(limited, settings.retry, random, observer);
    Arc::new(InParts::new(retrying, settings.parts))
}

/// Opens a bucket of an S3 server behind the wrappers. Sends nothing.
pub fn open_s3(
    s3: &S3Settings,
    settings: &RemoteSettings,
    random: Arc<dyn RandomSource>,
    observer: Arc<dyn RequestObserver>,
) -> Result<Arc<dyn ObjectStore>, S3Error> {
    let store = S3Objects::open(s3, settings.time.connect_max)?;
    Ok(guarded(store, settings, random, observer))
}

/// The options of an upload in parts, without what the store below cannot take twice.
pub(crate) fn same_options(options: &PutMultipartOptions) -> PutMultipartOptions {
    PutMultipartOptions {
        tags: options.tags.clone(),
        attributes: options.attributes.clone(),
        extensions: options.extensions.clone(),
    }
}

/// The time a body of `octets` may take at `octets_per_second_min`.
pub(crate) fn transfer_time(octets: u64, octets_per_second_min: u64) -> Duration {
    let millis = octets.saturating_mul(1_000) / octets_per_second_min.max(1);
    Duration::from_millis(millis)
}
