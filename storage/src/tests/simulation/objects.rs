//! A simulated object store: what a distant one may do, by seed.
//!
//! * An object is there whole or not at all.
//! * A PUT that was answered is there after a crash. One that was not may be there, may be not, and
//!   may come to be there later, when whoever asked is long gone.
//! * A request may fail and have done nothing, or have done it and lose the reply.
//! * Everything takes time, sometimes much. Lists show what is there.
//!
//! The bucket outlives the process: [`Bucket::connect`] gives each life of the process its own
//! connection, which [`SimulatedObjects::sever`] ends.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, memory::InMemory, path::Path,
};

use super::world::World;

/// How often requests fail, in one of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ObjectFaults {
    /// The request does nothing and fails.
    pub(super) refused: u64,
    /// The request is done and its reply lost.
    pub(super) reply_lost: u64,
}

/// What the object store keeps.
pub(super) struct Bucket {
    pub(super) world: Arc<World>,
    kept: InMemory,
    /// Instants at which objects were put.
    instants: Mutex<BTreeMap<Path, i64>>,
}

impl Bucket {
    pub(super) fn new(world: &Arc<World>) -> Arc<Self> {
        let world = Arc::clone(world);
        Arc::new(Self { world, kept: InMemory::new(), instants: Mutex::default() })
    }

    pub(super) fn connect(self: &Arc<Self>, faults: ObjectFaults) -> Arc<SimulatedObjects> {
        Arc::new(SimulatedObjects {
            bucket: Arc::clone(self),
            faults,
            severed: Arc::default(),
            unanswered: Mutex::default(),
        })
    }

    async fn put(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let answer = self.kept.put_opts(location, payload, options).await?;
        self.instants.lock().expect("no panic").insert(location.clone(), self.world.now());
        Ok(answer)
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let instants = self.instants.lock().expect("no panic");
        let instant = instants.get(&meta.location).copied().unwrap_or_default();
        meta.last_modified = chrono::DateTime::from_timestamp_millis(instant).expect("a date");
        meta
    }
}

type Unanswered = BTreeMap<u64, (Path, PutPayload, PutOptions)>;

/// One process's connection to a [`Bucket`].
pub(super) struct SimulatedObjects {
    bucket: Arc<Bucket>,
    faults: ObjectFaults,
    severed: Arc<AtomicBool>,
    unanswered: Mutex<Unanswered>,
}

impl fmt::Debug for SimulatedObjects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimulatedObjects")
    }
}

impl fmt::Display for SimulatedObjects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("simulated objects")
    }
}

fn lost(what: &'static str) -> Error {
    Error::Generic { store: "simulated", source: what.into() }
}

impl SimulatedObjects {
    /// Ends the connection. Of the PUTs on their way some arrive, some never, some late: those
    /// come back, for the caller to send on.
    pub(super) async fn sever(&self) -> Vec<(Path, PutPayload, PutOptions)> {
        self.severed.store(true, Ordering::Relaxed);
        let unanswered = std::mem::take(&mut *self.unanswered.lock().expect("no panic"));
        let mut late = Vec::new();
        for (_, (location, payload, options)) in unanswered {
            match self.bucket.world.below(3) {
                0 => {}
                // "Exists already" is as good an end as any for a request that nobody waits for.
                1 => drop(self.bucket.put(&location, payload, options).await),
                _ => late.push((location, payload, options)),
            }
        }
        late
    }

    /// Waits as a request does; an error when it does not arrive.
    async fn send(&self, what: &'static str) -> Result<()> {
        self.bucket.world.pause(what).await;
        if self.severed.load(Ordering::Relaxed) {
            return Err(lost("the connection is gone"));
        }
        if self.bucket.world.chance(self.faults.refused) {
            return Err(lost("refused on purpose"));
        }
        Ok(())
    }

    /// Waits as a reply does; an error when it does not arrive.
    async fn receive(&self, what: &'static str) -> Result<()> {
        self.bucket.world.pause(what).await;
        if self.severed.load(Ordering::Relaxed) || self.bucket.world.chance(self.faults.reply_lost)
        {
            return Err(lost("the reply is lost"));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl ObjectStore for SimulatedObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let number = {
            let mut unanswered = self.unanswered.lock().expect("no panic");
            let number = unanswered.last_key_value().map_or(0, |(last, _)| last + 1);
            unanswered.insert(number, (location.clone(), payload.clone(), options.clone()));
            number
        };
        let forget = || drop(self.unanswered.lock().expect("no panic").remove(&number));
        if let Err(error) = self.send("put").await {
            forget();
            return Err(error);
        }
        let answer = self.bucket.put(location, payload, options).await;
        forget();
        self.receive("put answered").await?;
        answer
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotSupported { source: "packs of a simulation are small".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.send("get object").await?;
        let result = self.bucket.kept.get_opts(location, options).await;
        self.receive("got object").await?;
        let mut result = result?;
        result.meta = self.bucket.dated(result.meta);
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.send("get ranges").await?;
        let result = self.bucket.kept.get_ranges(location, ranges).await;
        self.receive("got ranges").await?;
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (bucket, severed) = (Arc::clone(&self.bucket), Arc::clone(&self.severed));
        let faults = self.faults;
        let one = move |location: Path| {
            let (bucket, severed) = (Arc::clone(&bucket), Arc::clone(&severed));
            async move {
                bucket.world.pause("delete").await;
                if severed.load(Ordering::Relaxed) || bucket.world.chance(faults.refused) {
                    return Err(lost("refused on purpose"));
                }
                let outcome = bucket.kept.delete(&location).await;
                bucket.world.pause("deleted").await;
                if severed.load(Ordering::Relaxed) || bucket.world.chance(faults.reply_lost) {
                    return Err(lost("the reply is lost"));
                }
                outcome.map(|()| location)
            }
        };
        locations.and_then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let bucket = Arc::clone(&self.bucket);
        let prefix = prefix.cloned();
        let listed = async move {
            bucket.world.pause("list").await;
            let listed: Vec<_> = bucket.kept.list(prefix.as_ref()).collect().await;
            let dated = listed.into_iter().map(|meta| meta.map(|meta| bucket.dated(meta)));
            futures::stream::iter(dated.collect::<Vec<_>>())
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.send("list folder").await?;
        self.bucket.kept.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.send("copy").await?;
        self.bucket.kept.copy_opts(from, to, options).await
    }
}

impl Bucket {
    /// A PUT that arrives when its process is gone.
    pub(super) async fn arrive(
        &self,
        (location, payload, options): (Path, PutPayload, PutOptions),
    ) {
        drop(self.put(&location, payload, options).await);
    }

    /// The bucket without pauses and faults.
    pub(super) fn calm(self: &Arc<Self>) -> Arc<dyn ObjectStore> {
        Arc::new(Calm(Arc::clone(self)))
    }
}

/// A bucket that answers at once: for looking at what is there.
struct Calm(Arc<Bucket>);

impl fmt::Debug for Calm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Calm")
    }
}

impl fmt::Display for Calm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("calm objects")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Calm {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.0.put(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotSupported { source: "packs of a simulation are small".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut result = self.0.kept.get_opts(location, options).await?;
        result.meta = self.0.dated(result.meta);
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.kept.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let bucket = Arc::clone(&self.0);
        self.0.kept.list(prefix).map_ok(move |meta| bucket.dated(meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.kept.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.kept.copy_opts(from, to, options).await
    }
}
